//! Brings the schema up to date: `migrations/*.sql` in order, each in one transaction.
//!
//! The number of the last one applied is in `PRAGMA user_version`, which is part of the same transaction.

use std::path::Path;

use rusqlite::Connection;

use super::{Error, Result};

/// All migrations, oldest first; the schema's number is how many are applied. Never changed once released.
const MIGRATIONS: [&str; 9] = [
    include_str!("../../../migrations/0001_devices.sql"),
    include_str!("../../../migrations/0002_cursors.sql"),
    include_str!("../../../migrations/0003_notifications.sql"),
    include_str!("../../../migrations/0004_audit.sql"),
    include_str!("../../../migrations/0005_meta.sql"),
    include_str!("../../../migrations/0006_silences.sql"),
    include_str!("../../../migrations/0007_device_tokens.sql"),
    include_str!("../../../migrations/0008_device_certificates.sql"),
    include_str!("../../../migrations/0009_frozen_frames.sql"),
];

/// Applies what is missing. `path` is for the error only.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::NewerSchema { path: path.to_owned(), found, known });
    }
    for (number, sql) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
