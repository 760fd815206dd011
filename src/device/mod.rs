//! The device's end of the wire: a client for programs on machines, in Rust.
//!
//! A [`DeviceClient`] keeps one WebSocket to a gateway: it shows who it is, subscribes again after each
//! reconnect, waits longer after each failure, and keeps a bounded number of publishes while it is away. The
//! demo's devices are made of it. The wire is told in `docs/device-protocol.md`.

mod backoff;
mod config;
mod connection;
mod error;
mod event;
mod frame;
mod start;
mod stats;
mod tls;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use config::Config;
pub use error::{Error, Result};
pub use event::{Event, Listener};
pub use start::Start;
pub use stats::Stats;
pub use tls::Tls;

use crate::clock::Clock;
use crate::task::{OnPanic, Tasks};
use connection::Task;

/// How things stand with the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Being made, for the first time or again.
    Connecting,
    /// Let in.
    Connected,
    /// Not let in, with the gateway's word; it is tried again later.
    Refused(String),
    /// Lost or not reached; it is tried again.
    Away,
    /// Ended by [`DeviceClient::close`].
    Closed,
}

/// A message from the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Where it was published.
    pub subject: String,
    /// Its body.
    pub payload: Value,
    /// Who published it, if it was a device.
    pub device_id: Option<String>,
    /// The sender's mark; of a request, what [`DeviceClient::reply`] needs.
    pub correlation_id: Option<String>,
    /// Its place in the stream, if it was read out of one.
    pub sequence: Option<u64>,
}

/// The client's handle; cheap to clone. The connection ends with [`DeviceClient::close`].
#[derive(Debug, Clone)]
pub struct DeviceClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    /// Publishes on their way, oldest first.
    buffer: Mutex<Buffer>,
    has_more: Notify,
    commands: mpsc::Sender<Command>,
    connection: watch::Receiver<Connection>,
    stats: Mutex<Stats>,
    /// Begins the ids of publishes: another for each start, so that they never come twice.
    id_prefix: String,
}

#[derive(Debug, Default)]
struct Buffer {
    frames: VecDeque<Outgoing>,
    /// Sent, and the gateway has not said yet that they are kept; oldest first.
    unacknowledged: VecDeque<Outgoing>,
    /// Of both.
    bytes: usize,
    /// Number of the next that is to be kept.
    next_id: u64,
}

/// A frame to be sent.
#[derive(Debug)]
struct Outgoing {
    /// Of a publish; empty for others.
    subject: String,
    json: String,
    /// Of a publish that is to be kept.
    kept: Option<ToBeKept>,
}

/// A publish whose sender waits for the gateway's word.
#[derive(Debug)]
struct ToBeKept {
    id: String,
    answer: oneshot::Sender<Result<bool>>,
}

#[derive(Debug)]
enum Command {
    Subscribe { pattern: String, start: Option<Start>, messages: mpsc::Sender<Message> },
    Unsubscribe { pattern: String },
    Request { subject: String, payload: Value, answer: oneshot::Sender<Result<Value>> },
    HangUp { pause: Duration },
    Close { done: oneshot::Sender<()> },
}

impl DeviceClient {
    /// Starts a client; the connection is made in the background.
    #[must_use]
    pub fn start(config: Config, tasks: &Tasks, clock: Clock) -> DeviceClient {
        // Full: the caller of subscribe or request waits.
        let (commands, receiver) = mpsc::channel(64);
        let (sender, connection) = watch::channel(Connection::Connecting);
        let name = format!("device client {}", config.device_id);
        let shared = Arc::new(Shared {
            config,
            buffer: Mutex::default(),
            has_more: Notify::new(),
            commands,
            connection,
            stats: Mutex::default(),
            id_prefix: format!("{:012x}", rand::random::<u64>() >> 16),
        });
        let task = Task::new(shared.clone(), receiver, sender, clock);
        tasks.spawn(name, OnPanic::EndTask, task.run(tasks.token(crate::task::Phase::Intake)));
        DeviceClient(shared)
    }

    /// Publishes a message: at once if connected, else as soon as it is again. Never waits. If too many
    /// publishes wait, the oldest are lost and counted.
    pub fn publish(&self, subject: &str, payload: &Value) {
        self.0.publish(subject, payload);
    }

    /// Publishes a message and waits until the gateway says that it survives whatever ends the box. It is sent again
    /// after each reconnect until then; the gateway takes a repeat for what it is. Returns whether a stream keeps it;
    /// where none does, it was handed out once and that is all that can be said.
    ///
    /// # Errors
    /// [`Error::Refused`], or [`Error::Lost`] if too many publishes wait or the client is closed.
    pub async fn publish_kept(&self, subject: &str, payload: &Value) -> Result<bool> {
        let (answer, receiver) = oneshot::channel();
        let id = {
            let mut buffer = self.0.buffer();
            buffer.next_id += 1;
            format!("{}-{}", self.0.id_prefix, buffer.next_id)
        };
        let frame = json!({
            "type": frame::PUBLISH, "subject": subject, "payload": payload, "messageId": id, "correlationId": id, "ack": true,
        });
        let kept = Some(ToBeKept { id, answer });
        self.0.push(Outgoing { subject: subject.to_owned(), json: frame.to_string(), kept });
        receiver.await.unwrap_or(Err(Error::Lost))
    }

