//! A backup of this box, as a stream.

use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::poll_fn;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, info};

use super::format::ApiError;
use crate::http::AppState;
use crate::http::server::Peer;
use crate::storage::backup::{self, About, Snapshot, Source};
use crate::task::{BlockingPool, OnPanic};

/// The archive goes out in pieces of this size; so many wait for a slow receiver.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 4;

/// A receiver that takes nothing for so long is given up, because the snapshot keeps what would be deleted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the path of this file.
pub(super) fn routes() -> Router<AppState> {
    // A place of its own: neither questions nor samples wait for a backup.
    let pool = BlockingPool::new(1);
    Router::new()
        .route("/api/v1/backup", post(move |state: State<AppState>, peer: Extension<Peer>| backup(pool, state, peer)))
}

async fn backup(pool: BlockingPool, State(app): State<AppState>, Extension(Peer(peer)): Extension<Peer>) -> Response {
    if !peer.ip().is_loopback() {
        let why = "a backup holds secrets, so it is made on the box itself: andon backup FILE";
        let refused = ApiError { status: StatusCode::FORBIDDEN, kind: "forbidden", message: why.to_owned() };
        return refused.into_response();
    }
    let storage = app.storage.clone();
    let snapshot = match pool.run(move || Snapshot::make(&storage)).await {
        Ok(Ok(snapshot)) => snapshot,
        Ok(Err(error @ backup::Error::Busy)) => return ApiError::unavailable(error.to_string()).into_response(),
        Ok(Err(error)) => {
            error!(%error, "cannot make a backup");
            return ApiError::internal(error.to_string()).into_response();
        }
        Err(panicked) => return ApiError::internal(panicked.to_string()).into_response(),
    };
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let about = About { box_name: app.info.box_name.clone(), made_at: app.clock.now() };
    let name = format!("andon-{}.tar", about.made_at.to_rfc3339().get(..10).unwrap_or("backup"));
    app.tasks.clone().spawn("backup", OnPanic::EndTask, async move {
        if pool.run(move || write(&app, &snapshot, &about, sender)).await.is_err() {
            error!("a backup broke off");
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        // What is in it is packed already.
        (header::CONTENT_ENCODING, "identity".to_owned()),
    ];
    (StatusCode::OK, headers, Body::from_stream(poll_fn(move |context| pieces.poll_recv(context)))).into_response()
}

/// Writes the archive into the channel; a failure ends the answer without its end, which the other side notices.
fn write(app: &AppState, snapshot: &Snapshot, about: &About, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    let mut out = Pieces { sender, piece: Vec::new(), bytes: 0 };
    let disk = &*app.storage.disk;
    let written = backup::sources(disk, snapshot.folder()).and_then(|mut sources| {
        sources.extend(app.info.settings_files.iter().map(|path| Source::of_settings(path)));
        backup::write_archive(disk, &sources, about, &mut out)
    });
    match written {
        Ok(manifest) => {
            info!(files = manifest.members.len(), bytes = out.bytes, "backup made");
            app.storage.note_backup(about.made_at, out.bytes);
        }
        Err(error) => {
            error!(%error, "a backup broke off");
            let _ = out.send(Err(std::io::Error::other("the backup broke off")));
        }
    }
}

/// Writes into a channel, a piece at a time.
struct Pieces {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    piece: Vec<u8>,
    bytes: u64,
}

impl Pieces {
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
        self.send(Ok(piece.into()))
    }
}
