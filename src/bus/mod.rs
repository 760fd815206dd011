//! The bus: messages by subject between devices, this box and, where one is configured, a NATS system.
//!
//! There is always a router inside the process, so that devices of one box reach each other whether NATS is
//! there or not. Where `bus.nats` is configured, everything published here goes there too, and what
//! others publish on subjects that somebody here listens to comes in. Nobody waits for NATS: a message that
//! it cannot take stays on this box, and the publisher gets the reason. But what a declared stream covers is kept
//! (`spool/`) until the stream has it, and who publishes may ask to hear when it is ([`Bus::publish_kept`]). Without
//! NATS the box keeps the streams itself (`store/`).
//!
//! A subscriber has one queue with a bound in messages and bytes. If it is full, the newest message is lost
//! for that subscriber, counted, and told by [`Subscription::overflow`].

mod config;
mod error;
mod instruments;
mod message;
mod probe;
mod queue;
mod refusal;
mod replay;
mod resilience;
mod router;
mod spool;
mod store;
mod streams;
mod subject;
mod uplink;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use config::{Config, Credentials, NatsConfig, SpoolConfig};
pub use error::{Error, Result};
pub use message::Message;
pub use replay::{Replay, Replayed, Start, Through};
pub use router::Scope;
pub use spool::{Receipt, SpoolState};
#[cfg(fuzzing)]
pub(crate) use spool::{fuzz as fuzz_spool, seeds as spool_seeds};
pub use store::{STORE_LIMITS, StoreLimits, StreamState};
#[cfg(fuzzing)]
pub(crate) use store::{fuzz as fuzz_stream, seeds as stream_seeds};
pub use streams::StreamConfig;
pub use subject::{SUBJECT_BYTES_MAX, SUBJECT_TOKENS_MAX, Subject, SubjectPattern};

use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::Timestamp;
use crate::storage::disk::Disk;
use crate::task::{OnPanic, Tasks};
use instruments::{Instruments, SpoolInstruments, StoreFamilies};
use probe::Probe;
use queue::Queue;
use router::{Arrival, Router};
use spool::Spool;
use uplink::Uplink;

/// How things stand with NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// No NATS is configured: the bus is inside the process.
    Embedded,
    /// The first attempt to connect is being made.
    Connecting,
    /// Connected.
    Connected,
    /// Not connected; attempts go on.
    Disconnected,
    /// The connection was given up and will be made anew.
    Closed,
}

/// The bus's state, for pages, metrics and whoever wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// How things stand with NATS.
    pub link: Link,
    /// Since when.
    pub since: Timestamp,
    /// The name of the NATS server, while connected.
    pub server: Option<String>,
    /// Why not, while not connected.
    pub error: Option<String>,
}

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    router: Arc<Router>,
    uplink: Option<Arc<Uplink>>,
    spool: Option<Arc<Spool>>,
    streams: Arc<[StreamConfig]>,
    /// The streams, where this box keeps them itself.
    stored: Vec<Arc<store::Stream>>,
    places: Arc<replay::Places>,
    place_kept_for: Duration,
    tasks: Tasks,
    instruments: Instruments,
    state: watch::Receiver<State>,
    inbox_prefix: String,
    next_inbox: AtomicU64,
    queue_messages_max: usize,
    queue_bytes_max: usize,
}

/// What the bus needs from the house.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the connection's task is spawned.
    pub tasks: Tasks,
    /// Where its metrics are kept.
    pub registry: Registry,
    /// Wall time, for the state's age.
    pub clock: Clock,
    /// Where messages for streams are kept.
    pub disk: Arc<dyn Disk>,
}

