//! Silences: set, changed, ended. What is set is on disk before the answer.
//!
//! Source: Alertmanager, `silence/silence.go`: a silence that holds may get another end and comment; any other
//! change ends it and sets a new one.

use std::sync::Arc;

use rand::RngExt;
use tokio::sync::{Mutex, watch};
use tracing::error;

use super::error::{Error, Result};
use super::{NAME_CHARS_MAX, NOTE_CHARS_MAX};
use crate::clock::Clock;
use crate::model::{Matcher, Silence, SilenceState, Timestamp};
use crate::storage::state::State;
use crate::task::BlockingPool;

/// How long a silence that is over stays known.
const EXPIRED_KEPT: std::time::Duration = std::time::Duration::from_secs(5 * 86_400);

/// The most silences, those that are over included.
const SILENCES_MAX: usize = 10_000;

/// The most matchers of one.
const MATCHERS_MAX: usize = 100;

/// What somebody wants silenced.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSilence {
    /// The one to change, if there is one already.
    pub id: Option<String>,
    /// Which alarms.
    pub matchers: Vec<Matcher>,
    /// From when; a time before now is now.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// The silences with what changes them; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Silences {
    state: State,
    clock: Clock,
    pool: BlockingPool,
    /// Held while one is changed.
    changing: Arc<Mutex<()>>,
    list: Arc<watch::Sender<Arc<Vec<Silence>>>>,
}

impl Silences {
    /// Reads what is set. If that fails, nothing is silenced: rather told once too often than not at all.
    pub(super) fn open(state: State, clock: Clock, pool: BlockingPool) -> Self {
        let found = state.silences().list().unwrap_or_else(|error| {
            error!(%error, "cannot read the silences; nothing is silenced");
            Vec::new()
        });
        let list = Arc::new(watch::channel(Arc::new(found)).0);
        Silences { state, clock, pool, changing: Arc::default(), list }
    }

    pub(super) fn list(&self) -> Arc<Vec<Silence>> {
        self.list.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Vec<Silence>>> {
        self.list.subscribe()
    }

    /// Sets a silence or changes one; returns it as it stands then.
    pub(super) async fn set(&self, new: NewSilence) -> Result<Silence> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let list = self.list();
        let changed = set(&list, new, now, uuid(rand::rng().random()))?;
        let is_more = changed.iter().any(|c| list.iter().all(|s| s.id != c.id));
        if is_more && list.iter().filter(|s| !is_forgotten(s, now)).count() >= SILENCES_MAX {
            return Err(Error::Silence(format!(
                "there are {SILENCES_MAX} silences already; let some of them end first"
            )));
        }
        let result = changed.last().cloned();
        self.save(changed, now).await?;
        result.ok_or(Error::Stopped)
    }

    /// Tells whether a silence of this name is known, be it over.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.list().iter().any(|s| s.id == id)
    }

    /// Sets a silence as it is.
    pub(super) async fn put(&self, silence: Silence) -> Result<()> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        if self.list().iter().filter(|s| !is_forgotten(s, now)).count() >= SILENCES_MAX {
            return Err(Error::Silence(format!("there are {SILENCES_MAX} silences already")));
        }
        self.save(vec![silence], now).await
    }

    /// Ends a silence now; one that did not begin yet never holds.
    pub(super) async fn expire(&self, id: &str) -> Result<Silence> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let list = self.list();
        let found = list.iter().find(|s| s.id == id).ok_or_else(|| Error::NoSilence(id.to_owned()))?;
        let ended = expired(found, now).ok_or_else(|| Error::Silence(format!("silence {id} is over already")))?;
        self.save(vec![ended.clone()], now).await?;
        Ok(ended)
    }

    /// Writes what changed, then shows it.
    async fn save(&self, changed: Vec<Silence>, now: Timestamp) -> Result<()> {
        let state = self.state.clone();
        let to_write = changed.clone();
        let write = move || {
            let silences = state.silences();
            silences.prune(now - EXPIRED_KEPT)?;
            silences.save(&to_write)
        };
        match self.pool.run(write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Error::Storage(error.to_string())),
            Err(panicked) => return Err(Error::Storage(panicked.to_string())),
        }
        self.list.send_modify(|list| {
            let others = list.iter().filter(|s| !is_forgotten(s, now) && changed.iter().all(|c| c.id != s.id));
            *list = Arc::new(others.chain(&changed).cloned().collect());
        });
        Ok(())
    }
}

fn is_forgotten(silence: &Silence, now: Timestamp) -> bool {
    silence.ends_at < now - EXPIRED_KEPT
}

/// Returns what changes when somebody sets a silence, the new state of their one last: pure.
fn set(list: &[Silence], new: NewSilence, now: Timestamp, fresh_id: String) -> Result<Vec<Silence>> {
    let created_by = new.created_by.trim().to_owned();
    let comment = new.comment.trim().to_owned();
    if created_by.is_empty() || created_by.chars().count() > NAME_CHARS_MAX {
        return Err(Error::Text { what: "the name", min: 1, max: NAME_CHARS_MAX });
    }
    if comment.chars().count() > NOTE_CHARS_MAX {
        return Err(Error::Text { what: "the comment", min: 0, max: NOTE_CHARS_MAX });
    }
    let refuse = |why: &str| Err(Error::Silence(why.to_owned()));
    if new.matchers.is_empty() || new.matchers.len() > MATCHERS_MAX {
        return Err(Error::Silence(format!("a silence has 1 to {MATCHERS_MAX} matchers")));
    }
    if new.matchers.iter().all(Matcher::matches_empty) {
        return refuse("at least one matcher must not match the empty string: this would silence everything");
    }
    if new.ends_at <= new.starts_at {
        return refuse("start time must be before end time");
    }
    if new.ends_at <= now {
        return refuse("end time can't be in the past");
    }
    let starts_at = new.starts_at;
    let wanted = Silence {
        id: fresh_id,
        matchers: new.matchers,
        starts_at: starts_at.max(now),
        ends_at: new.ends_at,
        updated_at: now,
        created_by,
        comment,
    };
    let Some(id) = new.id else { return Ok(vec![wanted]) };
    let before = list.iter().find(|s| s.id == id).ok_or(Error::NoSilence(id))?;
    let stays = before.matchers == wanted.matchers
        && match before.state(now) {
            // Programs that send whole seconds mean the same start.
            SilenceState::Active => before.starts_at.as_millis() / 1000 == starts_at.as_millis() / 1000,
            SilenceState::Pending => starts_at >= now,
            SilenceState::Expired => false,
        };
    if stays {
        let starts_at = if before.state(now) == SilenceState::Active { before.starts_at } else { wanted.starts_at };
        return Ok(vec![Silence { id: before.id.clone(), starts_at, ..wanted }]);
    }
    Ok(expired(before, now).into_iter().chain([wanted]).collect())
}

