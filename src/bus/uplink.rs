//! The connection to NATS: made in the background, again and again for ever; nobody waits for it. One that breaks is
//! not mended but followed by a new one.
//!
//! One NATS subscription stands for each distinct pattern that somebody on this box listens to. What this
//! box published is not taken back: the server is asked for no echo, and each message carries the box's
//! mark in a header for the ways around that (a stream, a second connection).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::instruments::Instruments;
use super::refusal::Refusal;
use super::router::{Arrival, Router};
use super::spool::{Sender, Spool};
use super::{Credentials, Error, Link, Message, NatsConfig, Result, State, StreamConfig, Subject, SubjectPattern};
use crate::clock::Clock;
use crate::task::{OnPanic, Phase, Tasks};

/// Header: the box that published a message.
pub(super) const HEADER_ORIGIN: &str = "Andon-Origin";
/// Header: the device that published it, as the gateway authenticated it.
const HEADER_DEVICE: &str = "Andon-Device";
/// Header: the device's own mark.
const HEADER_CORRELATION: &str = "Andon-Correlation";

/// Messages that async-nats may hold for one subscription, and commands for the connection.
const CONNECTION_QUEUE: usize = 4096;
/// Status with which NATS answers a request that nobody listens to.
const STATUS_NO_RESPONDERS: u16 = 503;
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(8);
/// Part of a wait that chance takes away, so that a line of boxes does not come back as one.
const JITTER: f64 = 0.5;
/// An address at which nobody answers.
const NOBODY: &str = "nats://127.0.0.1:1";

/// The box's end of the connection; shared by the handle and the task.
#[derive(Debug)]
pub(super) struct Uplink {
    config: NatsConfig,
    box_id: String,
    /// `<prefix>.*` are the addresses of this process's requests.
    inbox_prefix: String,
    client: RwLock<Option<Client>>,
    /// Patterns whose first holder came or last holder left; bounded by the number of patterns.
    changed: Mutex<HashSet<SubjectPattern>>,
    change: Notify,
    instruments: Instruments,
    clock: Clock,
    state: watch::Sender<State>,
    /// Where messages for streams wait, and the streams.
    spool: Option<(Arc<Spool>, Arc<[StreamConfig]>)>,
}

impl Uplink {
    pub(super) fn new(
        config: NatsConfig,
        box_id: String,
        inbox_prefix: String,
        instruments: Instruments,
        clock: Clock,
        spool: Option<(Arc<Spool>, Arc<[StreamConfig]>)>,
    ) -> (Arc<Uplink>, watch::Receiver<State>) {
        let (state, seen) =
            watch::channel(State { link: Link::Connecting, since: clock.now(), server: None, error: None });
        let uplink = Arc::new(Uplink {
            config,
            box_id,
            inbox_prefix,
            client: RwLock::default(),
            changed: Mutex::default(),
            change: Notify::new(),
            instruments,
            clock,
            state,
            spool,
        });
        (uplink, seen)
    }

    /// Hands a message to the connection.
    pub(super) async fn publish(&self, message: &Message) -> Result<()> {
        let result = self.try_publish(message).await;
        match &result {
            Ok(()) => self.instruments.published_nats.inc(),
            Err(error) => self.instruments.dropped.with(&[reason(error)]).inc(),
        }
        self.instruments.resilience.publish(result.as_ref().err().map(reason));
        result
    }

