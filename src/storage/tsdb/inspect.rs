//! Looking into a store's folder without opening it, also while a box works in it: blocks and logs as they lie.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::block::{Block, BlockMeta};
use super::column::describe;
use super::config::WalSync;
use super::files;
use super::wal::{Wal, read_checkpoint};
use crate::model::{Labels, Timestamp};
use crate::storage::disk::{self, Disk, LogFiles};

/// Beginning of a column that says how it is written.
const HEAD_BYTES: usize = 64;

/// A block as it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockAbout {
    /// Unique in the store, rising.
    pub number: u64,
    /// Its folder's name.
    pub name: String,
    /// The window it was cut for, end excluded.
    pub start: Timestamp,
    /// See `start`.
    pub end: Timestamp,
    /// Series in it.
    pub series: u64,
    /// Samples in it.
    pub samples: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// 1 as cut from the head, more after merging.
    pub level: u32,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Whether everything is read and every checksum compared.
    pub is_verified: bool,
    /// Whether bytes are told by series, metric and kind of column, and how many of each.
    pub top: Option<usize>,
}

/// What a store's folder holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspection {
    /// By number.
    pub blocks: Vec<BlockAbout>,
    /// The WAL.
    pub wal: LogFiles,
    /// The checkpoint.
    pub checkpoint: LogFiles,
    /// What does not check out.
    pub damages: Vec<String>,
    /// Where the bytes of values are, if asked for.
    pub values: Option<Values>,
}

/// Where the bytes of columns of values in blocks are. A column that several series share counts for the first
/// of them. Times, labels and indexes are not in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    /// Series with the most bytes, largest first.
    pub series: Vec<Share>,
    /// Metric names with the most bytes, largest first.
    pub metrics: Vec<Share>,
    /// Kinds of columns, largest first.
    pub kinds: Vec<Share>,
}

/// What something takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Share {
    /// What it is.
    pub name: String,
    /// Bytes of its values.
    pub bytes: u64,
    /// Its samples.
    pub samples: u64,
}

impl BlockAbout {
    fn of(name: String, meta: &BlockMeta) -> Self {
        BlockAbout {
            number: meta.number,
            name,
            start: meta.range().start,
            end: meta.range().end,
            series: meta.series,
            samples: meta.samples,
            chunks: meta.chunks,
            bytes: meta.bytes,
            level: meta.level,
        }
    }
}

/// Looks into a store's folder. Memory: a page of an index at a time, and 24 bytes a series if asked for those.
///
/// # Errors
/// When the disk cannot be read for another reason than damage.
pub fn inspect(disk: &Arc<dyn Disk>, folder: &Path, depth: Depth) -> disk::Result<Inspection> {
    let (blocks, damages) = blocks(disk, folder)?;
    let mut found = Inspection { damages, ..Inspection::default() };
    inspect_logs(disk, folder, depth, &mut found)?;
    for (block, _) in blocks.iter().filter(|_| depth.is_verified) {
        let verified = block
            .contents()
            .map(|contents| contents.pages.len())
            .and_then(|pages| (0..pages).try_for_each(|page| block.verify_page(page).map(|_| ())));
        match verified {
            Err(disk::Error::Corruption(damage)) => found.damages.push(damage.to_string()),
            other => other?,
        }
    }
    if let Some(top) = depth.top {
        let mut tally = Tally::default();
        for (block, _) in &blocks {
            tally.add(block)?;
        }
        found.values = Some(tally.finish(blocks.iter().map(|(block, _)| block), top)?);
    }
    for (block, about) in blocks {
        found.damages.extend(block.take_findings().into_iter().map(|(_, finding)| finding));
        found.blocks.push(about);
    }
    Ok(found)
}

/// How often the logs of a running box are looked at again because they changed meanwhile.
const LOOKS_MAX: usize = 5;

fn inspect_logs(disk: &Arc<dyn Disk>, folder: &Path, depth: Depth, found: &mut Inspection) -> disk::Result<()> {
    for look in 1.. {
        let before = log_names(disk, folder)?;
        (found.checkpoint, found.wal) = read_logs(disk, folder, depth, &before)?;
        let is_sound = found.checkpoint.damages.is_empty() && found.wal.damages.is_empty();
        // A running box begins and removes segments: what seems to be missing may only have moved on.
        if is_sound || look == LOOKS_MAX || log_names(disk, folder)? == before {
            break;
        }
    }
    found.damages.append(&mut found.checkpoint.damages);
    found.damages.append(&mut found.wal.damages);
    Ok(())
}

/// Returns the names in a store's folder and those of the segments of its log; none if there is no store.
fn log_names(disk: &Arc<dyn Disk>, folder: &Path) -> disk::Result<[Vec<String>; 2]> {
    let names = |folder: &Path| -> disk::Result<Vec<String>> {
        let entries = if disk.exists(folder) { disk.list(folder)? } else { Vec::new() };
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    };
    Ok([names(folder)?, names(&folder.join(files::WAL))?])
}

/// Lists, and if it is asked for reads, the checkpoint and the segments of the log.
fn read_logs(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    depth: Depth,
    [names, _]: &[Vec<String>; 2],
) -> disk::Result<(LogFiles, LogFiles)> {
    let wal = folder.join(files::WAL);
    let first = names.iter().filter_map(|name| files::checkpoint_number(name)).max();
    let checkpoint = files::checkpoint(folder, first.unwrap_or(0));
    if !depth.is_verified || names.is_empty() {
        return Ok((LogFiles::list(&**disk, &checkpoint)?, LogFiles::list(&**disk, &wal)?));
    }
    let checkpoint = LogFiles::verify_with(disk, &checkpoint, |disk| {
        read_checkpoint(&disk, folder, &mut |_| ()).map(|(_, found)| found)
    })?;
    let wal = LogFiles::verify_with(disk, &wal, |disk| {
        let newest = folder.join(files::NEWEST);
        Wal::open(disk, &wal, &newest, WalSync::Always, first.unwrap_or(0), &mut |_| ()).map(|(_, found)| found)
    })?;
    Ok((checkpoint, wal))
}

