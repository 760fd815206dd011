//! One device's session as a pure state machine: what comes in and the time go in, effects come out.
//!
//! `connection.rs` carries the effects out. Nothing here reads a clock, a socket or a store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;

use super::answers::{self, acknowledge, send, welcome};
use super::end::End;
use super::identity::Identity;
use super::instruments::Instruments;
use super::limits::Limits;
use super::protocol::{self, Claim, ClientFrame, Code, FrameType, Refusal, ServerFrame};
use super::receipts::{Asked, Kept};
use super::replay::{self, Wanted};
use super::throttle::Meter;
use super::traffic::Traffic;
use super::{Config, PayloadShape, jwt, validate};
use crate::bus::{Message, Subject, SubjectPattern};
use crate::model::{DeviceMessage, Origin, Timestamp};

/// Requests of a device that may wait for their answers at once.
const REQUESTS_OPEN_MAX: usize = 16;
/// Requests to a device whose answers are still taken; the oldest goes.
const REPLIES_OPEN_MAX: usize = 64;

/// Publishes of a device that may wait for their acks at once.
const ACKS_OPEN_MAX: usize = 1024;

/// The moment at which something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since the process began; never steps.
    pub(super) elapsed: Duration,
    pub(super) wall: Timestamp,
    /// By how much wall time had been moved then.
    pub(super) moved_ms: i64,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send a frame; `kind` is what it counts as.
    Send { kind: FrameType, json: String },
    /// Ask the registry, then call [`Session::on_authenticated`].
    Authenticate(Claim),
    /// Hand a message to the collectors and to the bus.
    Publish { message: Message, recorded: DeviceMessage },
    /// The same with an id or for an ack; then call [`Session::on_kept`].
    PublishAsked { message: Message, recorded: DeviceMessage, asked: Asked },
    /// Hand the answer to somebody's request to the bus.
    Reply(Message),
    /// Ask on the bus, then call [`Session::on_answer`].
    Request { message: Message, correlation_id: Option<String> },
    /// Read a stream.
    Replay(Wanted),
    /// Listen to a pattern.
    Subscribe(SubjectPattern),
    /// Stop listening.
    Unsubscribe(SubjectPattern),
    /// Send a WebSocket ping.
    Ping,
    /// End the connection, after what is to be sent.
    Close(End),
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Session {
    config: Arc<Config>,
    instruments: Arc<Instruments>,
    traffic: Arc<Traffic>,
    phase: Phase,
    /// What all devices together may send.
    total: Arc<Meter>,
    last_heard: Duration,
    /// The last frame in either direction, pings of WebSocket aside.
    last_frame: Duration,
    last_ping: Duration,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Duration },
    Active(Box<Active>),
    Closed,
}

/// What a session has once the device is known.
#[derive(Debug)]
struct Active {
    identity: Arc<Identity>,
    limits: Limits,
    /// When what the device showed ends; [`Duration::MAX`] if never.
    expires: Duration,
    subscriptions: Vec<SubjectPattern>,
    /// Where the answers to requests go that the device was sent, by the number in their mark; oldest first.
    replies: VecDeque<(u64, Subject)>,
    next_reply: u64,
    requests_open: usize,
    acks_open: usize,
}

/// What a frame asks for, worked out without doing it.
type Outcome = Result<Vec<Effect>, Refusal>;

impl Session {
    /// Returns a session that waits for the device to show who it is.
    pub(super) fn new(
        config: Arc<Config>,
        instruments: Arc<Instruments>,
        traffic: Arc<Traffic>,
        total: Arc<Meter>,
        now: Now,
    ) -> Self {
        let phase = Phase::Waiting { until: now.elapsed + config.auth_timeout };
        let (last_heard, last_frame, last_ping) = (now.elapsed, now.elapsed, now.elapsed);
        Session { config, instruments, traffic, phase, total, last_heard, last_frame, last_ping }
    }

    /// Takes a text message; returns its type too, if it has one.
    pub(super) fn on_text(&mut self, text: &str, now: Now) -> (Option<FrameType>, Vec<Effect>) {
        self.heard(now);
        self.last_frame = now.elapsed;
        #[expect(clippy::cast_precision_loss, reason = "a message is far smaller than 2^53 bytes")]
        self.instruments.size_received.observe(text.len() as f64);
        match &mut self.phase {
            Phase::Closed => (None, Vec::new()),
            Phase::Waiting { .. } => (Some(FrameType::Auth), self.on_first_text(text, now)),
            Phase::Active(active) if active.is_expired(now) => (None, self.expire(now)),
            Phase::Active(_) => self.on_later_text(text, now),
        }
    }

