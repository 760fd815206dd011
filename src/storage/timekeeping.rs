//! Looks after the clock: what is believed survives the process, and provisional samples move when true time
//! is found.
//!
//! # Format
//!
//! The file `clock` says what the clock was like when last saved. Version 1, little-endian, replaced whole.
//!
//! | field     | bytes | meaning                                                                             |
//! |-----------|-------|-------------------------------------------------------------------------------------|
//! | magic     | 8     | `ANDONCLK`                                                                          |
//! | version   | 1     | 1                                                                                   |
//! | start     | 16    | which start of the machine it was; 0 if unknown                                     |
//! | offset    | 8     | box time less time since that start, nanoseconds, signed                            |
//! | standing  | 1     | 0 plausible, 1 synchronised, 2 operator, 3 always; 16 before the build, 17 before the last stamp, 18 far ahead, 19 stepped, 20 unsynchronised |
//! | stamp     | 8     | the box's time, milliseconds: the last stamp on disk                                |
//! | retention | 8     | from when retention counts back, milliseconds                                       |
//! | moves     | 1     | 1 if provisional samples are being moved, else 0                                    |
//! | shift     | 8     | by how much, milliseconds; 0 if they are not                                        |
//! | checksum  | 4     | CRC-32C of all before it                                                            |
//!
//! Damage: a file that does not check out is as one that is not there; the clock is then judged without a last
//! stamp. Growth: a new field raises the version.
//!
//! Order: the file says by how much samples move *before* the first of them is moved, and that none is moved
//! any more only when the last is safe. So a crash in between moves the same samples by the same amount to
//! where they are already, and the store takes each once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use super::disk::{self, ByteReader, ByteWriter, Disk, Malformed};
use super::tsdb::Db;
use crate::clock::{Belief, Change, Clock, Doubt, Guide, SAVE_INTERVAL_MS, Saved, Standing, Trust};
use crate::instrument::{Counter, Gauge, GaugeFamily, Registry};
use crate::model::Timestamp;

const MAGIC: &[u8; 8] = b"ANDONCLK";
const VERSION: u8 = 1;
const FILE_BYTES: usize = 63;

/// What the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    clock: Saved,
    /// By how much provisional samples are being moved.
    shift_ms: Option<i64>,
}

/// Looks after the clock of a data folder.
#[derive(Debug)]
pub(super) struct Timekeeper {
    clock: Clock,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: Mutex<State>,
    instruments: Instruments,
}

#[derive(Debug)]
struct State {
    shift_ms: Option<i64>,
    /// By the clock's `elapsed`.
    saved_at: Duration,
}

#[derive(Debug)]
struct Instruments {
    trusted: Gauge,
    synchronized: Gauge,
    ahead: Gauge,
    step: Gauge,
    steps: Counter,
    moved: Counter,
    standing: GaugeFamily,
}

impl Instruments {
    fn new(registry: &Registry) -> Self {
        Instruments {
            trusted: registry.gauge("andon_clock_trusted", "1 if the system's clock is believed, else 0."),
            synchronized: registry
                .gauge("andon_clock_synchronized", "1 if a time server or the like keeps the system's clock right."),
            ahead: registry.gauge(
                "andon_clock_ahead_seconds",
                "How far the system's clock is ahead of the box's time; not 0 after a step that is not followed.",
            ),
            step: registry.gauge("andon_clock_step_seconds", "The last step of the system's clock."),
            steps: registry.counter("andon_clock_steps_total", "Steps of the system's clock by a second or more."),
            moved: registry.counter(
                "andon_clock_corrections_total",
                "How often true time was found and provisional samples were moved to it.",
            ),
            standing: registry.gauges(
                "andon_clock_standing",
                "1 for why the system's clock is believed or not, 0 for all else.",
                &["reason"],
            ),
        }
    }
}

impl Timekeeper {
    /// Begins to look after `clock`. The file says how it was when last saved.
    pub(super) fn open(trust: Trust, clock: Clock, disk: Arc<dyn Disk>, folder: &Path, registry: &Registry) -> Self {
        let path = folder.join("clock");
        let kept = read(&*disk, &path);
        clock.begin(trust, kept.as_ref().map(|k| &k.clock));
        let state = State { shift_ms: kept.and_then(|k| k.shift_ms), saved_at: clock.elapsed() };
        let keeper =
            Timekeeper { clock, disk, path, state: Mutex::new(state), instruments: Instruments::new(registry) };
        keeper.tell_start();
        keeper.save_now();
        keeper.show();
        keeper
    }

