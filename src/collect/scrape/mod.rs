//! Scraping: metrics fetched from other programs, as Prometheus does it.
//!
//! One task (here) keeps the list of targets: jobs from the configuration, groups from it and from files,
//! relabelled. Each target has a task of its own (`scrape_loop.rs`) that ticks at its own place within the
//! interval, so that not all are fetched at once. What a target needs between scrapes is in `cache`.
//!
//! In: HTTP. Out: one batch per scrape, with the `up` and `scrape_*` series and the staleness markers.

mod buffers;
mod cache;
mod config;
mod fetch;
mod files;
mod ingest;
mod scrape_loop;
mod target;

#[cfg(test)]
mod scrape_test;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use crate::model::{Authorization, HttpClient, Tls};
pub use config::{FileGroups, Job, TargetGroup};
pub use files::read_targets;
pub use target::target_labels;

use self::buffers::Buffers;
use self::fetch::Fetcher;
use self::files::Files;
use self::scrape_loop::{Forced, Handle, ScrapeLoop};
use self::target::{Key, Made, Target};
use super::instruments::Instruments;
use super::intake::Intake;
use super::snapshot::{JobSnapshot, TargetSnapshot};
use crate::clock::Clock;
use crate::model::Labels;
use crate::storage::tsdb::Db;
use crate::task::{OnPanic, Phase, Tasks};

/// How often files of targets are looked at, at most and at least.
const FILES_LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Most dropped targets that are shown, per job.
const DROPPED_SHOWN_MAX: usize = 100;

/// What scrape tasks work with; cheap to clone.
#[derive(Debug, Clone)]
struct Sinks {
    db: Db,
    clock: Clock,
    instruments: Instruments,
    intake: Intake,
    buffers: Buffers,
}

/// The scrapers' handle; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Scraper {
    jobs: watch::Sender<Vec<Job>>,
    shown: Arc<Mutex<Vec<Shown>>>,
}

/// A job as it is shown; its targets' states are read when asked for.
#[derive(Debug)]
struct Shown {
    name: String,
    targets: Vec<Arc<Mutex<TargetSnapshot>>>,
    dropped: Vec<Labels>,
    problems: Vec<String>,
}

impl Scraper {
    /// Starts scraping.
    pub(super) fn start(jobs: Vec<Job>, sinks: &super::source::Sinks, intake: Intake) -> Self {
        let super::source::Sinks { db, clock, tasks, instruments } = sinks.clone();
        let scraper = Scraper { jobs: watch::Sender::new(jobs), shown: Arc::default() };
        let manager = Manager {
            jobs: BTreeMap::new(),
            sinks: Sinks { db, clock, instruments, intake, buffers: Buffers::default() },
            tasks: tasks.clone(),
            stop: tasks.token(Phase::Intake),
            shown: scraper.shown.clone(),
        };
        tasks.spawn("collect scrape targets", OnPanic::StopBox, manager.run(scraper.jobs.subscribe()));
        scraper
    }

    /// Takes other jobs.
    pub(super) fn reload(&self, jobs: Vec<Job>) {
        self.jobs.send_replace(jobs);
    }

    /// Returns the state of all jobs.
    pub(super) fn snapshot(&self) -> Vec<JobSnapshot> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |target: &Arc<Mutex<TargetSnapshot>>| target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = shown.iter().map(|job| JobSnapshot {
            name: job.name.clone(),
            targets: job.targets.iter().map(read).collect(),
            dropped: job.dropped.clone(),
            problems: job.problems.clone(),
        });
        jobs.collect()
    }
}

/// The task that owns the list of targets.
struct Manager {
    jobs: BTreeMap<String, JobState>,
    sinks: Sinks,
    tasks: Tasks,
    stop: CancellationToken,
    shown: Arc<Mutex<Vec<Shown>>>,
}

/// One job with what runs for it.
struct JobState {
    job: Arc<Job>,
    fetcher: Result<Fetcher, String>,
    forced: Forced,
    files: Files,
    running: BTreeMap<Key, Handle>,
    dropped: Vec<Labels>,
    problems: Vec<String>,
}

