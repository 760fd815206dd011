//! What is kept: metrics, logs, settings made in the running box, last-known state.
//!
//! Four strangers stand on this floor (`tsdb`, `logs`, `state`, `last`); this door opens them in one data
//! folder with one owner and one size limit, makes and restores backups of it ([`backup`]), and looks into one
//! without opening it ([`inspect`]).
//!
//! ```text
//! LOCK                one owner
//! clock               whether the system's clock was believed, and the last stamp
//! tsdb/               metrics: wal, checkpoint, blocks
//! logs/               log lines: wal, days
//! state.db            what people and rooms set
//! last/               last-known values, rebuilt if lost
//! snapshots/          copies of metrics that somebody has asked for
//! quarantine/         what did not check out, each with why.txt
//! *.starting          while a store is opened: starts that were cut off
//! reserve             space given up when the disk is full
//! backup.tmp/         a snapshot, while a backup is made of it
//! restore.tmp/        what is being restored; no box starts while it is there
//! ```

pub mod backup;
pub mod disk;
pub mod inspect;
pub mod last;
pub mod logs;
pub mod state;
pub mod tsdb;

mod budget;
mod config;
mod error;
mod files;
mod reserve;
mod scrub;
mod snapshots;
mod starts;
#[cfg(test)]
mod storage_test;
mod timekeeping;
#[cfg(test)]
mod timekeeping_test;
mod wear;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tracing::warn;

pub use config::{Config, RESERVE_BYTES_DEFAULT};
pub use error::{Error, Result};
pub use scrub::{ScrubRound, ScrubStats};
pub use snapshots::Kept;
pub use wear::{Basis, FlashStep, Projection, Wear};

use self::budget::{Cause, Shares, Usage, share};
use self::disk::{ByteReader, Disk, Lock, OsDisk, Space};
use self::reserve::Reserve;
use self::scrub::Scrub;
use self::starts::Starts;
use self::timekeeping::Timekeeper;
use crate::clock::Clock;
use crate::instrument::{GaugeFamily, Registry};
use crate::model::Timestamp;

/// The opened stores; cheap to clone. The folder is owned until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Metrics.
    pub db: tsdb::Db,
    /// Log lines.
    pub logs: logs::LogStore,
    /// What people and rooms set.
    pub state: state::State,
    /// Last-known values.
    pub last: last::LastKnown,
    /// The disk that the stores stand on, for journals of other rooms.
    pub disk: Arc<dyn Disk>,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    size_limit: Option<u64>,
    reserve: Reserve,
    /// Bytes that must go before their time, by what squeezes the stores.
    short_bytes: GaugeFamily,
    /// Whether there is a snapshot for a backup; one at a time.
    has_snapshot: AtomicBool,
    keeper: Timekeeper,
    /// What began without its WAL.
    left_out: Vec<Part>,
    scrub: Scrub,
    _lock: Lock,
}

/// A part of the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Metrics in blocks.
    MetricBlocks,
    /// Metrics in the WAL and the checkpoint.
    MetricLog,
    /// Log lines.
    Logs,
    /// The alarm journal and the outbox.
    Journals,
    /// The state and last-known values.
    State,
    /// What only snapshots hold that somebody has asked for.
    Snapshots,
    /// What did not check out.
    Quarantine,
    /// Space kept back.
    Reserve,
}

/// Under this key the state has when the last backup was made (8 bytes, ms) and its size (8 bytes).
const LAST_BACKUP_KEY: &str = "last-backup";

/// A day of logs is deleted at most so often in one go.
const LOG_DAYS_MAX: usize = 1000;

