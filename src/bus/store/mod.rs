//! Streams that this box keeps itself, where no NATS does.
//!
//! A message that a declared stream covers gets a sequence and is written to the stream's own folder, packed with what
//! came at the same time, and synced. Whoever asked is told then; those who wait share a write and a sync, and what
//! nobody waits for is written within a second. A repeat is known by its id for ten minutes, after a restart too.
//!
//! A stream is bounded by bytes, age and number: its oldest segment goes. The last message of each subject is carried on
//! then, so that it can be asked for however long its subject is silent, unless the stream's own age or number has ended
//! it. Readers have a place each, written within two seconds, and sooner beside messages while that costs next to nothing;
//! they read what is on disk, and the newest from memory. A start reads what is noted of closed segments (`contents.rs`),
//! and the newest one.
//!
//! Cost: nothing while nothing is published. Memory for what is not written, up to 8 MiB, for the newest messages, 1 MiB,
//! and some 200 bytes a subject and place, of which there are 10 000 at most. A write holds 20 to 30 bytes a message that is
//! like its neighbours.

mod contents;
#[cfg(test)]
mod contents_test;
mod format;
#[cfg(any(fuzzing, test))]
mod fuzzing;
mod index;
mod keeper;
mod log;
mod places;
mod reader;
#[cfg(test)]
mod store_test;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tracing::error;

use super::instruments::{StoreFamilies, StoreInstruments};
use super::spool::{Lost, Receipt};
use super::{Error, Message, Result, SpoolConfig, StreamConfig};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::storage::disk::Disk;
#[cfg(any(fuzzing, test))]
pub(crate) use fuzzing::{fuzz, seeds};
use log::Log;
use places::Places;
pub(super) use reader::Reader;

/// Bytes that may wait for the disk; beyond it messages are refused.
const UNWRITTEN_BYTES_MAX: usize = 8 << 20;
/// So many bytes are written without waiting for more.
const BATCH_BYTES: usize = 256 << 10;
/// No message is larger.
const MESSAGE_BYTES_MAX: usize = 15 << 20;
/// What a stream in memory may take if its settings do not say it.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

/// What a stream of this box cannot do that one of NATS can.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// The most that its limit of messages of one subject may be.
    pub messages_per_subject_max: u64,
    /// The largest message.
    pub message_bytes_max: u64,
    /// The least that it may take on disk: one segment.
    pub bytes_min: u64,
}

/// The limits of this version.
pub const STORE_LIMITS: StoreLimits = StoreLimits {
    messages_per_subject_max: index::PER_SUBJECT_MAX as u64,
    message_bytes_max: MESSAGE_BYTES_MAX as u64,
    bytes_min: log::SEGMENT_BYTES_MIN,
};

/// A message in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    sequence: u64,
    at: Timestamp,
    /// By which a repeat is known, if its publisher gave one.
    id: Option<Arc<str>>,
    message: Message,
}

impl Stored {
    /// Returns about how many bytes it holds on to.
    fn size_bytes(&self) -> usize {
        self.message.size_bytes() + self.id.as_ref().map_or(0, |id| id.len()) + 96
    }
}

/// How a stream of this box stands, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Its name.
    pub name: String,
    /// About how many messages it holds.
    pub messages: u64,
    /// What they take on disk.
    pub bytes: u64,
    /// The sequence of the newest.
    pub last: u64,
    /// Subjects whose last message is known.
    pub subjects: usize,
    /// Readers whose place is kept.
    pub places: usize,
    /// Messages refused since the start.
    pub dropped: u64,
    /// What keeps it from taking messages, if something does.
    pub problem: Option<String>,
}

/// A stream; shared by those who publish, those who read, and its keeper.
#[derive(Debug)]
pub(super) struct Stream {
    config: StreamConfig,
    /// What holds where the stream's own settings say nothing.
    defaults: SpoolConfig,
    place_kept_for: Duration,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    queue: Mutex<Queue>,
    places: Mutex<Places>,
    /// Nothing until it has been read.
    log: watch::Sender<Option<Arc<Log>>>,
    /// The keeper has something to do.
    due: Notify,
    problem: Mutex<Option<String>>,
    instruments: StoreInstruments,
    clock: Clock,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Taken>,
    /// Of these and of what is being written.
    bytes: usize,
    messages: u64,
    since: Option<Duration>,
    is_awaited: bool,
    is_closed: bool,
}

/// A message that was taken.
#[derive(Debug)]
struct Taken {
    at: Timestamp,
    id: Option<Arc<str>>,
    message: Message,
    waiter: Option<oneshot::Sender<std::result::Result<(), Lost>>>,
}

impl Taken {
    fn size_bytes(&self) -> usize {
        self.message.size_bytes() + 160
    }
}

