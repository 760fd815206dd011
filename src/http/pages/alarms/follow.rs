//! Telling open pages that something about the alarms changed, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::alarms::Snapshot;
use crate::http::AppState;
use crate::model::Silence;
use crate::task::Phase;

/// Pages that may follow at once; one more fetches itself again now and then, as without a script.
const FOLLOWERS_MAX: usize = 64;
/// Something is sent so often, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Changes within so long are told together.
const TOGETHER: Duration = Duration::from_millis(500);

/// Room for pages that follow; an extension of every request.
#[derive(Debug, Clone)]
pub(in crate::http) struct Followers(Arc<Semaphore>);

impl Default for Followers {
    fn default() -> Self {
        Followers(Arc::new(Semaphore::new(FOLLOWERS_MAX)))
    }
}

/// What one follower holds.
struct Follower {
    board: watch::Receiver<Arc<Snapshot>>,
    silences: watch::Receiver<Arc<Vec<Silence>>>,
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// Answers `GET /alarms/events`: an event with the time whenever the board or the silences changed.
pub(super) async fn events(State(state): State<AppState>, Extension(followers): Extension<Followers>) -> Response {
    let Ok(place) = followers.0.try_acquire_owned() else {
        let headers = [(header::RETRY_AFTER, "60")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, "too many pages follow the alarms\n").into_response();
    };
    let follower = Follower {
        board: state.alarms.watch(),
        silences: state.alarms.watch_silences(),
        end: state.tasks.token(Phase::Intake),
        _place: place,
    };
    // Proxies would hold events back to compress them.
    let headers = [(header::CACHE_CONTROL, "no-cache, no-transform")];
    (headers, Sse::new(changes(follower)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response()
}

fn changes(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(follower, async |mut follower| {
        let Follower { board, silences, end, .. } = &mut follower;
        tokio::select! {
            changed = board.changed() => changed.ok()?,
            changed = silences.changed() => changed.ok()?,
            () = end.cancelled() => return None,
        }
        tokio::time::sleep(TOGETHER).await;
        silences.mark_unchanged();
        let at = board.borrow_and_update().at.as_millis();
        Some((Ok(Event::default().data(at.to_string())), follower))
    })
}
