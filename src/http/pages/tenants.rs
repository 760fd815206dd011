//! Tenants: who there is, how each fares, and the clients of one.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::layout::Frame;
use super::number::{Unit, ago, span};
use super::visit::{Visit, encode};
use super::{message, page};
use crate::http::AppState;
use crate::model::Timestamp;
use crate::tenants::{ClientView, Health, TenantView};

/// How often the pages are fetched again, in seconds.
const REFRESH_S: u32 = 5;

/// Clients and kinds of subjects shown of one tenant.
const CLIENTS_MAX: usize = 500;
const SUBJECTS_MAX: usize = 50;

/// One tenant in numbers.
#[derive(Debug)]
struct Row {
    id: String,
    href: String,
    online: usize,
    clients: usize,
    /// Clients that say that they are not well.
    unwell: usize,
    per_minute: String,
    normal: String,
    bytes: String,
    errors: String,
    latency: String,
    channels: usize,
    anomalies: usize,
    alarms_href: String,
    counted: String,
    is_low: bool,
}

/// One client.
#[derive(Debug)]
struct Client {
    id: String,
    about: String,
    is_online: bool,
    health: &'static str,
    is_well: bool,
    last_seen: String,
    messages: u64,
    /// What it says of itself, against what was counted.
    reported: String,
    connection: String,
}

#[derive(Debug, Template)]
#[template(path = "pages/tenants.html")]
struct Tenants {
    frame: Frame,
    rows: Vec<Row>,
}

#[derive(Debug, Template)]
#[template(path = "pages/tenant.html")]
struct Tenant {
    frame: Frame,
    row: Row,
    clients: Vec<Client>,
    clients_more: usize,
    subjects: Vec<(String, u64)>,
}

/// Answers `GET /tenants`.
pub(super) async fn tenants(State(state): State<AppState>, visit: Visit) -> Response {
    let frame = Frame::new(&state, &visit, "/tenants", "Tenants", REFRESH_S);
    let mut rows = Vec::new();
    for name in state.tenants.names() {
        rows.extend(state.tenants.view(&name).await.map(|view| row(&name, &view, visit.now)));
    }
    page(&Tenants { frame, rows })
}

/// Answers `GET /tenants/{id}`.
pub(super) async fn tenant(State(state): State<AppState>, visit: Visit, Path(id): Path<String>) -> Response {
    let frame = Frame::new(&state, &visit, "/tenants", &id, REFRESH_S);
    let Some(view) = state.tenants.view(&id).await else {
        return message(frame, StatusCode::NOT_FOUND, "There is no tenant of this name in the settings.");
    };
    let mut clients: Vec<&ClientView> = view.clients.iter().collect();
    clients.sort_by_key(|client| (client.is_online, &client.id));
    page(&Tenant {
        row: row(&id, &view, visit.now),
        clients: clients.iter().take(CLIENTS_MAX).map(|client| client_row(client, visit.now)).collect(),
        clients_more: clients.len().saturating_sub(CLIENTS_MAX),
        subjects: view.subjects.iter().take(SUBJECTS_MAX).cloned().collect(),
        frame,
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(id: &str, view: &TenantView, now: Timestamp) -> Row {
    Row {
        id: id.to_owned(),
        href: format!("/tenants/{}", encode(id)),
        online: view.clients.iter().filter(|client| client.is_online).count(),
        clients: view.clients.len(),
        unwell: view.clients.iter().filter(|client| client.is_online && !is_well(client.health)).count(),
        per_minute: Unit::Plain.show(view.minute.0 as f64),
        normal: view.normal_per_second.map_or_else(String::new, |rate| Unit::Plain.show(rate * 60.0)),
        bytes: Unit::Bytes.show(view.hour.1 as f64),
        errors: view.error_ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0)),
        latency: view.latency.map_or_else(|| "–".to_owned(), |latency| Unit::Seconds.show(latency.as_secs_f64())),
        channels: view.channels,
        anomalies: view.anomalies,
        alarms_href: format!("/alarms?find={}", encode(id)),
        counted: span(now.since(view.since)),
        is_low: view.lost > 0,
    }
}

fn is_well(health: Health) -> bool {
    matches!(health, Health::Healthy | Health::Unknown)
}

fn client_row(client: &ClientView, now: Timestamp) -> Client {
    let about = [client.name.as_str(), &client.kind, &client.version];
    let about: Vec<&str> = about.into_iter().filter(|text| !text.is_empty() && *text != client.id).collect();
    Client {
        id: client.id.clone(),
        about: about.join(", "),
        is_online: client.is_online,
        health: client.health.as_str(),
        is_well: is_well(client.health),
        last_seen: ago(client.last_seen, now),
        messages: client.messages,
        reported: client.reported.map_or_else(String::new, |(sent, received, errors)| {
            format!("{sent} sent, {received} received, {errors} errors")
        }),
        connection: client.connection.as_ref().map_or_else(String::new, |connection| {
            let rtt = if connection.rtt.is_empty() { String::new() } else { format!(", {}", connection.rtt) };
            format!("{} as {}{rtt}", connection.address, connection.identity)
        }),
    }
}
