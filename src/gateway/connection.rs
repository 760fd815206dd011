//! One socket's task: reads, steps the session, carries out its effects. No decisions of its own.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as SocketMessage};
use tracing::debug;

use super::Shared;
use super::admission::Place;
use super::blackbox::{Direction, Recorder};
use super::certificate::{Judgement, Judgements};
use super::devices::{Command, Way};
use super::end::End;
use super::identity::Shown;
use super::orders::{Order, Orders};
use super::outbox::{self, Outbox};
use super::receipts::{Asked, Kept};
use super::registry::{CONNECTED, Entry};
use super::session::{Effect, Now, Session};
use super::traffic::Traffic;
use super::underway::Underway;
use crate::bus::{self, Message, Replay, Replayed, Scope, Subject, SubjectPattern, Subscription};
use crate::model::DeviceMessage;
use crate::task::Phase;

/// Small, because there may be ten thousand sockets; larger messages grow it while they are read, this much at a time.
const READ_BUFFER_BYTES: usize = 1024;
/// How long a device has to take what is still to be sent, and to hang up.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much of a device's babble is read away at the end, so that the farewell is not lost to a reset: so many reads of
/// so many bytes, with a pause after each, so that a flood ends as quietly as it was.
const BABBLE_READS_MAX: usize = 512;
const BABBLE_READ_BYTES: usize = 32 << 10;
const BABBLE_PAUSE: Duration = Duration::from_millis(1);

/// An answer to a device's request.
type Answer = (Subject, Option<String>, bus::Result<Message>);

pub(super) struct Connection<S> {
    socket: WebSocketStream<S>,
    pub(super) shared: Arc<Shared>,
    place: Place,
    pub(super) session: Session,
    pub(super) traffic: Arc<Traffic>,
    pub(super) outbox: Outbox,
    subscription: Option<Subscription>,
    requests: Underway<Answer>,
    pub(super) receipts: Underway<(Asked, Kept)>,
    /// Streams that are read for the device, by pattern.
    pub(super) replays: Vec<(SubjectPattern, Replay)>,
    /// What they bring; made with the first.
    pub(super) replayed: Option<(mpsc::Sender<Replayed>, mpsc::Receiver<Replayed>)>,
    entry: Option<Entry>,
    /// Of a device that is let in.
    pub(super) recorder: Option<Recorder>,
    /// Of the registry.
    orders: Arc<Orders>,
    /// Of its TLS handshake, if it made one.
    judgements: Option<Judgements>,
    end: Option<End>,
}

