//! Which time to go by: pure.
//!
//! The box's time is time since the machine's start plus an offset. While the wall clock is believed the offset
//! follows it; a step that nobody explains is not followed. So nobody in the house ever sees such a step: what
//! is collected meanwhile has the order and the distances of true time, and one number is missing to put it
//! in its place.
//!
//! | standing                   | box time        | ends when                                                   |
//! |----------------------------|-----------------|-------------------------------------------------------------|
//! | believed                   | the wall clock  | it steps by more than 10 s and is not synchronised then      |
//! | believed, was synchronised | the same; after a step the offset held | never: a held offset loses seconds a week |
//! | doubted                    | held offset     | synchronised, an operator says so, or what was wrong is gone |

use super::config::Trust;
use super::machine::Reading;
use crate::model::Timestamp;

const SECOND_NS: i64 = 1_000_000_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A clock that shows less was never set: the build's date, from the changelog when packaged.
pub const BUILT_AT: Timestamp = Timestamp::from_millis(built_at_s() * 1000);

/// A clock that shows more than this after the build is not believed without a witness.
pub const LIFETIME_MS: i64 = 15 * 365 * DAY_MS;

/// A start so long after the last stamp is not believed without a witness; a works holiday is shorter.
const AWAY_MS_MAX: i64 = 31 * DAY_MS;

/// The wall clock is followed without a witness over so much: what a clerk's or a cron job's correction is.
const CORRECTION_NS_MAX: i64 = 10 * SECOND_NS;

/// From here on a change is told of as a step.
const STEP_NS_MIN: i64 = SECOND_NS;

/// How often the guide is to be saved.
pub const SAVE_INTERVAL_MS: i64 = 600_000;

/// Stamps up to so long after the last save may have been given.
const RESERVED_MS: i64 = SAVE_INTERVAL_MS + 60_000;

/// Why the wall clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// It says nothing impossible.
    Plausible,
    /// A time server, or something like it, keeps it right; or did until a step.
    Synchronized,
    /// An operator said so.
    Operator,
    /// The settings say so.
    Always,
}

/// Why the wall clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It showed a time before Andon was built.
    BeforeBuild,
    /// It showed a time before the last stamp on disk.
    BeforeLastStamp,
    /// It showed a time long after the last stamp on disk.
    FarAhead,
    /// It was set, and is not synchronised.
    Stepped,
    /// The settings want it synchronised, and it is not.
    Unsynchronized,
}

/// Whether the wall clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Samples are stamped for good.
    Believed(Belief),
    /// Samples are provisional.
    Doubted(Doubt),
}

/// What a look at the clocks found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that others need to know.
    None,
    /// The wall clock was set, with a witness: the box's time moved by so many milliseconds.
    Followed(i64),
    /// The wall clock was set without a witness; the box's time goes on as it was. Milliseconds.
    Ignored(i64),
    /// The wall clock is no longer believed.
    Doubted(Doubt),
    /// The wall clock is believed again: what was stamped meanwhile moves by so many milliseconds.
    Found(i64),
}

/// A step of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how much, in milliseconds; forward is positive.
    pub by_ms: i64,
    /// When, in the box's time before it.
    pub at: Timestamp,
}

/// What survives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Which start of the machine it was, 0 if unknown.
    pub start_id: u128,
    /// Box time less time since the machine's start, in nanoseconds: holds for the same start.
    pub offset_ns: i64,
    /// Whether the wall clock was believed.
    pub standing: Standing,
    /// The box's time when saved: the last stamp on disk.
    pub stamp: Timestamp,
    /// See `Guide::retention_now`.
    pub retention_now: Timestamp,
}

/// The offset in force, and how far it is believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guide {
    trust: Trust,
    pub(super) standing: Standing,
    offset_ns: i64,
    /// How far the wall clock was ahead of the held offset at the last look.
    pub(super) ahead_ns: i64,
    /// By how much box time has been moved since the process started.
    pub(super) moved_ms: i64,
    pub(super) last_step: Option<Step>,
    pub(super) steps: u64,
    retention_ns: i64,
    looked_boot_ns: i64,
}

impl Guide {
    /// Begins, from what an earlier process saved if there was one.
    pub(super) fn start(
        trust: Trust,
        saved: Option<&Saved>,
        reading: &Reading,
        is_synchronized: bool,
        start_id: u128,
    ) -> Self {
        let mut guide = Guide {
            trust,
            standing: Standing::Believed(Belief::Plausible),
            offset_ns: reading.wall_ns.saturating_sub(reading.boot_ns),
            ahead_ns: 0,
            moved_ms: 0,
            last_step: None,
            steps: 0,
            retention_ns: i64::MAX,
            looked_boot_ns: reading.boot_ns,
        };
        match saved.filter(|s| s.start_id == start_id && start_id != 0) {
            Some(saved) => guide.go_on(saved, reading),
            None => guide.begin(saved, reading, is_synchronized),
        }
        let now_ns = guide.now_ns(reading);
        guide.retention_ns = saved.map_or(now_ns, |s| ns(s.retention_now).min(now_ns));
        guide
    }

