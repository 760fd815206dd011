//! Streams read from a place on, for somebody who comes and goes: what was missed comes first.
//!
//! A reader has one durable consumer of JetStream per pattern. The consumer keeps the reader's place: reading goes on
//! there after a reconnect of the reader, of NATS or of this box, until the place is forgotten or nobody came for a
//! while. A message is acknowledged to JetStream when the reader says that it is through. What was handed out and is
//! not through when the reader goes is given back at once. Servers offer that again in an order of their own, and some
//! of it only when its time is over; so the next reader waits for all of it before it hands out anything.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::{self, AckKind};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::uplink::{Uplink, message_of};
use super::{Message, SubjectPattern};
use crate::model::Timestamp;

/// Messages of one reader that are handed out and not through.
const UNDERWAY_MAX: i64 = 64;
/// How long JetStream waits for a reader before it sends a message again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// How often JetStream is told that a reader is at it.
const STILL_AT_IT: Duration = Duration::from_secs(2);
/// How long to wait before a consumer is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long acknowledgements of the reader before may be on their way inside the server.
const SETTLES_WITHIN: Duration = Duration::from_millis(50);
/// How often [`STILL_AT_IT`] passes until what comes again is no longer waited for, and until all of it has come.
const TICKS_HELD: u32 = 4;
const TICKS_UNORDERED: u32 = 6;

/// Where a reader without a place begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    New,
    /// With the oldest there is.
    All,
    /// With the last of each subject.
    Last,
    /// With this sequence of the stream.
    Sequence(u64),
    /// With the first that was stored at this time or later.
    Time(Timestamp),
}

/// A message out of a stream.
#[derive(Debug)]
pub struct Replayed {
    /// The message.
    pub message: Message,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// To be told when it is through.
    pub through: Through,
}

/// Tells that a message is through; dropped without that, the message comes again.
#[derive(Debug)]
pub struct Through {
    sequence: u64,
    told: mpsc::Sender<u64>,
}

impl Through {
    pub(super) fn new(sequence: u64, told: mpsc::Sender<u64>) -> Self {
        Through { sequence, told }
    }

    /// The reader has the message.
    pub fn done(self) {
        // There is room for all that are underway.
        let _ = self.told.try_send(self.sequence);
    }
}

/// A stream being read; dropping it ends the reading and keeps the place.
#[derive(Debug)]
pub struct Replay {
    end: CancellationToken,
    forget: CancellationToken,
}

impl Replay {
    pub(super) fn new() -> Self {
        Replay { end: CancellationToken::new(), forget: CancellationToken::new() }
    }

    /// Returns what ends the reading, and what tells that the place is to be forgotten then.
    pub(super) fn tokens(&self) -> (CancellationToken, CancellationToken) {
        (self.end.clone(), self.forget.clone())
    }

    /// Ends the reading and forgets the place.
    pub fn forget(self) {
        self.forget.cancel();
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// One at a time reads at a place: the next waits until the one before has given back what is not through.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Places {
    pub(super) fn at(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let known = locks.get(name).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let lock = Arc::new(tokio::sync::Mutex::default());
            locks.insert(name.to_owned(), Arc::downgrade(&lock));
            lock
        })
    }
}

/// Who reads, what and from where.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) uplink: Arc<Uplink>,
    pub(super) stream: Arc<str>,
    pub(super) name: String,
    pub(super) pattern: SubjectPattern,
    pub(super) start: Start,
    /// How long the place is kept while nobody reads.
    pub(super) kept_for: Duration,
    pub(super) into: mpsc::Sender<Replayed>,
    pub(super) places: Arc<Places>,
}

/// What a reader knows of its messages.
struct Underway {
    /// Handed out and not through: where to acknowledge, by sequence.
    open: BTreeMap<u64, String>,
    /// The highest sequence that was handed out.
    handed_out: u64,
    /// Taken, and to be handed out next.
    next: VecDeque<Replayed>,
    /// Taken while others have to come first, in order.
    held: Option<BTreeMap<u64, Replayed>>,
    /// While messages come again, in whatever order: those that were taken, of all behind `ordered_until`.
    unordered: Option<BTreeSet<u64>>,
    ordered_until: u64,
    /// How many messages came again.
    again: usize,
    told: mpsc::Sender<u64>,
    through: mpsc::Receiver<u64>,
}

/// Why reading stops.
enum Stopped {
    Lost,
    Ended,
}