/// What streams of one box have in common.
#[derive(Debug)]
pub(super) struct House {
    pub(super) defaults: SpoolConfig,
    pub(super) place_kept_for: Duration,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) instruments: StoreFamilies,
    pub(super) clock: Clock,
}

impl Stream {
    /// Returns a stream that takes messages; its keeper has to run.
    pub(super) fn new(config: StreamConfig, house: &House) -> Arc<Stream> {
        let disk: Arc<dyn Disk> = match config.is_in_memory {
            true => crate::storage::disk::FaultyDisk::new(0).shared(),
            false => house.disk.clone(),
        };
        let folder = house.folder.join("streams").join(&*config.name);
        Arc::new(Stream {
            folder,
            disk,
            defaults: house.defaults.clone(),
            place_kept_for: house.place_kept_for,
            queue: Mutex::default(),
            places: Mutex::default(),
            log: watch::channel(None).0,
            due: Notify::new(),
            problem: Mutex::default(),
            instruments: house.instruments.of(&config.name),
            clock: house.clock.clone(),
            config,
        })
    }

    pub(super) fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Takes a message. `id` tells it from all others.
    ///
    /// # Errors
    /// [`Error::NotKept`] if the stream's limits refuse it, [`Error::Full`] if the disk takes nothing.
    pub(super) fn take(&self, message: &Message, id: Option<&str>, wants: bool) -> Result<Option<Receipt>> {
        let refusal = self.refusal(message);
        if let Some(reason) = refusal {
            self.instruments.dropped(reason);
            return Err(Error::NotKept(match reason {
                "too_large" => "it is larger than its stream takes",
                _ => "its stream is full",
            }));
        }
        let (waiter, receipt) = match wants {
            true => {
                let (waiter, receipt) = oneshot::channel();
                (Some(waiter), Some(Receipt::new(receipt)))
            }
            false => (None, None),
        };
        let message = Message { reply: None, is_local: true, ..message.clone() };
        let taken = Taken { at: self.clock.now(), id: id.map(Arc::from), message, waiter };
        let mut queue = self.queue();
        if queue.is_closed || queue.bytes >= UNWRITTEN_BYTES_MAX {
            drop(queue);
            self.instruments.dropped("no_room");
            return Err(Error::Full);
        }
        queue.bytes += taken.size_bytes();
        queue.messages += 1;
        queue.is_awaited |= wants;
        let is_first = queue.since.is_none();
        queue.since.get_or_insert(self.clock.elapsed());
        queue.waiting.push_back(taken);
        let is_due = is_first || wants || queue.bytes >= BATCH_BYTES;
        drop(queue);
        if is_due {
            self.due.notify_one();
        }
        Ok(receipt)
    }

    /// Returns why a message is refused by the stream's own limits.
    fn refusal(&self, message: &Message) -> Option<&'static str> {
        let size_max = self.config.message_bytes_max.map_or(MESSAGE_BYTES_MAX, |max| max as usize);
        if message.payload.len() > size_max.min(MESSAGE_BYTES_MAX) {
            return Some("too_large");
        }
        if !self.config.refuses_new {
            return None;
        }
        let log = self.log.borrow().clone()?;
        let waiting = self.queue().messages;
        let has_room = self.config.messages_max.is_none_or(|max| log.index().count() + waiting < max)
            && log.bytes() < self.bytes_max();
        (!has_room).then_some("full")
    }

    /// Returns how many bytes it may take on disk.
    fn bytes_max(&self) -> u64 {
        let default = if self.config.is_in_memory { MEMORY_BYTES_MAX } else { self.defaults.bytes_max };
        self.config.bytes_max.unwrap_or(default)
    }

    /// Returns the time before which messages are too old.
    fn oldest_wanted(&self) -> Timestamp {
        let age = self.config.age_max.unwrap_or(self.defaults.age_max);
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.clock.retention_now().as_millis().saturating_sub(age_ms))
    }

    /// Returns the time before which also the last message of a subject is too old.
    fn oldest_last_wanted(&self) -> Timestamp {
        if self.config.age_max.is_some() { self.oldest_wanted() } else { Timestamp::MIN }
    }

    /// Returns how it stands.
    pub(super) fn state(&self) -> StreamState {
        let state = StreamState {
            name: self.config.name.to_string(),
            dropped: self.instruments.dropped_count(),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            places: self.places().count(),
            ..StreamState::default()
        };
        let Some(log) = self.log.borrow().clone() else { return state };
        let index = log.index();
        StreamState {
            messages: index.count(),
            bytes: log.bytes(),
            last: index.last(),
            subjects: index.subjects(),
            ..state
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what keeps the stream from being written, and logs it when it is new.
    fn note_problem(&self, problem: Option<String>) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != problem {
            if let Some(problem) = &problem {
                error!(stream = %self.config.name, %problem, "a stream of this box cannot be written");
            }
            *known = problem;
        }
    }
}
