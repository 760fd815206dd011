//! The client's task: connects, shows who it is, subscribes, sends, takes in; and again when that ends.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as SocketMessage};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::stats::count;
use super::{Command, Connection, Error, Event, Message, Result, Shared, Start, frame};
use crate::clock::Clock;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Requests whose answer is awaited, at most.
const REQUESTS_MAX: usize = 64;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Small, because one machine may run hundreds of clients.
const READ_BUFFER_BYTES: usize = 16 << 10;

pub(super) struct Task {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    connection: watch::Sender<Connection>,
    clock: Clock,
    subscriptions: HashMap<String, Subscription>,
    requests: HashMap<String, oneshot::Sender<Result<Value>>>,
    next_request: u64,
    pinged_at: Option<Duration>,
}

/// Refusals of a publish that is to be kept which pass: it is sent again, on the next connection and in order.
const AGAIN: [&str; 2] = ["RATE_LIMIT", "NOT_KEPT"];
/// How long to stay away then.
const AFTER_TOO_FAST: Duration = Duration::from_secs(1);

/// One subscription, made again with each connection.
struct Subscription {
    start: Option<Start>,
    messages: mpsc::Sender<Message>,
}

impl Subscription {
    /// Returns the frame that asks for it.
    fn frame(&self, pattern: &str) -> Value {
        match self.start {
            None => json!({ "type": frame::SUBSCRIBE, "subject": pattern }),
            Some(start) => json!({ "type": frame::SUBSCRIBE, "subject": pattern, "replay": start.to_json() }),
        }
    }
}

/// What a frame of the gateway asks for.
#[derive(PartialEq, Eq)]
enum Taken {
    Well,
    /// To go slower.
    TooFast,
}

/// Why a connection was left.
enum Left {
    /// Lost: connect again.
    Lost,
    /// On purpose, for a while.
    Pause(Duration),
    /// For good; somebody may wait to hear it.
    Closed(Option<oneshot::Sender<()>>),
}

