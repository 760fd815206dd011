//! What a stream of NATS is to keep, until it is certain to have it.
//!
//! A message that a declared stream covers gets a number and an id (`Nats-Msg-Id`). It goes to NATS at once, if that
//! is there, and waits for JetStream's acknowledgement; and with what came in the same second it is packed and
//! written to disk. So a message is kept when the first of the two says so, and whoever asked is told then: on a
//! healthy way after a round trip, and while NATS is away after a sync, which those who wait share.
//!
//! JetStream acknowledges before it syncs. What is acknowledged therefore stays on disk for a while, and is sent
//! again, under the same ids, if a stream turns out to have forgotten it. The order of a stream is kept: what is not
//! acknowledged is sent again from the oldest on, and repeats are removed by their ids. It can break only where
//! JetStream refuses one message and takes the next.
//!
//! What comes from a backup may have gone to NATS long ago: each message is looked for in its stream before it is sent.
//!
//! Cost: on a healthy way one write and one sync a second, of a fifth of the messages' bytes or so; memory for what is
//! not acknowledged, up to 8 MiB, and for what is not written, up to 8 MiB. What lies behind is on disk alone.

mod files;
mod format;
#[cfg(any(fuzzing, test))]
mod fuzzing;
mod keeper;
mod queue;
#[cfg(test)]
mod queue_test;
mod sender;
#[cfg(test)]
mod spool_test;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tracing::{error, warn};

use super::instruments::SpoolInstruments;
use super::{Error, Message, Result, SpoolConfig, Subject};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::storage::disk::{Disk, RESTORED_MARK};
use files::Files;
#[cfg(any(fuzzing, test))]
pub(crate) use fuzzing::{fuzz, seeds};
use queue::Queue;
pub(super) use sender::Sender;

/// A message on its way to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    number: u64,
    /// The declared stream that is to keep it.
    stream: Arc<str>,
    /// By which JetStream knows a repeat.
    id: Arc<str>,
    at: Timestamp,
    subject: Subject,
    device_id: Option<Arc<str>>,
    correlation_id: Option<Arc<str>>,
    payload: Bytes,
}

impl Entry {
    /// Returns about how many bytes it holds on to.
    fn size_bytes(&self) -> usize {
        self.payload.len() + self.subject.as_str().len() + self.id.len() + 160
    }
}

/// Why a message that was taken is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// NATS takes no message of this size.
    TooLarge,
    /// JetStream refuses it for good.
    Refused,
}

/// Hears whether a message is kept.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<std::result::Result<(), Lost>>);

impl Receipt {
    pub(super) fn new(receiver: oneshot::Receiver<std::result::Result<(), Lost>>) -> Self {
        Receipt(receiver)
    }

    /// Waits until the message survives whatever ends this process.
    ///
    /// # Errors
    /// [`Error::NotKept`]: nobody has it for certain.
    pub async fn kept(self) -> Result<()> {
        match self.0.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Lost::TooLarge)) => Err(Error::NotKept("it is larger than NATS takes")),
            Ok(Err(Lost::Refused)) => Err(Error::NotKept("the stream refuses it")),
            Err(_) => Err(Error::NotKept("the box stops")),
        }
    }
}

/// How the spool stands, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpoolState {
    /// Messages that no stream has acknowledged.
    pub waiting: u64,
    /// When the oldest of them came, if it is in memory.
    pub oldest: Option<Timestamp>,
    /// Bytes on disk, copies of what is acknowledged included.
    pub bytes: u64,
    /// Messages dropped since the start.
    pub dropped: u64,
    /// What keeps messages from going on, if something does.
    pub problem: Option<String>,
}

/// The spool; shared by those who publish, the keeper of the files and the sender of a connection.
#[derive(Debug)]
pub(super) struct Spool {
    config: SpoolConfig,
    queue: Mutex<Queue>,
    /// Nothing if the disk did not give them; then only acknowledged is kept.
    files: Option<Arc<Files>>,
    /// Begins the ids of messages that bring none: box and start.
    id_prefix: String,
    /// More may be sent.
    more: Notify,
    /// The keeper has something to do.
    due: Notify,
    /// Held while the files change or are compared with the queue.
    turn: tokio::sync::Mutex<()>,
    is_connected: AtomicBool,
    problems: Mutex<Problems>,
    instruments: SpoolInstruments,
    clock: Clock,
}

/// What goes wrong now.
#[derive(Debug, Default)]
struct Problems {
    disk: Option<String>,
    stream: Option<String>,
}