    /// Returns by how much provisional samples were being moved when the last process ended.
    pub(super) fn shift_ms(&self) -> Option<i64> {
        self.lock().shift_ms
    }

    /// Looks at the clocks and carries out what follows. To be called every second or so.
    pub(super) fn look(&self, db: &Db) {
        let mut state = self.lock();
        if let Some((guide, change)) = self.clock.look() {
            self.take(&mut state, guide, change, db);
        }
        if state.shift_ms.is_some() && !db.has_provisional() {
            state.shift_ms = None;
            self.save(&mut state, None);
            info!("provisional samples are in their place");
        }
        let age = self.clock.elapsed().saturating_sub(state.saved_at);
        if age >= Duration::from_millis(SAVE_INTERVAL_MS.unsigned_abs()) {
            self.save(&mut state, None);
        }
        drop(state);
        self.show();
    }

    /// Takes an operator's word that the system's clock is right now. Returns whether it could be kept.
    pub(super) fn confirm(&self, db: &Db) -> bool {
        let mut state = self.lock();
        let Some((guide, change)) = self.clock.confirm() else { return false };
        info!("an operator says that the system's clock is right");
        let is_taken = self.take(&mut state, guide, change, db);
        drop(state);
        self.show();
        is_taken
    }

    /// Saves how the clock is, at the end.
    pub(super) fn save_now(&self) {
        self.save(&mut self.lock(), None);
    }

    /// Lets `guide` hold from now on. Returns whether it does.
    fn take(&self, state: &mut State, guide: Guide, change: Change, db: &Db) -> bool {
        let seconds = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        match change {
            Change::None => self.clock.commit(guide),
            Change::Followed(by_ms) => {
                warn!(by = ?seconds(by_ms), is_back = by_ms < 0, "the system's clock was set, and is followed");
                self.clock.commit(guide);
                self.save(state, None);
            }
            Change::Ignored(by_ms) => {
                warn!(by = ?seconds(by_ms), is_back = by_ms < 0, "the system's clock was set; it is not followed");
                self.clock.commit(guide);
                self.save(state, None);
            }
            // The lane of before is not empty yet. Until it is the step is not followed either.
            Change::Doubted(_) if db.has_provisional() => return false,
            Change::Doubted(doubt) => {
                warn!(?doubt, "the system's clock is not believed: samples are provisional from now on");
                self.save(state, Some(&guide));
                self.clock.commit(guide);
            }
            Change::Found(by_ms) => {
                state.shift_ms = Some(by_ms);
                if !self.save(state, Some(&guide)) {
                    state.shift_ms = None;
                    return false;
                }
                warn!(by = ?seconds(by_ms), is_back = by_ms < 0, "the time is known: provisional samples are moved");
                db.move_provisional(by_ms, || self.clock.commit(guide));
                self.instruments.moved.inc();
            }
        }
        true
    }

    /// Saves what holds, or what will hold. Returns whether the disk took it.
    fn save(&self, state: &mut State, next: Option<&Guide>) -> bool {
        let Some(guide) = next.copied().or_else(|| self.clock.guide()) else { return true };
        let kept = Kept { clock: self.clock.to_save(&guide), shift_ms: state.shift_ms };
        state.saved_at = self.clock.elapsed();
        let saved = disk::replace(&*self.disk, &self.path, &encode(&kept));
        if let Err(error) = &saved {
            error!(%error, "cannot save how the clock stands");
        }
        saved.is_ok()
    }

