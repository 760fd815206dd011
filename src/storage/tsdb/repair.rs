//! Opening what is on disk, whatever state it is in: what does not check out is put aside and reported.

use std::path::Path;
use std::sync::Arc;

use tracing::{error, warn};

use super::block::Block;
use super::config::WalSync;
use super::db::Shared;
use super::head::{Head, Replay, Replayed};
use super::wal::{Wal, read_checkpoint, remove_old};
use super::{Result, files};
use crate::clock::Clock;
use crate::storage::disk::{self, Corruption, Disk, Found, note, set_aside};

/// What was on disk.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) head: Head,
    /// By rank.
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) wal: Wal,
    pub(super) replayed: Replayed,
    pub(super) truncated_bytes: u64,
    /// A number that no block has, nor anything that looks like one.
    pub(super) next_block: u64,
    /// What it was, and what was wrong with it.
    pub(super) damages: Vec<(&'static str, String)>,
}

/// Opens blocks, checkpoint and WAL of a folder.
pub(super) fn open(disk: &Arc<dyn Disk>, folder: &Path, sync: WalSync, clock: &Clock) -> Result<Opened> {
    let place = folder.join(files::BLOCKS);
    disk.create_folder(&place)?;
    // A process that was killed may have renamed a checkpoint or a merged block and not made that last; what
    // they stand for is removed below.
    disk.sync_folder(&place)?;
    disk.sync_folder(folder)?;
    let mut damages = Vec::new();
    let blocks = open_blocks(disk, folder, clock, &mut damages)?;
    let mut replay = Replay::default();
    let mut visit = |step| replay.take(step);
    let (first, checkpoint) = read_checkpoint(disk, folder, &mut visit)?;
    let (wal, found) =
        Wal::open(disk.clone(), &folder.join(files::WAL), &folder.join(files::NEWEST), sync, first, &mut visit)?;
    let (mut head, replayed) = replay.finish();
    remove_old(&**disk, folder, first)?;
    wal.skip_to(first, head.late.sequence() + 1);
    damages.extend(findings("checkpoint", &checkpoint));
    damages.extend(findings("wal", &found));
    if let Some(newest) = blocks.iter().map(|b| b.meta.max_ms).max() {
        head.late.begin_at(newest);
    }
    let truncated_bytes = found.truncated_bytes + checkpoint.truncated_bytes;
    let names = disk.list(&folder.join(files::BLOCKS))?;
    let next_block = names.iter().filter_map(|e| files::block_number(&e.name)).max().unwrap_or(0) + 1;
    Ok(Opened { head, blocks, wal, replayed, truncated_bytes, next_block, damages })
}

fn findings(what: &'static str, found: &Found) -> impl Iterator<Item = (&'static str, String)> {
    found.damages.iter().map(move |d| (what, d.to_string()))
}