/// Returns a silence that ends now; `None` if it is over already.
fn expired(silence: &Silence, now: Timestamp) -> Option<Silence> {
    let starts_at = silence.starts_at.min(now);
    let is_over = silence.state(now) == SilenceState::Expired;
    (!is_over).then(|| Silence { starts_at, ends_at: now, updated_at: now, ..silence.clone() })
}

/// Writes random bits as a UUID of version 4.
pub(super) fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) | (4 << 76);
    let hex = format!("{:032x}", bits & !(0b11 << 62) | (0b10 << 62));
    let cut = |from: usize, to: usize| hex.get(from..to).unwrap_or("");
    [cut(0, 8), cut(8, 12), cut(12, 16), cut(16, 20), cut(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_matchers;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    fn new(id: Option<&str>, starts_s: i64, ends_s: i64) -> NewSilence {
        NewSilence {
            id: id.map(str::to_owned),
            matchers: parse_matchers("line=\"7\"").unwrap(),
            starts_at: at(starts_s),
            ends_at: at(ends_s),
            created_by: " eva ".to_owned(),
            comment: "jam".to_owned(),
        }
    }

    fn one(list: &[Silence], new: NewSilence) -> Silence {
        let mut changed = set(list, new, NOW, "fresh".to_owned()).unwrap();
        assert_eq!(changed.len(), 1);
        changed.remove(0)
    }

    #[test]
    fn a_silence_starts_now_at_the_earliest() {
        let silence = one(&[], new(None, -60, 60));
        assert_eq!((silence.starts_at, silence.ends_at, silence.created_by.as_str()), (NOW, at(60), "eva"));
    }

    #[test]
    fn what_would_silence_everything_or_nothing_is_refused() {
        let refused = |new| set(&[], new, NOW, String::new()).unwrap_err().to_string();
        for (matchers, why) in [("", "1 to 100 matchers"), ("a=~\".*\", b!=c", "empty string")] {
            let text = refused(NewSilence { matchers: parse_matchers(matchers).unwrap(), ..new(None, 0, 60) });
            assert!(text.contains(why), "{text}");
        }
        assert!(refused(new(None, -60, -1)).contains("past"));
        assert!(refused(new(None, 60, 60)).contains("before end"));
        assert!(refused(NewSilence { created_by: " ".to_owned(), ..new(None, 0, 60) }).contains("the name"));
        assert_eq!(set(&[], new(Some("x"), 0, 60), NOW, String::new()), Err(Error::NoSilence("x".to_owned())));
    }

    #[test]
    fn one_that_holds_may_be_made_longer_and_anything_else_takes_its_place() {
        let holds = Silence { id: "a".to_owned(), starts_at: at(-100), ..one(&[], new(None, 0, 60)) };
        let list = std::slice::from_ref(&holds);
        let longer = one(list, new(Some("a"), -100, 600));
        assert_eq!((longer.id.as_str(), longer.starts_at, longer.ends_at), ("a", at(-100), at(600)));
        let matchers = parse_matchers("line=\"8\"").unwrap();
        let other = NewSilence { matchers, ..new(Some("a"), -100, 60) };
        let changed = set(list, other, NOW, "fresh".to_owned()).unwrap();
        let seen: Vec<_> = changed.iter().map(|s| (s.id.as_str(), s.ends_at)).collect();
        assert_eq!(seen, [("a", NOW), ("fresh", at(60))]);
    }

    #[test]
    fn one_that_is_ended_before_it_began_never_holds() {
        let pending = one(&[], new(None, 60, 120));
        let ended = expired(&pending, NOW).unwrap();
        assert_eq!((ended.starts_at, ended.ends_at, ended.state(NOW)), (NOW, NOW, SilenceState::Expired));
        assert_eq!(expired(&ended, at(1)), None);
    }

    #[test]
    fn names_are_uuids_of_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[tokio::test]
    async fn silences_stand_after_a_restart() {
        let state = State::in_memory_at(Clock::hand_set(NOW));
        let clock = Clock::hand_set(NOW);
        let tasks = crate::task::Tasks::new(1);
        let silences = Silences::open(state.clone(), clock.clone(), tasks.pool().clone());
        let first = silences.set(new(None, 0, 60)).await.unwrap();
        let second = silences.set(new(None, 0, 60)).await.unwrap();
        silences.expire(&first.id).await.unwrap();
        let again = Silences::open(state, clock, tasks.pool().clone());
        let mut states: Vec<_> = again.list().iter().map(|s| (s.id.clone(), s.state(NOW).as_str())).collect();
        states.sort_by_key(|s| s.0 != first.id);
        assert_eq!(states, [(first.id, "expired"), (second.id, "active")]);
    }
}
