//! The last message per device and subject.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{Config, Instruments};
use crate::model::{DeviceMessage, Timestamp};

/// The last message of a device on a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// Where it was published.
    pub subject: String,
    /// The body.
    pub payload: Bytes,
    /// When the box received it.
    pub received_at: Timestamp,
}

/// Messages since the last write: device, then subject.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    by_device: HashMap<String, HashMap<String, Retained>>,
    count: usize,
}

impl Fresh {
    pub(super) fn put(&mut self, m: &DeviceMessage, has_store: bool, config: &Config, instruments: &Instruments) {
        if m.payload.len() > config.body_bytes_max {
            instruments.dropped.with(&["body_size"]).inc();
            return;
        }
        let retained =
            || Retained { subject: m.subject.clone(), payload: m.payload.clone(), received_at: m.received_at };
        if let Some(known) = self.by_device.get_mut(&m.device_id).and_then(|d| d.get_mut(&m.subject)) {
            *known = retained();
            return;
        }
        if self.count >= config.waiting_max {
            instruments.dropped.with(&["waiting_limit"]).inc();
            return;
        }
        let subjects = self.by_device.entry(m.device_id.clone()).or_default();
        // With a store the limit is checked there; without one, this is all there is.
        if !has_store && subjects.len() >= usize::try_from(config.subjects_per_device_max).unwrap_or(usize::MAX) {
            instruments.dropped.with(&["subject_limit"]).inc();
            return;
        }
        subjects.insert(m.subject.clone(), retained());
        self.count += 1;
    }

    pub(super) fn get(&self, device_id: &str, subject: &str) -> Option<Retained> {
        self.by_device.get(device_id)?.get(subject).cloned()
    }

    pub(super) fn forget(&mut self, device_id: &str) {
        self.count -= self.by_device.remove(device_id).map_or(0, |subjects| subjects.len());
    }

    /// Returns each device with its messages.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &HashMap<String, Retained>)> {
        self.by_device.iter().map(|(device_id, messages)| (device_id.as_str(), messages))
    }

    /// Takes in older messages.
    pub(super) fn put_below(&mut self, older: Fresh) {
        for (device_id, messages) in older.by_device {
            let newer = self.by_device.entry(device_id).or_default();
            for (subject, message) in messages {
                newer.entry(subject).or_insert(message);
            }
        }
        self.count = self.by_device.values().map(HashMap::len).sum();
    }

    /// Lays what is fresh over what is kept; sorted by subject.
    pub(super) fn over(&self, device_id: &str, kept: Vec<Retained>) -> Vec<Retained> {
        let fresh = self.by_device.get(device_id).into_iter().flat_map(HashMap::values).cloned();
        let all: BTreeMap<String, Retained> = kept.into_iter().chain(fresh).map(|r| (r.subject.clone(), r)).collect();
        all.into_values().collect()
    }
}
