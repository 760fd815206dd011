//! Opens the folder; one that does not open or check out is put aside.

use std::path::{Path, PathBuf};

use tracing::{error, warn};

use super::kept::Kept;
use super::{Config, guarded};
use crate::model::Timestamp;

/// A folder that did not check out at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What was wrong.
    pub reason: String,
    /// Where the folder is now; `None` if it could not be moved and the room works from memory.
    pub quarantine: Option<PathBuf>,
}

pub(super) fn open(config: &Config, now: Timestamp) -> (Option<Kept>, Option<Damage>) {
    let reason = match guarded(|| Kept::open(config)) {
        Ok(kept) => return (Some(kept), None),
        Err(error) => error.to_string(),
    };
    let folder = config.path.display();
    match put_aside(&config.path, &reason, now) {
        Ok(quarantine) => {
            warn!(%folder, %reason, quarantine = %quarantine.display(), "last-known state put aside; starting empty");
            let kept = guarded(|| Kept::open(config));
            if let Err(error) = &kept {
                error!(%folder, %error, "cannot open last-known state; going on from memory");
            }
            (kept.ok(), Some(Damage { reason, quarantine: Some(quarantine) }))
        }
        Err(error) => {
            error!(%folder, %reason, %error, "cannot put last-known state aside; going on from memory");
            (None, Some(Damage { reason, quarantine: None }))
        }
    }
}

/// Moves the folder to `quarantine/<when>-last` beside it, with the reason as text.
#[expect(clippy::disallowed_methods, reason = "sled's files are its own: `Disk` does not know them")]
fn put_aside(path: &Path, reason: &str, now: Timestamp) -> std::io::Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(".")).join("quarantine").join(format!("{}-last", now.as_millis()));
    std::fs::create_dir_all(&folder)?;
    std::fs::rename(path, folder.join("last"))?;
    let note = folder.join("why.txt");
    if let Err(error) = std::fs::write(&note, format!("{}: {reason}\n", path.display())) {
        warn!(file = %note.display(), %error, "cannot write");
    }
    Ok(folder)
}
