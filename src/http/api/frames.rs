//! `/api/v1/devices/{id}/frames`: the black box of a device, now or as it was when an alarm was raised.
//!
//! `frozen=NUMBER` is a copy of the list that the answer has too; `find`, `type` and `direction` choose; `format` is
//! `json` (default), `csv` or `jsonl`.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::devices::failure;
use super::format::ApiError;
use super::parameters::Parameters;
use crate::gateway::{Error, FrameView};
use crate::http::AppState;
use crate::http::frames::{FrameJson, FrozenJson, Wanted, csv, json_lines};

/// Returns the path.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/devices/{id}/frames", get(frames))
}

async fn frames(State(state): State<AppState>, Path(id): Path<String>, parameters: Parameters) -> Response {
    let found = match find(&state, &id, parameters.get("frozen")).await {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    let wanted = Wanted::read(|name| parameters.get(name));
    let chosen = || found.iter().filter(|frame| wanted.wants(frame));
    let form = match parameters.get("format").unwrap_or("json") {
        "json" => {
            let frozen = match state.gateway.frozen_of_device(&id).await {
                Ok(frozen) => frozen,
                Err(error) => return failure(&error),
            };
            let frozen: Vec<FrozenJson> = frozen.into_iter().map(FrozenJson::from).collect();
            let frames: Vec<FrameJson<'_>> = chosen().map(FrameJson::of).collect();
            let data = json!({ "frames": frames, "frozen": frozen });
            return Json(json!({ "status": "success", "data": data })).into_response();
        }
        "csv" => ("csv", "text/csv; charset=utf-8", csv(chosen())),
        "jsonl" => ("jsonl", "application/x-ndjson", json_lines(chosen())),
        other => {
            return ApiError::parameter("format", format_args!("{other:?} is none of json, csv, jsonl"))
                .into_response();
        }
    };
    let (ending, kind, text) = form;
    // A device's id is letters, digits, '-' and '_'; whatever else stands in the address is not repeated.
    let is_plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let name = if is_plain { id.as_str() } else { "device" };
    let disposition = format!("attachment; filename=\"frames-{name}.{ending}\"");
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], text).into_response()
}

/// Returns the frames that are asked for, or the answer to a question that cannot be answered.
async fn find(state: &AppState, id: &str, frozen: Option<&str>) -> Result<Vec<FrameView>, Response> {
    let Some(number) = frozen.filter(|text| !text.is_empty()) else {
        return match state.gateway.snapshot().device(id) {
            Some(_) => Ok(state.gateway.frames(id).await),
            None => Err(failure(&Error::Unknown(id.to_owned()))),
        };
    };
    let number: i64 = number
        .parse()
        .map_err(|_| ApiError::parameter("frozen", format_args!("{number:?} is no number")).into_response())?;
    match state.gateway.frozen(number).await {
        Ok(Some(copy)) if copy.head.device_id == id => Ok(copy.frames),
        Ok(_) => {
            let body =
                json!({ "status": "error", "errorType": "not_found", "error": "there is no such copy of this device" });
            Err((StatusCode::NOT_FOUND, Json(body)).into_response())
        }
        Err(error) => Err(failure(&error)),
    }
}
