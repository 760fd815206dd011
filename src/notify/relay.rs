//! Alarms handed on to Alertmanagers elsewhere, as a Prometheus does: what fires again and again while it fires, what is
//! over for as long as it is on the board. Nothing waits here: who misses something gets it with the next round.
//!
//! Source: Prometheus, `notifier/notifier.go`, and `sendAlerts` of `cmd/prometheus/main.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use tokio::sync::watch;
use tracing::warn;

use super::receiver::generator_url;
use crate::clock::Clock;
use crate::instrument::{CounterFamily, Registry};
use crate::model::{Alarm, AlarmState, HttpClient, Labels, RelabelRule, Timestamp, relabel};
use crate::outbound::Outbound;
use crate::task::{Phase, Tasks};

/// How often what has not changed is sent again; upstream's `--rules.alert.resend-delay`.
const RESEND: Duration = Duration::from_secs(60);

/// For how long an alarm counts there without being heard of again.
const LIFETIME: Duration = Duration::from_secs(240);

/// How often files are looked at and what failed is tried again.
const ROUND: Duration = Duration::from_secs(5);

/// Changes that come close together go in one request.
const GATHER: Duration = Duration::from_millis(100);

/// Alarms in one request, at most.
const BATCH_MAX: usize = 256;

/// Alertmanagers, at most.
const TARGETS_MAX: usize = 64;

/// Settings; all by reload.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RelayConfig {
    /// `alert_relabel_configs`: what is sent, and how it is called there.
    pub relabel: Vec<RelabelRule>,
    /// `global.external_labels`: added where an alarm has none of the name.
    pub external_labels: Labels,
    /// `alertmanagers`.
    pub alertmanagers: Vec<Alertmanagers>,
}

/// An entry of `alertmanagers`.
#[derive(Debug, Clone, PartialEq)]
pub struct Alertmanagers {
    /// `http` or `https`.
    pub scheme: String,
    /// What stands before `/api/v2/alerts`; without a slash at the end.
    pub path_prefix: String,
    /// How long a request may take; 10 s by default.
    pub timeout: Duration,
    /// `static_configs`: labels of each target, the address as `__address__`.
    pub targets: Vec<Labels>,
    /// `file_sd_configs`: paths whose last part may hold `*`.
    pub files: Vec<PathBuf>,
    /// `relabel_configs` of targets.
    pub relabel: Vec<RelabelRule>,
    /// How requests are made.
    pub http: HttpClient,
}

/// Reads files of targets: labels of each target, and what is wrong.
pub type ReadTargets = fn(&[PathBuf]) -> (Vec<Labels>, Vec<String>);

/// The Alertmanagers that are sent to, and those that relabelling drops, as URLs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelaySnapshot {
    /// Sent to.
    pub active: Vec<String>,
    /// Dropped.
    pub dropped: Vec<String>,
}

/// One Alertmanager.
struct Target {
    url: String,
    client: Outbound,
    /// What it has, by fingerprint: when the alarm last changed, and when it was sent.
    sent: BTreeMap<u64, (Timestamp, Duration)>,
    is_away: bool,
}

/// The task's state.
pub(super) struct Relay {
    pub(super) config: watch::Receiver<(RelayConfig, String)>,
    pub(super) board: watch::Receiver<Arc<Vec<Alarm>>>,
    pub(super) snapshots: watch::Sender<RelaySnapshot>,
    pub(super) read_targets: ReadTargets,
    pub(super) clock: Clock,
    alerts: CounterFamily,
    targets: BTreeMap<String, Target>,
    problems: BTreeSet<String>,
}