fn open_blocks(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    clock: &Clock,
    damages: &mut Vec<(&'static str, String)>,
) -> Result<Vec<Arc<Block>>> {
    let blocks = folder.join(files::BLOCKS);
    let mut open: Vec<Arc<Block>> = Vec::new();
    let mut failed = Vec::new();
    for entry in disk.list(&blocks)?.into_iter().filter(|e| e.is_folder) {
        let path = blocks.join(&entry.name);
        if files::is_temporary(&entry.name) {
            // What cannot be removed now is in nobody's way.
            if let Err(error) = disk.remove_folder(&path) {
                warn!(%error, "cannot remove what was left in the making; tried again at the next start");
            }
        } else if files::block_number(&entry.name).is_some() {
            match Block::open(disk, &path) {
                Ok(block) => {
                    damages.extend(block.take_findings());
                    open.push(Arc::new(block));
                }
                Err(error) => failed.push((entry.name, path, error)),
            }
        }
    }
    // A crash between the rename of a merged block and the removal of its sources leaves both.
    let merged: Vec<String> = open.iter().flat_map(|b| b.meta.merged.iter().cloned()).collect();
    for (name, path, error) in failed {
        if merged.contains(&name) {
            // Its removal was cut short.
            let _ = disk.remove_folder(&path);
            continue;
        }
        damages.push(("block", error.to_string()));
        if matches!(error, disk::Error::Corruption(_)) || error.is_not_found() {
            quarantine(disk, folder, &path, &as_corruption(error, &path), clock);
        }
        // What cannot be read now stays where it is for the next start.
    }
    open.retain(|block| {
        let is_merged = merged.contains(&block.name());
        if is_merged {
            block.give_up();
        }
        !is_merged
    });
    open.sort_by_key(|b| b.meta.rank);
    Ok(open)
}

/// Reports what did not check out in a block since the last call, and leaves a note of it in quarantine.
pub(super) fn report_findings(shared: &Shared, block: &Block) {
    count_findings(shared, block);
}

/// As [`report_findings`]; returns how many places that are.
pub(super) fn count_findings(shared: &Shared, block: &Block) -> u64 {
    let findings = block.take_findings();
    if findings.is_empty() {
        return 0;
    }
    for (what, damage) in &findings {
        shared.report(what, damage);
    }
    if let Some(stored) = &shared.stored {
        let place = stored.folder.parent().unwrap_or(&stored.folder).join(files::QUARANTINE);
        let lines: String = findings.iter().map(|(what, damage)| format!("{what}: {damage}\n")).collect();
        if let Err(error) = note(&*stored.disk, &place, &block.name(), &lines) {
            error!(%error, block = %block.name(), "cannot leave a note about damage");
        }
    }
    findings.len() as u64
}

/// Reads the index of a block: damage shows before somebody asks for it.
pub(super) fn check_index(shared: &Shared, block: &Arc<Block>) {
    let pages = match block.contents() {
        Ok(contents) => contents.pages.len(),
        Err(disk::Error::Corruption(damage)) => return put_aside(shared, block, &damage),
        Err(_) => 0,
    };
    // What cannot be read for another reason shows when somebody asks for it.
    let _ = (0..pages).try_for_each(|page| block.read_page(page).map(|_| ()));
    report_findings(shared, block);
}

/// Takes a damaged block out of the store and puts its folder aside.
pub(super) fn put_aside(shared: &Shared, block: &Arc<Block>, damage: &Corruption) {
    let mut state = shared.write();
    let is_known = state.blocks.iter().any(|b| b.meta.number == block.meta.number);
    state.blocks = Arc::new(state.blocks.iter().filter(|b| b.meta.number != block.meta.number).cloned().collect());
    drop(state);
    shared.cache.forget(block.meta.number);
    if !is_known {
        return; // Somebody else has met it too.
    }
    let (first, last) = (block.meta.range().start, block.meta.range().end);
    shared.report("block", &format!("{damage}; block of {first} to {last}, {} samples", block.meta.samples));
    if let Some(stored) = &shared.stored {
        quarantine(&stored.disk, &stored.folder, &block.folder, damage, &shared.clock);
    }
}

/// Puts the folder of a block aside that the store does not list any more.
pub(super) fn keep_damaged(shared: &Shared, block: &Block, damage: &Corruption) {
    shared.report("block", &damage.to_string());
    if let Some(stored) = &shared.stored {
        quarantine(&stored.disk, &stored.folder, &block.folder, damage, &shared.clock);
    }
}

fn quarantine(disk: &Arc<dyn Disk>, folder: &Path, what: &Path, damage: &Corruption, clock: &Clock) {
    let place = folder.parent().unwrap_or(folder).join(files::QUARANTINE);
    if let Err(error) = set_aside(&**disk, &place, what, damage, clock.now()) {
        error!(%error, what = %what.display(), "cannot put damaged data into quarantine; it stays where it is");
    }
}

fn as_corruption(error: disk::Error, path: &Path) -> Corruption {
    match error {
        disk::Error::Corruption(damage) => damage,
        other => Corruption { file: path.to_owned(), offset: 0, bytes: 0, reason: other.to_string() },
    }
}
