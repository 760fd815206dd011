//! Publishes that a device wants to hear of, and those it sends again.
//!
//! A publish frame may bear a `messageId` and ask for an `ack`. The same id of the same device within ten minutes is
//! the same message: it is recorded and handed out once, and its stream stores it once. A device that lost its
//! connection before the ack sends it again and gets the ack of what it sent first.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

use serde_json::{Value, json};

use super::connection::Connection;
use super::protocol::{ClientFrame, Code, Refusal};
use crate::bus::{self, Message};
use crate::model::DeviceMessage;

/// How long an id is known.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Ids that are known at once, of all devices; the oldest go. About 10 MiB.
const IDS_MAX: usize = 1 << 18;

/// What a device asked for with a publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// By which a repeat is known.
    pub(super) id: Option<String>,
    /// Whether an ack is to be sent.
    pub(super) wants_ack: bool,
    pub(super) subject: String,
    pub(super) correlation_id: Option<String>,
}

impl Asked {
    /// Returns what a frame asks for.
    pub(super) fn by(frame: &ClientFrame<'_>) -> Asked {
        Asked {
            id: frame.message_id.as_deref().map(str::to_owned),
            wants_ack: frame.wants_ack,
            subject: frame.subject.to_string(),
            correlation_id: frame.correlation_id.as_deref().map(str::to_owned),
        }
    }

    /// Returns the payload of the ack, or why there is none.
    pub(super) fn answer(&self, kept: &Kept) -> Result<Value, Refusal> {
        let (message, is_durable) = match kept {
            Kept::Durably => ("Kept", true),
            Kept::HandedOut => ("Published; no stream keeps this subject", false),
            Kept::Not(error) => return Err(Refusal::new(Code::NotKept, error.to_string())),
        };
        let mut body = json!({ "success": true, "message": message, "durable": is_durable });
        if let (Some(id), Some(members)) = (&self.id, body.as_object_mut()) {
            members.insert("messageId".to_owned(), id.as_str().into());
        }
        Ok(body)
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// It survives whatever ends the box.
    Durably,
    /// It was handed out; no stream keeps the subject.
    HandedOut,
    /// It was not kept.
    Not(bus::Error),
}

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    New,
    /// It came before; whether it is kept is not known yet.
    Underway,
    /// It came before and is kept.
    Kept,
}

/// The ids that came lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<u64, Seen>,
    order: VecDeque<(u64, Duration)>,
}

impl Repeats {
    /// Returns what is known of an id, and remembers it.
    pub(super) fn note(&self, device_id: &str, id: &str, now: Duration) -> Seen {
        let hash = self.hasher.hash_one((device_id, id));
        let mut known = self.known();
        while known.order.len() >= IDS_MAX
            || known.order.front().is_some_and(|(_, at)| now.saturating_sub(*at) > KNOWN_FOR)
        {
            let Some((old, _)) = known.order.pop_front() else { break };
            known.by_hash.remove(&old);
        }
        if let Some(seen) = known.by_hash.get(&hash) {
            return *seen;
        }
        known.by_hash.insert(hash, Seen::Underway);
        known.order.push_back((hash, now));
        Seen::New
    }

    /// Notes what became of an id: one that was not kept is as good as new.
    pub(super) fn settle(&self, device_id: &str, id: &str, is_kept: bool) {
        let hash = self.hasher.hash_one((device_id, id));
        let mut known = self.known();
        if is_kept {
            if let Some(seen) = known.by_hash.get_mut(&hash) {
                *seen = Seen::Kept;
            }
        } else if known.by_hash.remove(&hash).is_some() {
            known.order.retain(|(other, _)| *other != hash);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Connection<S> {
    /// Records and publishes a message with an id or for an ack. The outcome comes by `self.receipts`.
    pub(super) async fn publish_asked(&mut self, message: Message, recorded: DeviceMessage, asked: Asked) {
        let shared = self.shared.clone();
        let device_id = message.device_id.clone().unwrap_or_default();
        let id = asked.id.as_ref().map(|id| format!("{device_id} {id}"));
        let seen = match &asked.id {
            Some(id) => shared.repeats.note(&device_id, id, shared.clock.elapsed()),
            None => Seen::New,
        };
        if seen == Seen::New {
            self.record(recorded);
        } else {
            shared.instruments.repeats.inc();
        }
        let stream = shared.bus.stream_of(&message.subject).cloned();
        let taken = match (seen, &id) {
            (Seen::Kept, _) => {
                if asked.wants_ack {
                    let kept = if stream.is_some() { Kept::Durably } else { Kept::HandedOut };
                    self.receipts.push(std::future::ready((asked, kept)).boxed());
                }
                return;
            }
            (Seen::Underway, Some(id)) => shared.bus.publish_again(&message, id),
            (Seen::New | Seen::Underway, id) => shared.bus.publish_kept(message, id.as_deref()).await,
        };
        self.count_publish(stream.as_deref(), taken.as_ref().err());
        let outcome = async move {
            let kept = match taken {
                Ok(Some(receipt)) => receipt.kept().await.map_or_else(Kept::Not, |()| Kept::Durably),
                // NATS is away, and nobody keeps this for it.
                Ok(None) => Kept::HandedOut,
                Err(_) if stream.is_none() => Kept::HandedOut,
                Err(error) => Kept::Not(error),
            };
            if let Some(id) = &asked.id {
                shared.repeats.settle(&device_id, id, !matches!(kept, Kept::Not(_)));
            }
            (asked, kept)
        };
        self.receipts.push(outcome.boxed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_id_is_new_once_and_again_after_ten_minutes() {
        let repeats = Repeats::default();
        assert_eq!(repeats.note("a", "1", SECOND), Seen::New);
        assert_eq!(repeats.note("a", "1", SECOND), Seen::Underway);
        assert_eq!(repeats.note("b", "1", SECOND), Seen::New, "another device's");
        repeats.settle("a", "1", true);
        assert_eq!(repeats.note("a", "1", 600 * SECOND), Seen::Kept);
        assert_eq!(repeats.note("a", "1", 602 * SECOND), Seen::New);
    }

    #[test]
    fn what_was_not_kept_is_taken_anew() {
        let repeats = Repeats::default();
        assert_eq!(repeats.note("a", "1", SECOND), Seen::New);
        repeats.settle("a", "1", false);
        assert_eq!(repeats.note("a", "1", SECOND), Seen::New);
    }

    #[test]
    fn so_many_ids_are_known_and_no_more() {
        let repeats = Repeats::default();
        for id in 0..IDS_MAX + 10 {
            assert_eq!(repeats.note("a", &id.to_string(), SECOND), Seen::New);
        }
        assert_eq!(repeats.known().order.len(), IDS_MAX);
        assert_eq!(repeats.note("a", &(IDS_MAX + 9).to_string(), SECOND), Seen::Underway);
        assert_eq!(repeats.note("a", "0", SECOND), Seen::New, "the oldest are forgotten");
    }
}