impl Relay {
    pub(super) fn new(
        config: watch::Receiver<(RelayConfig, String)>,
        board: watch::Receiver<Arc<Vec<Alarm>>>,
        snapshots: watch::Sender<RelaySnapshot>,
        read_targets: ReadTargets,
        clock: Clock,
        registry: &Registry,
    ) -> Self {
        let alerts = registry.counters(
            "andon_notify_relayed_alerts_total",
            "Alarms handed on to Alertmanagers elsewhere, by outcome: sent, failed.",
            &["outcome"],
        );
        let (targets, problems) = (BTreeMap::new(), BTreeSet::new());
        Relay { config, board, snapshots, read_targets, clock, alerts, targets, problems }
    }

    /// Runs until the work phase ends.
    pub(super) async fn run(mut self, tasks: Tasks) {
        let stop = tasks.token(Phase::Work);
        let mut board_open = true;
        loop {
            self.discover();
            self.send().await;
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.board.changed(), if board_open && !self.targets.is_empty() => match changed {
                    Ok(()) => tokio::time::sleep(GATHER).await,
                    Err(_) => board_open = false,
                },
                changed = self.config.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Finds out who is to be sent to; who is still among them keeps what it has.
    fn discover(&mut self) {
        let (config, _) = self.config.borrow_and_update().clone();
        let (mut snapshot, mut problems) = (RelaySnapshot::default(), BTreeSet::new());
        let mut before = std::mem::take(&mut self.targets);
        for entry in &config.alertmanagers {
            let (of_files, wrong) = (self.read_targets)(&entry.files);
            problems.extend(wrong);
            for labels in entry.targets.iter().cloned().chain(of_files) {
                let Some((url, is_kept)) = address(entry, &labels) else { continue };
                if !is_kept {
                    snapshot.dropped.push(url);
                    continue;
                }
                if self.targets.len() >= TARGETS_MAX || self.targets.contains_key(&url) {
                    continue;
                }
                let target = match (before.remove(&url), Outbound::new(&entry.http, entry.timeout)) {
                    (Some(known), Ok(client)) => Target { client, ..known },
                    (None, Ok(client)) => Target { url: url.clone(), client, sent: BTreeMap::new(), is_away: false },
                    (_, Err(error)) => {
                        problems.insert(format!("{url}: {error}"));
                        continue;
                    }
                };
                snapshot.active.push(url.clone());
                self.targets.insert(url, target);
            }
        }
        for problem in problems.difference(&self.problems) {
            warn!(%problem, "cannot use an Alertmanager's settings");
        }
        self.problems = problems;
        self.snapshots.send_if_modified(|known| {
            let has_changed = *known != snapshot;
            *known = snapshot;
            has_changed
        });
    }

    /// Sends to each what it does not have.
    async fn send(&mut self) {
        if self.targets.is_empty() {
            return;
        }
        let (config, external_url) = self.config.borrow().clone();
        let alarms = self.board.borrow_and_update().clone();
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let outcomes = self.targets.values_mut().map(|target| async {
            let due: Vec<&Alarm> = alarms.iter().filter(|a| target.lacks(a, elapsed)).collect();
            target.sent.retain(|fingerprint, _| alarms.iter().any(|a| a.fingerprint == *fingerprint));
            let (mut sent, mut failed) = (0, 0);
            for batch in due.chunks(BATCH_MAX) {
                let objects: Vec<_> = batch.iter().filter_map(|a| object(a, &config, &external_url, now)).collect();
                let outcome = if objects.is_empty() { Ok(()) } else { target.post(&objects).await };
                target.note(outcome.as_ref().err());
                match outcome {
                    Ok(()) => {
                        sent += objects.len() as u64;
                        target.sent.extend(batch.iter().map(|a| (a.fingerprint, (a.changed_at, elapsed))));
                    }
                    Err(_) => {
                        failed += objects.len() as u64;
                        break;
                    }
                }
            }
            (sent, failed)
        });
        for (sent, failed) in join_all(outcomes).await {
            self.alerts.with(&["sent"]).add(sent);
            self.alerts.with(&["failed"]).add(failed);
        }
    }
}

impl Target {
    /// Tells whether an alarm is to be sent: it changed, or it was sent a while ago. What was over before it was ever
    /// sent is of no interest.
    fn lacks(&self, alarm: &Alarm, elapsed: Duration) -> bool {
        match self.sent.get(&alarm.fingerprint) {
            None => alarm.state == AlarmState::Active,
            Some((changed_at, at)) => *changed_at != alarm.changed_at || elapsed.saturating_sub(*at) >= RESEND,
        }
    }

    async fn post(&self, objects: &[serde_json::Value]) -> Result<(), String> {
        let request = self.client.request(Method::POST, &self.url).map_err(|e| e.to_string())?;
        let request = request.header(CONTENT_TYPE, "application/json").body(json!(objects).to_string());
        let response = request.send().await.map_err(|e| e.without_url().to_string())?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("answered {status}")),
        }
    }