impl Reader {
    /// Returns the handle and the future that reads until it is dropped.
    pub(super) fn start(self) -> (Replay, impl Future<Output = ()> + Send + use<>) {
        let replay = Replay::new();
        let (end, forget) = replay.tokens();
        (replay, self.run(end, forget))
    }

    async fn run(self, end: CancellationToken, forget: CancellationToken) {
        let place = self.places.at(&self.name);
        let _alone = place.lock().await;
        // Full: cannot be, JetStream gives out no more before some are through.
        let (told, through) = mpsc::channel(usize::try_from(2 * UNDERWAY_MAX).unwrap_or(1));
        let mut underway = Underway::new(told, through);
        loop {
            let client = tokio::select! {
                client = self.uplink.connected() => client,
                () = end.cancelled() => return,
            };
            let mut context = jetstream::new(client.clone());
            context.set_timeout(Duration::from_secs(5));
            let stopped = tokio::select! {
                stopped = self.read(&context, &client, &mut underway, &end) => stopped,
                () = self.into.closed() => Stopped::Ended,
            };
            if matches!(stopped, Stopped::Ended) || end.is_cancelled() {
                self.give_back(&context, &client, underway, forget.is_cancelled()).await;
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                () = end.cancelled() => {}
            }
        }
    }

    /// Gives back what is not through, or forgets the place.
    async fn give_back(&self, context: &jetstream::Context, client: &Client, mut underway: Underway, forgets: bool) {
        while let Ok(sequence) = underway.through.try_recv() {
            underway.acknowledge(client, sequence).await;
        }
        if forgets {
            if let Err(error) = context.delete_consumer_from_stream(self.name.as_str(), &*self.stream).await {
                debug!(%error, name = %self.name, "a place in a stream could not be forgotten");
            }
            return;
        }
        for reply in underway.open.into_values() {
            self.uplink.settled(false);
            let _ = client.publish(reply, AckKind::Nak(None).into()).await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), client.flush()).await;
    }

    async fn read(
        &self,
        context: &jetstream::Context,
        client: &Client,
        underway: &mut Underway,
        end: &CancellationToken,
    ) -> Stopped {
        let consumer = match self.consumer(context).await {
            Ok(consumer) => consumer,
            Err(error) => {
                warn!(name = %self.name, %error, "a stream cannot be read");
                return Stopped::Lost;
            }
        };
        let again = consumer.cached_info().num_ack_pending.saturating_sub(underway.open.len());
        if again > 0 {
            underway.expect_again();
        }
        let pull = consumer.stream().max_messages_per_batch(64).expires(Duration::from_secs(30));
        let Ok(mut messages) = pull.heartbeat(Duration::from_secs(5)).messages().await else { return Stopped::Lost };
        let (mut still, mut ticks) = (tokio::time::interval(STILL_AT_IT), 0);
        loop {
            if underway.again >= again {
                underway.let_go();
            }
            tokio::select! {
                biased;
                () = end.cancelled() => {
                    while let Some(Some(Ok(message))) = messages.next().now_or_never() {
                        underway.take(client, message.message).await;
                    }
                    return Stopped::Ended;
                }
                Some(sequence) = underway.through.recv() => {
                    self.uplink.settled(true);
                    underway.acknowledge(client, sequence).await;
                }
                _ = still.tick() => {
                    ticks += 1;
                    underway.tell_still_at_it(client).await;
                    if ticks > TICKS_HELD {
                        underway.let_go();
                    }
                    if ticks > TICKS_UNORDERED {
                        underway.unordered = None;
                    }
                }
                permit = self.into.reserve(), if !underway.next.is_empty() => match (permit, underway.next.pop_front()) {
                    (Ok(permit), Some(replayed)) => permit.send(replayed),
                    _ => return Stopped::Ended,
                },
                message = messages.next(), if underway.next.is_empty() => match message {
                    Some(Ok(message)) => underway.take(client, message.message).await,
                    Some(Err(_)) | None => return Stopped::Lost,
                },
            }
        }
    }

    async fn consumer(&self, context: &jetstream::Context) -> Result<Consumer<pull::Config>, String> {
        let config = pull::Config {
            durable_name: Some(self.name.clone()),
            description: Some("a device's place".to_owned()),
            deliver_policy: match self.start {
                Start::New => DeliverPolicy::New,
                Start::All => DeliverPolicy::All,
                Start::Last => DeliverPolicy::LastPerSubject,
                Start::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
                Start::Time(at) => {
                    // Its type of time is not ours to name.
                    let policy = json!({ "deliver_policy": "by_start_time", "opt_start_time": at.to_rfc3339() });
                    serde_json::from_value(policy).unwrap_or(DeliverPolicy::All)
                }
            },
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACKNOWLEDGED_WITHIN,
            filter_subject: self.pattern.to_string(),
            max_ack_pending: UNDERWAY_MAX,
            inactive_threshold: self.kept_for,
            ..pull::Config::default()
        };
        let stream = context.get_stream_no_info(&*self.stream).await.map_err(|error| error.to_string())?;
        let consumer = stream.get_or_create_consumer(&self.name, config.clone()).await;
        let consumer = consumer.map_err(|error| error.to_string())?;
        if consumer.cached_info().num_ack_pending == 0 {
            return Ok(consumer);
        }
        tokio::time::sleep(SETTLES_WITHIN).await;
        stream.get_or_create_consumer(&self.name, config).await.map_err(|error| error.to_string())
    }
}