    fn on_later_text(&mut self, text: &str, now: Now) -> (Option<FrameType>, Vec<Effect>) {
        let Phase::Active(active) = &mut self.phase else { return (None, Vec::new()) };
        let parsed = protocol::parse(text);
        let kind = parsed.as_ref().ok().map(|frame| frame.kind);
        let (subject, correlation_id) = match &parsed {
            Ok(frame) => (frame.subject.to_string(), frame.correlation_id.as_ref().map(ToString::to_string)),
            Err(malformed) => (malformed.subject.clone(), malformed.correlation_id.clone()),
        };
        let taken = active.limits.take(text.len(), now.elapsed);
        let outcome = match parsed {
            _ if let Err(limit) = taken => {
                self.instruments.rate_limit_rejections.with(&[&*active.identity.device_id]).inc();
                self.instruments.rate_limited.with(&[limit.as_str()]).inc();
                Err(Refusal::new(Code::RateLimit, limit.message()))
            }
            Err(malformed) => Err(malformed.refusal),
            Ok(frame) => {
                if let Some(counter) = self.instruments.received(frame.kind) {
                    counter.inc();
                }
                active.on_frame(&frame, &self.config, &self.instruments, now)
            }
        };
        let effects = match outcome {
            Ok(effects) => effects,
            Err(refusal) => self.refuse(&refusal, &subject, correlation_id.as_deref(), now),
        };
        (kind, effects)
    }

    /// Takes a binary message, which the protocol has no use for.
    pub(super) fn on_binary(&mut self, now: Now) -> Vec<Effect> {
        self.heard(now);
        match &mut self.phase {
            Phase::Closed => Vec::new(),
            Phase::Waiting { .. } => self.turn_away(None, "Authentication failed", now),
            Phase::Active(active) => {
                let _ = active.limits.take_empty(now.elapsed);
                let refusal = Refusal::new(Code::InvalidMessage, "Binary messages are not understood, send text");
                self.refuse(&refusal, "", None, now)
            }
        }
    }

    /// Takes a WebSocket ping or pong.
    pub(super) fn on_control(&mut self, now: Now) -> Vec<Effect> {
        self.heard(now);
        match &mut self.phase {
            Phase::Active(active) => {
                let is_flood = active.limits.take_empty(now.elapsed).is_err() && !active.limits.bear(now.elapsed);
                if is_flood { self.end(End::FLOOD) } else { Vec::new() }
            }
            Phase::Waiting { .. } | Phase::Closed => Vec::new(),
        }
    }

    /// Takes the news that a message is larger than allowed; it has not been read.
    pub(super) fn on_too_big(&mut self, now: Now) -> Vec<Effect> {
        let message = format!("Payload exceeds maximum size of {} bytes", self.config.message_bytes_max);
        let refusal = Refusal::new(Code::PayloadTooLarge, message);
        let mut effects = match self.phase {
            Phase::Closed => return Vec::new(),
            Phase::Waiting { .. } | Phase::Active(_) => self.refuse(&refusal, "", None, now),
        };
        effects.retain(|effect| !matches!(effect, Effect::Close(_)));
        effects.extend(self.end(End::TOO_BIG));
        effects
    }

    /// Takes the registry's answer to [`Effect::Authenticate`]: who it is and what it may send, or why not.
    pub(super) fn on_authenticated(
        &mut self,
        answer: Result<(Arc<Identity>, Arc<Meter>), &str>,
        now: Now,
    ) -> Vec<Effect> {
        let (identity, meter) = match answer {
            Ok(answer) => answer,
            Err(reason) => return self.turn_away(Some(reason), "Authentication failed", now),
        };
        let welcome = welcome(&identity, now);
        let rate = self.config.messages_per_second;
        self.phase = Phase::Active(Box::new(Active {
            expires: expiry(&identity, now),
            identity,
            limits: Limits::new(meter, self.total.clone(), rate, now.elapsed),
            subscriptions: Vec::new(),
            replies: VecDeque::new(),
            next_reply: 1,
            requests_open: 0,
            acks_open: 0,
        }));
        vec![welcome]
    }

