//! Pages and APIs: the listener for people, programs and devices.
//!
//! [`Server::bind`] takes the port at once, so that a taken port fails early; [`Server::serve`] answers with a
//! starting page until [`Door::open`] is handed the [`AppState`], and with the router from then on. HTTP/1.1
//! only, in TLS if the settings have a certificate (`tls`); beside it there may be a plain port, where others than
//! this machine reach only what devices need. Every answer carries the headers of `guard.rs`; a request that changes something must come from
//! our own pages or from a program that is not a browser. The room has no data of its own: handlers read
//! snapshots and engines and hand commands to the workers.

mod api;
mod assets;
mod audit;
mod config;
mod error;
mod frames;
mod guard;
mod handshake;
mod instruments;
mod pages;
mod patient;
mod sdk;
mod server;
mod state;
mod tls;
mod ws;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::{Extension, Router};
use jiff::tz::TimeZone;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::model::Timestamp;
use crate::query::promql::Engine;

pub use config::{Config, listen_address};
pub use error::{Error, Result};
pub use server::{Door, Server};
pub use state::{AppState, Info, Relabelling, ReloadRequest, Settings};
pub use tls::{ClientAuth, Material, TlsConfig, Versions};

/// Draws the last hours of an expression as a picture for a mail; `None` if there is nothing to see. Asks the
/// store: for a thread of the pool.
#[must_use]
pub fn picture(engine: &Engine, zone: &TimeZone, expression: &str, now: Timestamp) -> Option<crate::notify::Picture> {
    pages::picture(engine, zone, expression, now)
}

/// Returns the router with every path of pages, API and devices, and what guards all of them.
pub fn router(state: AppState, body_bytes_max: usize) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(assets::routes())
        .merge(pages::routes())
        .merge(sdk::routes())
        .merge(ws::routes())
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"))
        .with_state(state)
        .layer(axum::middleware::from_fn(guard::options))
        .layer(Extension(api::FormRoom::default()))
        .layer(Extension(pages::Followers::default()))
        .layer(axum::middleware::from_fn(guard::same_origin))
        .layer(CatchPanicLayer::new())
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(RequestBodyLimitLayer::new(body_bytes_max))
        .layer(CompressionLayer::new())
        .layer(axum::middleware::map_response(async |response| guard::headers(response)))
}
