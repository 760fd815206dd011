//! Start, stop and replace groups as the files change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tracing::{info, warn};

use super::Deps;
use super::config::{Config, FILES_MAX, RuleSource};
use super::evaluate::{Environment, RuleState};
use super::file::{Group, read};
use super::group::{Figures, Running, Task, WithState, hand_over, lock};
use super::instruments::Instruments;
use super::restore::Past;
use super::snapshot::{FileSnapshot, Mistake, Snapshot};
use super::stored::{self, StoreError, StoredVersion};
use crate::model::{Alarm, Timestamp};
use crate::task::{OnPanic, Phase};

/// The groups that run and the files they come from.
#[derive(Debug)]
pub(super) struct Groups {
    deps: Deps,
    instruments: Instruments,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The settings in force, without what is stored.
    config: Option<Config>,
    stored: Arc<Vec<StoredVersion>>,
    /// In the order of the settings.
    running: Vec<Running>,
    files: Vec<LoadedFile>,
}

/// A file and the version of it that runs.
#[derive(Debug, Clone)]
struct LoadedFile {
    path: String,
    text: Result<String, String>,
    groups: Vec<Arc<Group>>,
    loaded_at: Option<Timestamp>,
    is_outdated: bool,
    mistakes: Vec<Mistake>,
}

impl LoadedFile {
    /// Takes a file as it is now; `before` is how it stood.
    fn take(source: RuleSource, before: Option<&LoadedFile>, now: Timestamp) -> LoadedFile {
        if let Some(before) = before.filter(|b| b.text == source.text) {
            return before.clone();
        }
        let runs = before.filter(|b| b.loaded_at.is_some());
        let (groups, mistakes) = match &source.text {
            Ok(text) => {
                let file = read(&source.path, text);
                (file.groups.into_iter().map(Arc::new).collect(), file.mistakes)
            }
            Err(reason) => (Vec::new(), vec![Mistake::of_file(&source.path, reason.clone())]),
        };
        let RuleSource { path, text } = source;
        match runs {
            // A bad version never takes the place of one that runs.
            Some(before) if !mistakes.is_empty() => LoadedFile {
                path,
                text,
                groups: before.groups.clone(),
                loaded_at: before.loaded_at,
                is_outdated: true,
                mistakes,
            },
            _ => {
                let loaded_at = text.is_ok().then_some(now);
                LoadedFile { path, text, groups, loaded_at, is_outdated: false, mistakes }
            }
        }
    }
}

impl Groups {
    pub(super) fn new(deps: Deps) -> Self {
        let instruments = Instruments::new(&deps.registry);
        let stored = Arc::new(stored::versions(&deps.state));
        Groups { deps, instruments, inner: Mutex::new(Inner { stored, ..Inner::default() }) }
    }