    async fn try_publish(&self, message: &Message) -> Result<()> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(client) = client.filter(|_| self.state.borrow().link == Link::Connected) else {
            return Err(Error::Disconnected);
        };
        let max_bytes = client.max_payload();
        if message.payload.len() > max_bytes {
            return Err(Error::TooLarge { size_bytes: message.payload.len(), max_bytes });
        }
        let headers = headers(&self.box_id, message.device_id.as_deref(), message.correlation_id.as_deref());
        let (subject, payload) = (message.subject.to_string(), message.payload.clone());
        let publish = async {
            match &message.reply {
                Some(reply) => {
                    client.publish_with_reply_and_headers(subject, reply.to_string(), headers, payload).await
                }
                None => client.publish_with_headers(subject, headers, payload).await,
            }
        };
        match tokio::time::timeout(self.config.publish_timeout, publish).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Disconnected),
            Err(_) => Err(Error::Stalled(self.config.publish_timeout)),
        }
    }

    /// Tells the task that a pattern has its first holder, or none any more.
    pub(super) fn pattern_changed(&self, pattern: SubjectPattern) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(pattern);
        self.change.notify_one();
    }

    /// Connects, serves, and begins again when the connection is given up; ends with the work phase.
    pub(super) async fn run(self: Arc<Self>, router: Arc<Router>, tasks: Tasks) {
        let end = tasks.token(Phase::Work);
        let mut wait = RETRY_MIN;
        let mut is_first = true;
        let resilience = &self.instruments.resilience;
        while !end.is_cancelled() {
            resilience.attempt(is_first);
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = end.cancelled() => return,
            };
            match connected {
                Ok((client, link)) => {
                    wait = RETRY_MIN;
                    resilience.connected(is_first);
                    is_first = false;
                    tokio::select! {
                        () = self.serve(&client, link, &router, &tasks) => resilience.lost(),
                        () = end.cancelled() => {
                            let _ = tokio::time::timeout(Duration::from_secs(2), client.flush()).await;
                        }
                    }
                    *self.client.write().unwrap_or_else(PoisonError::into_inner) = None;
                }
                Err(refusal) => {
                    resilience.not_connected(is_first, refusal.reason);
                    self.note(Link::Disconnected, None, Some(refusal.text));
                }
            }
            let chance: f64 = rand::random();
            tokio::select! {
                () = tokio::time::sleep(wait.mul_f64(1.0 - JITTER * chance)) => wait = (wait * 2).min(RETRY_MAX),
                () = end.cancelled() => return,
            }
        }
    }

    /// Returns a connection, or why there is none.
    async fn connect(&self) -> std::result::Result<(Client, watch::Receiver<Link>), Refusal> {
        let (sender, link) = watch::channel(Link::Connected);
        let options = self.options().await.map_err(|e| Refusal::of_settings(e.to_string()))?;
        let options = options.no_echo().event_callback(move |event| {
            let link = match event {
                Event::Connected => Some(Link::Connected),
                // Not mended: see `serve`.
                Event::Disconnected | Event::Closed => Some(Link::Closed),
                Event::ServerError(error) => {
                    warn!(%error, "NATS refuses something");
                    None
                }
                Event::SlowConsumer(_) => {
                    warn!("NATS sends faster than this box takes");
                    None
                }
                Event::LameDuckMode | Event::Draining | Event::ClientError(_) => None,
            };
            if let Some(link) = link {
                sender.send_replace(link);
            }
            async {}
        });
        let connected = options.connect(self.config.servers.as_slice()).await;
        let client = connected.map_err(|error| Refusal::of(&error, &self.config))?;
        // When the connection breaks this client finds nobody, and ends. Mended it would first send what it still
        // holds, which then overtakes what was lost on the way.
        let pool = client.set_server_pool([NOBODY].as_slice()).await;
        pool.map_err(|error| Refusal { reason: "other", text: error.to_string() })?;
        Ok((client, link))
    }

    async fn options(&self) -> Result<ConnectOptions> {
        let options = match &self.config.credentials {
            Credentials::None => ConnectOptions::new(),
            Credentials::UserPassword { user, password } => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
            Credentials::Token(token) => ConnectOptions::with_token(token.clone()),
            Credentials::NKey(seed) => ConnectOptions::with_nkey(seed.clone()),
            Credentials::File(path) => ConnectOptions::with_credentials_file(path)
                .await
                .map_err(|e| Error::Settings(format!("bus.nats.credentials_file {}: {e}", path.display())))?,
        };
        let options = match &self.config.ca_file {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        };
        let options = match &self.config.certificate {
            Some((certificate, key)) => options.add_client_certificate(certificate.clone(), key.clone()),
            None => options,
        };
        Ok(options
            .name(&self.config.client_name)
            .connection_timeout(self.config.connect_timeout)
            .ping_interval(Duration::from_secs(20))
            .subscription_capacity(CONNECTION_QUEUE)
            .client_capacity(CONNECTION_QUEUE)
            .ignore_discovered_servers()
            .max_reconnects(1)
            .reconnect_delay_callback(|_| Duration::ZERO))
    }

    /// Keeps the subscriptions and the state as they should be until the connection is given up.
    async fn serve(
        self: &Arc<Self>,
        client: &Client,
        mut link: watch::Receiver<Link>,
        router: &Arc<Router>,
        tasks: &Tasks,
    ) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        let mut pumps = Pumps { uplink: self, client, router, tasks, running: HashMap::new() };
        let _sender = self.spool.clone().map(|(spool, streams)| {
            let (box_id, prefix) = (self.box_id.clone(), self.inbox_prefix.clone());
            let sender = Sender { spool, client: client.clone(), streams, box_id, prefix, tasks: tasks.clone() };
            AbortOnDrop(tasks.spawn("bus sender", OnPanic::StopBox, sender.run()))
        });
        if let Ok(inboxes) = format!("{}.*", self.inbox_prefix).parse() {
            pumps.open(inboxes).await;
        }
        for pattern in router.held() {
            pumps.open(pattern).await;
        }
        loop {
            match *link.borrow_and_update() {
                Link::Closed => {
                    self.note(Link::Disconnected, None, Some("the connection was lost".to_owned()));
                    return;
                }
                Link::Connected => {
                    let server = client.try_server_info().map(|info| info.server_name);
                    self.note(Link::Connected, server, None);
                }
                other => self.note(other, None, None),
            }
            loop {
                tokio::select! {
                    changed = link.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    () = self.change.notified() => {
                        let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
                        for pattern in changed {
                            if router.is_held(&pattern) { pumps.open(pattern).await } else { pumps.close(&pattern) }
                        }
                    }
                }
            }
        }
    }

    /// Sets the state, and logs and counts if it is another.
    fn note(&self, link: Link, server: Option<String>, error: Option<String>) {
        let now = self.clock.now();
        self.state.send_if_modified(|state| {
            if state.link == link && state.server == server && state.error == error {
                return false;
            }
            match link {
                Link::Connected => {
                    info!(server = server.as_deref().unwrap_or_default(), "connected to NATS");
                    self.instruments.connects.inc();
                }
                _ => warn!(error = error.as_deref().unwrap_or("the connection was lost"), "not connected to NATS"),
            }
            self.instruments.connected.set(if link == Link::Connected { 1.0 } else { 0.0 });
            let since = if state.link == link { state.since } else { now };
            *state = State { link, since, server, error };
            true
        });
    }

    /// Tells whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.state.borrow().link == Link::Connected
    }

    /// Connects once more, to the box's servers or to another; what the box publishes is heard there.
    pub(super) async fn second_connection(&self, server: Option<&str>) -> std::result::Result<Client, String> {
        let options = self.options().await.map_err(|error| error.to_string())?;
        let servers = server.map_or_else(|| self.config.servers.clone(), |server| vec![server.to_owned()]);
        options.connect(servers.as_slice()).await.map_err(|error| error.to_string())
    }

    /// Counts a probe through NATS.
    pub(super) fn probed(&self, is_well: bool) {
        self.instruments.resilience.probed(is_well);
    }

    /// Counts what was said to a stream of a message that a reader had.
    pub(super) fn settled(&self, is_through: bool) {
        let resilience = &self.instruments.resilience;
        if is_through { resilience.acks.inc() } else { resilience.naks.inc() }
    }

    /// Waits until there is a connection; returns it.
    pub(super) async fn connected(&self) -> Client {
        let mut state = self.state.subscribe();
        loop {
            let _ = state.wait_for(|state| state.link == Link::Connected).await;
            let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(client) = client {
                return client;
            }
            tokio::time::sleep(RETRY_MIN).await;
        }
    }

    /// Takes a message from NATS; nothing if this box published it or its subject is none of ours.
    fn take(&self, message: async_nats::Message) -> Option<Message> {
        let origin = message.headers.as_ref().and_then(|headers| headers.get(HEADER_ORIGIN));
        // Some clients answer with the headers of the question, the box's own mark among them.
        let is_answer = message.subject.as_str().starts_with(&self.inbox_prefix);
        if !is_answer && origin.is_some_and(|origin| origin.as_str() == self.box_id) {
            return None;
        }
        let reply = message.reply.as_ref().and_then(|reply| reply.as_str().parse().ok());
        Some(Message { reply, ..message_of(message)? })
    }
}