/// Blocks with what is known about them, and damages.
type Blocks = (Vec<(Block, BlockAbout)>, Vec<String>);

/// Returns the blocks in a store's folder, by number, and what is wrong with those that do not open.
///
/// # Errors
/// When the folder cannot be listed; one that is not there has no blocks.
pub(crate) fn blocks(disk: &Arc<dyn Disk>, folder: &Path) -> disk::Result<Blocks> {
    let (mut blocks, mut damages) = (Vec::new(), Vec::new());
    let folder = folder.join(files::BLOCKS);
    if !disk.exists(&folder) {
        return Ok((blocks, damages));
    }
    for entry in disk.list(&folder)?.into_iter().filter(|entry| entry.is_folder) {
        if files::is_temporary(&entry.name) || files::block_number(&entry.name).is_none() {
            continue;
        }
        match Block::open(disk, &folder.join(&entry.name)) {
            Ok(block) => {
                let about = BlockAbout::of(entry.name, &block.meta);
                blocks.push((block, about));
            }
            // Merged or retired meanwhile by the box that works here.
            Err(error) if error.is_not_found() && !disk.exists(&folder.join(&entry.name)) => {}
            Err(error) => damages.push(error.to_string()),
        }
    }
    blocks.sort_by_key(|(block, _)| block.meta.number);
    Ok((blocks, damages))
}

/// Adds up bytes and samples.
#[derive(Debug, Default)]
struct Tally {
    /// By the hash of the labels: a series is in many blocks.
    series: HashMap<u64, (u64, u64), FixedState>,
    metrics: BTreeMap<String, (u64, u64)>,
    kinds: BTreeMap<String, (u64, u64)>,
}

impl Tally {
    /// Adds a block; pages that do not check out are left out, and noted in the block.
    fn add(&mut self, block: &Block) -> disk::Result<()> {
        let mut seen: HashSet<u64, FixedState> = HashSet::default();
        visit(block, &mut |labels, chunks| {
            let mut sum = (0, 0);
            for (offset, length, count) in chunks {
                let bytes = if seen.insert(*offset) { u64::from(*length) + 4 } else { 0 };
                let head = block.read_chunks(*offset, HEAD_BYTES.min(*length as usize))?;
                add(self.kinds.entry(describe(&head)).or_default(), (bytes, *count));
                add(&mut sum, (bytes, *count));
            }
            add(self.series.entry(labels.stable_hash()).or_default(), sum);
            if let Some(known) = self.metrics.get_mut(labels.metric_name()) {
                add(known, sum);
            } else {
                self.metrics.insert(labels.metric_name().to_owned(), sum);
            }
            Ok(())
        })
    }

    /// Returns the largest; the names of series are read once more.
    fn finish<'a>(self, blocks: impl Iterator<Item = &'a Block>, top: usize) -> disk::Result<Values> {
        let mut largest: Vec<(u64, (u64, u64))> = self.series.into_iter().collect();
        largest.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        largest.truncate(top);
        let mut wanted: HashMap<u64, (u64, u64), FixedState> = largest.into_iter().collect();
        let mut series = Vec::new();
        for block in blocks {
            if wanted.is_empty() {
                break;
            }
            visit(block, &mut |labels, _| {
                if let Some(sum) = wanted.remove(&labels.stable_hash()) {
                    series.push(Share { name: labels.to_string(), bytes: sum.0, samples: sum.1 });
                }
                Ok(())
            })?;
        }
        let shares = |map: BTreeMap<String, (u64, u64)>| -> Vec<Share> {
            map.into_iter().map(|(name, (bytes, samples))| Share { name, bytes, samples }).collect()
        };
        Ok(Values {
            series: ranked(series, top),
            metrics: ranked(shares(self.metrics), top),
            kinds: ranked(shares(self.kinds), top),
        })
    }
}

/// Where a column of values is, how long, and of how many samples.
type Column = (u64, u32, u64);

/// Visits the series of a block with their columns of values.
fn visit(block: &Block, work: &mut dyn FnMut(&Labels, &[Column]) -> disk::Result<()>) -> disk::Result<()> {
    let pages = match block.contents() {
        Ok(contents) => contents.pages.len(),
        Err(disk::Error::Corruption(damage)) => {
            block.found("index", &damage);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    let mut text = String::new();
    for page in 0..pages {
        let Some(page) = block.read_page(page)? else { continue };
        let Ok(chunks) = page.chunks() else { continue };
        for series in 0..page.series_count() {
            let place = |c: super::block::ChunkPlace| (c.values.offset, c.values.length, u64::from(c.times.count));
            let columns: Vec<Column> = chunks.of(series).map(place).collect();
            work(&page.labels(series, &mut text), &columns)?;
        }
    }
    Ok(())
}

fn add(sum: &mut (u64, u64), more: (u64, u64)) {
    sum.0 += more.0;
    sum.1 += more.1;
}

/// Sorts by bytes, largest first, and keeps so many.
fn ranked(mut shares: Vec<Share>, top: usize) -> Vec<Share> {
    shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    shares.truncate(top);
    shares
}
