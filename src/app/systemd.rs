//! What systemd is told: ready, reloading, stopping, alive. Does nothing where systemd did not start us.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::task::{OnPanic, Phase, Tasks};

/// Says that the box is up.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the box is going down.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog at half its time, as long as tasks are run at all.
pub(super) fn watchdog(tasks: &Tasks) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let end = tasks.token(Phase::Stores);
    let every = (period / 2).max(Duration::from_millis(100));
    tasks.spawn("systemd watchdog", OnPanic::StopBox, async move {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(every) => tell(&[NotifyState::Watchdog]),
            }
        }
    });
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a socket this is no error: the box was not started by systemd.
    let _ = sd_notify::notify(states);
}
