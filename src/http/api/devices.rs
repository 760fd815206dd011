//! `/api/v1/devices`: the registry of devices.
//!
//! `GET` lists, `POST` adds and answers the token once, `DELETE .../{id}` removes and ends the connection.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tracing::error;

use crate::gateway::{DeviceView, Error, NewDevice};
use crate::http::AppState;
use crate::http::audit::{self, ANONYMOUS};

/// Returns the paths of the registry.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/devices", get(list).post(add)).route("/api/v1/devices/{id}", get(one).delete(remove))
}

/// A device as the API shows it; never its token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceJson {
    id: String,
    #[serde(rename = "type")]
    device_type: String,
    publish: Vec<String>,
    subscribe: Vec<String>,
    enabled: bool,
    created_at: String,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
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
            publish: device.publish.clone(),
            subscribe: device.subscribe.clone(),
            enabled: device.is_enabled,
            created_at: device.created_at.to_rfc3339(),
            connected: device.connection.is_some(),
            connection: device.connection.as_ref().map(|connection| ConnectionJson {
                address: connection.address.to_string(),
                connected_at: connection.connected_at.to_rfc3339(),
                subscriptions: connection.subscriptions.clone(),
                received: connection.received,
                sent: connection.sent,
                refused: connection.refused,
            }),
            disconnected_at: device.disconnected_at.map(|t| t.to_rfc3339()),
            last_seen: device.last_seen.map(|t| t.to_rfc3339()),
        }
    }
}

/// What `POST` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDeviceJson {
    id: String,
    #[serde(rename = "type", default)]
    device_type: String,
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
    token: Option<String>,
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
    let NewDeviceJson { id, device_type, publish, subscribe, token } = new;
    match state.gateway.add_device(NewDevice { id, device_type, publish, subscribe, token }).await {
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

async fn remove(State(state): State<AppState>, Path(id): Path<String>) -> Response {
    match state.gateway.remove_device(&id).await {
        Ok(()) => {
            audit(&state, "device.remove", &id).await;
            success(StatusCode::OK, &serde_json::json!({ "id": id }))
        }
        Err(error) => failure(&error),
    }
}

async fn audit(state: &AppState, action: &str, id: &str) {
    audit::audit(state, ANONYMOUS, action, format!("device/{id}"), serde_json::json!({})).await;
}

fn success(status: StatusCode, data: &impl Serialize) -> Response {
    (status, Json(serde_json::json!({ "status": "success", "data": data }))).into_response()
}

fn failure(error: &Error) -> Response {
    let status = match error {
        Error::Invalid { .. } => StatusCode::BAD_REQUEST,
        Error::Exists(_) => StatusCode::CONFLICT,
        Error::Unknown(_) => StatusCode::NOT_FOUND,
        Error::State(_) => {
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
