//! An answer that a thread writes piece by piece while its reader takes it.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream::poll_fn;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{debug, error};

use crate::http::AppState;
use crate::task::{BlockingPool, OnPanic};

/// An answer goes out in pieces of this size; so many wait for a slow receiver.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 4;

/// A receiver that takes nothing for so long is given up: what is being sent keeps files from being deleted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes into the body of an answer, a piece at a time; waits for its reader. On a thread that may block.
#[derive(Debug)]
pub(super) struct Pieces {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    piece: Vec<u8>,
    bytes: u64,
    is_gone: bool,
}

/// Lets a thread of the pool write an answer, and returns its body. What goes wrong ends the answer without its end,
/// which the reader notices.
pub(super) fn written<E: Display + Send + 'static>(
    app: &AppState,
    pool: BlockingPool,
    what: &'static str,
    work: impl FnOnce(&mut Pieces) -> Result<(), E> + Send + 'static,
) -> Body {
    let (mut out, body) = Pieces::channel();
    app.tasks.spawn(what, OnPanic::EndTask, async move {
        let done = pool.run(move || {
            let done = work(&mut out).map_err(|error| (error.to_string(), out.is_gone));
            if done.is_err() {
                out.break_off("the answer broke off");
            }
            done
        });
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err((error, true))) => debug!(what, error, "its reader gave up"),
            Ok(Err((error, false))) => error!(what, error, "it broke off"),
            Err(panicked) => error!(what, %panicked, "it broke off"),
        }
    });
    body
}

impl Pieces {
    /// Returns the end to write to and the body that is read from.
    pub(super) fn channel() -> (Self, Body) {
        let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
        let body = Body::from_stream(poll_fn(move |context| pieces.poll_recv(context)));
        (Pieces { sender, piece: Vec::new(), bytes: 0, is_gone: false }, body)
    }

    /// Returns how much was written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the answer without its end, which the reader notices.
    pub(super) fn break_off(&self, why: &'static str) {
        let _ = self.send(Err(std::io::Error::other(why)));
    }

    fn send(&self, piece: std::io::Result<Bytes>) -> std::io::Result<()> {
        let gone = || std::io::Error::other("nobody takes it any more");
        let sent = Handle::current().block_on(tokio::time::timeout(PATIENCE, self.sender.send(piece)));
        sent.map_err(|_| gone())?.map_err(|_| gone())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send(Ok(piece.into())).inspect_err(|_| self.is_gone = true)
    }
}