/// Returns the headers that tell where a message comes from. A mark that a header cannot hold is left out: the
/// library panics on line breaks, and a device chooses its marks.
pub(super) fn headers(box_id: &str, device_id: Option<&str>, correlation_id: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let values = [(HEADER_ORIGIN, Some(box_id)), (HEADER_DEVICE, device_id), (HEADER_CORRELATION, correlation_id)];
    for (name, value) in values {
        if let Some(value) = value.filter(|value| !value.contains(['\r', '\n'])) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Returns a message as this box hands it out, without its reply subject; nothing if its subject is none of ours.
pub(super) fn message_of(message: async_nats::Message) -> Option<Message> {
    let header = |name: &str| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| Arc::from(v.as_str()));
    Some(Message {
        subject: message.subject.as_str().parse().ok()?,
        reply: None,
        device_id: header(HEADER_DEVICE),
        correlation_id: header(HEADER_CORRELATION),
        payload: message.payload,
        is_local: false,
    })
}

/// Ends a task with its connection.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The NATS subscriptions of one connection, each with a task that hands its messages to the router.
struct Pumps<'a> {
    uplink: &'a Arc<Uplink>,
    client: &'a Client,
    router: &'a Arc<Router>,
    tasks: &'a Tasks,
    running: HashMap<SubjectPattern, AbortHandle>,
}

