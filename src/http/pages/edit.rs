//! The rule file that people write here: checked, kept with its versions, taken at once.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::ask::{Asker, ask};
use super::layout::Frame;
use super::number::local;
use super::rules::facts;
use super::visit::Visit;
use super::{failed, page};
use crate::http::AppState;
use crate::http::audit::audit;
use crate::rules::{Remark, STORED, StoreError, StoredVersion, check, lint_file};

/// What stands in the form of a file that is not there yet.
const BEGINNING: &str = "groups:\n- name: own\n  interval: 15s\n  rules:\n  - alert: Name\n    expr: metric > 1\n    for: 1m\n    \
                         labels: {severity: warning}\n    annotations:\n      summary: '{{ $labels.device_id }}'\n      action: What to do\n";

/// A version as a row.
#[derive(Debug)]
struct VersionRow {
    number: u64,
    when: String,
    by: String,
    note: String,
    is_newest: bool,
}

#[derive(Debug, Template)]
#[template(path = "pages/rules_edit.html")]
struct Edit {
    frame: Frame,
    text: String,
    rows: usize,
    /// The version that the text is meant to follow.
    after: u64,
    shown: u64,
    by: String,
    note: String,
    mistakes: Vec<String>,
    remarks: Vec<Remark>,
    said: String,
    versions: Vec<VersionRow>,
}

/// Answers `GET /rules/edit`; `version` shows an older one.
pub(super) async fn edit(State(state): State<AppState>, visit: Visit) -> Response {
    let versions = state.rules.stored();
    let asked = visit.params.get("version").and_then(|text| text.parse().ok());
    let shown = asked.and_then(|number: u64| versions.iter().find(|v| v.number == number)).or(versions.last());
    let text = shown.map_or_else(|| BEGINNING.to_owned(), |v| v.text.clone());
    let said = match shown {
        Some(v) if versions.last().is_some_and(|newest| newest.number != v.number) => {
            format!("This is version {}; storing makes it the newest.", v.number)
        }
        _ => String::new(),
    };
    let form = Written { text, by: String::new(), note: String::new(), after: versions.last().map_or(0, |v| v.number) };
    show(&state, &visit, &versions, form, said, StatusCode::OK).await
}

/// What a form holds.
struct Written {
    text: String,
    by: String,
    note: String,
    after: u64,
}

async fn show(
    state: &AppState,
    visit: &Visit,
    versions: &[StoredVersion],
    form: Written,
    said: String,
    status: StatusCode,
) -> Response {
    let frame = Frame::new(state, visit, "/rules", "Rules of this box", 0);
    let text = form.text.clone();
    let looked = ask(state, visit.now, move |asker: &Asker| {
        let mistakes = if text.trim().is_empty() { Vec::new() } else { check(STORED, &text).mistakes };
        // The example asks for a metric that nobody has.
        let remarks = if text == BEGINNING { Vec::new() } else { lint_file(STORED, &text, &facts(asker, false)) };
        (mistakes, remarks)
    });
    let Ok((mistakes, remarks)) = looked.await else { return failed(frame) };
    let zone = &state.info.time_zone;
    let newest = versions.last().map_or(0, |v| v.number);
    let row = |v: &StoredVersion| VersionRow {
        number: v.number,
        when: local(v.at(), zone, "%Y-%m-%d %H:%M"),
        by: v.by.clone(),
        note: v.note.clone(),
        is_newest: v.number == newest,
    };
    let page = page(&Edit {
        rows: form.text.lines().count().clamp(12, 40) + 1,
        text: form.text,
        after: form.after,
        shown: newest,
        by: form.by,
        note: form.note,
        mistakes: mistakes.iter().map(|m| format!("line {}: {}", m.line, m.message)).collect(),
        remarks,
        said,
        versions: versions.iter().rev().map(row).collect(),
        frame,
    });
    (status, page).into_response()
}

/// Answers `POST /rules/edit`: `what=check` only looks, `what=store` stores.
pub(super) async fn store(
    State(state): State<AppState>,
    visit: Visit,
    Form(fields): Form<BTreeMap<String, String>>,
) -> Response {
    let field = |name| fields.get(name).map_or("", String::as_str);
    // Browsers send the ends of lines as the web has them.
    let form = Written {
        text: field("text").replace("\r\n", "\n"),
        by: field("by").to_owned(),
        note: field("note").to_owned(),
        after: field("after").parse().unwrap_or(0),
    };
    if field("what") != "store" {
        let versions = state.rules.stored();
        return show(&state, &visit, &versions, form, "Looked at, not stored.".to_owned(), StatusCode::OK).await;
    }
    let (rules, text) = (state.rules.clone(), form.text.clone());
    let (by, note, after) = (form.by.clone(), form.note.clone(), form.after);
    let stored = state.tasks.pool().run(move || rules.store(&text, &by, &note, after)).await;
    let error = match stored {
        Ok(Ok(version)) => {
            let detail = serde_json::json!({ "version": version, "note": form.note });
            audit(&state, form.by.trim(), "rules.store", STORED.to_owned(), detail).await;
            return Redirect::to("/rules/edit").into_response();
        }
        Ok(Err(error)) => error,
        Err(panicked) => StoreError::Storage(panicked.to_string()),
    };
    let status = match &error {
        StoreError::Mistakes(_) | StoreError::Refused(_) => StatusCode::BAD_REQUEST,
        StoreError::Overtaken { .. } => StatusCode::CONFLICT,
        StoreError::Storage(_) => StatusCode::INSUFFICIENT_STORAGE,
    };
    let versions = state.rules.stored();
    show(&state, &visit, &versions, form, format!("Not stored: {error}."), status).await
}

/// Answers `GET /rules/stored.yml`: the newest version as a file.
pub(super) async fn export(State(state): State<AppState>) -> Response {
    match state.rules.stored().last() {
        Some(version) => {
            let headers = [
                (header::CONTENT_TYPE, "application/yaml; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"rules.yml\""),
            ];
            (headers, version.text.clone()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no rules were written here\n").into_response(),
    }
}
