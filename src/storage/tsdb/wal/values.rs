//! # Format
//!
//! The values of a batch, each as the difference to what is known of its series. Part of version 2 of the
//! WAL's records; `batch.rs` says where it stands.
//!
//! What is known of a series is its *kind* (decimals with 0 to 15 places, or doubles), an integer (the
//! scaled decimal, or the bits of the double) and a *rate*: how many bits its differences took lately, in
//! 64ths. All of it is as it was at the end of the last *group* whose parity stands in the log
//! (`storage/disk/parity.rs`), so that a lost record which parity cannot bring back costs no other. Only
//! within a record, where a sample follows one of its own series, that one's is taken.
//!
//! Two streams of bits, lowest first. A series whose rate is below 20 is *quiet*: the first stream
//! has lengths of runs, the second the rest.
//!
//! | code          | bits                                                                                     |
//! |---------------|------------------------------------------------------------------------------------------|
//! | quiet         | stream 1: 0: the next 2^r samples of quiet series have not changed; 1, then r bits: so many have not, the one behind them has |
//! | difference    | zigzag, less 1 for a quiet series, as Rice code with the parameter of the rate           |
//! | escape        | 16 zeros, then 2 bits:                                                                   |
//! | 0: wide       | 6 bits: width less 1; the difference as zigzag                                           |
//! | 1: anew       | the sample in the clear; the series' kind is what it is                                  |
//! | 2: one-off    | 64 bits: a double; what is known of the series stays                                     |
//! | in the clear  | 5 bits: kind (0 to 15 decimals, 16 double); decimals: 6 bits: width less 1, then zigzag; doubles: 64 bits |
//!
//! A series of which nothing is known is in the clear without an escape; kind 17 there is a one-off.
//! The r of runs begins at 4; a full run adds 1, a change takes a half, see [`Runs`].
//!
//! Damage: what depends on a lost record is found by the batch's checksum.
//! Growth: other kinds and escapes are refused, which costs the record.

use super::bits::{BitReader, BitWriter};
use crate::storage::disk::{Malformed, unzigzag, zigzag};
use crate::storage::tsdb::column::{decimal_exponent, scale, unscale};

/// Of series with higher references nothing is remembered: bounds memory whatever a record says.
const REMEMBERED_MAX: u32 = 1 << 20;

const NOTHING: u8 = 0;
const DECIMAL: u8 = 1;
const DOUBLE: u8 = DECIMAL + 16;
const LOST: u8 = DOUBLE + 1;

/// In the clear: a double that the series is not remembered by.
const ONE_OFF: u8 = 17;

const ESCAPE_WIDE: u64 = 0;
const ESCAPE_ANEW: u64 = 1;
const ESCAPE_ONE_OFF: u64 = 2;

/// One bit of width in a rate; a rate moves an eighth of the way with each sample.
const RATE_ONE: u16 = 64;
const RATE_STEP: u16 = RATE_ONE / 8;

/// Below this a series hardly ever changes.
const QUIET_BELOW: u16 = 20;

/// Nothing learned yet.
const RATE_FRESH: u16 = u16::MAX;

/// Differences of a kind's first sample are taken to be so wide.
const K_FRESH_DECIMAL: u32 = 4;
const K_FRESH_DOUBLE: u32 = 48;

/// What a quiet series changes by is small mostly.
const K_QUIET: u32 = 1;

/// With differences wider than this it is looked whether a series would do better as short decimals.
const WIDE_BITS: u32 = 32;

/// Short decimals have so many places.
const PLACES_SHORT: u8 = 3;

/// What is known of a series.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    integer: i64,
    rate: u16,
    kind: u8,
}

/// Where a batch stands among the groups of its chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Its own.
    pub(super) current: u16,
    /// Parity stands in the log for all groups below.
    pub(super) covered: u16,
}

/// Two states of a series: the one to predict from, and the one that counts when its group is covered.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    base: i64,
    last: i64,
    base_rate: u16,
    last_rate: u16,
    base_kind: u8,
    last_kind: u8,
    /// The group that `last` comes from.
    group: u16,
}

impl Entry {
    /// Returns what a sample is predicted from.
    #[inline]
    fn enter(&mut self, group: Group) -> Known {
        if self.group < group.covered {
            self.base = self.last;
            self.base_rate = self.last_rate;
            self.base_kind = self.last_kind;
        }
        self.group = group.current;
        Known { integer: self.base, rate: self.base_rate, kind: self.base_kind }
    }

    fn last(&self) -> Known {
        Known { integer: self.last, rate: self.last_rate, kind: self.last_kind }
    }

    /// Takes in a difference, as zigzag.
    #[inline]
    fn learn(&mut self, integer: i64, kind: u8, difference: u64) {
        let width = width(difference);
        let fresh = self.last_rate == RATE_FRESH || self.last_kind != kind;
        self.last = integer;
        self.last_kind = kind;
        self.last_rate = if fresh { width * RATE_ONE } else { self.last_rate - self.last_rate / 8 + width * RATE_STEP };
    }