    fn tell_start(&self) {
        let Some(state) = self.clock.state() else { return };
        match state.standing {
            Standing::Believed(belief) => info!(?belief, "the system's clock is believed"),
            Standing::Doubted(doubt) => {
                let (system, box_time) = (state.wall.to_rfc3339(), self.clock.now().to_rfc3339());
                warn!(?doubt, %system, %box_time, "the system's clock is not believed: samples are provisional");
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds of a clock are far below 2^53 milliseconds")]
    fn show(&self) {
        let Some(state) = self.clock.state() else { return };
        let i = &self.instruments;
        i.trusted.set(f64::from(u8::from(matches!(state.standing, Standing::Believed(_)))));
        i.synchronized.set(f64::from(u8::from(state.is_synchronized)));
        i.ahead.set(state.ahead_ms as f64 / 1000.0);
        i.step.set(state.last_step.map_or(0.0, |step| step.by_ms as f64 / 1000.0));
        i.steps.add(state.steps.saturating_sub(i.steps.get()));
        for (standing, _, word) in STANDINGS {
            i.standing.with(&[word]).set(f64::from(u8::from(standing == state.standing)));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standings with their codes in the file and their words in metrics.
const STANDINGS: [(Standing, u8, &str); 9] = [
    (Standing::Believed(Belief::Plausible), 0, "plausible"),
    (Standing::Believed(Belief::Synchronized), 1, "synchronized"),
    (Standing::Believed(Belief::Operator), 2, "operator"),
    (Standing::Believed(Belief::Always), 3, "always"),
    (Standing::Doubted(Doubt::BeforeBuild), 16, "before_build"),
    (Standing::Doubted(Doubt::BeforeLastStamp), 17, "before_last_stamp"),
    (Standing::Doubted(Doubt::FarAhead), 18, "far_ahead"),
    (Standing::Doubted(Doubt::Stepped), 19, "stepped"),
    (Standing::Doubted(Doubt::Unsynchronized), 20, "unsynchronized"),
];

fn read(disk: &dyn Disk, path: &Path) -> Option<Kept> {
    let bytes = match disk.open(path).and_then(|file| file.read_exact_at(0, FILE_BYTES)) {
        Ok(bytes) => bytes,
        Err(error) => {
            if disk.exists(path) {
                warn!(%error, "cannot read how the clock stood");
            }
            return None;
        }
    };
    decode(&bytes).map_err(|error| warn!(%error, "what was kept of the clock does not check out")).ok()
}

fn encode(kept: &Kept) -> Vec<u8> {
    let mut w = ByteWriter::default();
    w.raw(MAGIC);
    w.u8(VERSION);
    w.raw(&kept.clock.start_id.to_le_bytes());
    w.i64(kept.clock.offset_ns);
    w.u8(STANDINGS.iter().find(|(s, ..)| *s == kept.clock.standing).map_or(0, |(_, code, _)| *code));
    w.i64(kept.clock.stamp.as_millis());
    w.i64(kept.clock.retention_now.as_millis());
    w.u8(u8::from(kept.shift_ms.is_some()));
    w.i64(kept.shift_ms.unwrap_or(0));
    let checksum = disk::crc32c(w.as_slice());
    w.u32(checksum);
    w.into_bytes()
}

fn decode(bytes: &[u8]) -> Result<Kept, Malformed> {
    let mut r = ByteReader::new(bytes);
    if r.raw(8)? != MAGIC || r.u8()? != VERSION {
        return Err(r.malformed("not the clock's file, or of another version"));
    }
    let start_id = r.raw(16)?.iter().rev().fold(0, |id, byte| id << 8 | u128::from(*byte));
    let offset_ns = r.i64()?;
    let code = r.u8()?;
    let standing = STANDINGS.iter().find(|(_, known, _)| *known == code);
    let standing = standing.map(|(s, ..)| *s).ok_or_else(|| r.malformed("unknown standing"))?;
    let (stamp, retention_now) = (Timestamp::from_millis(r.i64()?), Timestamp::from_millis(r.i64()?));
    let shift_ms = match (r.u8()?, r.i64()?) {
        (0, 0) => None,
        (1, shift_ms) => Some(shift_ms),
        _ => return Err(r.malformed("neither moving nor not")),
    };
    let checked = r.position();
    if r.u32()? != disk::crc32c(bytes.get(..checked).unwrap_or_default()) {
        return Err(r.malformed("checksum"));
    }
    r.end()?;
    Ok(Kept { clock: Saved { start_id, offset_ns, standing, stamp, retention_now }, shift_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::dump;

    #[test]
    fn the_file_of_version_1() {
        let bytes = dump::bytes(include_str!("../../tests/formats/timekeeping_1.hex"));
        let kept = Kept {
            clock: Saved {
                start_id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
                offset_ns: -2,
                standing: Standing::Doubted(Doubt::Stepped),
                stamp: Timestamp::from_millis(1_780_300_000_000),
                retention_now: Timestamp::from_millis(1_780_200_000_000),
            },
            shift_ms: Some(-86_400_000),
        };
        let written = encode(&kept);
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        assert_eq!(hex(&written), hex(&bytes));
        assert_eq!((written.len(), decode(&bytes).unwrap()), (FILE_BYTES, kept));
        for (standing, ..) in STANDINGS {
            let kept = Kept { clock: Saved { standing, ..kept.clock }, shift_ms: None };
            assert_eq!(decode(&encode(&kept)).unwrap(), kept);
        }
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x10;
            assert!(decode(&damaged).is_err(), "flipped in byte {i}");
            assert!(decode(&bytes[..i]).is_err());
        }
    }
}
