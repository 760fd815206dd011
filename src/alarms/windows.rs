//! Maintenance that comes again: each time becomes an ordinary silence, a day before it begins.
//!
//! A silence that was made of a window is named by window and time, so that it is made once, and one that somebody ended
//! is not made again. The list stands as one fact in `storage/state`, written before the answer.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tracing::{error, warn};

use super::calendar::Calendar;
use super::error::{Error, Result};
use super::silences::{Silences, uuid};
use super::when::{When, parse_when};
use super::{NAME_CHARS_MAX, NOTE_CHARS_MAX};
use crate::clock::Clock;
use crate::model::{Labels, Matcher, Silence, Timestamp, parse_matchers};
use crate::storage::state::State;
use crate::task::BlockingPool;

/// The fact that holds the list, as JSON.
const FACT: &str = "maintenance-windows";

/// The most windows.
const WINDOWS_MAX: usize = 200;

/// A silence is made so long before it begins.
const AHEAD: Duration = Duration::from_secs(86_400);

/// Maintenance that comes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Names it: a UUID.
    pub id: String,
    /// Which alarms, as matchers are written.
    pub matchers: String,
    /// When, in plain words (`when.rs`).
    pub words: String,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// The windows with what changes them; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    state: State,
    clock: Clock,
    pool: BlockingPool,
    zone: jiff::tz::TimeZone,
    calendar: Arc<watch::Sender<Arc<Calendar>>>,
    silences: Silences,
    changing: Arc<Mutex<()>>,
    list: Arc<watch::Sender<Arc<Vec<Window>>>>,
}

impl Windows {
    /// Reads what is planned; what cannot be read is not planned.
    pub(super) fn open(
        state: State,
        clock: Clock,
        pool: BlockingPool,
        (zone, calendar): (jiff::tz::TimeZone, Arc<Calendar>),
        silences: Silences,
    ) -> Self {
        let found = state.meta().get(FACT).map_err(|e| e.to_string());
        let found = found.and_then(|text| match text {
            Some(text) => serde_json::from_slice(&text).map_err(|e| e.to_string()),
            None => Ok(Vec::new()),
        });
        let found = found.unwrap_or_else(|error| {
            error!(%error, "cannot read the maintenance windows; none is planned");
            Vec::new()
        });
        let list = Arc::new(watch::channel(Arc::new(found)).0);
        let calendar = Arc::new(watch::channel(calendar).0);
        Windows { state, clock, pool, zone, calendar, silences, changing: Arc::default(), list }
    }

    pub(super) fn calendar(&self) -> Arc<Calendar> {
        self.calendar.borrow().clone()
    }

    pub(super) fn set_calendar(&self, calendar: Arc<Calendar>) {
        self.calendar.send_replace(calendar);
    }

    /// Reads times in plain words.
    pub(super) fn when(&self, words: &str, now: Timestamp) -> std::result::Result<When, String> {
        parse_when(words, now, &self.zone, &self.calendar())
    }

    pub(super) fn list(&self) -> Arc<Vec<Window>> {
        self.list.borrow().clone()
    }

    /// Plans maintenance that comes again.
    pub(super) async fn plan(&self, mut window: Window) -> Result<Window> {
        let _changing = self.changing.lock().await;
        window.created_by = window.created_by.trim().to_owned();
        if window.created_by.is_empty() || window.created_by.chars().count() > NAME_CHARS_MAX {
            return Err(Error::Text { what: "the name", min: 1, max: NAME_CHARS_MAX });
        }
        if window.comment.chars().count() > NOTE_CHARS_MAX || window.words.chars().count() > NOTE_CHARS_MAX {
            return Err(Error::Text { what: "the comment", min: 0, max: NOTE_CHARS_MAX });
        }
        let matchers = parse_matchers(&window.matchers).map_err(|e| Error::Silence(e.to_string()))?;
        if matchers.is_empty() || matchers.iter().all(Matcher::matches_empty) {
            return Err(Error::Silence("at least one matcher must not match the empty string".to_owned()));
        }
        match self.when(&window.words, self.clock.now()).map_err(Error::Silence)? {
            When::Every(weekly) if weekly.next(self.clock.now(), &self.zone).is_some() => {}
            When::Every(_) => return Err(Error::Silence("there is no such time within a year".to_owned())),
            When::Once { .. } => return Err(Error::Silence("that is not every week".to_owned())),
        }
        let list = self.list();
        if list.len() >= WINDOWS_MAX {
            return Err(Error::Silence(format!("there are {WINDOWS_MAX} maintenance windows already")));
        }
        window.id = uuid(rand::rng().random());
        self.save(list.iter().cloned().chain([window.clone()]).collect()).await?;
        self.make().await;
        Ok(window)
    }