impl Bus {
    /// Starts the bus and, if NATS is configured, the task that keeps the connection. Does not wait for it, but reads
    /// what waits on disk for streams.
    #[must_use]
    pub fn start(config: Config, deps: Deps) -> Self {
        let Deps { tasks, registry, clock, disk } = deps;
        let instruments = Instruments::new(&registry, config.nats.is_some());
        let router = Arc::new(Router::default());
        // Not to be guessed, so that nobody on NATS can answer in another's place.
        let inbox_prefix = format!("_INBOX.{:032x}", rand::random::<u128>());
        let stored = own_streams(&config, &tasks, &registry, &clock, &disk);
        let streams: Arc<[StreamConfig]> = config.streams.into();
        let spool = (config.nats.is_some() && !streams.is_empty()).then(|| {
            let (counters, folder) =
                (SpoolInstruments::new(&registry, instruments.resilience.clone()), config.folder.join("spool"));
            let spool = Spool::open(config.spool, disk, &folder, &config.box_id, counters, clock.clone());
            tasks.spawn("bus spool", OnPanic::StopBox, spool.clone().keep(tasks.clone()));
            spool
        });
        let (uplink, state) = match config.nats {
            Some(nats) => {
                let ends: Vec<_> = std::iter::once(None).chain(nats.probe_leaves.iter().cloned().map(Some)).collect();
                let to_streams = spool.clone().map(|spool| (spool, streams.clone()));
                let inboxes = inbox_prefix.clone();
                let (uplink, state) =
                    Uplink::new(nats, config.box_id, inboxes, instruments.clone(), clock.clone(), to_streams);
                for end in ends {
                    let probe = Probe::new(uplink.clone(), end, clock.clone(), &registry);
                    tasks.spawn("bus probe", OnPanic::EndTask, probe.run(tasks.clone()));
                }
                tasks.spawn("bus uplink", OnPanic::StopBox, uplink.clone().run(router.clone(), tasks.clone()));
                (Some(uplink), state)
            }
            None => {
                let state = State { link: Link::Embedded, since: clock.now(), server: None, error: None };
                (None, watch::channel(state).1)
            }
        };
        Bus(Arc::new(Shared {
            router,
            uplink,
            spool,
            streams,
            stored,
            places: Arc::default(),
            place_kept_for: config.place_kept_for,
            tasks,
            instruments,
            state,
            inbox_prefix,
            next_inbox: AtomicU64::new(0),
            queue_messages_max: config.queue_messages_max,
            queue_bytes_max: config.queue_bytes_max,
        }))
    }