impl Spool {
    /// Opens the spool with what waits from before. Blocking: reads its files.
    pub(super) fn open(
        config: SpoolConfig,
        disk: Arc<dyn Disk>,
        folder: &Path,
        box_id: &str,
        instruments: SpoolInstruments,
        clock: Clock,
    ) -> Arc<Spool> {
        let now = clock.elapsed();
        let mut problems = Problems::default();
        let (files, found) = match Files::open(disk.clone(), folder) {
            Ok((files, found)) => (Some(Arc::new(files)), found),
            Err(failed) => {
                error!(error = %failed, "the spool cannot be opened: only what NATS acknowledges is kept");
                problems.disk = Some(failed.to_string());
                (None, files::Found::default())
            }
        };
        for damage in &found.damages {
            warn!(%damage, "the spool is damaged");
            instruments.damages.inc();
        }
        let mut queue = Queue::new(found.last + 1);
        if let Some(files) = &files {
            restore(&mut queue, files, found, now);
            let mark = folder.join(RESTORED_MARK);
            if disk.exists(&mark) {
                queue.came_from_backup();
                let noted = files.append(&[], &queue.marks()).and_then(|()| files.sync());
                if let Err(failed) = noted.and_then(|()| disk.remove_file(&mark)) {
                    warn!(error = %failed, "that the spool comes from a backup is noted at the next start");
                }
            }
        }
        let id_prefix = format!("{box_id}.{:08x}", rand::random::<u32>());
        Arc::new(Spool {
            config,
            queue: Mutex::new(queue),
            files,
            id_prefix,
            more: Notify::new(),
            due: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            is_connected: AtomicBool::new(false),
            problems: Mutex::new(problems),
            instruments,
            clock,
        })
    }

    /// Takes a message for a stream. `id` tells it from all others; without one it gets its own.
    ///
    /// # Errors
    /// [`Error::Full`] if neither NATS nor the disk takes anything.
    pub(super) fn take(
        &self,
        message: &Message,
        stream: &Arc<str>,
        id: Option<&str>,
        wants: bool,
    ) -> Result<Option<Receipt>> {
        let (at, now) = (self.clock.now(), self.clock.elapsed());
        let (waiter, receipt) = match wants {
            true => {
                let (waiter, receipt) = oneshot::channel();
                (Some(waiter), Some(Receipt(receipt)))
            }
            false => (None, None),
        };
        let mut queue = self.queue();
        if !queue.has_room() {
            self.instruments.dropped.with(&["no_room"]).inc();
            return Err(Error::Full);
        }
        let number = queue.next_number();
        // A header cannot hold a line break.
        let id = id.filter(|id| !id.contains(['\r', '\n']));
        let id = id.map_or_else(|| format!("{}.{number}", self.id_prefix).into(), Arc::from);
        let entry = Entry {
            number,
            stream: stream.clone(),
            id,
            at,
            subject: message.subject.clone(),
            device_id: message.device_id.clone(),
            correlation_id: message.correlation_id.clone(),
            payload: message.payload.clone(),
        };
        let is_first = !queue.has_unwritten();
        queue.push(Arc::new(entry), waiter, now);
        let is_due = is_first || queue.is_write_due(self.config.write_interval, self.is_connected(), now);
        drop(queue);
        self.instruments.taken.inc();
        self.more.notify_one();
        if is_due {
            self.due.notify_one();
        }
        Ok(receipt)
    }

    /// Returns how it stands.
    pub(super) fn state(&self) -> SpoolState {
        let queue = self.queue();
        let (waiting, oldest) = (queue.pending(), queue.oldest());
        drop(queue);
        let bytes = self.files.as_ref().map_or(0, |files| files.bytes());
        let problems = self.problems();
        let problem = problems.disk.clone().or_else(|| problems.stream.clone());
        SpoolState { waiting, oldest, bytes, dropped: self.instruments.dropped_count(), problem }
    }

    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problems(&self) -> MutexGuard<'_, Problems> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what keeps a stream from taking messages, and logs it when it is new.
    fn note_stream(&self, problem: Option<String>) {
        let mut problems = self.problems();
        if problems.stream != problem {
            if let Some(problem) = &problem {
                warn!(%problem, "a stream of NATS does not take messages");
            }
            problems.stream = problem;
        }
    }

    fn note_disk(&self, problem: Option<String>) {
        let mut problems = self.problems();
        if problems.disk != problem {
            if let Some(problem) = &problem {
                error!(%problem, "the spool cannot be written: only what NATS acknowledges is kept");
            }
            problems.disk = problem;
        }
    }
}

/// Fills a fresh queue with how far the streams had come.
fn restore(queue: &mut Queue, files: &Files, found: files::Found, now: Duration) {
    let mut marks = found.marks;
    for stream in files.streams() {
        marks.entry(stream).or_default();
    }
    for (stream, marks) in marks {
        for mark in &marks {
            queue.restore_step(mark, now);
        }
        let newest = marks.last().cloned().unwrap_or(format::Mark { stream, done: 0, sequence: 0, sent: 0 });
        let pending = files.count_behind(&newest.stream, newest.done, None);
        queue.restore(&newest, pending, now);
    }
}