impl Underway {
    fn new(told: mpsc::Sender<u64>, through: mpsc::Receiver<u64>) -> Self {
        Underway {
            open: BTreeMap::new(),
            handed_out: 0,
            next: VecDeque::new(),
            held: None,
            unordered: None,
            ordered_until: 0,
            again: 0,
            told,
            through,
        }
    }

    /// Notes that what was handed out and is not through comes again: nothing goes before it.
    fn expect_again(&mut self) {
        if self.unordered.is_none() {
            (self.unordered, self.ordered_until) = (Some(BTreeSet::new()), self.handed_out);
        }
        self.held.get_or_insert_default();
        self.again = 0;
    }

    /// Lets go, in order, what was held.
    fn let_go(&mut self) {
        self.next.extend(self.held.take().into_iter().flat_map(BTreeMap::into_values));
    }

    /// Takes a message of the stream, if the reader does not have or had it already.
    async fn take(&mut self, client: &Client, message: async_nats::Message) {
        let Some(reply) = message.reply.as_ref().map(ToString::to_string) else { return };
        let Some((deliveries, sequence)) = place_of(&reply) else { return };
        let is_known = match &mut self.unordered {
            Some(taken) => sequence <= self.ordered_until || !taken.insert(sequence),
            None => sequence <= self.handed_out,
        };
        if is_known {
            match self.open.get_mut(&sequence) {
                Some(open) => *open = reply,
                None => drop(client.publish(reply, AckKind::Ack.into()).await),
            }
            return;
        }
        self.again += usize::from(deliveries > 1);
        let Some(message) = message_of(message) else {
            // Not a subject that this box could hand out.
            let _ = client.publish(reply, AckKind::Term.into()).await;
            return;
        };
        self.handed_out = self.handed_out.max(sequence);
        self.open.insert(sequence, reply);
        let replayed = Replayed { message, sequence, through: Through::new(sequence, self.told.clone()) };
        match &mut self.held {
            Some(held) => drop(held.insert(sequence, replayed)),
            None => self.next.push_back(replayed),
        }
    }

    async fn acknowledge(&mut self, client: &Client, sequence: u64) {
        if let Some(reply) = self.open.remove(&sequence) {
            let _ = client.publish(reply, AckKind::Ack.into()).await;
        }
    }

    async fn tell_still_at_it(&self, client: &Client) {
        for reply in self.open.values() {
            let _ = client.publish(reply.clone(), AckKind::Progress.into()).await;
        }
    }
}

/// Reads how often a message was sent and its sequence in the stream out of where it is acknowledged.
///
/// Source: NATS, ADR-15: `$JS.ACK.stream.consumer.delivered.sequence...`, or with domain and account before `stream`
/// and a token behind.
fn place_of(reply: &str) -> Option<(u64, u64)> {
    let tokens: Vec<&str> = reply.split('.').collect();
    let at = if tokens.len() >= 11 { 6 } else { 4 };
    Some((tokens.get(at)?.parse().ok()?, tokens.get(at + 1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_and_sequence_stand_in_where_a_message_is_acknowledged() {
        assert_eq!(place_of("$JS.ACK.EVENTS.device-a.1.17.3.1700000000000000000.0"), Some((1, 17)));
        assert_eq!(place_of("$JS.ACK._.hash.EVENTS.device-a.2.17.3.1700000000000000000.0.x"), Some((2, 17)));
        assert_eq!(place_of("_INBOX.a"), None);
    }
}
