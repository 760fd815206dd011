//! The store's two threads: one syncs the WAL, one writes parts and deletes days.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::error;

use super::store::Shared;

/// How often it is looked whether a part is due or a day is to go.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Starts both. One that cannot be started is reported; without it nothing is lost but time after a crash.
pub(super) fn start(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let sync = shared.clone();
    let upkeep = shared.clone();
    let interval = shared.config.sync_interval;
    let threads = [
        spawn("andon-logs-sync", move || {
            while sync.wait(interval, |signals| signals.is_stopping) {
                // The failure is counted and logged inside; the next round tries again.
                let _ = sync.sync();
            }
        }),
        spawn("andon-logs-parts", move || {
            while upkeep.wait(UPKEEP_INTERVAL, |signals| signals.is_stopping || signals.is_part_due) {
                upkeep.upkeep();
            }
        }),
    ];
    threads.into_iter().flatten().collect()
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(thread) => Some(thread),
        Err(error) => {
            error!(thread = name, %error, "cannot start a thread of the log store");
            None
        }
    }
}