/// What a turn of the loop woke up for.
enum Event {
    Socket(outbox::Event),
    Bus(Option<Message>),
    Overflow,
    Answer(Answer),
    Kept((Asked, Kept)),
    Replayed(Replayed),
    Time,
    Order(Order),
    Judgement(Judgement),
    End(End),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(super) async fn new(socket: S, shared: Arc<Shared>, place: Place, judgements: Option<Judgements>) -> Self {
        let config = shared.config.borrow().clone();
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(config.message_bytes_max))
            .max_frame_size(Some(config.message_bytes_max));
        let traffic = Arc::new(Traffic::default());
        let now = shared.now();
        Connection {
            socket: WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits)).await,
            session: Session::new(config, shared.instruments.clone(), traffic.clone(), shared.total.clone(), now),
            place,
            outbox: Outbox::new(traffic.clone(), shared.instruments.clone()),
            traffic,
            shared,
            subscription: None,
            requests: Underway::default(),
            receipts: Underway::default(),
            replays: Vec::new(),
            replayed: None,
            entry: None,
            recorder: None,
            orders: Arc::default(),
            judgements,
            end: None,
        }
    }

    /// Serves the device until one side ends it. `shown` is what the upgrade or its TLS handshake held, if anything.
    pub(super) async fn run(&mut self, shown: Option<Shown>) {
        if let Some(shown) = shown {
            let way = if shown.claim.is_some() { Way::Header } else { Way::Certificate };
            let effects = self.authenticate(shown, way).await;
            self.carry_out(effects).await;
        }
        let intake = self.shared.tasks.token(Phase::Intake);
        let mut timer = std::pin::pin!(tokio::time::sleep(self.until_deadline()));
        let mut timed_for = self.session.deadline();
        let end = loop {
            if let Some(end) = self.end.take() {
                break end;
            }
            // Later ones are looked at when the timer ends.
            if self.session.deadline() < timed_for {
                timed_for = self.session.deadline();
                timer.as_mut().reset(tokio::time::Instant::now() + self.until_deadline());
            }
            let (has_room, reads) = (self.outbox.has_room(), !self.session.is_paused());
            let event = tokio::select! {
                biased;
                () = intake.cancelled() => Event::End(End::STOPPING),
                order = self.orders.next() => Event::Order(order),
                Some(judgement) = next_judgement(&mut self.judgements) => Event::Judgement(judgement),
                () = overflow(self.subscription.as_ref()) => Event::Overflow,
                () = &mut timer => Event::Time,
                answer = self.requests.next() => Event::Answer(answer),
                kept = self.receipts.next() => Event::Kept(kept),
                event = poll_fn(|cx| self.outbox.poll(&mut self.socket, reads, cx)) => Event::Socket(event),
                message = next_message(self.subscription.as_ref()), if has_room => Event::Bus(message),
                Some(replayed) = next_replayed(&mut self.replayed), if has_room => Event::Replayed(replayed),
            };
            if matches!(event, Event::Time) {
                timed_for = Duration::MAX;
            }
            // Its room is several times that of all the rest, and most connections wait most of the time.
            Box::pin(self.on_event(event)).await;
        };
        self.leave(end).await;
    }

    async fn on_event(&mut self, event: Event) {
        let now = self.shared.now();
        let effects = match event {
            Event::Time => self.session.on_time(now),
            Event::End(end) => return self.end = Some(end),
            Event::Order(Order::End(end)) => return self.end = Some(end),
            Event::Order(Order::Be(identity)) => self.session.on_identity(identity, now),
            Event::Judgement(judgement) => return self.on_judgement(judgement).await,
            Event::Overflow => return self.end = Some(End::SLOW),
            Event::Bus(Some(message)) => self.session.on_message(&message, now),
            Event::Bus(None) => return self.end = Some(End::STOPPING),
            Event::Answer((subject, id, answer)) => self.session.on_answer(&subject, id.as_deref(), answer, now),
            Event::Kept((asked, kept)) => self.session.on_kept(&asked, &kept, now),
            Event::Replayed(replayed) => return self.hand_on(replayed, now),
            Event::Socket(outbox::Event::Drained) => return,
            Event::Socket(outbox::Event::Incoming(message)) => return self.on_incoming(message, now).await,
        };
        self.carry_out(effects).await;
    }

    async fn on_incoming(&mut self, message: Option<Result<SocketMessage, SocketError>>, now: Now) {
        let effects = match message {
            Some(Ok(SocketMessage::Text(text))) => {
                if let Some(recorder) = &self.recorder {
                    recorder.frame(&text, Direction::In, now.wall);
                }
                let (kind, effects) = self.session.on_text(&text, now);
                self.carry_out(effects).await;
                if let Some(histogram) = kind.and_then(|kind| self.shared.instruments.processing(kind)) {
                    histogram.observe_duration(self.shared.clock.elapsed().saturating_sub(now.elapsed));
                }
                return;
            }
            Some(Ok(SocketMessage::Binary(_))) => self.session.on_binary(now),
            Some(Ok(SocketMessage::Ping(_) | SocketMessage::Pong(_))) => self.session.on_control(now),
            Some(Err(SocketError::Capacity(CapacityError::MessageTooLong { .. }))) => self.session.on_too_big(now),
            Some(Ok(SocketMessage::Close(_) | SocketMessage::Frame(_)) | Err(SocketError::ConnectionClosed)) | None => {
                return self.end = Some(End::NORMAL);
            }
            Some(Err(error)) => {
                debug!(%error, "a device's connection broke");
                return self.end = Some(End::SOCKET);
            }
        };
        self.carry_out(effects).await;
    }

    /// Ends where the handshake would fail now, or its certificate is not this device's any more by which it came in.
    async fn on_judgement(&mut self, judgement: Judgement) {
        let is_taken = match (judgement, self.session.identity()) {
            (Judgement::Refused, _) => false,
            (Judgement::Taken(certificate), Some(identity)) if identity.is_certified => {
                let id = identity.device_id.clone();
                let shown = Shown { claim: None, certificate: certificate.map(Arc::new) };
                let (answer, whose) = oneshot::channel();
                let _ = self.shared.commands.send(Command::Check { shown, answer }).await;
                whose.await.is_ok_and(|whose| whose == Ok(Some(id)))
            }
            (Judgement::Taken(_), _) => true,
        };
        if !is_taken {
            self.end = Some(End::CERTIFICATE);
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Send { kind, json } => {
                    if let Some(recorder) = &self.recorder {
                        recorder.frame(&json, Direction::Out, self.shared.now().wall);
                    }
                    self.outbox.push(Some(kind), SocketMessage::text(json));
                }
                Effect::Ping => self.outbox.push(None, SocketMessage::Ping(Bytes::new())),
                Effect::Close(end) => self.end = Some(end),
                Effect::Authenticate(claim) => {
                    let shown = Shown { claim: Some(claim), certificate: None };
                    queue.extend(self.authenticate(shown, Way::Frame).await);
                }
                Effect::Publish { message, recorded } => {
                    // The collectors first: the box records whatever becomes of the bus.
                    self.record(recorded);
                    self.publish(message).await;
                }
                Effect::PublishAsked { message, recorded, asked } => {
                    self.publish_asked(message, recorded, asked).await;
                }
                Effect::Reply(message) => self.publish(message).await,
                Effect::Request { message, correlation_id } => {
                    let (bus, timeout) = (self.shared.bus.clone(), self.shared.config.borrow().request_timeout);
                    self.requests.push(
                        async move {
                            let subject = message.subject.clone();
                            let answer = bus.request(message, timeout).await;
                            (subject, correlation_id, answer)
                        }
                        .boxed(),
                    );
                }
                Effect::Subscribe(pattern) => {
                    let start = self.shared.clock.elapsed();
                    let bus = &self.shared.bus;
                    self.subscription.get_or_insert_with(|| bus.subscriber(Scope::All)).add(&pattern);
                    self.traffic.note_subscribed(pattern.to_string());
                    let took = self.shared.clock.elapsed().saturating_sub(start);
                    self.shared.instruments.nats_subscribe.inc();
                    self.shared.instruments.subscribe_latency.observe_duration(took);
                }
                Effect::Replay(wanted) => {
                    let now = self.shared.now();
                    queue.extend(self.replay(&wanted, now));
                }
                Effect::Unsubscribe(pattern) => {
                    self.end_replay(&pattern);
                    if let Some(subscription) = &self.subscription {
                        let _ = subscription.remove(&pattern);
                    }
                    self.traffic.note_unsubscribed(pattern.as_str());
                }
            }
        }
    }

    /// Asks the registry and steps the session with its answer.
    async fn authenticate(&mut self, shown: Shown, way: Way) -> Vec<Effect> {
        let start = self.shared.clock.elapsed();
        let (answer, entry) = oneshot::channel();
        let (address, orders) = (self.place.address(), self.orders.clone());
        let command = Command::Connect { shown, way, address, traffic: self.traffic.clone(), orders, answer };
        let _ = self.shared.commands.send(command).await;
        let entry = entry.await.unwrap_or(Err("The gateway is stopping"));
        let now = self.shared.now();
        self.shared.instruments.auth_duration.observe_duration(now.elapsed.saturating_sub(start));
        match entry {
            Ok(entry) => {
                self.place.authenticated();
                let admitted = (entry.identity.clone(), entry.meter.clone());
                let recorder = self.shared.black_box.recorder(&entry.identity.device_id);
                recorder.begin(now.wall);
                self.recorder = Some(recorder);
                self.entry = Some(entry);
                self.session.on_authenticated(Ok(admitted), now)
            }
            Err(reason) => {
                // A right token at a wrong moment is no guess.
                if reason != CONNECTED {
                    self.place.failed(now.elapsed);
                }
                self.session.on_authenticated(Err(reason), now)
            }
        }
    }

    /// Publishes; what NATS did not take is counted, and this box has it all the same.
    async fn publish(&mut self, message: Message) {
        let start = self.shared.clock.elapsed();
        let stream = self.shared.bus.stream_of(&message.subject).cloned();
        let published = self.shared.bus.publish(message).await;
        self.count_publish(stream.as_deref(), published.as_ref().err());
        self.shared.instruments.publish_latency.observe_duration(self.shared.clock.elapsed().saturating_sub(start));
    }

    fn until_deadline(&self) -> Duration {
        self.session.deadline().saturating_sub(self.shared.clock.elapsed())
    }

    /// Tells the registry, then sends what is left and a close frame, as far as the device listens.
    async fn leave(&mut self, end: End) {
        let who = self.session.identity().map_or_else(|| "stranger".into(), |identity| identity.device_id.clone());
        debug!(device = %who, address = %self.place.address(), reason = end.reason, "connection ends");
        if let Some(recorder) = self.recorder.take() {
            recorder.end(self.shared.now().wall, end.reason);
        }
        drop(self.subscription.take());
        self.replays.clear();
        match self.entry.take() {
            Some(entry) => {
                let _ = self.shared.commands.send(Command::Disconnected { entry, reason: end.reason }).await;
            }
            None => self.shared.instruments.disconnections.with(&["unknown", end.reason]).inc(),
        }
        let is_open = end != End::SOCKET && end != End::NORMAL;
        if is_open {
            let frame = CloseFrame { code: CloseCode::from(end.code), reason: end.text.into() };
            self.outbox.push(None, SocketMessage::Close(Some(frame)));
        }
        let _ = tokio::time::timeout(FAREWELL, async {
            let _ = poll_fn(|cx| self.outbox.poll_send(&mut self.socket, cx)).await;
            if is_open {
                read_away(self.socket.get_mut()).await;
            }
        })
        .await;
    }
}