    /// Says once that it cannot be reached.
    fn note(&mut self, error: Option<&String>) {
        if let Some(reason) = error.filter(|_| !self.is_away) {
            warn!(url = %self.url, %reason, "an Alertmanager does not take alarms; trying again");
        }
        self.is_away = error.is_some();
    }
}

/// Returns the address of a target and whether relabelling keeps it; `None` without an address.
fn address(entry: &Alertmanagers, labels: &Labels) -> Option<(String, bool)> {
    let path = format!("{}/api/v2/alerts", entry.path_prefix);
    let defaults = [("__scheme__", entry.scheme.as_str()), ("__alerts_path__", path.as_str())];
    let missing = defaults.into_iter().filter(|(name, _)| labels.get(name).is_none());
    let labels = Labels::from_pairs(labels.iter().chain(missing));
    let url = |labels: &Labels| {
        let part = |name| labels.get(name).unwrap_or("");
        let address = part("__address__");
        (!address.is_empty()).then(|| format!("{}://{address}{}", part("__scheme__"), part("__alerts_path__")))
    };
    match relabel(&labels, &entry.relabel) {
        Some(kept) => url(&kept).map(|url| (url, true)),
        None => url(&labels).map(|url| (url, false)),
    }
}

/// Returns an alarm as upstream sends it; `None` if relabelling drops it.
fn object(alarm: &Alarm, config: &RelayConfig, external_url: &str, now: Timestamp) -> Option<serde_json::Value> {
    let labels = relabel(&alarm.labels_for_others(&config.external_labels), &config.relabel)?;
    let map = |labels: &Labels| -> BTreeMap<String, String> {
        labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    };
    Some(json!({
        "labels": map(&labels),
        "annotations": map(&alarm.annotations),
        "startsAt": alarm.raised_at.to_rfc3339(),
        "endsAt": alarm.cleared_at.unwrap_or(now + LIFETIME).to_rfc3339(),
        "generatorURL": generator_url(external_url, &alarm.source_url, &alarm.expression),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RelabelAction;

    fn entry() -> Alertmanagers {
        Alertmanagers {
            scheme: "http".to_owned(),
            path_prefix: "/am".to_owned(),
            timeout: Duration::from_secs(1),
            targets: vec![],
            files: vec![],
            relabel: vec![],
            http: HttpClient::plain(),
        }
    }

    #[test]
    fn relabelling_makes_the_address_and_drops_targets() {
        let labels = Labels::from_pairs([("__address__", "a:9093"), ("site", "north")]);
        let found = address(&entry(), &labels);
        assert_eq!(found, Some(("http://a:9093/am/api/v2/alerts".to_owned(), true)));
        let mut dropping = entry();
        dropping.relabel =
            crate::config::relabel_rules("- {source_labels: [site], regex: north, action: drop}").unwrap();
        assert_eq!(dropping.relabel[0].action, RelabelAction::Drop);
        assert_eq!(address(&dropping, &labels), Some(("http://a:9093/am/api/v2/alerts".to_owned(), false)));
        assert_eq!(address(&entry(), &Labels::empty()), None);
    }
}
