//! The black box: the last minutes of each device's frames, for the day on which somebody asks what happened.
//!
//! A connection has a [`Recorder`] and gives it each text frame that comes and goes; heads are kept, payloads only by
//! setting. All rings together take what the settings say (8 MiB): each device that has frames gets an equal share of
//! that, at most its own limit, so that ten thousand devices leave each some twenty frames and ten leave each some ten
//! thousand. A device that is silent for as long as frames are kept takes nothing but its name. When an alarm of a
//! device fires, what is there of it is frozen (`frozen.rs`).
//!
//! Cost: reading a frame's head once more, about 0.6 µs for 235 bytes; some 58 bytes a frame.

mod entry;
mod frozen;
mod ring;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use entry::{Direction, FrameView, Seen};
pub use frozen::{Frozen, FrozenHead};

use self::entry::Head;
use self::ring::Ring;
use crate::model::Timestamp;

pub(super) use frozen::{freeze, read};

/// A device may always keep so much, whatever others have.
const SHARE_BYTES_MIN: usize = 512;

/// Settings of the black box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlackBoxConfig {
    /// Bytes of all devices together; 0: nothing is kept. Default 8 MiB, up to 1 GiB.
    pub bytes_max: usize,
    /// Bytes of one device. Default 256 KiB, 4 KiB to 16 MiB.
    pub device_bytes_max: usize,
    /// For how long frames are kept. Default 10 min.
    pub age: Duration,
    /// Bytes of each payload that are kept. Default 0: none; up to 4 KiB.
    pub payload_bytes_max: usize,
}

impl Default for BlackBoxConfig {
    fn default() -> Self {
        let age = Duration::from_secs(600);
        BlackBoxConfig { bytes_max: 8 << 20, device_bytes_max: 256 << 10, age, payload_bytes_max: 0 }
    }
}

/// All rings; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct BlackBox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// By device.
    rings: Mutex<HashMap<Arc<str>, Arc<Mutex<Ring>>>>,
    /// Bytes that they take.
    bytes: AtomicUsize,
    /// What one device may take now.
    share: AtomicUsize,
    payload_bytes_max: AtomicUsize,
}

/// Writes down the frames of one connection.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    inner: Arc<Inner>,
    ring: Arc<Mutex<Ring>>,
}

impl BlackBox {
    pub(super) fn new(config: BlackBoxConfig) -> Self {
        let inner = Inner {
            rings: Mutex::default(),
            bytes: AtomicUsize::new(0),
            share: AtomicUsize::new(0),
            payload_bytes_max: AtomicUsize::new(config.payload_bytes_max),
        };
        inner.share.store(share(config, 1), Ordering::Relaxed);
        BlackBox(Arc::new(inner))
    }

    /// Returns the recorder of a device's connection.
    pub(super) fn recorder(&self, device_id: &Arc<str>) -> Recorder {
        let ring = lock(&self.0.rings).entry(device_id.clone()).or_default().clone();
        Recorder { inner: self.0.clone(), ring }
    }

    /// Returns what is there of a device, the oldest first.
    pub(super) fn frames(&self, device_id: &str) -> Vec<FrameView> {
        let ring = lock(&self.0.rings).get(device_id).cloned();
        ring.map(|ring| lock(&ring).entries()).unwrap_or_default()
    }

    /// Forgets a device.
    pub(super) fn forget(&self, device_id: &str) {
        if let Some(ring) = lock(&self.0.rings).remove(device_id) {
            let mut ring = lock(&ring);
            self.0.count(ring.tidy(Timestamp::from_millis(i64::MAX), Duration::ZERO, 0));
        }
    }

    /// Drops what is too old, and what is more than each device's share; takes settings. Returns how many bytes all
    /// take. Cost: a look at each device, some milliseconds for ten thousand.
    pub(super) fn tidy(&self, config: BlackBoxConfig, now: Timestamp) -> usize {
        let mut rings = lock(&self.0.rings);
        let used = rings.values().filter(|ring| !lock(ring).is_empty()).count();
        let share = share(config, used);
        self.0.share.store(share, Ordering::Relaxed);
        self.0.payload_bytes_max.store(config.payload_bytes_max, Ordering::Relaxed);
        rings.retain(|_, ring| {
            let is_idle = {
                let mut inside = lock(ring);
                self.0.count(inside.tidy(now, config.age, share));
                inside.is_empty()
            };
            // One that is connected may go on.
            !is_idle || Arc::strong_count(ring) > 1
        });
        if rings.capacity() > rings.len() * 4 {
            rings.shrink_to_fit();
        }
        self.0.bytes.load(Ordering::Relaxed)
    }
}

