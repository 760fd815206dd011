//! The JSON API: Prometheus's paths and shapes, and Andon's own under `/api/v1`.
//!
//! Each file here has a `routes()` that returns its paths; this door only merges them.

mod admin;
mod alarms;
mod alertmanager;
mod alerts;
mod backup;
mod clock;
mod devices;
mod export;
mod features;
mod federate;
mod format;
mod frames;
mod logs;
mod metadata;
mod notifications;
mod parameters;
mod pieces;
mod query;
mod read;
mod receivers;
mod replay;
mod rules;
mod status;
mod targets;
mod tenants;
mod tsdb;
mod write;

use axum::Router;

pub(super) use self::alarms::status_of as refusal_status;
pub(super) use self::alertmanager::note_silence;
pub(super) use self::clock::confirmed as confirm_time;
pub(super) use self::parameters::FormRoom;
pub(super) use self::query::GoneFlag;
use super::AppState;

/// Returns all paths of the API.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .merge(admin::routes())
        .merge(alarms::routes())
        .merge(alertmanager::routes())
        .merge(alerts::routes())
        .merge(backup::routes())
        .merge(clock::routes())
        .merge(devices::routes())
        .merge(frames::routes())
        .merge(export::routes())
        .merge(features::routes())
        .merge(federate::routes())
        .merge(logs::routes())
        .merge(metadata::routes())
        .merge(notifications::routes())
        .merge(query::routes())
        .merge(read::routes())
        .merge(receivers::routes())
        .merge(replay::routes())
        .merge(rules::routes())
        .merge(status::routes())
        .merge(targets::routes())
        .merge(tenants::routes())
        .merge(tsdb::routes())
        .merge(write::routes())
}
