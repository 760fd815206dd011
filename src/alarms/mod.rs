//! Alarms: what is kept of alerts for people.
//!
//! An alert becomes an alarm when it fires: active until its cause goes, cleared afterwards; somebody may
//! acknowledge it, and that falls away when it is raised again.
//!
//! ```text
//!   alert fires            cause goes, or not heard of any more
//! ------------> active ----------------------------------------> cleared --15 min--> only in the history
//!                 ^  \__ acknowledged by NAME                       |
//!                 \______________ alert fires again ________________/
//! ```
//!
//! Every transition goes to the journal first and is replayed at start, so a restart neither clears nor
//! raises anything; it is searched for what happened in the last 90 days, and what is made of it tells how well the
//! alarms serve people (`figures.rs`). Silences are kept beside the board: for a while nobody is told of what they
//! match. A silence that means one alarm alone is what people call shelving. One of priority 1 or 2 that was cleared
//! before anybody took note of it stays on the board for a day. Classes of alarms may begin and end late, so that what
//! chatters is one alarm (`delays.rs`). This room does not tell anybody: `notify` watches the
//! board and the silences.

#[cfg(test)]
mod alarms_test;
mod board;
mod calendar;
mod config;
mod delays;
mod error;
mod figures;
mod history;
mod instruments;
mod journal;
#[cfg(test)]
mod journal_test;
mod lifecycle;
mod silences;
mod snapshot;
mod when;
mod windows;
mod withheld;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, Alert, Labels, Matcher, Silence, Timestamp};
use crate::storage::disk::Disk;
use crate::storage::state::State;
use crate::task::{BlockingPool, OnPanic, Phase, Tasks};

use self::board::{Board, Command};
use self::figures::Counting;
use self::history::History;
use self::instruments::Instruments;
use self::journal::Journal;
use self::silences::Silences;
use self::windows::Windows;

pub use calendar::Calendar;
pub use config::Config;
pub use delays::Delay;
pub use error::{Error, Result};
pub use figures::{Actor, FLOOD_ABOVE, Figures, Flood, RATE_WINDOW, STALE_AFTER, floods};
pub use silences::NewSilence;
pub use snapshot::{Event, HistoryQuery, Snapshot, Transition};
pub use when::When;
pub use windows::Window;
pub use withheld::Inhibited;

/// What the room is handed at start.
#[derive(Debug)]
pub struct Deps {
    /// Where the journal lies.
    pub disk: Arc<dyn Disk>,
    /// Where the silences stand.
    pub state: State,
    /// The time.
    pub clock: Clock,
    /// Who spawns.
    pub tasks: Tasks,
    /// Where the room counts.
    pub registry: Registry,
    /// Alerts of the rules room; bound 64.
    pub alerts: mpsc::Receiver<Vec<Alert>>,
    /// Which alarms others mute, as the notify room finds; `None` until it has looked.
    pub inhibited: watch::Receiver<Option<Arc<Inhibited>>>,
}

/// Commands that wait for the board, at most; then callers wait.
const COMMANDS_MAX: usize = 256;

/// How often silences are made of maintenance windows: well before they begin.
const WINDOWS_INTERVAL: Duration = Duration::from_secs(60);

/// The longest name of a person.
const NAME_CHARS_MAX: usize = 100;

/// The longest note.
const NOTE_CHARS_MAX: usize = 2000;

/// Returns the matchers that mean the alarm with these labels alone.
fn exact(labels: &Labels) -> Vec<Matcher> {
    labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect()
}

/// The room's handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarms {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    board: watch::Receiver<Arc<Vec<Alarm>>>,
    commands: mpsc::Sender<Command>,
    history: History,
    silences: Silences,
    windows: Windows,
    pool: BlockingPool,
}

