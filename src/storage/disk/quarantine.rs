//! Puts aside what does not check out, with a note why.

use std::path::{Path, PathBuf};

use super::{Corruption, Disk, Result, replace};
use crate::model::Timestamp;

/// Name of the note beside what was put aside.
const WHY_NAME: &str = "why.txt";

/// A note about what stays where it is does not grow beyond this.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// Moves a file or folder to `quarantine/<when>-<what>/` and writes `why.txt` beside it. Returns where it is.
///
/// # Errors
/// When the disk refuses; then it stays where it was, or is moved without the note.
pub fn set_aside(
    disk: &dyn Disk,
    quarantine: &Path,
    what: &Path,
    damage: &Corruption,
    now: Timestamp,
) -> Result<PathBuf> {
    let name = what.file_name().unwrap_or(what.as_os_str()).to_string_lossy().into_owned();
    let when = now.to_rfc3339().replace([':', '.'], "-");
    let free = |n: &u32| quarantine.join(if *n == 0 { format!("{when}-{name}") } else { format!("{when}-{n}-{name}") });
    let place = (0..1000).map(|n| free(&n)).find(|p| !disk.exists(p)).unwrap_or_else(|| free(&1000));
    disk.create_folder(&place)?;
    disk.rename(what, &place.join(&name))?;
    let note = format!("{}\nset aside: {}\nfrom: {}\n", damage, now.to_rfc3339(), what.display());
    replace(disk, &place.join(WHY_NAME), note.as_bytes())?;
    if let Some(parent) = what.parent() {
        disk.sync_folder(parent)?;
    }
    Ok(place)
}

/// Adds lines to the note about damage in `name`, which stays where it is: `quarantine/<name>.txt`.
///
/// # Errors
/// When the disk refuses.
pub fn note(disk: &dyn Disk, quarantine: &Path, name: &str, lines: &str) -> Result<()> {
    disk.create_folder(quarantine)?;
    let path = quarantine.join(format!("{name}.txt"));
    let mut text = match disk.open(&path) {
        Ok(file) => file.read_exact_at(0, usize::try_from(file.size()?.min(NOTE_BYTES_MAX)).unwrap_or(0))?,
        Err(_) => Vec::new(),
    };
    text.extend_from_slice(lines.as_bytes());
    text.truncate(usize::try_from(NOTE_BYTES_MAX).unwrap_or(usize::MAX));
    replace(disk, &path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::OsDisk;

    #[test]
    fn what_is_set_aside_has_a_note() {
        let folder = tempfile::tempdir().unwrap();
        let bad = folder.path().join("bad");
        let damage = Corruption { file: bad.clone(), offset: 3, bytes: 1, reason: "a bit flipped".to_owned() };
        for _ in 0..2 {
            replace(&OsDisk, &bad, b"x").unwrap();
            let place = set_aside(&OsDisk, &folder.path().join("quarantine"), &bad, &damage, Timestamp::MIN).unwrap();
            let names: Vec<String> = OsDisk.list(&place).unwrap().into_iter().map(|e| e.name).collect();
            assert_eq!(names, ["bad", "why.txt"]);
        }
        assert_eq!(OsDisk.list(&folder.path().join("quarantine")).unwrap().len(), 2);
    }
}
