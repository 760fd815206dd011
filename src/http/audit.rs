//! Notes in the audit log who changed what over HTTP.

use serde_json::Value;
use tracing::warn;

use super::AppState;
use crate::storage::state::AuditEntry;

/// Who does something while there are no accounts.
pub(super) const ANONYMOUS: &str = "anonymous";

/// Notes a change that has happened already; a log that cannot be written does not undo it.
pub(super) async fn audit(app: &AppState, actor: &str, action: &str, object: String, detail: Value) {
    let (actor, origin, action) = (actor.to_owned(), "http".to_owned(), action.to_owned());
    let entry = AuditEntry { actor, origin, action, object, detail };
    let store = app.state.clone();
    if let Ok(Err(error)) = app.tasks.pool().run(move || store.audit().append(&entry)).await {
        warn!(%error, "cannot write the audit log");
    }
}