/// Returns what each of so many devices may take.
fn share(config: BlackBoxConfig, devices: usize) -> usize {
    if config.bytes_max == 0 {
        return 0;
    }
    (config.bytes_max / devices.max(1)).clamp(SHARE_BYTES_MIN, config.device_bytes_max.max(SHARE_BYTES_MIN))
}

impl Inner {
    /// Counts what a ring takes now instead of before.
    fn count(&self, (before, after): (usize, usize)) {
        self.bytes.fetch_add(after, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Recorder {
    /// Notes a text frame.
    pub(super) fn frame(&self, text: &str, direction: Direction, at: Timestamp) {
        let share = self.inner.share.load(Ordering::Relaxed);
        if share > 0 {
            let payload_max = self.inner.payload_bytes_max.load(Ordering::Relaxed);
            self.push(&Head::of(text, direction, at, payload_max), share);
        }
    }

    /// Notes that the connection began.
    pub(super) fn begin(&self, at: Timestamp) {
        self.event(Seen::Begin, at, "");
    }

    /// Notes why the connection ended.
    pub(super) fn end(&self, at: Timestamp, reason: &str) {
        self.event(Seen::End, at, reason);
    }

    fn event(&self, seen: Seen, at: Timestamp, code: &str) {
        let share = self.inner.share.load(Ordering::Relaxed);
        if share > 0 {
            self.push(&Head::event(seen, at, code), share);
        }
    }

    fn push(&self, head: &Head<'_>, share: usize) {
        let mut bytes = Vec::with_capacity(128);
        head.encode(&mut bytes);
        let counted = lock(&self.ring).push(&bytes, share);
        self.inner.count(counted);
    }
}

fn lock<T>(inside: &Mutex<T>) -> MutexGuard<'_, T> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"type":0,"subject":"telemetry.press.temperature","payload":21.5,"messageId":"boot-1"}"#;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn config(bytes_max: usize) -> BlackBoxConfig {
        BlackBoxConfig { bytes_max, device_bytes_max: 32 << 10, ..BlackBoxConfig::default() }
    }

    #[test]
    fn all_devices_together_keep_within_the_bytes() {
        let config = config(256 << 10);
        let black_box = BlackBox::new(config);
        let recorders: Vec<_> = (0..100).map(|n| black_box.recorder(&format!("d{n}").into())).collect();
        for second in 0..1000 {
            for recorder in &recorders {
                recorder.frame(FRAME, Direction::In, at(second / 10));
            }
            if second % 50 == 0 {
                let bytes = black_box.tidy(config, at(second / 10));
                // Between two looks new devices have the share of few.
                assert!(second < 50 || bytes <= 256 << 10, "{bytes} at {second}");
            }
        }
        let bytes = black_box.tidy(config, at(100));
        assert!(bytes <= 256 << 10 && bytes > 128 << 10, "{bytes}");
        let kept: Vec<usize> = (0..100).map(|n| black_box.frames(&format!("d{n}")).len()).collect();
        assert!(kept.iter().all(|count| (20..60).contains(count)), "{kept:?}");
    }

    #[test]
    fn few_devices_keep_more_each_and_silent_ones_nothing() {
        let config = config(8 << 20);
        let black_box = BlackBox::new(config);
        let recorder = black_box.recorder(&"d".into());
        for n in 0..10_000 {
            recorder.frame(FRAME, Direction::Out, at(n / 100));
        }
        let kept = black_box.frames("d");
        assert!(kept.len() > 300, "{}", kept.len());
        assert_eq!(kept.last().unwrap().at, at(99));
        let bytes = black_box.tidy(config, at(2000));
        assert_eq!((bytes, black_box.frames("d").len()), (0, 0));
        drop(recorder);
        black_box.tidy(config, at(2000));
        assert!(lock(&black_box.0.rings).is_empty(), "who is gone and silent is forgotten");
    }

    #[test]
    fn with_no_bytes_nothing_is_kept() {
        let black_box = BlackBox::new(config(0));
        let recorder = black_box.recorder(&"d".into());
        recorder.begin(at(1));
        recorder.frame(FRAME, Direction::In, at(1));
        assert!(black_box.frames("d").is_empty());
    }
}