    pub(super) fn stored(&self) -> Arc<Vec<StoredVersion>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).stored.clone()
    }

    /// Stores a version and makes it run.
    pub(super) fn store(&self, text: &str, by: &str, note: &str, after: u64) -> Result<u64, StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = stored::store(&self.deps.state, text, (by, note), after, self.deps.clock.now())?;
        let number = versions.last().map_or(0, |v| v.number);
        inner.stored = Arc::new(versions);
        let config = inner.config.clone();
        drop(inner);
        if let Some(config) = config {
            self.apply(config, None);
        }
        Ok(number)
    }

    /// Makes the running groups what the settings say. At the first call (`active` given) the past is
    /// restored from the store and from the alarms that were active.
    pub(super) fn apply(&self, config: Config, active: Option<Vec<Alarm>>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.deps.clock.now();
        let sources = config.files.iter().cloned().chain(stored::source(&inner.stored)).collect();
        let files = take_files(&inner.files, sources, now);
        inner.config = Some(config.clone());
        let environment = self.environment(&config, inner.running.first());
        let mut past = active.map(|active| {
            let (past, failure) = Past::read(&self.deps.db.querier(), active, now);
            if let Some(error) = failure {
                warn!(%error, "cannot read pending alerts of before the restart");
            }
            past
        });
        let mut old: BTreeMap<String, Running> = inner.running.drain(..).map(|r| (r.key(), r)).collect();
        let mut retired = Vec::new();
        for group in files.iter().flat_map(|f| &f.groups) {
            let before = old.remove(&format!("{};{}", group.file, group.name));
            let interval = group.interval.unwrap_or(config.evaluation_interval);
            let query_offset = group.query_offset.unwrap_or(config.query_offset);
            if let Some(same) = before.as_ref().filter(|b| {
                b.group == *group
                    && b.interval == interval
                    && b.query_offset == query_offset
                    && Arc::ptr_eq(&b.environment, &environment)
            }) {
                inner.running.push(same.clone());
                continue;
            }
            let (mut states, left) = hand_over(group, before.as_ref());
            if let Some(past) = past.as_mut() {
                let restored = group.rules.iter().map(|rule| past.take(group, rule, interval, now));
                states = restored.map(|alerts| Arc::new(Mutex::new(RuleState::restored(alerts)))).collect();
            }
            if let Some(before) = before {
                before.stop.cancel();
                retired.push((before, left));
            }
            let running = self.start(group.clone(), states, interval, query_offset, environment.clone());
            inner.running.push(running);
        }
        for gone in old.into_values() {
            gone.stop.cancel();
            self.instruments.forget(&gone.key());
            let left = gone.group.rules.iter().cloned().zip(gone.states.iter().cloned()).collect();
            retired.push((gone, left));
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of mistakes")]
        self.instruments.mistakes.set(files.iter().map(|f| f.mistakes.len()).sum::<usize>() as f64);
        for mistake in files.iter().flat_map(|f| &f.mistakes) {
            warn!(%mistake, "mistake in a rule file");
        }
        inner.files = files;
        let rules: usize = inner.running.iter().map(|r| r.group.rules.len()).sum();
        info!(groups = inner.running.len(), rules, "rules loaded");
        drop(inner);
        self.retire(retired);
    }

    /// Returns the environment of the settings: the one there is if nothing of it changed.
    fn environment(&self, config: &Config, running: Option<&Running>) -> Arc<Environment> {
        let current = running.map(|r| &r.environment);
        match current.filter(|e| e.external_labels == config.external_labels && e.external_url == config.external_url) {
            Some(same) => same.clone(),
            None => Arc::new(Environment {
                db: self.deps.db.clone(),
                engine: self.deps.engine.clone(),
                clock: self.deps.clock.clone(),
                instruments: self.instruments.clone(),
                external_labels: config.external_labels.clone(),
                external_url: config.external_url.clone(),
            }),
        }
    }

    fn start(
        &self,
        group: Arc<Group>,
        states: Vec<Arc<Mutex<RuleState>>>,
        interval: std::time::Duration,
        query_offset: std::time::Duration,
        environment: Arc<Environment>,
    ) -> Running {
        let (snapshots, snapshot) = watch::channel(Arc::default());
        let tasks = &self.deps.tasks;
        let stop = tasks.token(Phase::Intake).child_token();
        let running = Running { group, interval, query_offset, states, environment, stop, snapshot };
        let now = self.deps.clock.now();
        snapshots.send_replace(Arc::new(running.snapshot_at(now, Figures::default())));
        #[expect(clippy::cast_precision_loss, reason = "a count of rules")]
        self.instruments.group_rules.with(&[&running.key()]).set(running.group.rules.len() as f64);
        // What was restored is heard of at once, so that the alarms room does not give it up.
        let restored = running.alerts_to_tell(now);
        if !restored.is_empty() && self.deps.alarms.try_send(restored).is_err() {
            self.instruments.dropped_batches.inc();
        }
        let name = format!("rules {}", running.key());
        let task =
            Task { running: running.clone(), snapshots, alarms: self.deps.alarms.clone(), pool: tasks.pool().clone() };
        tasks.spawn(name, OnPanic::EndTask, task.run(tasks.token(Phase::Intake)));
        running
    }

    /// Ends rules that no group has any more: off the caller's thread, since it may wait for an evaluation.
    fn retire(&self, retired: Vec<(Running, Vec<WithState>)>) {
        if retired.iter().all(|(_, rules)| rules.is_empty()) {
            return;
        }
        let (pool, alarms) = (self.deps.tasks.pool().clone(), self.deps.alarms.clone());
        let now = self.deps.clock.stamp();
        self.deps.tasks.spawn("rules that are gone", OnPanic::EndTask, async move {
            let ended = pool.run(move || {
                let mut alerts = Vec::new();
                for (running, rules) in retired {
                    for (rule, state) in rules {
                        alerts.extend(lock(&state).retire(&running.environment, &running.group, &rule, now));
                    }
                }
                alerts
            });
            if let Ok(alerts) = ended.await {
                // The alarms room is alive or the box stops; waiting is right, nobody tells this again.
                let _ = alarms.send(alerts).await;
            }
        });
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let file = |f: &LoadedFile| FileSnapshot {
            path: f.path.clone(),
            loaded_at: f.loaded_at,
            is_outdated: f.is_outdated,
            rules: f.groups.iter().map(|g| g.rules.len()).sum(),
        };
        Snapshot {
            groups: inner.running.iter().map(|r| r.snapshot.borrow().clone()).collect(),
            mistakes: inner.files.iter().flat_map(|f| f.mistakes.iter().cloned()).collect(),
            files: inner.files.iter().map(file).collect(),
        }
    }
}

/// Reads the files of the settings; a path that stands twice counts once.
fn take_files(before: &[LoadedFile], sources: Vec<RuleSource>, now: Timestamp) -> Vec<LoadedFile> {
    let mut files: Vec<LoadedFile> = Vec::new();
    for source in sources {
        if files.iter().any(|f| f.path == source.path) {
            continue;
        }
        let known = before.iter().find(|f| f.path == source.path);
        let mut file = LoadedFile::take(source, known, now);
        if files.len() >= FILES_MAX {
            file.groups.clear();
            file.mistakes = vec![Mistake::of_file(&file.path, format!("more than {FILES_MAX} rule files"))];
        }
        files.push(file);
    }
    files
}