    fn begin(&mut self, integer: i64, kind: u8) {
        self.last = integer;
        self.last_kind = kind;
        self.last_rate = RATE_FRESH;
    }
}

fn width(difference: u64) -> u16 {
    // At most 64.
    u16::try_from(64 - difference.leading_zeros()).unwrap_or(64)
}

impl Known {
    fn is_quiet(&self) -> bool {
        self.rate < QUIET_BELOW
    }

    /// Returns the parameter of the Rice code. The mean of the widths lies about half a bit above the best.
    fn k(&self) -> u32 {
        match (self.rate, self.kind) {
            (RATE_FRESH, DOUBLE) => K_FRESH_DOUBLE,
            (RATE_FRESH, _) => K_FRESH_DECIMAL,
            (rate, _) => u32::from(rate.saturating_sub(RATE_ONE / 2) / RATE_ONE).min(60),
        }
    }
}

/// What is known of each series, by reference; writer and reader keep the same. Memory: 24 bytes a series.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: Vec<Entry>,
    spare: Entry,
}

impl Memory {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.spare = Entry::default();
    }

    /// Makes room for references up to this one.
    pub(super) fn reserve(&mut self, highest: u32) {
        let length = highest.min(REMEMBERED_MAX - 1) as usize + 1;
        if self.entries.len() < length {
            self.entries.resize(length, Entry::default());
        }
    }

    #[inline]
    fn entry(&mut self, series: u32) -> &mut Entry {
        if let Some(entry) = self.entries.get_mut(series as usize) {
            return entry;
        }
        self.spare = Entry::default();
        &mut self.spare
    }

    /// Notes that what is known of a series is wrong.
    pub(super) fn lose(&mut self, series: u32) {
        let entry = self.entry(series);
        entry.last_kind = LOST;
        entry.base_kind = LOST;
    }

    /// Tells whether what is known of a series is wrong.
    pub(super) fn is_lost(&mut self, series: u32) -> bool {
        self.entry(series).last_kind == LOST
    }
}

/// The parameter of run lengths, in halves.
#[derive(Debug, Clone, Copy)]
struct Runs(u32);

impl Default for Runs {
    fn default() -> Self {
        Runs(8)
    }
}

impl Runs {
    fn bits(self) -> u32 {
        self.0 / 2
    }

    fn full(&mut self) {
        self.0 = (self.0 + 2).min(32);
    }

    fn broken(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

/// Writes the values of one batch after another.
#[derive(Debug, Default)]
pub(super) struct ValueWriter {
    quiet: BitWriter,
    rest: BitWriter,
    runs: Runs,
    run: u64,
}

impl ValueWriter {
    /// Begins a batch.
    pub(super) fn begin(&mut self) {
        self.quiet.clear();
        self.rest.clear();
        (self.runs, self.run) = (Runs::default(), 0);
    }

    /// Appends a value. `follows`: the sample before was of the same series.
    #[inline]
    pub(super) fn push(&mut self, memory: &mut Memory, series: u32, group: Group, follows: bool, value: f64) {
        let entry = memory.entry(series);
        let mut known = entry.enter(group);
        if follows {
            known = entry.last();
        }
        let integer = match known.kind {
            NOTHING | LOST => return self.push_clear(entry, value),
            DOUBLE => value.is_finite().then(|| value.to_bits().cast_signed()),
            kind => scale(value, kind - DECIMAL),
        };
        let Some(integer) = integer else { return self.push_other(entry, known, value) };
        let difference = zigzag(integer.wrapping_sub(known.integer));
        if u32::from(width(difference)) > WIDE_BITS
            && known.kind > DECIMAL + PLACES_SHORT
            && scale(value, PLACES_SHORT).is_some()
        {
            return self.push_other(entry, known, value);
        }
        entry.learn(integer, known.kind, difference);
        let (is_coded, written) = match known.is_quiet() {
            true if difference == 0 => return self.unchanged(),
            true => {
                self.changed();
                (self.rest.rice(difference - 1, K_QUIET), difference)
            }
            false => (self.rest.rice(difference, known.k()), difference),
        };
        if !is_coded {
            let width = u32::from(width(written));
            self.rest.escape();
            self.rest.put(ESCAPE_WIDE | (u64::from(width - 1) << 2), 2 + 6);
            self.rest.put_wide(written, width);
        }
    }

    /// Appends a value that does not fit the kind of its series.
    #[cold]
    fn push_other(&mut self, entry: &mut Entry, known: Known, value: f64) {
        if known.is_quiet() {
            self.changed();
        }
        self.rest.escape();
        let is_special = !value.is_finite() || (value == 0.0 && value.is_sign_negative());
        if is_special {
            self.rest.put(ESCAPE_ONE_OFF, 2);
            return self.rest.put_wide(value.to_bits(), 64);
        }
        self.rest.put(ESCAPE_ANEW, 2);
        self.push_clear(entry, value);
    }

    #[cold]
    fn push_clear(&mut self, entry: &mut Entry, value: f64) {
        let is_special = !value.is_finite() || (value == 0.0 && value.is_sign_negative());
        if is_special {
            self.rest.put(u64::from(ONE_OFF), 5);
            return self.rest.put_wide(value.to_bits(), 64);
        }
        let decimal = decimal_exponent(value, 0).and_then(|places| Some((places, scale(value, places)?)));
        if let Some((places, integer)) = decimal {
            entry.begin(integer, DECIMAL + places);
            let bits = u32::from(width(zigzag(integer))).max(1);
            self.rest.put(u64::from(places) | (u64::from(bits - 1) << 5), 5 + 6);
            self.rest.put_wide(zigzag(integer), bits);
        } else {
            entry.begin(value.to_bits().cast_signed(), DOUBLE);
            self.rest.put(u64::from(DOUBLE - DECIMAL), 5);
            self.rest.put_wide(value.to_bits(), 64);
        }
    }

    fn unchanged(&mut self) {
        self.run += 1;
        if self.run == 1 << self.runs.bits() {
            self.quiet.put(0, 1);
            self.run = 0;
            self.runs.full();
        }
    }

    fn changed(&mut self) {
        self.quiet.put(1 | (self.run << 1), 1 + self.runs.bits());
        self.run = 0;
        self.runs.broken();
    }

    /// Ends a batch; returns both streams.
    pub(super) fn finish(&mut self) -> (&[u8], &[u8]) {
        if self.run > 0 {
            self.quiet.put(0, 1);
        }
        (self.quiet.finish(), self.rest.finish())
    }
}

/// Reads the values of a batch.
#[derive(Debug)]
pub(super) struct ValueReader<'a> {
    quiet: BitReader<'a>,
    rest: BitReader<'a>,
    runs: Runs,
    /// So many samples of quiet series have not changed from here on.
    run: u64,
    /// The one behind them has.
    then_changed: bool,
}

impl<'a> ValueReader<'a> {
    pub(super) fn new(quiet: &'a [u8], rest: &'a [u8]) -> Self {
        let (quiet, rest) = (BitReader::new(quiet), BitReader::new(rest));
        ValueReader { quiet, rest, runs: Runs::default(), run: 0, then_changed: false }
    }

