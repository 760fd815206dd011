//! What may change without a restart: read, check all, then hand each room its new settings.

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{self, Config};
use crate::http::{AppState, Settings};
use crate::model::Timestamp;

/// Reads the settings again and hands them round.
#[derive(Debug)]
pub(super) struct Reloader {
    source: config::Source,
    current: Config,
    state: AppState,
    /// What pages and APIs use of them.
    settings: watch::Sender<Settings>,
}

impl Reloader {
    pub(super) fn new(
        source: config::Source,
        current: Config,
        state: AppState,
        settings: watch::Sender<Settings>,
    ) -> Self {
        Reloader { source, current, state, settings }
    }

    /// Returns the handles of all rooms.
    pub(super) fn state(&self) -> &AppState {
        &self.state
    }

    /// Takes the settings from the file again. A mistake changes nothing and comes back as text.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let fresh = match config::load(&self.source) {
            Ok(fresh) => fresh,
            Err(error) => {
                let text = error.to_string();
                error!(error = %text, "settings were not reloaded");
                self.settings.send_modify(|settings| settings.refused_at = Some(self.state.clock.now()));
                return Err(text);
            }
        };
        for warning in &fresh.warnings {
            warn!("{warning}");
        }
        for key in self.current.needs_restart(&fresh) {
            warn!(key, "this change needs a restart");
        }
        self.state.db.set_retention(fresh.storage.tsdb.retention);
        self.state.collector.reload(fresh.collect.clone());
        self.state.gateway.reload(fresh.gateway.clone());
        self.state.rules.reload(fresh.rules.clone());
        self.state.alarms.reload(fresh.alarms.clone());
        self.state.notifier.reload(fresh.notify.clone());
        self.state.forwarder.reload(fresh.forward.clone());
        self.settings.send_replace(shown(&fresh, self.state.clock.now()));
        self.current = fresh;
        info!("settings reloaded");
        Ok(())
    }
}

/// Returns what pages and APIs use of the settings.
pub(super) fn shown(config: &Config, taken_at: Timestamp) -> Settings {
    let external_labels = config.forward.external_labels.clone();
    Settings { text: config.text.clone(), external_labels, taken_at, refused_at: None }
}