impl Alarms {
    /// Replays the journal and starts the board's task. Right afterwards [`Alarms::snapshot`] shows what was
    /// active when the process ended before.
    ///
    /// Must be called on the runtime. Cost: reads the whole journal, at most 128 MiB.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Alarms {
        let (snapshots, snapshot) = watch::channel(Arc::default());
        let (boards, board) = watch::channel(Arc::default());
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let silences = Silences::open(deps.state.clone(), deps.clock.clone(), deps.tasks.pool().clone());
        let planning = (config.time_zone.clone(), config.calendar.clone());
        let pool = deps.tasks.pool().clone();
        let windows = Windows::open(deps.state, deps.clock.clone(), pool, planning, silences.clone());
        let (journal, replayed) = match Journal::open(deps.disk, &config.folder) {
            Ok((journal, replayed)) => (Some(Arc::new(Mutex::new(journal))), Ok(replayed)),
            Err(error) => (None, Err(error.to_string())),
        };
        let history = History::new(journal);
        let pool = deps.tasks.pool().clone();
        let owner = Board::new(
            config,
            deps.clock,
            pool.clone(),
            Instruments::new(&deps.registry),
            replayed,
            history.clone(),
            (silences.clone(), deps.inhibited),
            snapshots,
            boards,
        );
        let tasks = deps.tasks.clone();
        deps.tasks.spawn("alarms board", OnPanic::StopBox, owner.run(tasks, deps.alerts, receiver));
        let (planned, end) = (windows.clone(), deps.tasks.token(Phase::Intake));
        deps.tasks.spawn("maintenance windows", OnPanic::EndTask, async move {
            loop {
                planned.make().await;
                tokio::select! {
                    () = end.cancelled() => return,
                    () = tokio::time::sleep(WINDOWS_INTERVAL) => {}
                }
            }
        });
        Alarms { snapshot, board, commands, history, silences, windows, pool }
    }

    /// Returns the board as of now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Returns the snapshots to wait on, for pages that follow the board.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Returns the current board for notify: active alarms, and cleared ones for 15 minutes.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Arc<Vec<Alarm>>> {
        self.board.clone()
    }

    /// Returns transitions, newest first.
    ///
    /// # Errors
    /// [`Error::Storage`] if the search broke off.
    pub async fn history(&self, query: &HistoryQuery) -> Result<Vec<Transition>> {
        let (history, query) = (self.history.clone(), query.clone());
        let limit = if query.limit == 0 { HistoryQuery::LIMIT } else { query.limit.min(HistoryQuery::LIMIT) };
        let searched = self.pool.run(move || {
            let mut found = Vec::new();
            history.visit(&query, &mut |transition| {
                found.push(transition);
                found.len() < limit
            });
            found
        });
        searched.await.map_err(|panicked| Error::Storage(panicked.to_string()))
    }

    /// Hands on transitions, newest first, until `visit` has enough. Blocking: reads the journal.
    pub fn visit_history(&self, query: &HistoryQuery, visit: &mut dyn FnMut(Transition) -> bool) {
        self.history.visit(query, visit);
    }

    /// Returns how well the alarms served people in a window. Blocking: reads the journal of that time; keeps times
    /// and names only, some 100 bytes for each alarm raised.
    #[must_use]
    pub fn figures(&self, start: Timestamp, end: Timestamp) -> Figures {
        let query = HistoryQuery { start: Some(start), end: Some(end), ..HistoryQuery::default() };
        let mut counting = Counting::default();
        self.history.visit(&query, &mut |transition| counting.take(&transition));
        counting.figures(start, end)
    }

    /// Notes that somebody takes care of an alarm; the answer comes after the journal has it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Text`], [`Error::Stopped`].
    pub async fn acknowledge(&self, fingerprint: u64, by: &str, note: &str) -> Result<Alarm> {
        let mut acknowledged = self.acknowledge_all(vec![fingerprint], by, note).await?;
        acknowledged.pop().ok_or(Error::NotFound(fingerprint))
    }

    /// Notes that somebody takes care of several alarms; the answer comes after the journal has it, with those that
    /// are on the board.
    ///
    /// # Errors
    /// [`Error::Text`], [`Error::Stopped`].
    pub async fn acknowledge_all(&self, fingerprints: Vec<u64>, by: &str, note: &str) -> Result<Vec<Alarm>> {
        let (by, note) = (by.trim().to_owned(), note.trim().to_owned());
        if by.is_empty() || by.chars().count() > NAME_CHARS_MAX {
            return Err(Error::Text { what: "the name", min: 1, max: NAME_CHARS_MAX });
        }
        if note.chars().count() > NOTE_CHARS_MAX {
            return Err(Error::Text { what: "the note", min: 0, max: NOTE_CHARS_MAX });
        }
        let (answer, answered) = oneshot::channel();
        let command = Command::Acknowledge { fingerprints, by, note, answer };
        self.commands.send(command).await.map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)
    }

    /// Puts an alarm aside until a time: it stays on the board, nobody is told of it. Kept as a silence for just its
    /// labels, so that it holds over restarts and [`Alarms::expire_silence`] takes it back.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`Alarms::silence`].
    pub async fn shelve(
        &self,
        fingerprint: u64,
        by: &str,
        note: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Silence> {
        let snapshot = self.snapshot();
        let alarm = snapshot.alarm(fingerprint).ok_or(Error::NotFound(fingerprint))?;
        let matchers = exact(&alarm.labels);
        let before = self.silences().iter().find(|s| s.ends_at > from && s.is_shelving(&alarm.labels)).cloned();
        self.silence(NewSilence {
            starts_at: before.as_ref().map_or(from, |s| s.starts_at),
            id: before.map(|s| s.id),
            matchers,
            ends_at: until,
            created_by: by.to_owned(),
            comment: note.to_owned(),
        })
        .await
    }

    /// Takes alerts of other programs, as they send them to an Alertmanager; the answer comes after the journal has
    /// what changed.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn hear(&self, alerts: Vec<Alert>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Hear(alerts, answer)).await.map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)
    }

    /// Returns the silences; those that are over for five days.
    #[must_use]
    pub fn silences(&self) -> Arc<Vec<Silence>> {
        self.silences.list()
    }

    /// Returns the silences to wait on, for notify.
    #[must_use]
    pub fn watch_silences(&self) -> watch::Receiver<Arc<Vec<Silence>>> {
        self.silences.watch()
    }

    /// Silences alarms for a while, or changes a silence; the answer comes after it is on disk. What cannot be
    /// changed in place is ended and set anew, under another id.
    ///
    /// # Errors
    /// [`Error::Text`], [`Error::Silence`], [`Error::NoSilence`], [`Error::Storage`].
    pub async fn silence(&self, new: NewSilence) -> Result<Silence> {
        self.silences.set(new).await
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// [`Error::NoSilence`]; [`Error::Silence`] if it is over already; [`Error::Storage`].
    pub async fn expire_silence(&self, id: &str) -> Result<Silence> {
        self.silences.expire(id).await
    }

    /// Returns maintenance that comes again.
    #[must_use]
    pub fn windows(&self) -> Arc<Vec<Window>> {
        self.windows.list()
    }

    /// Returns the silence that a window has or will have next.
    #[must_use]
    pub fn next_of(&self, window: &Window) -> Option<Silence> {
        self.windows.next(window)
    }

    /// Plans maintenance that comes again, in plain words; its `id` is given here.
    ///
    /// # Errors
    /// [`Error::Text`], [`Error::Silence`], [`Error::Storage`].
    pub async fn plan(&self, window: Window) -> Result<Window> {
        self.windows.plan(window).await
    }

    /// Ends maintenance that comes again; what it silences now comes back.
    ///
    /// # Errors
    /// [`Error::NoSilence`], [`Error::Storage`].
    pub async fn forget_window(&self, id: &str) -> Result<()> {
        self.windows.forget(id).await
    }

    /// Returns when shifts end, and the holidays.
    #[must_use]
    pub fn calendar(&self) -> Arc<Calendar> {
        self.windows.calendar()
    }

    /// Reads times in plain words: `2h`, `until the end of the shift`, `every Saturday 06:00 to 14:00`.
    ///
    /// # Errors
    /// What is not understood, in a sentence that says what could be written.
    pub fn when(&self, words: &str, now: Timestamp) -> std::result::Result<When, String> {
        self.windows.when(words, now)
    }

    /// Takes new settings; the folder and the time zone stay what they were.
    pub fn reload(&self, config: Config) {
        self.windows.set_calendar(config.calendar.clone());
        // Full: 256 people acknowledge at this moment; the next reload counts.
        if self.commands.try_send(Command::Reload(config)).is_err() {
            tracing::warn!("the alarms room is too busy to take new settings");
        }
    }
}

/// Door for fuzzers: the first byte is the record's kind, the rest its payload.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let disk = crate::fuzzing::as_record(*kind, payload);
    let opened = journal::Journal::open(disk, std::path::Path::new("/log"));
    assert!(opened.is_ok(), "bug: a start always succeeds");
}