    /// Goes on with other permissions or another end; subscriptions that are not allowed any more end, and the
    /// device is told.
    pub(super) fn on_identity(&mut self, identity: Arc<Identity>, now: Now) -> Vec<Effect> {
        let Phase::Active(active) = &mut self.phase else { return Vec::new() };
        active.expires = expiry(&identity, now);
        active.identity = identity;
        let permissions = &active.identity.permissions;
        let gone: Vec<_> = active.subscriptions.extract_if(.., |p| !permissions.may_subscribe(p)).collect();
        let mut effects = Vec::new();
        for pattern in gone {
            let refusal = Refusal::new(Code::NotAuthorized, format!("No longer authorized to subscribe to {pattern}"));
            effects.extend(self.refuse(&refusal, pattern.as_str(), None, now));
            effects.push(Effect::Unsubscribe(pattern));
        }
        effects
    }

    /// Takes a message from the bus for this device.
    pub(super) fn on_message(&mut self, message: &Message, now: Now) -> Vec<Effect> {
        let Phase::Active(active) = &mut self.phase else { return Vec::new() };
        // A pattern as wide as `>` reaches what belongs to NATS itself, too.
        if validate::is_reserved(message.subject.as_str()) {
            return Vec::new();
        }
        self.last_frame = now.elapsed;
        let mark = message.reply.as_ref().map(|reply| active.expect_reply(reply.clone()));
        let frame = ServerFrame {
            subject: message.subject.as_str(),
            payload: protocol::payload_of(&message.payload),
            correlation_id: mark.as_deref().or(message.correlation_id.as_deref()),
            device_id: message.device_id.as_deref(),
            ..ServerFrame::new(FrameType::Message, now.wall)
        };
        vec![send(&frame)]
    }

    /// Takes the outcome of [`Effect::Request`].
    pub(super) fn on_answer(
        &mut self,
        subject: &Subject,
        correlation_id: Option<&str>,
        answer: Result<Message, crate::bus::Error>,
        now: Now,
    ) -> Vec<Effect> {
        let Phase::Active(active) = &mut self.phase else { return Vec::new() };
        active.requests_open = active.requests_open.saturating_sub(1);
        match answer {
            Ok(message) => vec![send(&ServerFrame {
                subject: subject.as_str(),
                payload: protocol::payload_of(&message.payload),
                correlation_id,
                device_id: message.device_id.as_deref(),
                ..ServerFrame::new(FrameType::Reply, now.wall)
            })],
            Err(error) => {
                let code = match error {
                    crate::bus::Error::Timeout(_) => Code::RequestTimeout,
                    crate::bus::Error::NoResponders => Code::NoResponders,
                    _ => Code::Internal,
                };
                self.refuse(&Refusal::new(code, error.to_string()), subject.as_str(), correlation_id, now)
            }
        }
    }

    /// Takes the outcome of [`Effect::PublishAsked`].
    pub(super) fn on_kept(&mut self, asked: &Asked, kept: &Kept, now: Now) -> Vec<Effect> {
        let Phase::Active(active) = &mut self.phase else { return Vec::new() };
        if !asked.wants_ack {
            return Vec::new();
        }
        active.acks_open = active.acks_open.saturating_sub(1);
        let (subject, correlation_id) = (asked.subject.as_str(), asked.correlation_id.as_deref());
        let payload = match asked.answer(kept) {
            Ok(body) => protocol::payload(&body),
            Err(refusal) => return self.refuse(&refusal, subject, correlation_id, now),
        };
        vec![send(&ServerFrame { subject, correlation_id, payload, ..ServerFrame::new(FrameType::Ack, now.wall) })]
    }

    /// Takes the refusal of [`Effect::Replay`].
    pub(super) fn on_no_replay(&mut self, wanted: &Wanted, error: &crate::bus::Error, now: Now) -> Vec<Effect> {
        let Phase::Active(active) = &mut self.phase else { return Vec::new() };
        active.subscriptions.retain(|pattern| *pattern != wanted.pattern);
        self.refuse(&wanted.refusal(error), wanted.pattern.as_str(), wanted.correlation_id.as_deref(), now)
    }

