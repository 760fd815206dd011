//! Pages rendered on the server: useful with scripts off, calm to look at, every number with its age.
//!
//! A handler reads snapshots and asks the stores once, on a thread of the pool ([`ask`]), puts the answers into
//! the fields of a template's struct, all of them already text, and renders. Templates escape everything but
//! the pictures of `chart`. An address is the whole state of a page: range, end, expression and filters are
//! its parameters. The script fetches the same address again and swaps what is marked `data-live`.

mod about;
mod alarms;
mod ask;
mod breakable;
mod cardinality;
mod chart;
mod clock;
mod devices;
mod edit;
mod enrolment;
mod explore;
mod forward;
mod frames;
mod layout;
mod lines;
mod log_lines;
mod logs;
mod metric;
mod mistake;
mod notifications;
mod number;
mod overview;
mod panel;
mod picture;
mod queries;
mod relabel;
mod room;
mod rule;
mod rules;
mod silences;
mod storage;
mod targets;
mod tenants;
mod trial;
mod visit;
mod vitals;
mod window;

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use tracing::error;

pub(super) use self::alarms::Followers;
use self::layout::Frame;
use self::visit::{Theme, Visit};
use super::AppState;

pub(super) use self::picture::picture;

/// Returns all paths of pages.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::overview))
        .merge(explore::routes())
        .route("/cardinality", get(cardinality::cardinality))
        .route("/devices", get(devices::devices).post(enrolment::add))
        .route("/devices/try", get(trial::trial))
        .merge(enrolment::routes())
        .route("/devices/{id}", get(devices::device))
        .route("/devices/{id}/frames", get(frames::frames))
        .merge(alarms::routes())
        .merge(notifications::routes())
        .route("/silences", get(silences::silences).post(silences::silence))
        .route("/silences/{id}/expire", post(silences::expire))
        .route("/silences/windows/{id}/forget", post(silences::forget))
        .route("/logs", get(logs::logs))
        .route("/targets", get(targets::targets))
        .route("/targets/relabel", get(relabel::relabel))
        .route("/tenants", get(tenants::tenants))
        .route("/tenants/{id}", get(tenants::tenant))
        .route("/rules", get(rules::rules))
        .route("/rules/rule", get(rule::rule))
        .route("/rules/edit", get(edit::edit).post(edit::store))
        .route("/rules/stored.yml", get(edit::export))
        .route("/forwarding", get(forward::forward))
        .route("/storage", get(storage::storage))
        .route("/queries", get(queries::queries))
        .route("/about", get(about::about))
        .route("/about/clock", post(clock::confirm))
        .route("/theme", post(theme))
        .fallback(not_found)
}

/// A page that says one thing.
#[derive(Debug, Template)]
#[template(path = "pages/message.html")]
struct Message {
    frame: Frame,
    text: String,
}

/// Renders a page.
fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            error!(%error, "cannot render a page");
            (StatusCode::INTERNAL_SERVER_ERROR, "this page could not be rendered; the log says why\n").into_response()
        }
    }
}

/// Renders a page that says one thing.
fn message(frame: Frame, status: StatusCode, text: &str) -> Response {
    (status, page(&Message { frame, text: text.to_owned() })).into_response()
}

/// Says that a page's questions could not be asked.
fn failed(frame: Frame) -> Response {
    message(
        frame,
        StatusCode::INTERNAL_SERVER_ERROR,
        "This page could not be made: a question to the store broke off. The log says why.",
    )
}

/// Answers what nobody else answers.
async fn not_found(State(state): State<AppState>, visit: Visit) -> Response {
    if visit.path.starts_with("/api/") || visit.path.starts_with("/-/") {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let frame = Frame::new(&state, &visit, "", "Not found", 0);
    message(frame, StatusCode::NOT_FOUND, "There is no page at this address.")
}

/// Answers `POST /theme`: keeps the wish for light or dark in a cookie for a year and goes back.
async fn theme(Form(fields): Form<BTreeMap<String, String>>) -> Response {
    let theme = Theme::read(fields.get("theme").map_or("", String::as_str));
    // Only a path of ours: `//elsewhere` and `/\elsewhere` are addresses of others.
    let back = fields.get("back").map_or("/", String::as_str);
    let is_own = back.starts_with('/') && !back.starts_with("//") && !back.contains(['\\', '\r', '\n']);
    let cookie = format!("theme={}; Path=/; Max-Age=31536000; SameSite=Strict; HttpOnly", theme.class());
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, if is_own { back } else { "/" }.to_owned())];
    (StatusCode::SEE_OTHER, headers).into_response()
}