    /// Returns how things stand with NATS; waits for changes through the receiver.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.0.state.clone()
    }

    /// Publishes a message to the subscribers of this box and, if one is configured, to NATS.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::Stalled`], [`Error::TooLarge`]: NATS did not take it. Subscribers
    /// of this box have it all the same.
    pub async fn publish(&self, message: Message) -> Result<()> {
        self.deliver_here(&message);
        if let Some(kept) = self.keeper_of(&message.subject).filter(|_| message.reply.is_none()) {
            return kept.take(&message, None, false).map(|_| ());
        }
        match &self.0.uplink {
            Some(uplink) => uplink.publish(&message).await,
            None => Ok(()),
        }
    }

    /// As [`Bus::publish`], for a publisher who wants to hear when the message is kept. A stream stores messages with
    /// one `id` once. Nothing is returned where no stream keeps the subject.
    ///
    /// # Errors
    /// As [`Bus::publish`], and [`Error::Full`].
    pub async fn publish_kept(&self, message: Message, id: Option<&str>) -> Result<Option<Receipt>> {
        match self.keeper_of(&message.subject) {
            Some(keeper) => {
                self.deliver_here(&message);
                keeper.take(&message, id, true)
            }
            None => self.publish(message).await.map(|()| None),
        }
    }

    /// Publishes a message once more under its id, to its stream alone: whoever published it first does not know
    /// whether it is kept. Nothing is returned where no stream keeps the subject; then nothing happens.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn publish_again(&self, message: &Message, id: &str) -> Result<Option<Receipt>> {
        match self.keeper_of(&message.subject) {
            Some(keeper) => keeper.take(message, Some(id), true),
            None => Ok(None),
        }
    }

    /// Reads the declared stream that keeps a pattern for somebody who comes and goes: `reader` and pattern have one
    /// place, at which reading goes on; `start` counts where there is none yet. Messages come `into` a channel, each
    /// to be said when it is through. Nothing comes from a stream of NATS while that is away.
    ///
    /// # Errors
    /// [`Error::NoStream`].
    pub fn replay(
        &self,
        reader: &str,
        pattern: &SubjectPattern,
        start: Start,
        into: mpsc::Sender<Replayed>,
    ) -> Result<Replay> {
        let keeps = |stream: &StreamConfig| stream.subjects.iter().any(|subject| subject.contains(pattern));
        let name = format!("device-{reader}-{:016x}", xxhash_rust::xxh3::xxh3_64(pattern.as_str().as_bytes()));
        if let Some(stream) = self.0.stored.iter().find(|stream| keeps(stream.config())) {
            let (places, pool) = (self.0.places.clone(), self.0.tasks.pool().clone());
            let (stream, name, pattern) = (stream.clone(), name.into(), pattern.clone());
            let (replay, reading) = store::Reader { stream, name, pattern, start, into, places, pool }.start();
            self.0.tasks.spawn("bus replay", OnPanic::EndTask, reading);
            return Ok(replay);
        }
        let stream = self.0.streams.iter().find(|stream| keeps(stream));
        let (Some(stream), Some(uplink)) = (stream, &self.0.uplink) else {
            return Err(Error::NoStream(pattern.to_string()));
        };
        let reader = replay::Reader {
            uplink: uplink.clone(),
            stream: stream.name.clone(),
            name,
            pattern: pattern.clone(),
            start,
            kept_for: self.0.place_kept_for,
            into,
            places: self.0.places.clone(),
        };
        let (replay, reading) = reader.start();
        self.0.tasks.spawn("bus replay", OnPanic::EndTask, reading);
        Ok(replay)
    }

    /// Returns the declared stream that keeps a subject.
    #[must_use]
    pub fn stream_of(&self, subject: &Subject) -> Option<&Arc<str>> {
        self.0.streams.iter().find(|stream| stream.covers(subject)).map(|stream| &stream.name)
    }

    /// Returns how messages for streams stand; nothing where there are no streams.
    #[must_use]
    pub fn spool(&self) -> Option<SpoolState> {
        self.0.spool.as_ref().map(|spool| spool.state())
    }

    /// Returns how the streams stand that this box keeps itself; empty where NATS does, or where none are declared.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamState> {
        self.0.stored.iter().map(|stream| stream.state()).collect()
    }

    /// Returns who keeps a subject's messages, if somebody does.
    fn keeper_of(&self, subject: &Subject) -> Option<Keeper<'_>> {
        if let Some(stream) = self.0.stored.iter().find(|stream| stream.config().covers(subject)) {
            return Some(Keeper::Stream(stream));
        }
        Some(Keeper::Spool(self.0.spool.as_ref()?, self.stream_of(subject)?))
    }

    /// Publishes a request and returns the first answer.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if nobody listens, here or on NATS; [`Error::Timeout`] if no answer came.
    pub async fn request(&self, mut message: Message, timeout: Duration) -> Result<Message> {
        let number = self.0.next_inbox.fetch_add(1, Ordering::Relaxed);
        let inbox: Subject = format!("{}.{number}", self.0.inbox_prefix).parse()?;
        let answer = self.0.router.open_inbox(inbox.clone());
        let _closed_at_the_end = OpenInbox { router: &self.0.router, subject: &inbox };
        message.reply = Some(inbox.clone());
        let heard_here = self.deliver_here(&message) > 0;
        if heard_here {
            self.0.router.heard_locally(&inbox);
        }
        let heard_on_nats = match &self.0.uplink {
            Some(uplink) => uplink.publish(&message).await.is_ok(),
            None => false,
        };
        if !heard_here && !heard_on_nats {
            return Err(Error::NoResponders);
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(_) => Err(Error::NoResponders),
            Err(_) => Err(Error::Timeout(timeout)),
        }
    }

    /// Subscribes to one pattern: messages of everybody.
    #[must_use]
    pub fn subscribe(&self, pattern: &SubjectPattern) -> Subscription {
        let subscription = self.subscriber(Scope::All);
        subscription.add(pattern);
        subscription
    }

    /// Returns a subscription without patterns yet.
    #[must_use]
    pub fn subscriber(&self, scope: Scope) -> Subscription {
        self.deep_subscriber(scope, self.0.queue_messages_max, self.0.queue_bytes_max)
    }

    /// As [`Bus::subscriber`], for a listener of this box that needs a queue of its own size.
    #[must_use]
    pub fn deep_subscriber(&self, scope: Scope, messages_max: usize, bytes_max: usize) -> Subscription {
        let queue = Arc::new(Queue::new(messages_max, bytes_max));
        let id = self.0.router.join(scope, queue.clone());
        Subscription { bus: self.clone(), id, queue }
    }

    /// Delivers on this box; returns how many took it.
    fn deliver_here(&self, message: &Message) -> u64 {
        let delivery = self.0.router.deliver(message, Arrival::Local);
        self.0.instruments.published_local.inc();
        if delivery.dropped > 0 {
            self.0.instruments.dropped.with(&["slow_subscriber"]).add(delivery.dropped);
        }
        delivery.delivered
    }

    fn pattern_changed(&self, pattern: SubjectPattern) {
        #[expect(clippy::cast_precision_loss, reason = "a count of patterns is far below 2^53")]
        self.0.instruments.patterns.set(self.0.router.pattern_count() as f64);
        if let Some(uplink) = &self.0.uplink {
            uplink.pattern_changed(pattern);
        }
    }
}