    /// Does what is due; see [`Session::deadline`].
    pub(super) fn on_time(&mut self, now: Now) -> Vec<Effect> {
        if let Phase::Active(active) = &mut self.phase {
            // Wall time may have been set meanwhile.
            active.expires = expiry(&active.identity, now);
            active.limits.on_time(now.elapsed);
        }
        match &self.phase {
            Phase::Waiting { until } if now.elapsed >= *until => {
                self.instruments.auth_attempts.with(&["timeout"]).inc();
                let refusal = Refusal::new(Code::AuthTimeout, "Authentication timeout");
                let mut effects = self.refuse(&refusal, "", None, now);
                effects.extend(self.end(End::AUTH_TIMEOUT));
                effects
            }
            Phase::Active(active) if active.is_expired(now) => self.expire(now),
            Phase::Active(_) if now.elapsed >= self.last_heard + self.config.dead_after => self.end(End::DEAD),
            Phase::Active(_) if self.idle_until().is_some_and(|end| now.elapsed >= end) => self.end(End::IDLE),
            Phase::Active(_) if now.elapsed >= self.last_heard.max(self.last_ping) + self.config.ping_interval => {
                self.last_ping = now.elapsed;
                vec![Effect::Ping]
            }
            Phase::Waiting { .. } | Phase::Active(_) | Phase::Closed => Vec::new(),
        }
    }

    /// Returns when [`Session::on_time`] wants to be called next.
    pub(super) fn deadline(&self) -> Duration {
        let next_ping = self.last_heard.max(self.last_ping) + self.config.ping_interval;
        let end = next_ping.min(self.last_heard + self.config.dead_after);
        match &self.phase {
            Phase::Waiting { until } => *until,
            Phase::Active(active) => {
                let others = [Some(active.expires), self.idle_until(), active.limits.paused_until()];
                others.into_iter().flatten().fold(end, Duration::min)
            }
            Phase::Closed => end,
        }
    }

    /// Tells whether the device is left unread for a moment, because it sends far too much.
    pub(super) fn is_paused(&self) -> bool {
        matches!(&self.phase, Phase::Active(active) if active.limits.paused_until().is_some())
    }

    fn idle_until(&self) -> Option<Duration> {
        self.config.idle_timeout.map(|timeout| self.last_frame + timeout)
    }

    /// Ends a session whose token is over, and says so.
    fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = self.refuse(&Refusal::new(Code::AuthFailed, jwt::refusals::EXPIRED), "", None, now);
        effects.retain(|effect| !matches!(effect, Effect::Close(_)));
        effects.extend(self.end(End::EXPIRED));
        effects
    }

    /// Returns who the device is, once known.
    pub(super) fn identity(&self) -> Option<&Arc<Identity>> {
        match &self.phase {
            Phase::Active(active) => Some(&active.identity),
            Phase::Waiting { .. } | Phase::Closed => None,
        }
    }

    fn heard(&mut self, now: Now) {
        self.last_heard = now.elapsed;
        self.traffic.note_received(now.wall);
    }

    /// The first text has to be an auth frame.
    fn on_first_text(&mut self, text: &str, now: Now) -> Vec<Effect> {
        let frame = protocol::parse(text).ok().filter(|frame| frame.kind == FrameType::Auth);
        let Some(frame) = frame else {
            return self.turn_away(None, "Authentication failed", now);
        };
        if let Some(counter) = self.instruments.received(FrameType::Auth) {
            counter.inc();
        }
        match Claim::parse(frame.payload) {
            Some(claim) => vec![Effect::Authenticate(claim)],
            None => self.turn_away(Some("Device ID and token are required"), "Authentication failed", now),
        }
    }

    /// Ends a connection that could not show who it is; `reason` goes into a type 8 frame if there is one.
    fn turn_away(&mut self, reason: Option<&str>, message: &str, now: Now) -> Vec<Effect> {
        self.instruments.auth_attempts.with(&["failure"]).inc();
        let mut effects = Vec::new();
        if let Some(reason) = reason {
            let body =
                json!({ "success": false, "error": reason, "message": reason, "code": Code::AuthFailed.as_str() });
            let frame =
                ServerFrame { payload: protocol::payload(&body), ..ServerFrame::new(FrameType::Auth, now.wall) };
            effects.push(send(&frame));
        }
        effects.extend(self.refuse(&Refusal::new(Code::AuthFailed, message), "", None, now));
        effects.extend(self.end(End::AUTH_FAILED));
        effects
    }

    /// Answers a frame with the reason why it is refused, and counts it.
    fn refuse(&mut self, refusal: &Refusal, subject: &str, correlation_id: Option<&str>, now: Now) -> Vec<Effect> {
        self.instruments.refused.with(&[refusal.code.as_str()]).inc();
        self.traffic.note_refused();
        let mut effects = vec![answers::refused(refusal, subject, correlation_id, now)];
        if let Phase::Active(active) = &mut self.phase
            && !active.limits.bear(now.elapsed)
        {
            effects.extend(self.end(End::FLOOD));
        }
        effects
    }

    fn end(&mut self, end: End) -> Vec<Effect> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => Vec::new(),
            Phase::Waiting { .. } | Phase::Active(_) => vec![Effect::Close(end)],
        }
    }
}