    /// Ends a window for good; what it silences now comes back.
    pub(super) async fn forget(&self, id: &str) -> Result<()> {
        let _changing = self.changing.lock().await;
        let list = self.list();
        let window = list.iter().find(|w| w.id == id).ok_or_else(|| Error::NoSilence(id.to_owned()))?;
        self.save(list.iter().filter(|w| w.id != id).cloned().collect()).await?;
        if let Some(silence) = self.next(window) {
            // It may be over, or never have been made.
            let _ = self.silences.expire(&silence.id).await;
        }
        Ok(())
    }

    async fn save(&self, list: Vec<Window>) -> Result<()> {
        let text = serde_json::to_vec(&list).map_err(|e| Error::Storage(e.to_string()))?;
        let state = self.state.clone();
        match self.pool.run(move || state.meta().set(FACT, &text)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Error::Storage(error.to_string())),
            Err(panicked) => return Err(Error::Storage(panicked.to_string())),
        }
        self.list.send_replace(Arc::new(list));
        Ok(())
    }

    /// Makes silences of all times that begin within a day.
    pub(super) async fn make(&self) {
        let now = self.clock.now();
        for window in self.list().iter() {
            let Some(silence) = self.next(window) else { continue };
            let is_due = silence.starts_at <= now + AHEAD;
            if is_due
                && !self.silences.knows(&silence.id)
                && let Err(error) = self.silences.put(silence).await
            {
                warn!(%error, "cannot silence alarms for maintenance; trying again");
            }
        }
    }

    /// Returns the silence of the time that goes on, or the next.
    pub(super) fn next(&self, window: &Window) -> Option<Silence> {
        let now = self.clock.now();
        let matchers = parse_matchers(&window.matchers).ok()?;
        let When::Every(weekly) = self.when(&window.words, now).ok()? else { return None };
        let (starts_at, ends_at) = weekly.next(now, &self.zone)?;
        Some(Silence {
            id: name(&window.id, starts_at),
            matchers,
            starts_at,
            ends_at,
            updated_at: now,
            created_by: window.created_by.clone(),
            comment: format!("{} ({})", window.comment, window.words),
        })
    }
}

/// Names the silence of a window and a time.
fn name(window: &str, starts_at: Timestamp) -> String {
    let hash = |salt: &str| {
        let start = starts_at.as_millis().to_string();
        u128::from(Labels::from_pairs([("window", window), ("start", &start), ("salt", salt)]).stable_hash())
    };
    uuid(hash("a") << 64 | hash("b"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wednesday, 10:30 UTC.
    fn wednesday() -> Timestamp {
        Timestamp::parse("2026-11-25T10:30:00Z").unwrap()
    }

    fn open(state: &State, clock: &Clock) -> Windows {
        let tasks = crate::task::Tasks::new(1);
        let pool = tasks.pool().clone();
        let silences = Silences::open(state.clone(), clock.clone(), pool.clone());
        Windows::open(state.clone(), clock.clone(), pool, (jiff::tz::TimeZone::UTC, Arc::default()), silences)
    }

    fn window(words: &str) -> Window {
        Window {
            id: String::new(),
            matchers: "line=\"7\"".to_owned(),
            words: words.to_owned(),
            created_by: "Eva".to_owned(),
            comment: "cleaning".to_owned(),
        }
    }

    #[tokio::test]
    async fn each_time_becomes_a_silence_once_also_after_a_restart() {
        let clock = Clock::hand_set(wednesday());
        let state = State::in_memory_at(clock.clone());
        let windows = open(&state, &clock);
        let planned = windows.plan(window("every Friday 06:00 to 14:00")).await.unwrap();
        assert_eq!(windows.silences.list().len(), 0, "two days ahead");
        clock.advance(Duration::from_secs(86_400));
        windows.make().await;
        windows.make().await;
        let made = windows.silences.list();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].starts_at.to_rfc3339(), "2026-11-27T06:00:00.000Z");
        assert_eq!(made[0].comment, "cleaning (every Friday 06:00 to 14:00)");

        let windows = open(&state, &clock);
        assert_eq!(*windows.list(), vec![planned.clone()]);
        clock.advance(Duration::from_secs(86_400));
        windows.silences.expire(&made[0].id).await.unwrap();
        windows.make().await;
        let ended = windows.silences.list();
        assert!(ended.len() == 1 && ended[0].ends_at <= clock.now(), "what somebody ended is not made again");

        windows.forget(&planned.id).await.unwrap();
        assert_eq!(*windows.list(), vec![]);
        assert!(windows.forget(&planned.id).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_come_again_or_hides_everything_is_refused() {
        let clock = Clock::hand_set(wednesday());
        let windows = open(&State::in_memory_at(clock.clone()), &clock);
        for bad in [
            window("2h"),
            window("every day"),
            Window { matchers: "line=~\".*\"".to_owned(), ..window("every day 06:00 to 07:00") },
            Window { created_by: " ".to_owned(), ..window("every day 06:00 to 07:00") },
        ] {
            assert!(windows.plan(bad.clone()).await.is_err(), "{bad:?}");
        }
    }
}
