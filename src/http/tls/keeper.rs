//! Keeps certificates up to date: reads the files again when they change, and when the settings are reloaded.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Material, Tls, TlsConfig};
use crate::clock::Clock;
use crate::http::Result;
use crate::http::instruments::Instruments;
use crate::task::{Phase, Tasks};
use crate::watched::{self, Watched};

/// Own certificates that end sooner are worth a word in the log.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// Owns the certificates that handshakes use.
#[derive(Debug)]
pub(in crate::http) struct Keeper {
    pub(in crate::http) settings: watch::Receiver<Option<TlsConfig>>,
    pub(in crate::http) tls: watch::Sender<Option<Tls>>,
    pub(in crate::http) clock: Clock,
    pub(in crate::http) instruments: Instruments,
}

impl Keeper {
    /// Looks after the files until the intake ends.
    pub(in crate::http) async fn run(mut self, tasks: Tasks) {
        let end = tasks.token(Phase::Intake);
        self.tell();
        let mut watched = Watched::of(&self.files());
        loop {
            let is_due = tokio::select! {
                () = end.cancelled() => return,
                Ok(()) = self.settings.changed() => {
                    watched = Watched::of(&self.files());
                    true
                }
                () = tokio::time::sleep(watched::INTERVAL) => watched.look(&self.files()),
            };
            if is_due {
                self.read_again(&tasks).await;
            }
        }
    }

    /// Reads the files; what is wrong changes nothing.
    async fn read_again(&mut self, tasks: &Tasks) {
        let settings = self.settings.borrow_and_update().clone();
        let Some(settings) = settings else {
            self.tls.send_replace(None);
            self.instruments.forget();
            return info!("the listener speaks without TLS from now on");
        };
        let clock = self.clock.clone();
        match tasks.pool().run(move || load(&settings, &clock)).await {
            Ok(Ok(tls)) => {
                let is_new = self.tls.borrow().as_ref().is_none_or(|old| old.own != tls.own);
                self.tls.send_replace(Some(tls));
                self.instruments.stale.with(&[]).set(0.0);
                if is_new {
                    self.tell();
                }
            }
            Ok(Err(error)) => {
                self.instruments.stale.with(&[]).set(1.0);
                error!(%error, "the certificate in force stays");
            }
            Err(panicked) => error!(%panicked, "cannot read certificates"),
        }
    }

    fn tell(&self) {
        let Some(own) = self.tls.borrow().as_ref().map(|tls| tls.own.clone()) else { return };
        self.instruments.expiry.with(&[]).set(own.not_after.as_seconds());
        let (until, fingerprint, now) = (own.not_after.to_rfc3339(), own.fingerprint, self.clock.now());
        let names = own.names.join(", ");
        if own.not_after.since(now) < SOON && self.clock.is_trusted() {
            warn!(%names, %until, %fingerprint, "the certificate of this box ends soon, or is over");
        } else {
            info!(%names, %until, %fingerprint, "certificate of this box");
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let settings = self.settings.borrow();
        let files = settings.iter().flat_map(|tls| {
            [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref(), tls.client_crl_file.as_ref()]
        });
        files.flatten().cloned().collect()
    }
}

/// Reads the files of TLS. Blocks.
pub(in crate::http) fn load(settings: &TlsConfig, clock: &Clock) -> Result<Tls> {
    Material::read(settings)?.serve(clock)
}
