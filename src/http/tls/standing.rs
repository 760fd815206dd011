//! How an open connection stands when the rules for certificates change: would its handshake succeed now?

use std::sync::Arc;

use futures_util::stream;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::Tls;
use crate::gateway::{Judgement, Judgements};

/// What a client showed in its handshake, and the rules since; cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::http) struct Standing {
    /// The first is the client's own; empty if it showed none.
    chain: Arc<[CertificateDer<'static>]>,
    /// Those of the handshake count as seen.
    rules: watch::Receiver<Option<Tls>>,
}

impl Standing {
    /// Takes the chain of a handshake and the rules that it was made by, as seen.
    pub(in crate::http) fn new(chain: &[CertificateDer<'static>], rules: watch::Receiver<Option<Tls>>) -> Self {
        Standing { chain: chain.into(), rules }
    }

    /// Waits until a handshake would fail.
    pub(in crate::http) async fn refused(&mut self) {
        while !matches!(self.next().await, Judgement::Refused) {}
    }

    /// Returns how it stands after each change.
    pub(in crate::http) fn judgements(self) -> Judgements {
        Box::pin(stream::unfold(self, |mut standing| async { Some((standing.next().await, standing)) }))
    }

    /// Waits until the rules have been read again, and judges by them.
    async fn next(&mut self) -> Judgement {
        if self.rules.changed().await.is_err() {
            // The box stops, which connections hear elsewhere.
            return std::future::pending().await;
        }
        let clients = self.rules.borrow_and_update().as_ref().and_then(|tls| tls.clients.clone());
        match clients {
            Some(clients) => clients.judge(&self.chain),
            // Nobody is asked for a certificate.
            None => Judgement::Taken(None),
        }
    }
}
