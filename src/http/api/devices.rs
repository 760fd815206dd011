//! `/api/v1/devices`: the registry of devices.
//!
//! `GET` lists, `POST` adds and answers the token once; on `.../{id}` `PATCH` changes and `DELETE` removes, and
//! `POST .../{id}/rotate` answers a new token once, `POST .../{id}/revoke` keeps a device out. `POST
//! .../{id}/certificates` enters a certificate, `DELETE .../{id}/certificates/{mark}` takes it away. Open connections hear
//! of it at once.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tracing::error;

use crate::gateway::{DEFAULT_OVERLAP, DeviceView, Edit, Error, NewDevice};
use crate::http::AppState;
use crate::http::audit::{self, ANONYMOUS};
use crate::model::{Timestamp, parse_duration};
use crate::storage::state::Change;

/// Returns the paths of the registry.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/devices", get(list).post(add))
        .route("/api/v1/devices/{id}", get(one).patch(change).delete(remove))
        .route("/api/v1/devices/{id}/rotate", post(rotate))
        .route("/api/v1/devices/{id}/revoke", post(revoke))
        .route("/api/v1/devices/{id}/certificates", post(add_certificate))
        .route("/api/v1/devices/{id}/certificates/{mark}", delete(remove_certificate))
}

/// A device as the API shows it; never its token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceJson {
    id: String,
    #[serde(rename = "type")]
    device_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    publish: Vec<String>,
    subscribe: Vec<String>,
    enabled: bool,
    registered: bool,
    tokens: Vec<TokenJson>,
    certificates: Vec<CertificateJson>,
    created_at: String,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
}

/// When a token was made and when it ends; never the token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenJson {
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// By what a certificate is known: `sha256:` and its fingerprint, or a name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateJson {
    certificate: String,
    created_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionJson {
    address: String,
    connected_at: String,
    subscriptions: Vec<String>,
    received: u64,
    sent: u64,
    refused: u64,
}

impl From<&DeviceView> for DeviceJson {
    fn from(device: &DeviceView) -> Self {
        DeviceJson {
            id: device.id.clone(),
            device_type: device.device_type.clone(),
            role: device.role.clone(),
            group: device.group.clone(),
            publish: device.publish.clone(),
            subscribe: device.subscribe.clone(),
            enabled: device.is_enabled,
            registered: device.is_registered,
            tokens: device.tokens.iter().map(token_json).collect(),
            certificates: device.certificates.iter().map(certificate_json).collect(),
            created_at: device.created_at.to_rfc3339(),
            connected: device.connection.is_some(),
            connection: device.connection.as_ref().map(|connection| ConnectionJson {
                address: connection.address.to_string(),
                connected_at: connection.connected_at.to_rfc3339(),
                subscriptions: connection.subscriptions.to_vec(),
                received: connection.received,
                sent: connection.sent,
                refused: connection.refused,
            }),
            disconnected_at: device.disconnected_at.map(|t| t.to_rfc3339()),
            last_seen: device.last_seen.map(|t| t.to_rfc3339()),
        }
    }
}

fn token_json((created_at, expires_at): &(Timestamp, Option<Timestamp>)) -> TokenJson {
    TokenJson { created_at: created_at.to_rfc3339(), expires_at: expires_at.map(|t| t.to_rfc3339()) }
}

fn certificate_json((mark, created_at): &(String, Timestamp)) -> CertificateJson {
    CertificateJson { certificate: mark.clone(), created_at: created_at.to_rfc3339() }
}

/// What a new certificate takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewCertificateJson {
    /// Its SHA-256 fingerprint, a name in it, or the certificate in PEM.
    certificate: String,
}

/// What `POST` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewDeviceJson {
    id: String,
    #[serde(rename = "type", default)]
    device_type: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    group: String,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    token: Option<String>,
    /// How long the token holds: `90d`.
    expires_in: Option<String>,
    /// Takes a brought token however short.
    #[serde(default)]
    short_token: bool,
}

/// What `PATCH` takes; what is missing stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangeJson {
    #[serde(rename = "type")]
    device_type: Option<String>,
    role: Option<String>,
    group: Option<String>,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// What a rotation takes; may be missing as a whole.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RotateJson {
    /// How long older tokens still hold: `24h`.
    overlap: Option<String>,
    /// How long the new one holds.
    expires_in: Option<String>,
}

async fn list(State(state): State<AppState>) -> Response {
    let snapshot = state.gateway.snapshot();
    let devices: Vec<DeviceJson> = snapshot.devices.iter().map(DeviceJson::from).collect();
    success(StatusCode::OK, &devices)
}