    /// Another process on the same start of the machine: nothing about time has changed.
    fn go_on(&mut self, saved: &Saved, reading: &Reading) {
        self.offset_ns = saved.offset_ns;
        self.standing = match (self.trust, saved.standing) {
            (Trust::Synchronized, Standing::Believed(Belief::Plausible | Belief::Always)) => {
                Standing::Doubted(Doubt::Unsynchronized)
            }
            (_, standing) => standing,
        };
        if matches!(self.standing, Standing::Doubted(_)) {
            self.ahead_ns = self.ahead_of_offset(reading);
        }
    }

    /// The machine was started: its clock is what it is.
    fn begin(&mut self, saved: Option<&Saved>, reading: &Reading, is_synchronized: bool) {
        let wall_ms = reading.wall_ns.div_euclid(1_000_000);
        let last_ms = saved.map(|s| s.stamp.as_millis());
        let newest_ms = last_ms.map_or(BUILT_AT.as_millis() + LIFETIME_MS, |last| last.saturating_add(AWAY_MS_MAX));
        let doubt = if wall_ms < BUILT_AT.as_millis() {
            Some(Doubt::BeforeBuild)
        } else if last_ms.is_some_and(|last| wall_ms < last - CORRECTION_NS_MAX / 1_000_000) {
            Some(Doubt::BeforeLastStamp)
        } else if wall_ms > newest_ms {
            Some(Doubt::FarAhead)
        } else {
            None
        };
        self.standing = match (self.trust, doubt) {
            _ if is_synchronized => Standing::Believed(Belief::Synchronized),
            (Trust::Always, _) => Standing::Believed(Belief::Always),
            (_, Some(doubt)) => Standing::Doubted(doubt),
            (Trust::Synchronized, None) => Standing::Doubted(Doubt::Unsynchronized),
            (Trust::Plausible, None) => Standing::Believed(Belief::Plausible),
        };
        if matches!(self.standing, Standing::Doubted(doubt) if doubt != Doubt::Unsynchronized) {
            // Every stamp that may have been given lies before.
            let after_last_ms = last_ms.map_or(i64::MIN, |last| last.saturating_add(RESERVED_MS));
            let now_ns = after_last_ms.max(BUILT_AT.as_millis()).saturating_mul(1_000_000);
            self.offset_ns = now_ns.saturating_sub(reading.boot_ns);
            self.ahead_ns = self.ahead_of_offset(reading);
        }
    }

    /// Returns the box's time, in nanoseconds since 1970.
    pub(super) fn now_ns(&self, reading: &Reading) -> i64 {
        let is_near = self.ahead_of_offset(reading).abs() <= CORRECTION_NS_MAX;
        match self.standing {
            Standing::Believed(_) if is_near || self.trust == Trust::Always => reading.wall_ns,
            Standing::Believed(_) | Standing::Doubted(_) => self.held_ns(reading),
        }
    }

    /// Returns the time from which retention counts back: never later than the box's time, and not ahead by a
    /// jump that has no witness. Over such a jump it goes at twice the pace of time.
    pub(super) fn retention_now(&self, reading: &Reading) -> Timestamp {
        timestamp(self.retention_ns.min(self.now_ns(reading)))
    }

    pub(super) fn is_trusted(&self) -> bool {
        matches!(self.standing, Standing::Believed(_))
    }

    /// Looks at the clocks; returns what holds from now on, and what changed. To be called every second or so.
    pub(super) fn look(&self, reading: &Reading, is_synchronized: bool) -> (Self, Change) {
        let ahead_ns = self.ahead_of_offset(reading);
        let step_ns = ahead_ns.saturating_sub(self.ahead_ns);
        let has_stepped = step_ns.abs() >= STEP_NS_MIN;
        let mut next = Guide { ahead_ns, ..*self };
        if has_stepped {
            next.steps += 1;
            next.last_step = Some(Step { by_ms: step_ns / 1_000_000, at: timestamp(self.held_ns(reading)) });
        }
        let is_near = ahead_ns.abs() <= CORRECTION_NS_MAX;
        let change = match (self.trust, self.standing) {
            _ if is_synchronized => next.believe(Belief::Synchronized, reading),
            (Trust::Always, _) => next.believe(Belief::Always, reading),
            (_, Standing::Believed(belief)) if is_near => next.believe(belief, reading),
            (_, Standing::Believed(Belief::Synchronized)) if has_stepped => Change::Ignored(step_ns / 1_000_000),
            (_, Standing::Believed(Belief::Synchronized)) => Change::None,
            (_, Standing::Believed(_)) => {
                next.standing = Standing::Doubted(Doubt::Stepped);
                Change::Doubted(Doubt::Stepped)
            }
            (Trust::Plausible, Standing::Doubted(doubt)) if self.is_gone(doubt, reading) => {
                next.believe(Belief::Plausible, reading)
            }
            // Only an operator's word can have stood before the step.
            (Trust::Synchronized, Standing::Doubted(Doubt::Stepped)) if is_near => {
                next.believe(Belief::Operator, reading)
            }
            (_, Standing::Doubted(_)) => Change::None,
        };
        next.age(reading);
        (next, change)
    }

