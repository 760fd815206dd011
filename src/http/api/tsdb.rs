//! `status/tsdb`, its blocks, and `status/walreplay`: what the metric store holds.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::format::{ApiError, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::Timestamp;
use crate::storage::tsdb::BlockInfo;

/// Names that each list of `status/tsdb` has, unless `limit` says otherwise.
const LIMIT_DEFAULT: usize = 10;

/// Upper bound of `limit`, as upstream has it.
const LIMIT_MAX: usize = 10_000;

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/api/v1/status/tsdb/blocks", get(blocks))
        .route("/api/v1/status/walreplay", get(wal_replay))
}

/// A name and how much there is of it.
#[derive(Serialize)]
struct Count {
    name: String,
    value: u64,
}

async fn tsdb(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct HeadStats {
        num_series: u64,
        num_label_pairs: u64,
        chunk_count: u64,
        min_time: i64,
        max_time: i64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        head_stats: HeadStats,
        series_count_by_metric_name: Vec<Count>,
        label_value_count_by_label_name: Vec<Count>,
        memory_in_bytes_by_label_name: Vec<Count>,
        series_count_by_label_value_pair: Vec<Count>,
    }
    let limit = match parameters.get("limit").map(str::parse::<usize>) {
        None => LIMIT_DEFAULT,
        Some(Ok(limit @ 1..=LIMIT_MAX)) => limit,
        Some(_) => return Err(ApiError::parameter("limit", "limit must be a positive number, at most 10000")),
    };
    let db = app.db.clone();
    let read = app.tasks.pool().run(move || (db.stats(), db.cardinality(limit))).await;
    let (stats, cardinality) = read.map_err(|panicked| ApiError::internal(panicked.to_string()))?;
    let counts = |list: Vec<(String, u64)>| list.into_iter().map(|(name, value)| Count { name, value }).collect();
    Ok(success(Answer {
        head_stats: HeadStats {
            num_series: stats.head_series,
            num_label_pairs: cardinality.label_pairs,
            // The newest samples of a series are one open chunk; how many are sealed behind it is not counted.
            chunk_count: stats.head_series,
            min_time: stats.head_min_time.map_or(i64::MAX, Timestamp::as_millis),
            max_time: stats.head_max_time.map_or(i64::MIN, Timestamp::as_millis),
        },
        series_count_by_metric_name: counts(cardinality.series_by_metric),
        label_value_count_by_label_name: counts(cardinality.values_by_label),
        memory_in_bytes_by_label_name: counts(cardinality.bytes_by_label),
        series_count_by_label_value_pair: counts(cardinality.series_by_pair),
    }))
}

/// As upstream tells blocks; a block's number stands for its ULID, and beyond upstream its bytes are told.
async fn blocks(State(app): State<AppState>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        num_samples: u64,
        num_float_samples: u64,
        num_series: u64,
        num_chunks: u64,
        num_bytes: u64,
    }
    #[derive(Serialize)]
    struct Compaction {
        level: u32,
        sources: Vec<String>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Block {
        ulid: String,
        min_time: i64,
        max_time: i64,
        stats: Stats,
        compaction: Compaction,
        version: u32,
    }
    #[derive(Serialize)]
    struct Blocks {
        blocks: Vec<Block>,
    }
    let told = |block: BlockInfo| Block {
        min_time: block.range.start.as_millis(),
        max_time: block.range.end.as_millis(),
        stats: Stats {
            num_samples: block.samples,
            num_float_samples: block.samples,
            num_series: block.series,
            num_chunks: block.chunks,
            num_bytes: block.bytes,
        },
        compaction: Compaction { level: block.level, sources: block.sources },
        version: block.version,
        ulid: block.name,
    };
    success(Blocks { blocks: app.db.blocks().into_iter().map(told).collect() })
}

/// Who reaches this path meets a box whose log has been read.
async fn wal_replay() -> Response {
    #[derive(Serialize)]
    struct Replay {
        min: u64,
        max: u64,
        current: u64,
    }
    success(Replay { min: 0, max: 0, current: 0 })
}