async fn one(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match state.gateway.snapshot().device(&id) {
        Some(device) => success(StatusCode::OK, &DeviceJson::from(device)),
        None => failure(&Error::Unknown(id)),
    }
}

async fn add(State(state): State<AppState>, body: Result<Json<NewDeviceJson>, JsonRejection>) -> Response {
    let new = match body {
        Ok(Json(new)) => new,
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text()),
    };
    let expires_in = match duration("expiresIn", new.expires_in.as_deref()) {
        Ok(expires_in) => expires_in,
        Err(error) => return failure(&error),
    };
    let NewDeviceJson { id, device_type, role, group, publish, subscribe, token, short_token, .. } = new;
    let takes_short_token = short_token;
    let new = NewDevice { id, device_type, role, group, publish, subscribe, token, expires_in, takes_short_token };
    match state.gateway.add_device(new).await {
        Ok(added) => {
            audit(&state, "device.add", &added.id).await;
            let body = serde_json::json!({
                "id": added.id, "type": added.device_type, "token": added.token,
                "publish": added.publish, "subscribe": added.subscribe,
            });
            success(StatusCode::CREATED, &body)
        }
        Err(error) => failure(&error),
    }
}

async fn change(
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: Result<Json<ChangeJson>, JsonRejection>,
) -> Response {
    let ChangeJson { device_type, role, group, publish, subscribe, enabled } = match body {
        Ok(Json(change)) => change,
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text()),
    };
    let change = Change { device_type, role, group, publish, subscribe, is_enabled: enabled };
    edit(&state, "device.change", &id, Edit::Change(change)).await
}

async fn rotate(
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: Result<Option<Json<RotateJson>>, JsonRejection>,
) -> Response {
    let read = match body {
        Ok(body) => body.map(|Json(read)| read).unwrap_or_default(),
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text()),
    };
    let overlap = duration("overlap", read.overlap.as_deref());
    match (overlap, duration("expiresIn", read.expires_in.as_deref())) {
        (Ok(overlap), Ok(expires_in)) => {
            let overlap = overlap.unwrap_or(DEFAULT_OVERLAP);
            edit(&state, "device.rotate", &id, Edit::Rotate { overlap, expires_in }).await
        }
        (Err(error), _) | (_, Err(error)) => failure(&error),
    }
}

async fn add_certificate(
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: Result<Json<NewCertificateJson>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(new)) => edit(&state, "device.certificate.add", &id, Edit::AddCertificate(new.certificate)).await,
        Err(rejection) => refusal(rejection.status(), &rejection.body_text()),
    }
}

async fn remove_certificate(State(state): State<AppState>, Path((id, mark)): Path<(String, String)>) -> Response {
    edit(&state, "device.certificate.remove", &id, Edit::RemoveCertificate(mark)).await
}

async fn revoke(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    edit(&state, "device.revoke", &id, Edit::Revoke).await
}

async fn remove(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    edit(&state, "device.remove", &id, Edit::Remove).await
}

/// Carries an edit out; the answer holds the token of a rotation.
async fn edit(state: &AppState, action: &str, id: &str, edit: Edit) -> Response {
    match state.gateway.edit_device(id, edit).await {
        Ok(token) => {
            audit(state, action, id).await;
            let body = match token {
                Some(token) => serde_json::json!({ "id": id, "token": token }),
                None => serde_json::json!({ "id": id }),
            };
            success(StatusCode::OK, &body)
        }
        Err(error) => failure(&error),
    }
}

/// Reads a duration, if there is one.
fn duration(field: &'static str, text: Option<&str>) -> Result<Option<Duration>, Error> {
    let read = text.map(parse_duration).transpose();
    read.map_err(|error| Error::Invalid { field, reason: error.to_string() })
}

async fn audit(state: &AppState, action: &str, id: &str) {
    audit::audit(state, ANONYMOUS, action, format!("device/{id}"), serde_json::json!({})).await;
}

fn success(status: StatusCode, data: &impl Serialize) -> Response {
    (status, Json(serde_json::json!({ "status": "success", "data": data }))).into_response()
}

pub(super) fn failure(error: &Error) -> Response {
    let status = match error {
        Error::Invalid { .. } => StatusCode::BAD_REQUEST,
        Error::Exists(_) => StatusCode::CONFLICT,
        Error::Unknown(_) => StatusCode::NOT_FOUND,
        Error::State(_) | Error::Frozen(_) => {
            error!(%error, "device registry");
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    refusal(status, &error.to_string())
}

fn refusal(status: StatusCode, text: &str) -> Response {
    let kind = if status.is_server_error() { "internal" } else { "bad_data" };
    let body = serde_json::json!({ "status": "error", "errorType": kind, "error": text });
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