/// Returns when what a device showed ends, on the clock that never steps.
fn expiry(identity: &Identity, now: Now) -> Duration {
    identity.expires_at.map_or(Duration::MAX, |end| now.elapsed + end.since(now.wall))
}

impl Active {
    /// Tells whether what the device showed is over.
    fn is_expired(&self, now: Now) -> bool {
        self.identity.expires_at.is_some_and(|end| now.wall >= end)
    }

    fn on_frame(&mut self, frame: &ClientFrame<'_>, config: &Config, instruments: &Instruments, now: Now) -> Outcome {
        match frame.kind {
            FrameType::Publish => self.publish(frame, config, instruments, now),
            FrameType::Subscribe => self.subscribe(frame, config, instruments, now),
            FrameType::Unsubscribe => self.unsubscribe(frame, now),
            FrameType::Request => self.request(frame, instruments),
            FrameType::Reply => self.reply(frame),
            FrameType::Ping => {
                let correlation_id = frame.correlation_id.as_deref();
                Ok(vec![send(&ServerFrame { correlation_id, ..ServerFrame::new(FrameType::Pong, now.wall) })])
            }
            FrameType::Pong => Ok(Vec::new()),
            FrameType::Auth => answers::authenticated_again(&self.identity, frame, now),
            FrameType::Message | FrameType::Ack | FrameType::Error => {
                let message = format!("A device does not send type {}", frame.kind as u8);
                Err(Refusal::new(Code::InvalidMessage, message))
            }
        }
    }

    /// Builds the bus message of a publish or request, if it is allowed.
    fn message(&self, frame: &ClientFrame<'_>, instruments: &Instruments) -> Result<Message, Refusal> {
        let subject = validate::subject(&frame.subject)?;
        validate::payload(frame.payload.map_or("", RawValue::get))?;
        if !self.identity.permissions.may_publish(&subject) {
            instruments.publish_denied.inc();
            return Err(Refusal::new(Code::NotAuthorized, format!("Not authorized to publish to {subject}")));
        }
        instruments.publish_allowed.inc();
        Ok(Message {
            device_id: Some(self.identity.device_id.clone()),
            correlation_id: frame.correlation_id.as_deref().map(Arc::from),
            ..Message::new(subject, body(frame))
        })
    }

    fn publish(&mut self, frame: &ClientFrame<'_>, config: &Config, instruments: &Instruments, now: Now) -> Outcome {
        let mut message = self.message(frame, instruments)?;
        let recorded = DeviceMessage {
            device_id: self.identity.device_id.to_string(),
            device_type: self.identity.device_type.to_string(),
            subject: message.subject.to_string(),
            payload: message.payload.clone(),
            received_at: now.wall,
            moved_ms: now.moved_ms,
            origin: Origin::Gateway,
        };
        if config.payload_shape == PayloadShape::Envelope {
            let envelope = ServerFrame {
                subject: message.subject.as_str(),
                payload: frame.payload.map(RawValue::to_owned),
                correlation_id: frame.correlation_id.as_deref(),
                device_id: Some(&self.identity.device_id),
                ..ServerFrame::new(FrameType::Publish, now.wall)
            };
            message.payload = envelope.to_json().into();
        }
        if frame.message_id.is_none() && !frame.wants_ack {
            return Ok(vec![Effect::Publish { message, recorded }]);
        }
        if frame.wants_ack && self.acks_open >= ACKS_OPEN_MAX {
            return Err(Refusal::new(Code::RateLimit, "Too many publishes wait for their acks"));
        }
        self.acks_open += usize::from(frame.wants_ack);
        Ok(vec![Effect::PublishAsked { message, recorded, asked: Asked::by(frame) }])
    }