/// Frames on their way into the socket.
#[derive(Default)]
struct Wire {
    frames: VecDeque<SocketMessage>,
    is_unflushed: bool,
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        connection: watch::Sender<Connection>,
        clock: Clock,
    ) -> Self {
        Task {
            shared,
            commands,
            connection,
            clock,
            subscriptions: HashMap::new(),
            requests: HashMap::new(),
            next_request: 1,
            pinged_at: None,
        }
    }

    pub(super) async fn run(mut self, end: CancellationToken) {
        let mut backoff = Backoff::new(self.shared.config.backoff_min, self.shared.config.backoff_max);
        let done = loop {
            let began_at = self.clock.elapsed();
            let entered = tokio::select! {
                () = end.cancelled() => break None,
                entered = tokio::time::timeout(self.shared.config.connect_timeout, self.enter()) => entered,
            };
            let left = match entered.unwrap_or(Err(Error::Timeout(self.shared.config.connect_timeout))) {
                Ok(socket) => {
                    backoff.reset();
                    self.shared.stats().connections += 1;
                    self.connection.send_replace(Connection::Connected);
                    let connected_at = self.clock.elapsed();
                    self.shared.tell(|| Event::Connected { took: connected_at.saturating_sub(began_at) });
                    let left = self.serve(socket, &end).await;
                    let lasted = self.clock.elapsed().saturating_sub(connected_at);
                    self.shared.stats().disconnections += 1;
                    self.shared.tell(|| Event::Disconnected { lasted });
                    self.requests.clear();
                    self.connection.send_replace(Connection::Away);
                    left
                }
                Err(Error::Refused { code, message }) => {
                    self.shared.tell(|| Event::Refused { code, message: message.clone() });
                    warn!(device = %self.shared.config.device_id, %message, "the gateway does not let the device in");
                    self.connection.send_replace(Connection::Refused(message));
                    Left::Lost
                }
                Err(error) => {
                    debug!(device = %self.shared.config.device_id, %error, "cannot connect");
                    self.connection.send_replace(Connection::Away);
                    Left::Lost
                }
            };
            let wait = match left {
                Left::Closed(done) => break done,
                Left::Pause(pause) => pause,
                Left::Lost => backoff.next(rand::random()),
            };
            let attempt = self.shared.stats().reconnect_attempts + 1;
            self.shared.tell(|| Event::Reconnecting { attempt, wait });
            if let Some(done) = self.stay_away(wait, &end).await {
                break done;
            }
            self.shared.stats().reconnect_attempts += 1;
        };
        self.connection.send_replace(Connection::Closed);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Waits, and takes commands meanwhile. Returns something if the client is to end.
    async fn stay_away(&mut self, wait: Duration, end: &CancellationToken) -> Option<Option<oneshot::Sender<()>>> {
        let over = tokio::time::sleep(wait);
        let mut over = std::pin::pin!(over);
        loop {
            tokio::select! {
                () = end.cancelled() => return Some(None),
                () = &mut over => return None,
                command = self.commands.recv() => match command {
                    Some(Command::Close { done }) => return Some(Some(done)),
                    Some(Command::Subscribe { pattern, start, messages }) => {
                        self.subscriptions.insert(pattern, Subscription { start, messages });
                    }
                    Some(Command::Unsubscribe { pattern }) => {
                        self.subscriptions.remove(&pattern);
                    }
                    Some(Command::Request { answer, .. }) => {
                        let _ = answer.send(Err(Error::Lost));
                    }
                    Some(Command::HangUp { .. }) => {}
                    // The last handle is gone.
                    None => return Some(None),
                }
            }
        }
    }

    /// Connects and shows who the device is.
    async fn enter(&self) -> Result<Socket> {
        let config = &self.shared.config;
        let limits = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let connector = config.tls.as_ref().map(super::Tls::connector);
        let connected =
            tokio_tungstenite::connect_async_tls_with_config(&config.url, Some(limits), true, connector).await;
        let (mut socket, _) = connected.map_err(|error| {
            debug!(url = %config.url, %error, "cannot connect");
            Error::Lost
        })?;
        let auth = json!({ "type": frame::AUTH, "payload": {
            "deviceId": config.device_id, "token": config.token, "deviceType": config.device_type,
        }});
        let mut wire = Wire::default();
        if !config.token.is_empty() {
            wire.frames.push_back(SocketMessage::text(auth.to_string()));
        }
        loop {
            let message = poll_fn(|cx| wire.poll(&mut socket, None, cx)).await;
            let Some(Ok(message)) = message else { return Err(Error::Lost) };
            let SocketMessage::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(&text).map_err(|_| Error::Lost)?;
            if frame["type"] != frame::AUTH {
                continue;
            }
            return match frame["payload"]["success"].as_bool() {
                Some(true) => Ok(socket),
                _ => {
                    let (code, message) = refusal(&frame);
                    Err(Error::Refused { code, message })
                }
            };
        }
    }

    async fn serve(&mut self, mut socket: Socket, end: &CancellationToken) -> Left {
        self.shared.buffer().send_again();
        let mut wire = Wire::default();
        for (pattern, subscription) in &self.subscriptions {
            wire.push(&subscription.frame(pattern));
            self.shared.tell(|| Event::Subscribed { pattern: pattern.clone() });
        }
        let mut ping = tokio::time::interval(self.shared.config.ping_interval);
        let mut tell = tokio::time::interval(self.shared.config.stats_interval.unwrap_or(Duration::from_secs(3600)));
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard_at = self.clock.elapsed();
        let left = loop {
            tokio::select! {
                () = end.cancelled() => break Left::Closed(None),
                message = poll_fn(|cx| wire.poll(&mut socket, Some(&self.shared), cx)) => {
                    heard_at = self.clock.elapsed();
                    match message {
                        Some(Ok(SocketMessage::Text(text))) => {
                            if self.take(&text) == Taken::TooFast {
                                break Left::Pause(AFTER_TOO_FAST);
                            }
                        }
                        Some(Ok(SocketMessage::Close(_)) | Err(_)) | None => break Left::Lost,
                        Some(Ok(_)) => {}
                    }
                }
                () = self.shared.has_more.notified() => {}
                _ = ping.tick() => {
                    let now = self.clock.elapsed();
                    if now.saturating_sub(heard_at) > self.shared.config.dead_after {
                        break Left::Lost;
                    }
                    self.pinged_at = Some(now);
                    wire.push(&json!({ "type": frame::PING }));
                    self.shared.tell(|| Event::Ping);
                }
                _ = tell.tick() => self.tell_stats(),
                command = self.commands.recv() => match command {
                    Some(command) => {
                        if let Some(left) = self.carry_out(command, &mut wire) {
                            break left;
                        }
                    }
                    None => break Left::Closed(None),
                }
            }
        };
        if !matches!(left, Left::Lost) {
            let _ = tokio::time::timeout(FAREWELL, self.say_goodbye(socket, wire)).await;
        }
        left
    }

    fn tell_stats(&self) {
        let config = &self.shared.config;
        if config.stats_interval.is_some() {
            let mut stats = self.shared.stats().clone();
            stats.buffer_size = self.shared.buffer().len();
            self.shared.publish(&format!("devices.{}.stats", config.device_id), &stats.to_json());
        }
    }

    fn carry_out(&mut self, command: Command, wire: &mut Wire) -> Option<Left> {
        match command {
            Command::Subscribe { pattern, start, messages } => {
                let subscription = Subscription { start, messages };
                wire.push(&subscription.frame(&pattern));
                self.shared.tell(|| Event::Subscribed { pattern: pattern.clone() });
                self.subscriptions.insert(pattern, subscription);
            }
            Command::Unsubscribe { pattern } => {
                if self.subscriptions.remove(&pattern).is_some() {
                    wire.push(&json!({ "type": frame::UNSUBSCRIBE, "subject": pattern }));
                    self.shared.tell(|| Event::Unsubscribed { pattern });
                }
            }
            Command::Request { answer, .. } if self.requests.len() >= REQUESTS_MAX => {
                let message = format!("no more than {REQUESTS_MAX} open requests");
                let _ = answer.send(Err(Error::Refused { code: "RATE_LIMIT".to_owned(), message }));
            }
            Command::Request { subject, payload, answer } => {
                let id = format!("q{}", self.next_request);
                self.next_request += 1;
                wire.push(&json!({
                    "type": frame::REQUEST, "subject": subject, "payload": payload, "correlationId": id,
                }));
                self.requests.retain(|_, waiting| !waiting.is_closed());
                self.requests.insert(id, answer);
            }
            Command::HangUp { pause } => return Some(Left::Pause(pause)),
            Command::Close { done } => return Some(Left::Closed(Some(done))),
        }
        None
    }

    /// Takes a frame of the gateway.
    fn take(&mut self, text: &str) -> Taken {
        self.shared.stats().bytes_received += text.len() as u64;
        let Ok(frame) = serde_json::from_str::<Value>(text) else { return Taken::Well };
        let correlation_id = frame["correlationId"].as_str();
        match frame["type"].as_u64() {
            Some(frame::MESSAGE) => self.hand_out(&frame, text.len()),
            Some(frame::REPLY) => {
                if let Some(waiting) = correlation_id.and_then(|id| self.requests.remove(id)) {
                    let _ = waiting.send(Ok(frame["payload"].clone()));
                }
            }
            Some(frame::ACK) => {
                let waiting = frame["payload"]["messageId"].as_str().and_then(|id| self.shared.buffer().settle(id));
                if let Some(waiting) = waiting {
                    let _ = waiting.send(Ok(frame["payload"]["durable"].as_bool().unwrap_or(false)));
                }
            }
            Some(frame::ERROR) => return self.take_refusal(&frame),
            Some(frame::PONG) => {
                let took = self.pinged_at.take().map(|at| self.clock.elapsed().saturating_sub(at));
                self.shared.stats().latency = took;
                if let Some(took) = took {
                    self.shared.tell(|| Event::Pong { took });
                }
            }
            _ => {}
        }
        Taken::Well
    }

    /// Takes the refusal of a publish that is to be kept, of a request, or of something that nobody waits for.
    fn take_refusal(&mut self, frame: &Value) -> Taken {
        self.shared.stats().errors += 1;
        let (code, message) = refusal(frame);
        self.shared.tell(|| Event::Refused { code: code.clone(), message: message.clone() });
        let id = frame["correlationId"].as_str().unwrap_or_default();
        if id.starts_with(&self.shared.id_prefix) && AGAIN.contains(&code.as_str()) {
            return Taken::TooFast;
        }
        let refused = Error::Refused { code, message };
        let publish = self.shared.buffer().settle(id);
        if let Some(waiting) = publish {
            let _ = waiting.send(Err(refused));
        } else if let Some(waiting) = self.requests.remove(id) {
            let _ = waiting.send(Err(refused));
        } else {
            warn!(device = %self.shared.config.device_id, error = %refused, "refused");
        }
        Taken::Well
    }

    fn hand_out(&mut self, frame: &Value, bytes: usize) {
        let text = |name: &str| frame[name].as_str().map(str::to_owned);
        let message = Message {
            subject: text("subject").unwrap_or_default(),
            payload: frame["payload"].clone(),
            device_id: text("deviceId"),
            correlation_id: text("correlationId"),
            sequence: frame["sequence"].as_u64(),
        };
        let mut stats = self.shared.stats();
        count(&mut stats.received, &message.subject);
        for (pattern, subscription) in &self.subscriptions {
            if matches(pattern, &message.subject) && subscription.messages.try_send(message.clone()).is_err() {
                stats.incoming_overflows += 1;
            }
        }
        drop(stats);
        self.shared.tell(|| Event::Received { subject: message.subject, bytes });
        self.subscriptions.retain(|_, subscription| !subscription.messages.is_closed());
    }

    /// Sends what waits, then a close frame, and waits for the gateway's.
    async fn say_goodbye(&self, mut socket: Socket, mut wire: Wire) {
        while let Some(frame) = self.shared.next_outgoing() {
            wire.frames.push_back(frame);
        }
        wire.frames.push_back(SocketMessage::Close(None));
        while let Some(Ok(_)) = poll_fn(|cx| wire.poll(&mut socket, None, cx)).await {}
    }
}