    /// Takes an operator's word that the wall clock is right now.
    pub(super) fn confirm(&self, reading: &Reading) -> (Self, Change) {
        let mut next = *self;
        let change = next.believe(Belief::Operator, reading);
        next.age(reading);
        (next, change)
    }

    /// Returns what the next process needs.
    pub(super) fn to_save(self, reading: &Reading, start_id: u128) -> Saved {
        Saved {
            start_id,
            offset_ns: self.offset_ns,
            standing: self.standing,
            stamp: timestamp(self.now_ns(reading)),
            retention_now: self.retention_now(reading),
        }
    }

    fn believe(&mut self, belief: Belief, reading: &Reading) -> Change {
        let offset_ns = reading.wall_ns.saturating_sub(reading.boot_ns);
        let moved_ms = offset_ns.saturating_sub(self.offset_ns) / 1_000_000;
        let was_trusted = self.is_trusted();
        self.standing = Standing::Believed(belief);
        self.offset_ns = offset_ns;
        self.ahead_ns = 0;
        if !was_trusted {
            self.moved_ms = self.moved_ms.saturating_add(moved_ms);
            Change::Found(moved_ms)
        } else if moved_ms.saturating_abs() > CORRECTION_NS_MAX / 1_000_000 {
            self.moved_ms = self.moved_ms.saturating_add(moved_ms);
            Change::Followed(moved_ms)
        } else {
            Change::None
        }
    }

    /// Tells whether what made the clock unbelievable is gone.
    fn is_gone(&self, doubt: Doubt, reading: &Reading) -> bool {
        let ahead_ns = self.ahead_of_offset(reading);
        let earliest_ns = -RESERVED_MS * 1_000_000 - CORRECTION_NS_MAX;
        let newest_ns = ns(BUILT_AT).saturating_add(LIFETIME_MS * 1_000_000);
        match doubt {
            Doubt::BeforeBuild | Doubt::BeforeLastStamp => {
                reading.wall_ns >= ns(BUILT_AT) && ahead_ns >= earliest_ns && reading.wall_ns <= newest_ns
            }
            Doubt::FarAhead => (earliest_ns..=AWAY_MS_MAX * 1_000_000).contains(&ahead_ns),
            Doubt::Stepped => ahead_ns.abs() <= CORRECTION_NS_MAX,
            Doubt::Unsynchronized => true,
        }
    }

    /// Lets retention's time go on.
    fn age(&mut self, reading: &Reading) {
        let passed_ns = reading.boot_ns.saturating_sub(self.looked_boot_ns).max(0);
        self.looked_boot_ns = reading.boot_ns;
        let now_ns = self.now_ns(reading);
        self.retention_ns = match self.standing {
            Standing::Believed(Belief::Synchronized | Belief::Operator | Belief::Always) => now_ns,
            Standing::Believed(Belief::Plausible) | Standing::Doubted(_) => {
                now_ns.min(self.retention_ns.saturating_add(passed_ns.saturating_mul(2)))
            }
        };
    }

    fn held_ns(&self, reading: &Reading) -> i64 {
        reading.boot_ns.saturating_add(self.offset_ns)
    }

    fn ahead_of_offset(&self, reading: &Reading) -> i64 {
        reading.wall_ns.saturating_sub(self.held_ns(reading))
    }
}

fn timestamp(ns: i64) -> Timestamp {
    Timestamp::from_millis(ns.div_euclid(1_000_000))
}

fn ns(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(1_000_000)
}

/// Returns the build's date in seconds: what the packager says, or a day before this line was written.
const fn built_at_s() -> i64 {
    /// 2025-01-01.
    const WRITTEN_AT_S: i64 = 1_735_689_600;
    match option_env!("SOURCE_DATE_EPOCH") {
        Some(text) => match i64::from_str_radix(text, 10) {
            Ok(seconds) => seconds,
            Err(_) => WRITTEN_AT_S,
        },
        None => WRITTEN_AT_S,
    }
}