/// Starts the streams that this box keeps itself: those declared, where there is no NATS.
fn own_streams(
    config: &Config,
    tasks: &Tasks,
    registry: &Registry,
    clock: &Clock,
    disk: &Arc<dyn Disk>,
) -> Vec<Arc<store::Stream>> {
    if config.nats.is_some() || config.streams.is_empty() {
        return Vec::new();
    }
    let house = store::House {
        defaults: config.spool.clone(),
        place_kept_for: config.place_kept_for,
        disk: disk.clone(),
        folder: config.folder.clone(),
        instruments: StoreFamilies::new(registry),
        clock: clock.clone(),
    };
    let stored: Vec<_> = config.streams.iter().map(|stream| store::Stream::new(stream.clone(), &house)).collect();
    for stream in &stored {
        tasks.spawn("bus stream", OnPanic::StopBox, stream.clone().keep(tasks.clone()));
    }
    stored
}

/// Who keeps messages of a subject.
enum Keeper<'a> {
    /// A stream of this box.
    Stream(&'a Arc<store::Stream>),
    /// The spool, for this stream of NATS.
    Spool(&'a Arc<Spool>, &'a Arc<str>),
}

impl Keeper<'_> {
    fn take(&self, message: &Message, id: Option<&str>, wants: bool) -> Result<Option<Receipt>> {
        match self {
            Keeper::Stream(stream) => stream.take(message, id, wants),
            Keeper::Spool(spool, stream) => spool.take(message, stream, id, wants),
        }
    }
}

/// Closes a request's address however the request ends.
struct OpenInbox<'a> {
    router: &'a Router,
    subject: &'a Subject,
}

impl Drop for OpenInbox<'_> {
    fn drop(&mut self) {
        self.router.close_inbox(self.subject);
    }
}

/// One listener: a queue and any number of patterns. A message comes once, however many of them match.
/// Dropping it ends all.
#[derive(Debug)]
pub struct Subscription {
    bus: Bus,
    id: u64,
    queue: Arc<Queue>,
}

impl Subscription {
    /// Listens to one more pattern; nothing happens if it already does.
    pub fn add(&self, pattern: &SubjectPattern) {
        if self.bus.0.router.add(self.id, pattern) {
            self.bus.pattern_changed(pattern.clone());
        }
    }

    /// Stops listening to a pattern, exactly as it was added. Returns whether it did listen to it.
    #[must_use]
    pub fn remove(&self, pattern: &SubjectPattern) -> bool {
        let (had_it, was_last) = self.bus.0.router.remove(self.id, pattern);
        if was_last {
            self.bus.pattern_changed(pattern.clone());
        }
        had_it
    }

    /// Waits for the next message; safe to cancel. Never nothing as long as the subscription lives.
    pub async fn recv(&self) -> Option<Message> {
        Some(self.queue.next().await)
    }

    /// Returns the next message if one waits.
    #[must_use]
    pub fn try_recv(&self) -> Option<Message> {
        self.queue.take()
    }

    /// Returns how many messages were lost because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Waits for the next loss; remembers one that has happened.
    pub async fn overflow(&self) {
        self.queue.overflow().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for pattern in self.bus.0.router.leave(self.id) {
            self.bus.pattern_changed(pattern);
        }
    }
}