    /// Subscribes to a pattern, now and after each reconnect. A reader that falls behind loses the newest
    /// messages, which are counted; dropping the receiver ends the subscription.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn subscribe(&self, pattern: &str) -> Result<mpsc::Receiver<Message>> {
        self.subscribe_from(pattern, None).await
    }

    /// Reads the stream that keeps a pattern, with what the device missed: the gateway keeps its place in it, and
    /// `start` says where a device begins that has none yet. Where no stream keeps the pattern, nothing comes, and a
    /// listener hears [`Event::Refused`].
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn replay(&self, pattern: &str, start: Start) -> Result<mpsc::Receiver<Message>> {
        self.subscribe_from(pattern, Some(start)).await
    }

    async fn subscribe_from(&self, pattern: &str, start: Option<Start>) -> Result<mpsc::Receiver<Message>> {
        // Full: the newest is lost for this reader and counted.
        let (messages, receiver) = mpsc::channel(self.0.config.incoming_max.max(1));
        self.command(Command::Subscribe { pattern: pattern.to_owned(), start, messages }).await?;
        Ok(receiver)
    }

    /// Ends the subscription to a pattern.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn unsubscribe(&self, pattern: &str) -> Result<()> {
        self.command(Command::Unsubscribe { pattern: pattern.to_owned() }).await
    }

    /// Asks whoever listens on a subject; returns the first answer.
    ///
    /// # Errors
    /// [`Error::Refused`] if the gateway refuses or knows nobody who answers, [`Error::Timeout`],
    /// [`Error::Lost`], [`Error::Closed`].
    pub async fn request(&self, subject: &str, payload: Value, timeout: Duration) -> Result<Value> {
        let (answer, receiver) = oneshot::channel();
        self.command(Command::Request { subject: subject.to_owned(), payload, answer }).await?;
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Lost),
            Err(_) => Err(Error::Timeout(timeout)),
        }
    }

    /// Answers a request that came as a message.
    pub fn reply(&self, correlation_id: &str, payload: &Value) {
        let frame = json!({ "type": frame::REPLY, "subject": "", "correlationId": correlation_id, "payload": payload });
        self.0.push(Outgoing { subject: String::new(), json: frame.to_string(), kept: None });
    }

    /// Hangs up and stays away for a while; publishes wait meanwhile.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn hang_up(&self, pause: Duration) -> Result<()> {
        self.command(Command::HangUp { pause }).await
    }

    /// Returns how things stand with the gateway; waits for changes through the receiver.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.0.connection.clone()
    }

    /// Waits until the gateway has let the device in, or the deadline is over. Returns whether it has.
    pub async fn connected(&self, deadline: Duration) -> bool {
        let mut connection = self.connection();
        let wait = connection.wait_for(|c| *c == Connection::Connected);
        matches!(tokio::time::timeout(deadline, wait).await, Ok(Ok(_)))
    }

    /// Returns what the client has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let buffer_size = self.0.buffer().len();
        Stats { buffer_size, ..self.0.stats().clone() }
    }

    /// Sends what waits, as far as it goes, and ends the connection for good.
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.command(Command::Close { done }).await.is_ok() {
            let _ = ended.await;
        }
    }

    async fn command(&self, command: Command) -> Result<()> {
        self.0.commands.send(command).await.map_err(|_| Error::Closed)
    }
}

impl Shared {
    fn publish(&self, subject: &str, payload: &Value) {
        let json = json!({ "type": frame::PUBLISH, "subject": subject, "payload": payload }).to_string();
        self.push(Outgoing { subject: subject.to_owned(), json, kept: None });
    }

    fn push(&self, frame: Outgoing) {
        let mut buffer = self.buffer();
        buffer.bytes += frame.json.len();
        buffer.frames.push_back(frame);
        let mut lost = 0;
        while buffer.len() > self.config.buffer_messages_max
            || (buffer.bytes > self.config.buffer_bytes_max && buffer.len() > 1)
        {
            buffer.drop_oldest();
            lost += 1;
        }
        let size = buffer.len();
        drop(buffer);
        self.stats().buffer_overflows += lost;
        self.has_more.notify_one();
        if *self.connection.borrow() != Connection::Connected {
            self.tell(|| Event::Buffered { size });
        }
        if lost > 0 {
            self.tell(|| Event::BufferOverflow { lost });
        }
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(listener) = &self.config.listener {
            listener.tell(&event());
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    fn len(&self) -> usize {
        self.frames.len() + self.unacknowledged.len()
    }

    fn drop_oldest(&mut self) {
        if let Some(frame) = self.unacknowledged.pop_front().or_else(|| self.frames.pop_front()) {
            self.bytes -= frame.json.len();
        }
    }

    /// Takes the next frame to send; one that is to be kept stays until that is known.
    fn next(&mut self) -> Option<(String, String)> {
        let frame = self.frames.pop_front()?;
        let taken = (frame.subject.clone(), frame.json.clone());
        if frame.kept.is_some() {
            self.unacknowledged.push_back(frame);
        } else {
            self.bytes -= frame.json.len();
        }
        Some(taken)
    }

    /// Puts what is not acknowledged before all others, in order: the connection is another.
    fn send_again(&mut self) {
        while let Some(frame) = self.unacknowledged.pop_back() {
            self.frames.push_front(frame);
        }
    }

    /// Takes out a publish by its id.
    fn settle(&mut self, id: &str) -> Option<oneshot::Sender<Result<bool>>> {
        let is_it = |frame: &Outgoing| frame.kept.as_ref().is_some_and(|kept| kept.id == id);
        let at = self.unacknowledged.iter().position(is_it)?;
        let frame = self.unacknowledged.remove(at)?;
        self.bytes -= frame.json.len();
        frame.kept.map(|kept| kept.answer)
    }
}