impl Wire {
    fn push(&mut self, frame: &Value) {
        self.frames.push_back(SocketMessage::text(frame.to_string()));
    }

    /// Writes what the socket takes, own frames first and then what waits in the client's buffer, and reads.
    /// A publish leaves the buffer only when the socket is ready for it, so that it survives a lost
    /// connection. Ready with a message, or nothing at the end.
    fn poll(
        &mut self,
        socket: &mut Socket,
        client: Option<&Shared>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<SocketMessage, SocketError>>> {
        let mut socket = Pin::new(socket);
        while let Poll::Ready(ready) = socket.as_mut().poll_ready(cx) {
            let next = self.frames.pop_front().or_else(|| client.and_then(Shared::next_outgoing));
            let written = match (ready, next) {
                (Ok(()), None) => break,
                (Ok(()), Some(frame)) => socket.as_mut().start_send(frame),
                (Err(error), _) => Err(error),
            };
            self.is_unflushed = true;
            if let Err(error) = written {
                return Poll::Ready(Some(Err(error)));
            }
        }
        if self.is_unflushed
            && let Poll::Ready(flushed) = socket.as_mut().poll_flush(cx)
        {
            self.is_unflushed = false;
            if let Err(error) = flushed {
                return Poll::Ready(Some(Err(error)));
            }
        }
        socket.poll_next(cx)
    }
}

impl Shared {
    /// Takes the next publish out of the buffer and counts it.
    fn next_outgoing(&self) -> Option<SocketMessage> {
        let (subject, json) = self.buffer().next()?;
        let mut stats = self.stats();
        stats.bytes_published += json.len() as u64;
        if !subject.is_empty() {
            count(&mut stats.published, &subject);
        }
        drop(stats);
        if !subject.is_empty() {
            self.tell(|| Event::Published { subject, bytes: json.len() });
        }
        Some(SocketMessage::text(json))
    }
}

/// Returns code and text of a refusal.
fn refusal(frame: &Value) -> (String, String) {
    let text = |name: &str| frame["payload"][name].as_str().unwrap_or_default().to_owned();
    let message = if text("message").is_empty() { text("error") } else { text("message") };
    (text("code"), message)
}

/// Tells whether a pattern stands for a subject: `*` for one token, `>` for the rest.
fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            (_, _) => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_on_the_bus() {
        for (pattern, subject, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a", "a", true),
            (">", "a.b", true),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} on {subject}");
        }
    }
}
