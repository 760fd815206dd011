//! Opens the file, checks it, and puts a damaged one aside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tracing::{error, warn};

use super::{Error, Result, migrate};
use crate::clock::Clock;

/// How long a call waits for another process (`andon device add` beside a running box) to finish its own.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// A state file that did not check out at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What was wrong.
    pub reason: String,
    /// Where the file is now.
    pub quarantine: PathBuf,
}

/// Opens `path`; a damaged file is moved away and a fresh one made.
pub(super) fn open(path: &Path, clock: &Clock) -> Result<(Connection, Option<Damage>)> {
    let reason = match open_checked(path) {
        Ok(connection) => return Ok((connection, None)),
        Err(Error::Damaged(source)) => source.to_string(),
        Err(other) => return Err(other),
    };
    let quarantine = put_aside(path, &reason, clock)?;
    error!(file = %path.display(), %reason, quarantine = %quarantine.display(), "state file is damaged; starting empty");
    let connection = open_checked(path)?;
    Ok((connection, Some(Damage { reason, quarantine })))
}

/// Looks whether a file that nobody uses can be opened by this version; brings its schema up to date.
///
/// # Errors
/// [`Error::NewerSchema`], [`Error::Damaged`], or what SQLite says.
pub fn check(path: &Path) -> Result<()> {
    open_checked(path).map(|_| ())
}

/// Reads a whole file and looks whether it checks out, without changing it; a box may use it meanwhile.
///
/// # Errors
/// [`Error::Damaged`], or what SQLite says.
pub fn verify(path: &Path) -> Result<()> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_WAIT)?;
    quick_check(&connection)
}

fn quick_check(connection: &Connection) -> Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(Error::Damaged(rusqlite::Error::SqliteFailure(code, Some(verdict))))
}

pub(super) fn open_in_memory() -> Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    prepare(&connection)?;
    migrate::migrate(&mut connection, Path::new(":memory:"))?;
    Ok(connection)
}

fn open_checked(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    prepare(&connection)?;
    // The file is small (thousands of rows), so reading all of it costs milliseconds.
    quick_check(&connection)?;
    migrate::migrate(&mut connection, path)?;
    Ok(connection)
}

/// Sets what must hold for each connection; `docs/decisions/0021` has the reasons.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    // Answers with a row, so it is a query; in memory it stays `memory`.
    connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-1024;")
}

/// Moves the file and what SQLite keeps beside it to `quarantine/<when>-state/`, with the reason as text.
#[expect(clippy::disallowed_methods, reason = "SQLite's files are its own: `Disk` does not know them")]
fn put_aside(path: &Path, reason: &str, clock: &Clock) -> Result<PathBuf> {
    let io = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { operation, path, source }
    };
    let parent = path.parent().unwrap_or(Path::new("."));
    let folder = parent.join("quarantine").join(format!("{}-state", clock.now().as_millis()));
    std::fs::create_dir_all(&folder).map_err(io("make", &folder))?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        let source = parent.join(&name);
        if source.exists() {
            std::fs::rename(&source, folder.join(&name)).map_err(io("move", &source))?;
        }
    }
    let note = folder.join("why.txt");
    if let Err(error) = std::fs::write(&note, format!("{}: {reason}\n", path.display())) {
        warn!(file = %note.display(), %error, "cannot write");
    }
    Ok(folder)
}