impl<S> Connection<S> {
    /// Hands a message to the collectors.
    pub(super) fn record(&self, recorded: DeviceMessage) {
        self.shared.last.put(&recorded);
        if self.shared.messages.try_send(recorded).is_err() {
            self.shared.instruments.not_recorded.inc();
        }
    }

    /// Counts a publish by the stream that is to keep it.
    pub(super) fn count_publish(&self, stream: Option<&str>, error: Option<&bus::Error>) {
        let stream = stream.unwrap_or("core");
        match error {
            None => self.shared.instruments.nats_publish.with(&[stream]).inc(),
            Some(error) => {
                debug!(%error, "publish");
                self.shared.instruments.nats_publish_errors.with(&[stream]).inc();
            }
        }
    }
}

/// Reads away what a device still says, until it hangs up.
async fn read_away(mut socket: impl AsyncRead + Unpin) {
    let mut babble = vec![0; BABBLE_READ_BYTES];
    for _ in 0..BABBLE_READS_MAX {
        if matches!(socket.read(&mut babble).await, Ok(0) | Err(_)) {
            return;
        }
        tokio::time::sleep(BABBLE_PAUSE).await;
    }
}

/// Waits until the bus had to drop a message of this device.
async fn overflow(subscription: Option<&Subscription>) {
    match subscription {
        Some(subscription) => subscription.overflow().await,
        None => std::future::pending().await,
    }
}

async fn next_judgement(judgements: &mut Option<Judgements>) -> Option<Judgement> {
    match judgements {
        Some(judgements) => judgements.next().await,
        None => std::future::pending().await,
    }
}

async fn next_message(subscription: Option<&Subscription>) -> Option<Message> {
    match subscription {
        Some(subscription) => subscription.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_replayed(replayed: &mut Option<(mpsc::Sender<Replayed>, mpsc::Receiver<Replayed>)>) -> Option<Replayed> {
    match replayed {
        Some((_, receiver)) => receiver.recv().await,
        None => std::future::pending().await,
    }
}