    fn subscribe(&mut self, frame: &ClientFrame<'_>, config: &Config, instruments: &Instruments, now: Now) -> Outcome {
        let pattern = validate::pattern(&frame.subject)?;
        if !self.identity.permissions.may_subscribe(&pattern) {
            instruments.subscribe_denied.inc();
            return Err(Refusal::new(Code::NotAuthorized, format!("Not authorized to subscribe to {pattern}")));
        }
        instruments.subscribe_allowed.inc();
        let acknowledgement = acknowledge(frame, "Subscribed", now);
        if self.subscriptions.contains(&pattern) {
            return Ok(vec![acknowledgement]);
        }
        if self.subscriptions.len() >= config.subscriptions_max {
            let message = format!("No more than {} subscriptions", config.subscriptions_max);
            return Err(Refusal::new(Code::TooManySubscriptions, message));
        }
        let start = frame.replay.map(replay::start).transpose()?;
        self.subscriptions.push(pattern.clone());
        match start {
            Some(start) => Ok(vec![Effect::Replay(Wanted::by(frame, pattern, start))]),
            None => Ok(vec![Effect::Subscribe(pattern), acknowledgement]),
        }
    }

    fn unsubscribe(&mut self, frame: &ClientFrame<'_>, now: Now) -> Outcome {
        let pattern = validate::pattern(&frame.subject)?;
        let before = self.subscriptions.len();
        self.subscriptions.retain(|p| *p != pattern);
        if self.subscriptions.len() == before {
            return Err(Refusal::new(Code::InvalidSubject, format!("Not subscribed to {pattern}")));
        }
        Ok(vec![Effect::Unsubscribe(pattern), acknowledge(frame, "Unsubscribed", now)])
    }

    fn request(&mut self, frame: &ClientFrame<'_>, instruments: &Instruments) -> Outcome {
        let message = self.message(frame, instruments)?;
        if self.requests_open >= REQUESTS_OPEN_MAX {
            let text = format!("No more than {REQUESTS_OPEN_MAX} open requests");
            return Err(Refusal::new(Code::RateLimit, text));
        }
        self.requests_open += 1;
        let correlation_id = frame.correlation_id.clone().map(|id| id.into_owned());
        Ok(vec![Effect::Request { message, correlation_id }])
    }

    /// Hands an answer on to whoever asked; the address is ours, never the device's.
    fn reply(&mut self, frame: &ClientFrame<'_>) -> Outcome {
        validate::payload(frame.payload.map_or("", RawValue::get))?;
        let number = frame.correlation_id.as_deref().and_then(|mark| mark.strip_prefix(MARK)?.parse::<u64>().ok());
        let at = self.replies.iter().position(|(n, _)| Some(*n) == number);
        match at.and_then(|at| self.replies.remove(at)) {
            Some((_, subject)) => {
                let device_id = Some(self.identity.device_id.clone());
                Ok(vec![Effect::Reply(Message { device_id, ..Message::new(subject, body(frame)) })])
            }
            None => Err(Refusal::new(Code::NotAuthorized, "No request with this correlationId waits for a reply")),
        }
    }

    /// Remembers where the answer to a request goes; returns the mark that the device has to send with it.
    fn expect_reply(&mut self, subject: Subject) -> String {
        let number = self.next_reply;
        self.next_reply += 1;
        if self.replies.len() >= REPLIES_OPEN_MAX {
            self.replies.pop_front();
        }
        self.replies.push_back((number, subject));
        format!("{MARK}{number}")
    }
}

/// Begins the `correlationId` of a message that wants a reply.
const MARK: &str = "request-";

fn body(frame: &ClientFrame<'_>) -> Bytes {
    frame.payload.map_or_else(Bytes::new, |raw| Bytes::copy_from_slice(raw.get().as_bytes()))
}
