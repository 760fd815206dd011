//! A backup of this box, as a stream.

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tracing::{error, info};

use super::format::ApiError;
use super::pieces::Pieces;
use crate::http::AppState;
use crate::http::server::Peer;
use crate::storage::backup::{self, About, Snapshot, Source};
use crate::task::{BlockingPool, OnPanic};

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
    let (out, body) = Pieces::channel();
    let about = About { box_name: app.info.box_name.clone(), made_at: app.clock.now() };
    let name = format!("andon-{}.tar", about.made_at.to_rfc3339().get(..10).unwrap_or("backup"));
    app.tasks.clone().spawn("backup", OnPanic::EndTask, async move {
        if pool.run(move || write(&app, &snapshot, &about, out)).await.is_err() {
            error!("a backup broke off");
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        // What is in it is packed already.
        (header::CONTENT_ENCODING, "identity".to_owned()),
    ];
    (StatusCode::OK, headers, body).into_response()
}

/// Writes the archive into the channel; a failure ends the answer without its end, which the other side notices.
fn write(app: &AppState, snapshot: &Snapshot, about: &About, mut out: Pieces) {
    let disk = &*app.storage.disk;
    let written = backup::sources(disk, snapshot.folder()).and_then(|mut sources| {
        sources.extend(app.info.settings_files.iter().map(|path| Source::of_settings(path)));
        backup::write_archive(disk, &sources, about, &mut out)
    });
    match written {
        Ok(manifest) => {
            info!(files = manifest.members.len(), bytes = out.bytes(), "backup made");
            app.storage.note_backup(about.made_at, out.bytes());
        }
        Err(error) => {
            error!(%error, "a backup broke off");
            out.break_off("the backup broke off");
        }
    }
}
