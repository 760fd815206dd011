//! Which series end when a device goes: those that it fed, half a minute after it has left.
//!
//! Without this its last values would look alive for the lookback of five minutes. Half a minute, because a device that
//! only reconnects should not leave gaps behind.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::model::DevicePresence;
use crate::storage::tsdb::SeriesRef;

/// How long a device may be away before its series end.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Series by the device that fed them; as many as the limits on devices and series let in.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<String, Fed>);

#[derive(Debug, Default)]
struct Fed {
    series: HashSet<SeriesRef>,
    /// Since when the device is away.
    away_since: Option<Duration>,
}

impl Ends {
    /// Notes that a device that is connected here fed a series.
    pub(super) fn fed(&mut self, device_id: &str, series: SeriesRef) {
        match self.0.get_mut(device_id) {
            Some(fed) => {
                fed.series.insert(series);
            }
            None => {
                let fed = Fed { series: HashSet::from([series]), away_since: None };
                self.0.insert(device_id.to_owned(), fed);
            }
        }
    }

    /// Takes who is connected, `elapsed` after the start.
    pub(super) fn present(&mut self, presence: &[DevicePresence], elapsed: Duration) {
        let connected: HashSet<&str> =
            presence.iter().filter(|p| p.is_connected).map(|p| p.device_id.as_str()).collect();
        for (id, fed) in &mut self.0 {
            if connected.contains(id.as_str()) {
                fed.away_since = None;
            } else {
                fed.away_since.get_or_insert(elapsed);
            }
        }
    }

    /// Returns the series of devices that have been away for long enough, each once.
    pub(super) fn due(&mut self, elapsed: Duration) -> Vec<SeriesRef> {
        let gone = self
            .0
            .extract_if(.., |_, fed| fed.away_since.is_some_and(|since| elapsed.saturating_sub(since) >= AWAY_MAX));
        gone.flat_map(|(_, fed)| fed.series).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(id: &str, is_connected: bool) -> DevicePresence {
        DevicePresence {
            device_id: id.to_owned(),
            device_type: String::new(),
            is_connected,
            since: None,
            last_seen: None,
        }
    }

    #[test]
    fn series_end_once_half_a_minute_after_their_device_has_left() {
        let s = Duration::from_secs;
        let mut ends = Ends::default();
        let series = [1, 2, 3].map(SeriesRef);
        ends.fed("a", series[0]);
        ends.fed("a", series[0]);
        ends.fed("a", series[1]);
        ends.fed("b", series[2]);
        ends.present(&[presence("a", true), presence("b", true)], s(0));
        assert!(ends.due(s(1000)).is_empty());
        ends.present(&[presence("a", false), presence("b", true)], s(1000));
        ends.present(&[presence("a", true), presence("b", true)], s(1029));
        assert!(ends.due(s(1030)).is_empty(), "it only reconnected");
        ends.present(&[presence("a", false)], s(1040));
        ends.present(&[presence("a", false)], s(1050));
        assert!(ends.due(s(1069)).is_empty());
        let mut due = ends.due(s(1070));
        due.sort();
        assert_eq!(due, series, "b is registered no more");
        assert!(ends.due(s(2000)).is_empty());
    }
}
