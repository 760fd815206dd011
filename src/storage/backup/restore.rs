//! From an archive to a data folder.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Target, check, read};
use super::{Error, Manifest, Result};
use crate::model::Timestamp;
use crate::storage::disk::{self, Disk, READ_ONLY_BELOW_BYTES, RESTORED_MARK};
use crate::storage::{files, inspect, state};

/// What may stand in a folder that counts as empty.
const UNIMPORTANT: [&str; 3] = ["LOCK", files::RESTORING, "lost+found"];

/// Begins the name of the folder that takes what was there before.
const BEFORE_PREFIX: &str = "before-restore-";

/// How to restore.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions {
    /// Whether what is in the target is moved aside, and what this version cannot read is no obstacle.
    pub is_forced: bool,
    /// Now, for the name of what is moved aside.
    pub now: Timestamp,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What the archive says of itself.
    pub manifest: Manifest,
    /// Where what was there before is now.
    pub moved_aside: Option<PathBuf>,
    /// Where the settings of the archive are, if it has some.
    pub settings: Option<PathBuf>,
    /// What this version cannot read of it.
    pub unreadable: Vec<String>,
}

/// Restores an archive into a data folder that nobody uses: checks all of it first, unpacks it beside, looks
/// whether this version can read it, and swaps it in by renames. A cut in between leaves the folder as it was, or
/// one that no box starts from before the restore is done again. Cost: reads the archive twice.
///
/// # Errors
/// Whatever does not fit, in words; the target is as it was then.
pub fn restore(disk: &Arc<dyn Disk>, archive: &Path, target: &Path, options: RestoreOptions) -> Result<Restored> {
    let shared = disk;
    let disk = &**shared;
    let manifest = check(disk, archive)?;
    disk.create_folder(target)?;
    let _lock = disk::lock(disk, target).map_err(|error| match error {
        disk::Error::InUse { .. } => Error::InUse { folder: target.to_owned() },
        other => other.into(),
    })?;
    let old = occupants(disk, target)?;
    if let Some(found) = old.first().filter(|_| !options.is_forced) {
        return Err(Error::NotEmpty { folder: target.to_owned(), found: found.clone() });
    }
    let fresh = target.join(files::RESTORING);
    clear(disk, &fresh)?;
    let free_bytes = disk.space(target)?.free_bytes;
    let needed_bytes = manifest.bytes() + READ_ONLY_BELOW_BYTES;
    if free_bytes < needed_bytes {
        return Err(Error::NoSpace { folder: target.to_owned(), needed_bytes, free_bytes });
    }
    let unreadable = match unpack(shared, archive, target, &fresh) {
        Ok(unreadable) if unreadable.is_empty() || options.is_forced => unreadable,
        outcome => {
            clear(disk, &fresh)?;
            let reason = outcome?.join("; ");
            return Err(Error::Unreadable { archive: archive.to_owned(), reason });
        }
    };
    let moved_aside = move_aside(disk, target, &old, options.now)?;
    for entry in disk.list(&fresh)? {
        disk.rename(&fresh.join(&entry.name), &target.join(&entry.name))?;
    }
    disk.sync_folder(target)?;
    clear(disk, &fresh)?;
    disk.sync_folder(target)?;
    let settings = Some(target.join(files::SETTINGS)).filter(|folder| disk.exists(folder));
    Ok(Restored { manifest, moved_aside, settings, unreadable })
}

/// Tells whether a restore into the folder was cut off, so that what is there is not whole.
pub(in crate::storage) fn is_cut_off(disk: &dyn Disk, folder: &Path) -> bool {
    disk.exists(&folder.join(files::RESTORING))
}

/// Returns the names in a folder that a restore would touch.
fn occupants(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>> {
    let names = disk.list(folder)?.into_iter().map(|entry| entry.name);
    Ok(names.filter(|name| !UNIMPORTANT.contains(&name.as_str()) && !name.starts_with(BEFORE_PREFIX)).collect())
}

/// Unpacks into a fresh folder, checked once more; returns what this version cannot read of it.
fn unpack(disk: &Arc<dyn Disk>, archive: &Path, target: &Path, fresh: &Path) -> Result<Vec<String>> {
    let shared = disk;
    let disk = &**shared;
    disk.create_folder(fresh)?;
    let owner = std::fs::metadata(target).ok().map(|about| (about.uid(), about.gid()));
    read(disk, archive, &mut |name| {
        let path = fresh.join(name);
        if let Some(folder) = path.parent() {
            disk.create_folder(folder)?;
        }
        Ok(Target::Some(disk.create(&path)?))
    })?;
    let spool = fresh.join(files::BUS).join(files::SPOOL);
    if disk.exists(&spool) {
        disk.create(&spool.join(RESTORED_MARK))?.sync()?;
    }
    let mut unreadable = inspect::blocks_unreadable(shared, fresh)?;
    let database = fresh.join(files::STATE);
    if disk.exists(&database)
        && let Err(error) = state::check(&database)
    {
        unreadable.push(error.to_string());
    }
    // Last, because the state may have been brought up to date.
    settle(disk, fresh, owner)?;
    Ok(unreadable)
}

/// Makes names last and gives all to the owner of the data folder: a restore is often done by root.
fn settle(disk: &dyn Disk, folder: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let give = |path: &Path| {
        if let Some((user, group)) = owner
            && let Err(error) = chown(path, Some(user), Some(group))
        {
            tracing::debug!(%error, path = %path.display(), "cannot change the owner");
        }
    };
    for entry in disk.list(folder)? {
        let path = folder.join(&entry.name);
        if entry.is_folder {
            settle(disk, &path, owner)?;
        } else {
            give(&path);
        }
    }
    give(folder);
    Ok(disk.sync_folder(folder)?)
}

fn move_aside(disk: &dyn Disk, target: &Path, names: &[String], now: Timestamp) -> Result<Option<PathBuf>> {
    if names.is_empty() {
        return Ok(None);
    }
    let place = target.join(format!("{BEFORE_PREFIX}{}", now.to_rfc3339().replace([':', '.'], "-")));
    disk.create_folder(&place)?;
    for name in names {
        disk.rename(&target.join(name), &place.join(name))?;
    }
    disk.sync_folder(&place)?;
    Ok(Some(place))
}

fn clear(disk: &dyn Disk, folder: &Path) -> disk::Result<()> {
    disk.remove_folder(folder).or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}