    /// Reads the next value, see [`ValueWriter::push`].
    #[inline]
    pub(super) fn next(
        &mut self,
        memory: &mut Memory,
        series: u32,
        group: Group,
        follows: bool,
    ) -> Result<f64, Malformed> {
        let entry = memory.entry(series);
        let mut known = entry.enter(group);
        if follows {
            known = entry.last();
        }
        if matches!(known.kind, NOTHING | LOST) {
            return self.next_clear(entry);
        }
        let coded = if known.is_quiet() {
            if self.is_unchanged()? { Some(0) } else { self.rest.rice(K_QUIET)?.map(|less| less.wrapping_add(1)) }
        } else {
            self.rest.rice(known.k())?
        };
        let difference = match coded {
            Some(difference) => difference,
            None => match self.rest.take(2)? {
                ESCAPE_WIDE => self.take_sized()?,
                ESCAPE_ANEW => return self.next_clear(entry),
                ESCAPE_ONE_OFF => return Ok(f64::from_bits(self.rest.take_wide(64)?)),
                _ => return Err(Malformed { offset: 0, reason: "unknown escape of a value" }),
            },
        };
        let integer = known.integer.wrapping_add(unzigzag(difference));
        entry.learn(integer, known.kind, difference);
        Ok(value_of(integer, known.kind))
    }

    #[cold]
    fn next_clear(&mut self, entry: &mut Entry) -> Result<f64, Malformed> {
        let kind = u8::try_from(self.rest.take(5)?).unwrap_or(u8::MAX);
        if kind == ONE_OFF {
            return Ok(f64::from_bits(self.rest.take_wide(64)?));
        }
        let kind = kind + DECIMAL;
        let integer = match kind {
            DOUBLE => self.rest.take_wide(64)?.cast_signed(),
            DECIMAL..DOUBLE => unzigzag(self.take_sized()?),
            _ => return Err(Malformed { offset: 0, reason: "unknown kind of a value" }),
        };
        entry.begin(integer, kind);
        Ok(value_of(integer, kind))
    }

    /// Takes a number that has its width before it.
    fn take_sized(&mut self) -> Result<u64, Malformed> {
        let width = u32::try_from(self.rest.take(6)?).unwrap_or(0) + 1;
        self.rest.take_wide(width)
    }

    fn is_unchanged(&mut self) -> Result<bool, Malformed> {
        if self.run == 0 && !self.then_changed {
            if self.quiet.take(1)? == 0 {
                self.run = 1 << self.runs.bits();
                self.runs.full();
            } else {
                self.run = self.quiet.take(self.runs.bits())?;
                self.runs.broken();
                self.then_changed = true;
            }
        }
        if self.run > 0 {
            self.run -= 1;
            return Ok(true);
        }
        self.then_changed = false;
        Ok(false)
    }
}

fn value_of(integer: i64, kind: u8) -> f64 {
    if kind == DOUBLE { f64::from_bits(integer.cast_unsigned()) } else { unscale(integer, kind - DECIMAL) }
}
