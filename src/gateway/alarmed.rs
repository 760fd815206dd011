//! Freezes what the black box has of a device when an alarm of it is raised.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info};

use super::Shared;
use super::blackbox::freeze;
use crate::model::{Alarm, AlarmState};
use crate::task::Phase;

/// Alarms whose devices are frozen at one look, at most: a whole line that fails at once is told by its first ones.
const AT_ONCE_MAX: usize = 16;

/// One time that an alarm was raised: which alarm, and when.
type Raised = (u64, i64);

/// Looks at the board until the work phase ends. What is raised already at the beginning was frozen before, or there is
/// nothing to freeze.
pub(super) async fn follow(shared: Arc<Shared>, mut board: watch::Receiver<Arc<Vec<Alarm>>>) {
    let end = shared.tasks.token(Phase::Work);
    let mut known = raised(&board.borrow_and_update());
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            changed = board.changed() => if changed.is_err() {
                return;
            },
        }
        let alarms = board.borrow_and_update().clone();
        for alarm in fresh(&alarms, &known).take(AT_ONCE_MAX) {
            freeze_for(&shared, alarm).await;
        }
        known = raised(&alarms);
    }
}

async fn freeze_for(shared: &Arc<Shared>, alarm: &Alarm) {
    let Some(device) = device_of(alarm).map(str::to_owned) else { return };
    let (fingerprint, name, at) = (format!("{:016x}", alarm.fingerprint), alarm.name().to_owned(), alarm.raised_at);
    let (black_box, state, device_id) = (shared.black_box.clone(), shared.state.clone(), device.clone());
    let work = move || {
        let frames = black_box.frames(&device_id);
        if frames.is_empty() {
            return Ok(0);
        }
        freeze(&state, (&device_id, &fingerprint, &name), at, &frames).map(|()| frames.len())
    };
    match shared.tasks.pool().run(work).await {
        Ok(Ok(0)) => {}
        Ok(Ok(frames)) => info!(%device, alarm = alarm.name(), frames, "frames of a device frozen"),
        Ok(Err(error)) => error!(%device, %error, "cannot freeze frames"),
        Err(panicked) => error!(%device, %panicked, "cannot freeze frames"),
    }
}

/// Returns the device that an alarm is of.
fn device_of(alarm: &Alarm) -> Option<&str> {
    ["device_id", "device"].into_iter().find_map(|name| alarm.labels.get(name)).filter(|id| !id.is_empty())
}

fn active(alarms: &[Alarm]) -> impl Iterator<Item = &Alarm> {
    alarms.iter().filter(|alarm| alarm.state == AlarmState::Active)
}

fn key(alarm: &Alarm) -> Raised {
    (alarm.fingerprint, alarm.raised_at.as_millis())
}

fn raised(alarms: &[Alarm]) -> HashSet<Raised> {
    active(alarms).map(key).collect()
}

/// Returns the alarms of devices that were raised since.
fn fresh<'a>(alarms: &'a [Alarm], known: &'a HashSet<Raised>) -> impl Iterator<Item = &'a Alarm> {
    active(alarms).filter(|alarm| device_of(alarm).is_some() && !known.contains(&key(alarm)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Timestamp};

    fn alarm(fingerprint: u64, raised_at: i64, state: AlarmState, labels: &[(&str, &str)]) -> Alarm {
        let raised_at = Timestamp::from_millis(raised_at);
        Alarm {
            fingerprint,
            labels: Labels::from_pairs(labels.iter().copied()),
            annotations: Labels::default(),
            state,
            raised_at,
            cleared_at: None,
            acknowledgement: None,
            value: 1.0,
            expression: String::new(),
            source_url: String::new(),
            rule_version: 0,
            changed_at: raised_at,
        }
    }

    #[test]
    fn each_time_that_an_alarm_of_a_device_is_raised_counts_once() {
        let of_press = [("alertname", "Hot"), ("device_id", "press-1")];
        let before = [alarm(1, 10, AlarmState::Active, &of_press)];
        let known = raised(&before);
        let now = [
            alarm(1, 10, AlarmState::Active, &of_press),
            alarm(2, 20, AlarmState::Cleared, &of_press),
            alarm(3, 20, AlarmState::Active, &[("alertname", "Full"), ("instance", "box")]),
            alarm(4, 20, AlarmState::Active, &[("device", "press-2")]),
        ];
        assert_eq!(fresh(&now, &known).map(|a| a.fingerprint).collect::<Vec<_>>(), [4]);
        let again = [alarm(1, 30, AlarmState::Active, &of_press)];
        assert_eq!(fresh(&again, &raised(&now)).count(), 1, "raised again");
        assert_eq!(device_of(&now[3]), Some("press-2"));
    }
}