impl Manager {
    async fn run(mut self, mut jobs: watch::Receiver<Vec<Job>>) {
        let mut order = self.take_jobs(&jobs.borrow_and_update().clone());
        self.show(&order);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = jobs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let configured = jobs.borrow_and_update().clone();
                    order = self.take_jobs(&configured);
                }
                () = tokio::time::sleep(self.look_interval()) => {
                    if !self.look_at_files() {
                        continue;
                    }
                }
            }
            self.show(&order);
        }
    }

    /// Makes what runs fit the configured jobs. Returns their names in order.
    fn take_jobs(&mut self, configured: &[Job]) -> Vec<String> {
        let mut before = std::mem::take(&mut self.jobs);
        for job in configured {
            let mut state = match before.remove(&job.name) {
                Some(state) if is_same_manner(&state.job, job) => state,
                old => {
                    for handle in old.iter().flat_map(|state| state.running.values()) {
                        handle.replace();
                    }
                    JobState::new(job)
                }
            };
            state.job = Arc::new(job.clone());
            state.files.refresh(&job.file_groups);
            self.sync(&mut state);
            self.jobs.insert(job.name.clone(), state);
        }
        for handle in before.values().flat_map(|state| state.running.values()) {
            handle.remove();
        }
        configured.iter().map(|job| job.name.clone()).collect()
    }

    /// Reads changed files. Returns whether there were any.
    fn look_at_files(&mut self) -> bool {
        let mut jobs = std::mem::take(&mut self.jobs);
        let mut has_changed = false;
        for state in jobs.values_mut() {
            let job = state.job.clone();
            if state.files.refresh(&job.file_groups) {
                has_changed = true;
                self.sync(state);
            }
        }
        self.jobs = jobs;
        has_changed
    }

    /// Starts and stops targets until those of the job run.
    fn sync(&self, state: &mut JobState) {
        let wanted = state.wanted_targets();
        state.running.retain(|key, handle| {
            let stays = wanted.contains_key(key);
            if !stays {
                handle.remove();
            }
            stays
        });
        for (key, target) in wanted {
            if state.running.contains_key(&key) {
                continue;
            }
            let name = format!("collect scrape {}", target.url);
            let (task, handle) = ScrapeLoop::new(
                state.job.clone(),
                target,
                state.fetcher.clone(),
                state.forced.clone(),
                self.sinks.clone(),
                self.stop.child_token(),
            );
            self.tasks.spawn(name, OnPanic::EndTask, task.run());
            state.running.insert(key, handle);
        }
        for problem in &state.problems {
            warn!(job = state.job.name, problem, "scrape job has a problem");
        }
        info!(job = state.job.name, targets = state.running.len(), "targets taken");
    }

    fn show(&self, order: &[String]) {
        let jobs = order.iter().filter_map(|name| self.jobs.get(name));
        let shown = jobs.map(|state| Shown {
            name: state.job.name.clone(),
            targets: state.running.values().map(|handle| handle.status.clone()).collect(),
            dropped: state.dropped.clone(),
            problems: state.problems.clone(),
        });
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
    }

    fn look_interval(&self) -> Duration {
        let groups = self.jobs.values().flat_map(|state| &state.job.file_groups);
        let (min, max) = FILES_LOOK;
        groups.map(|group| group.refresh_interval).min().unwrap_or(max).clamp(min, max)
    }
}

impl JobState {
    fn new(job: &Job) -> Self {
        JobState {
            job: Arc::new(job.clone()),
            fetcher: Fetcher::new(&job.http),
            forced: Forced::default(),
            files: Files::default(),
            running: BTreeMap::new(),
            dropped: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Returns the targets that should run, and keeps what was dropped or is wrong.
    fn wanted_targets(&mut self) -> BTreeMap<Key, Target> {
        self.dropped.clear();
        self.problems = self.files.problems().cloned().chain(self.fetcher.as_ref().err().cloned()).collect();
        let mut wanted = BTreeMap::new();
        for group in self.job.static_groups.iter().chain(self.files.groups()) {
            for address in &group.targets {
                match target::make(&self.job, address, &group.labels) {
                    Made::Target(target) => {
                        wanted.insert(target.key(), *target);
                    }
                    Made::Dropped(labels) if self.dropped.len() < DROPPED_SHOWN_MAX => self.dropped.push(labels),
                    Made::Dropped(_) => {}
                    Made::Invalid(problem) => self.problems.push(problem),
                }
            }
        }
        let (limit, count) = (self.job.target_limit, wanted.len());
        let forced = (limit > 0 && count > limit)
            .then(|| format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
        self.problems.extend(forced.clone());
        *self.forced.write().unwrap_or_else(PoisonError::into_inner) = forced;
        wanted
    }
}

/// Tells whether two versions of a job differ only in which targets they have.
fn is_same_manner(old: &Job, new: &Job) -> bool {
    let manner = |job: &Job| {
        let mut job = job.clone();
        job.static_groups.clear();
        job.file_groups.clear();
        job.relabel.clear();
        job
    };
    manner(old) == manner(new)
}