impl Pumps<'_> {
    async fn open(&mut self, pattern: SubjectPattern) {
        if self.running.contains_key(&pattern) {
            return;
        }
        let mut subscriber = match self.client.subscribe(pattern.to_string()).await {
            Ok(subscriber) => subscriber,
            Err(error) => {
                warn!(%pattern, %error, "cannot subscribe on NATS");
                self.uplink.instruments.resilience.subscribe_failures.with(&["refused"]).inc();
                return;
            }
        };
        self.uplink.instruments.resilience.subscribed.inc();
        let (uplink, router, by) = (self.uplink.clone(), self.router.clone(), pattern.clone());
        let pump = async move {
            while let Some(message) = subscriber.next().await {
                if message.status.is_some_and(|s| s.as_u16() == STATUS_NO_RESPONDERS) {
                    if let Ok(subject) = message.subject.as_str().parse::<Subject>() {
                        router.nobody_on_nats(&subject);
                    }
                } else if let Some(message) = uplink.take(message) {
                    uplink.instruments.received_nats.inc();
                    let delivery = router.deliver(&message, Arrival::Nats(&by));
                    uplink.instruments.dropped.with(&["slow_subscriber"]).add(delivery.dropped);
                }
            }
        };
        let handle = self.tasks.spawn("bus subscription", OnPanic::EndTask, pump);
        self.running.insert(pattern, handle);
    }

    /// Ends a subscription; dropping its receiver unsubscribes.
    fn close(&mut self, pattern: &SubjectPattern) {
        if let Some(pump) = self.running.remove(pattern) {
            pump.abort();
        }
    }
}

impl Drop for Pumps<'_> {
    fn drop(&mut self) {
        for pump in self.running.values() {
            pump.abort();
        }
    }
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::Disconnected => "disconnected",
        Error::Stalled(_) => "stalled",
        Error::TooLarge { .. } => "too_large",
        Error::Full => "full",
        Error::Subject { .. }
        | Error::NoResponders
        | Error::Timeout(_)
        | Error::Settings(_)
        | Error::NoStream(_)
        | Error::NotKept(_) => "other",
    }
}
