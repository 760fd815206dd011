//! What may change without a restart: read, check all, then hand each room its new settings.

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{self, Config};
use crate::http::{AppState, ClientAuth, Door, Relabelling, Settings};
use crate::model::{RelabelRule, Timestamp};

/// Reads the settings again and hands them round.
#[derive(Debug)]
pub(super) struct Reloader {
    source: config::Source,
    current: Config,
    state: AppState,
    /// What pages and APIs use of them.
    settings: watch::Sender<Settings>,
    door: Door,
}

impl Reloader {
    pub(super) fn new(
        source: config::Source,
        current: Config,
        state: AppState,
        settings: watch::Sender<Settings>,
        door: Door,
    ) -> Self {
        Reloader { source, current, state, settings, door }
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
        self.door.reload_tls(fresh.http.tls.clone());
        self.state.db.set_retention(fresh.storage.tsdb.retention);
        self.state.collector.reload(fresh.collect.clone());
        self.state.gateway.reload(fresh.gateway.clone());
        self.state.tenants.reload(fresh.tenants.clone());
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
    Settings {
        text: config.text.clone(),
        external_labels: config.forward.external_labels.clone(),
        taken_at,
        refused_at: None,
        relabelling: relabelling(config).into(),
        asks_for_certificates: config.http.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::None),
    }
}

/// Returns all relabelling rules of the settings with their places, in the order samples meet them.
fn relabelling(config: &Config) -> Vec<Relabelling> {
    let of = |place: String, is_of_targets: bool, rules: &[RelabelRule]| {
        let rules = rules.to_vec();
        Relabelling { place, is_of_targets, rules }
    };
    let jobs = config.collect.scrape.iter().flat_map(|job| {
        [
            of(format!("targets of {}", job.name), true, &job.relabel),
            of(format!("metrics of {}", job.name), false, &job.metric_relabel),
        ]
    });
    let devices = of("metrics of devices".to_owned(), false, &config.collect.telemetry.metric_relabel);
    let forwarded =
        config.forward.destinations.iter().map(|to| of(format!("forwarding to {}", to.name), false, &to.write_relabel));
    jobs.chain([devices]).chain(forwarded).collect()
}
