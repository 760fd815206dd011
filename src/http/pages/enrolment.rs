//! What people do to the registry of devices: add one, change it, give it a new token, keep it out, forget it.

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;

use super::layout::Frame;
use super::visit::{Visit, encode};
use super::{message, page};
use crate::gateway::{Edit, Error, NewDevice};
use crate::http::AppState;
use crate::http::audit::{self, ANONYMOUS};
use crate::model::parse_duration;
use crate::storage::state::Change;

type Fields = Form<BTreeMap<String, String>>;

/// Returns the paths of forms.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/devices/{id}/change", post(change))
        .route("/devices/{id}/rotate", post(rotate))
        .route("/devices/{id}/certificate", post(certificate))
        .route("/devices/{id}/certificate/remove", post(remove_certificate))
        .route("/devices/{id}/revoke", post(revoke))
        .route("/devices/{id}/enable", post(enable))
        .route("/devices/{id}/remove", post(remove))
}

/// A token, which is shown once.
#[derive(Debug, Template)]
#[template(path = "pages/device_token.html")]
struct Token {
    frame: Frame,
    id: String,
    href: String,
    token: String,
    /// What else there is to know of it.
    note: String,
}

/// Answers `POST /devices`: adds a device and shows its token.
pub(super) async fn add(State(state): State<AppState>, visit: Visit, Form(fields): Fields) -> Response {
    let text = |name| fields.get(name).map_or("", |t: &String| t.trim()).to_owned();
    let id = text("id");
    let expires_in = match duration("expires", &text("expires")) {
        Ok(expires_in) => expires_in,
        Err(error) => return refused(&state, &visit, &error),
    };
    let new = NewDevice {
        id: id.clone(),
        device_type: text("type"),
        role: text("role"),
        group: text("group"),
        publish: list(&fields, "publish").filter(|list| !list.is_empty()),
        subscribe: list(&fields, "subscribe").filter(|list| !list.is_empty()),
        expires_in,
        ..NewDevice::default()
    };
    match state.gateway.add_device(new).await {
        Ok(added) => {
            note(&state, "device.add", &id).await;
            token_page(&state, &visit, &id, added.token, "The device may connect with it now.")
        }
        Err(error) => refused(&state, &visit, &error),
    }
}

async fn change(State(state): State<AppState>, visit: Visit, Path(id): Path<String>, Form(fields): Fields) -> Response {
    let text = |name| fields.get(name).map(|t: &String| t.trim().to_owned());
    let change = Change {
        device_type: text("type"),
        role: text("role"),
        group: text("group"),
        publish: list(&fields, "publish"),
        subscribe: list(&fields, "subscribe"),
        is_enabled: None,
    };
    edit(&state, &visit, "device.change", &id, Edit::Change(change)).await
}

async fn rotate(State(state): State<AppState>, visit: Visit, Path(id): Path<String>, Form(fields): Fields) -> Response {
    let text = |name| fields.get(name).map_or("", |t: &String| t.trim());
    let lasts = duration("overlap", text("overlap")).and_then(|o| Ok((o, duration("expires", text("expires"))?)));
    let (overlap, expires_in) = match lasts {
        Ok((overlap, expires_in)) => (overlap.unwrap_or(crate::gateway::DEFAULT_OVERLAP), expires_in),
        Err(error) => return refused(&state, &visit, &error),
    };
    match state.gateway.edit_device(&id, Edit::Rotate { overlap, expires_in }).await {
        Ok(token) => {
            note(&state, "device.rotate", &id).await;
            let words = format!("The token it had holds for {} more.", super::number::span(overlap));
            token_page(&state, &visit, &id, token.unwrap_or_default(), &words)
        }
        Err(error) => refused(&state, &visit, &error),
    }
}

async fn certificate(state: State<AppState>, visit: Visit, id: Path<String>, Form(mut fields): Fields) -> Response {
    let text = fields.remove("certificate").unwrap_or_default();
    edit(&state, &visit, "device.certificate.add", &id, Edit::AddCertificate(text)).await
}

async fn remove_certificate(
    state: State<AppState>,
    visit: Visit,
    id: Path<String>,
    Form(mut fields): Fields,
) -> Response {
    let text = fields.remove("certificate").unwrap_or_default();
    edit(&state, &visit, "device.certificate.remove", &id, Edit::RemoveCertificate(text)).await
}

async fn revoke(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    edit(&state, &visit, "device.revoke", &id, Edit::Revoke).await
}

async fn enable(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let change = Change { is_enabled: Some(true), ..Change::default() };
    edit(&state, &visit, "device.enable", &id, Edit::Change(change)).await
}

async fn remove(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    edit(&state, &visit, "device.remove", &id, Edit::Remove).await
}

/// Carries an edit out and goes back to the device, or to all if it is gone.
async fn edit(state: &AppState, visit: &Visit, action: &str, id: &str, edit: Edit) -> Response {
    let target = match edit {
        Edit::Remove => "/devices".to_owned(),
        Edit::Change(_) | Edit::Rotate { .. } | Edit::AddCertificate(_) | Edit::RemoveCertificate(_) | Edit::Revoke => {
            format!("/devices/{}", encode(id))
        }
    };
    match state.gateway.edit_device(id, edit).await {
        Ok(_) => {
            note(state, action, id).await;
            Redirect::to(&target).into_response()
        }
        Err(error) => refused(state, visit, &error),
    }
}

fn token_page(state: &AppState, visit: &Visit, id: &str, token: String, note: &str) -> Response {
    let frame = Frame::new(state, visit, "/devices", "Token", 0);
    let href = format!("/devices/{}", encode(id));
    page(&Token { frame, id: id.to_owned(), href, token, note: note.to_owned() })
}

fn refused(state: &AppState, visit: &Visit, error: &Error) -> Response {
    let status = match error {
        Error::Invalid { .. } => StatusCode::BAD_REQUEST,
        Error::Exists(_) => StatusCode::CONFLICT,
        Error::Unknown(_) => StatusCode::NOT_FOUND,
        Error::State(_) | Error::Frozen(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let frame = Frame::new(state, visit, "/devices", "Devices", 0);
    message(frame, status, &format!("Nothing was changed: {error}."))
}

async fn note(state: &AppState, action: &str, id: &str) {
    audit::audit(state, ANONYMOUS, action, format!("device/{id}"), serde_json::json!({})).await;
}

/// Reads a duration; nothing if the field is empty.
fn duration(field: &'static str, text: &str) -> Result<Option<std::time::Duration>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_duration(text).map(Some).map_err(|error| Error::Invalid { field, reason: error.to_string() })
}

/// Reads patterns, one a line or with commas between; nothing if the form has no such field.
fn list(fields: &BTreeMap<String, String>, name: &str) -> Option<Vec<String>> {
    let text = fields.get(name)?;
    let parts = text.split(['\n', ',']).map(str::trim).filter(|part| !part.is_empty());
    Some(parts.map(str::to_owned).collect())
}
