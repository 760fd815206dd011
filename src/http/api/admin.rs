//! `/api/v1/admin/tsdb/`: deletes series, frees their space, makes snapshots. As upstream has it, and as there
//! only if the settings say so.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rand::RngExt;
use serde::Serialize;

use super::format::{ApiError, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::http::audit::{self, ANONYMOUS};
use crate::model::Timestamp;
use crate::storage::tsdb::{self, Db};
use crate::task::BlockingPool;

/// Works at once. They have a place of their own: they may take a minute, and queries go on.
const WORKS_MAX: usize = 1;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    let [delete_pool, clean_pool, snapshot_pool] = {
        let pool = BlockingPool::new(WORKS_MAX);
        [pool.clone(), pool.clone(), pool]
    };
    let deletes = move |app: State<AppState>, parameters: Parameters| delete_series(delete_pool, app, parameters);
    let cleans = move |app: State<AppState>| clean_tombstones(clean_pool, app);
    let snapshots = move |app: State<AppState>, parameters: Parameters| snapshot(snapshot_pool, app, parameters);
    Router::new()
        .route("/api/v1/admin/tsdb/delete_series", post(deletes.clone()).put(deletes))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(cleans.clone()).put(cleans))
        .route("/api/v1/admin/tsdb/snapshot", post(snapshots.clone()).put(snapshots))
}

async fn delete_series(
    pool: BlockingPool,
    State(app): State<AppState>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    allow(&app)?;
    let selectors = parameters.selectors("match[]")?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let min = parameters.time("start", Timestamp::MIN)?;
    let max = parameters.time("end", Timestamp::MAX)?;
    if max < min {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let texts: Vec<&str> = parameters.all("match[]").collect();
    let detail = serde_json::json!({ "match": texts, "start": min.to_rfc3339(), "end": max.to_rfc3339() });
    on(&pool, &app, move |db| selectors.iter().try_for_each(|matchers| db.delete_series(matchers, min, max))).await?;
    audit(&app, "series.delete", detail).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn clean_tombstones(pool: BlockingPool, State(app): State<AppState>) -> Result<Response, ApiError> {
    allow(&app)?;
    on(&pool, &app, Db::clean_tombstones).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn snapshot(
    pool: BlockingPool,
    State(app): State<AppState>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Made {
        name: String,
    }
    allow(&app)?;
    let skips_head = match parameters.get("skip_head") {
        None | Some("false" | "f" | "0") => false,
        Some("true" | "t" | "1") => true,
        Some(other) => {
            let reason = format_args!("unable to parse boolean: {other:?} is not true or false");
            return Err(ApiError::parameter("skip_head", reason));
        }
    };
    // As upstream names them: the time, and something that makes it unique.
    let time: String = app.clock.now().to_rfc3339().chars().filter(char::is_ascii_alphanumeric).collect();
    let time = time.get(..15).unwrap_or(&time);
    let name = format!("{time}Z-{:016x}", rand::rng().random::<u64>());
    let (storage, named) = (app.storage.clone(), name.clone());
    on(&pool, &app, move |_| storage.keep_snapshot(&named, skips_head)).await?;
    audit(&app, "snapshot.make", serde_json::json!({ "name": &name })).await;
    Ok(success(Made { name }))
}

fn allow(app: &AppState) -> Result<(), ApiError> {
    if app.info.has_admin_api {
        return Ok(());
    }
    let message = "admin APIs disabled: set http.admin_api: true to allow them".to_owned();
    Err(ApiError { status: StatusCode::FORBIDDEN, kind: "forbidden", message })
}

/// Does work that may take long.
async fn on<T: Send + 'static>(
    pool: &BlockingPool,
    app: &AppState,
    work: impl FnOnce(&Db) -> tsdb::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let db = app.db.clone();
    let done = pool.run(move || work(&db)).await.map_err(|panicked| ApiError::internal(panicked.to_string()))?;
    done.map_err(|error| match error {
        tsdb::Error::TooManyTombstones { .. } => ApiError::unavailable(error.to_string()),
        error => error.into(),
    })
}

async fn audit(app: &AppState, action: &str, detail: serde_json::Value) {
    audit::audit(app, ANONYMOUS, action, "metrics".to_owned(), detail).await;
}
