//! When each device was last seen.

use std::collections::HashMap;

use super::{Config, Instruments};
use crate::model::Timestamp;

/// When a device was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The device.
    pub device_id: String,
    /// When it last connected, sent or disconnected.
    pub last_seen: Timestamp,
    /// Whether it is connected.
    pub is_online: bool,
}

/// Devices seen since the last write.
#[derive(Debug, Default)]
pub(super) struct Fresh(HashMap<String, Timestamp>);

impl Fresh {
    pub(super) fn see(&mut self, device_id: &str, now: Timestamp, config: &Config, instruments: &Instruments) {
        if let Some(last_seen) = self.0.get_mut(device_id) {
            *last_seen = now;
        } else if self.0.len() < config.devices_max {
            self.0.insert(device_id.to_owned(), now);
        } else {
            instruments.dropped.with(&["device_limit"]).inc();
        }
    }

    pub(super) fn get(&self, device_id: &str) -> Option<Timestamp> {
        self.0.get(device_id).copied()
    }

    pub(super) fn forget(&mut self, device_id: &str) {
        self.0.remove(device_id);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (String, Timestamp)> {
        self.0.iter().map(|(id, at)| (id.clone(), *at))
    }

    /// Takes in older sightings.
    pub(super) fn put_below(&mut self, older: Fresh) {
        for (device_id, at) in older.0 {
            self.0.entry(device_id).or_insert(at);
        }
    }
}