impl Storage {
    /// Opens all stores of a data folder. Cost: reads the WALs, so seconds after a hard stop under load.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::NotWritable`], or what a store cannot cope with. Damaged files are put aside
    /// and do not fail the opening.
    pub fn open(config: Config, clock: Clock, registry: &Registry) -> Result<Self> {
        let folder = config.folder.as_path();
        let disk = written::counted(OsDisk::shared(), folder, registry);
        let lock = own(&*disk, folder)?;
        if backup::is_cut_off(&*disk, folder) {
            return Err(Error::RestoreCutOff { folder: folder.to_owned() });
        }
        backup::clear(&*disk, folder);
        let reserve = Reserve::new(disk.clone(), folder, config.reserve_bytes);
        reserve.give_up_if_full();
        let keeper = Timekeeper::open(config.clock_trust, clock.clone(), disk.clone(), folder, registry);
        let starts = |store| Starts::new(disk.clone(), folder, store);
        // The WAL of the metrics takes longest; the others are opened beside it.
        let (metrics, others) = std::thread::scope(|scope| {
            let others = scope.spawn(|| -> Result<_> {
                let folder_of_logs = folder.join(files::LOGS);
                let (logs, is_safe_mode) = starts(files::LOGS).guard(&clock, logs::is_wal, || {
                    logs::LogStore::open(disk.clone(), &folder_of_logs, config.logs.clone(), clock.clone(), registry)
                });
                let logs = logs?;
                let state = state::State::open(&folder.join(files::STATE), clock.clone(), registry)?;
                let last = last::LastKnown::open(last::Config::at(folder.join(files::LAST)), clock.now(), registry);
                Ok((logs, state, last, is_safe_mode))
            });
            let folder_of_metrics = folder.join(files::METRICS);
            let metrics = starts(files::METRICS).guard(&clock, tsdb::is_wal, || {
                tsdb::Db::open(config.tsdb.clone(), disk.clone(), &folder_of_metrics, clock.clone(), registry)
            });
            (metrics, others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let ((db, without_metrics), (logs, state, last, without_logs)) = (metrics, others?);
        let db = db?;
        let left_out = [(Part::MetricLog, without_metrics), (Part::Logs, without_logs)];
        let left_out: Vec<Part> = left_out.into_iter().filter(|(_, is_without)| *is_without).map(|(p, _)| p).collect();
        registry
            .gauge("andon_storage_safe_mode", "1 after a start that had to put a WAL into quarantine to succeed.")
            .set(if left_out.is_empty() { 0.0 } else { 1.0 });
        db.resume_provisional(keeper.shift_ms())?;
        let scrub = Scrub::start(&db, &logs, &state, &clock, registry);
        let inner = Inner {
            folder: folder.to_owned(),
            size_limit: config.size_limit,
            reserve,
            short_bytes: registry.gauges(
                "andon_storage_short_bytes",
                "Bytes that metrics and logs have too many of: the oldest go before their time.",
                &["cause"],
            ),
            keeper,
            has_snapshot: AtomicBool::new(false),
            left_out,
            scrub,
            _lock: lock,
        };
        let storage = Storage { db, logs, state, last, disk, inner: Arc::new(inner) };
        storage.balance();
        Ok(storage)
    }

    /// Keeps metrics and logs within the size limit and the disk's space: the oldest go before their time.
    /// To be called every few seconds. Cost: looks at the file system; may delete files.
    pub fn balance(&self) {
        self.inner.reserve.adjust();
        let Ok(space) = self.disk.space(&self.inner.folder) else { return };
        let (metrics, logs) = (self.db.disk_bytes(), self.logs.stats().disk_bytes);
        let snapshots = self.kept_snapshots().iter().map(|kept| kept.own_bytes).sum();
        let usage = Usage { metrics_bytes: metrics, logs_bytes: logs, snapshots_bytes: snapshots, space };
        let shares = share(self.inner.size_limit, usage);
        self.show_short(shares);
        let Shares { cause, over_bytes, .. } = shares;
        if over_bytes > 0 && self.remove_snapshots(over_bytes) > 0 {
            // The next look tells whether that was enough.
            return;
        }
        self.db.set_bytes_max(Some(shares.metrics_bytes), cause.floor());
        if over_bytes == 0 {
            return;
        }
        warn!(metrics, logs, free = space.free_bytes, ?cause, over_bytes, "too little space: the oldest gives way");
        for _ in 0..LOG_DAYS_MAX {
            if self.logs.stats().disk_bytes <= shares.logs_bytes {
                break;
            }
            match self.logs.delete_oldest_day() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    warn!(%error, "cannot delete a day of logs");
                    break;
                }
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are 64-bit floats; exact up to 2^53")]
    fn show_short(&self, shares: Shares) {
        for (cause, name) in [(Cause::SizeLimit, "size_limit"), (Cause::Disk, "disk"), (Cause::Others, "others")] {
            let over = if shares.cause == cause { shares.over_bytes } else { 0 };
            self.inner.short_bytes.with(&[name]).set(over as f64);
        }
    }

    /// Notes that a backup was made, for people who wonder when that was.
    pub fn note_backup(&self, made_at: Timestamp, bytes: u64) {
        let note = [made_at.as_millis().to_le_bytes(), bytes.to_le_bytes()].concat();
        if let Err(error) = self.state.meta().set(LAST_BACKUP_KEY, &note) {
            warn!(%error, "cannot note when a backup was made");
        }
    }

    /// Returns when the last backup of this box was made, and its bytes.
    #[must_use]
    pub fn last_backup(&self) -> Option<(Timestamp, u64)> {
        let note = self.state.meta().get(LAST_BACKUP_KEY).ok()??;
        let mut reader = ByteReader::new(&note);
        Some((Timestamp::from_millis(reader.i64().ok()?), reader.u64().ok()?))
    }

    /// Returns what began without its newest data at this start, as it kept the box from starting: safe mode. Those
    /// data are in quarantine. Empty after a start as it should be.
    #[must_use]
    pub fn left_out(&self) -> &[Part] {
        &self.inner.left_out
    }

    /// Returns how the reading of everything for its checksums' sake stands.
    #[must_use]
    pub fn scrub(&self) -> ScrubStats {
        self.inner.scrub.stats()
    }

    /// Returns what lies in quarantine, oldest first.
    #[must_use]
    pub fn quarantine(&self) -> Vec<inspect::Quarantined> {
        inspect::quarantine(&*self.disk, &self.inner.folder)
    }

    /// Returns what the parts of the data folder take on the disk, in a fixed order, and the disk's space. What is
    /// hard-linked into a snapshot counts once. Cost: looks at every file.
    #[must_use]
    pub fn usage(&self) -> (Vec<(Part, u64)>, Option<Space>) {
        let (disk, folder) = (&*self.disk, &self.inner.folder);
        let below = |names: &[&str]| -> u64 {
            let bytes_of = |name: &&str| {
                let path = folder.join(name);
                // One that is no folder has no list.
                let file = || disk.open(&path).and_then(|file| file.size()).unwrap_or(0);
                if disk.list(&path).is_ok() { disk::folder_bytes(disk, &path) } else { file() }
            };
            names.iter().map(bytes_of).sum()
        };
        let blocks = disk::folder_bytes(disk, &folder.join(files::METRICS).join("blocks"));
        let parts = vec![
            (Part::MetricBlocks, blocks),
            (Part::MetricLog, below(&[files::METRICS]).saturating_sub(blocks)),
            (Part::Logs, below(&[files::LOGS])),
            (Part::Journals, below(&[files::ALARMS, files::NOTICES, files::BUS])),
            (Part::State, below(&[files::STATE, files::STATE_WAL, files::LAST])),
            (Part::Snapshots, self.kept_snapshots().iter().map(|kept| kept.own_bytes).sum()),
            (Part::Quarantine, below(&[files::QUARANTINE])),
            (Part::Reserve, below(&[files::RESERVE])),
        ];
        (parts, disk.space(folder).ok())
    }

    /// Looks at the machine's clocks: follows the wall clock or stops believing it, and has provisional samples
    /// moved when the time is known. To be called every second or so.
    pub fn keep_time(&self) {
        self.inner.keeper.look(&self.db);
    }

    /// Takes an operator's word that the machine's wall clock is right now. Returns whether it was taken; not so
    /// if the disk could not keep it.
    #[must_use]
    pub fn confirm_time(&self) -> bool {
        self.inner.keeper.confirm(&self.db)
    }

    /// Syncs and closes the stores; appends are refused from now on.
    pub fn close(&self) {
        self.inner.scrub.stop();
        self.inner.keeper.save_now();
        self.db.close();
        // What could not be saved is in a WAL still; the stores have counted and told it.
        let _ = self.logs.close();
        self.last.flush();
        if let Err(error) = self.state.checkpoint() {
            tracing::warn!(%error, "cannot fold the state's WAL into its file");
        }
    }
}

/// Makes the folder and takes ownership of it.
fn own(disk: &dyn Disk, folder: &Path) -> Result<Lock> {
    // A folder that is there may still refuse new files, which the lock alone would not show.
    let probe = folder.join("writable").with_extension(&disk::TEMPORARY_SUFFIX[1..]);
    let made = disk.create_folder(folder).and_then(|()| disk::lock(disk, folder)).and_then(|lock| {
        disk.create(&probe)?;
        disk.remove_file(&probe)?;
        Ok(lock)
    });
    made.map_err(|source| match source {
        disk::Error::InUse { .. } => Error::InUse { folder: folder.to_owned() },
        source => Error::NotWritable { folder: folder.to_owned(), source },
    })
}
