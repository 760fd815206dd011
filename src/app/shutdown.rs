//! Three phases with deadlines: stop taking in, finish the work in hand, close the stores.

use std::time::Duration;

use tracing::{debug, warn};

use crate::task::{Phase, Tasks};

/// How long each phase may take, in order. Together well inside systemd's `TimeoutStopSec`.
const DEADLINES: [(Phase, &str, Duration); 3] = [
    (Phase::Intake, "intake", Duration::from_secs(2)),
    (Phase::Work, "work", Duration::from_secs(10)),
    (Phase::Stores, "stores", Duration::from_secs(10)),
];

/// Ends all tasks, phase by phase. Returns the names of those that did not end; empty if all did.
///
/// A task that belongs to a later phase is not waited for in an earlier one, but nothing tells which is
/// which: so a phase is over when nothing ends any more or its deadline has passed, and only the last one
/// insists.
pub(super) async fn stop(tasks: &Tasks) -> Vec<String> {
    let mut left = Vec::new();
    for (phase, name, deadline) in DEADLINES {
        tasks.token(phase).cancel();
        left = wait(tasks, deadline, phase).await;
        debug!(phase = name, running = left.len(), "stopping");
    }
    for name in &left {
        warn!(task = %name, "task is stuck");
    }
    left
}

/// Waits until no task is left, none has ended for a while, or the deadline has passed.
async fn wait(tasks: &Tasks, deadline: Duration, phase: Phase) -> Vec<String> {
    /// Long enough for a task that ends on its token to be scheduled on a busy box.
    const QUIET: Duration = Duration::from_millis(250);
    let insists = phase == Phase::Stores;
    let finished = async {
        loop {
            let before = tasks.running();
            let left = tasks.ended(QUIET, |_| true).await;
            if left.is_empty() || (!insists && left.len() == before.len()) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(deadline, finished).await;
    tasks.running()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::OnPanic;

    #[tokio::test(start_paused = true)]
    async fn phases_end_in_order_and_the_stuck_are_named() {
        let tasks = Tasks::new(1);
        for (phase, name) in [(Phase::Intake, "scrape"), (Phase::Work, "send"), (Phase::Stores, "sync")] {
            let end = tasks.token(phase);
            tasks.spawn(name, OnPanic::EndTask, async move { end.cancelled().await });
        }
        assert!(stop(&tasks).await.is_empty());

        let tasks = Tasks::new(1);
        tasks.spawn("deaf", OnPanic::EndTask, std::future::pending());
        assert_eq!(stop(&tasks).await, ["deaf"]);
    }
}
