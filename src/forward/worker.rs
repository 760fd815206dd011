//! A destination's task: read the next window, post it, move the cursor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Deps;
use super::answer::{Answer, Reason, Refusal, backoff};
use super::batch::{self, Request, Shape, Wanted, Window};
use super::client::Client;
use super::config::Destination;
use super::instruments::OfDestination;
use super::late::{self, Counts, Stretch, Stretches, Tally};
use super::pace::{self, Pace};
use super::snapshot::{DestinationSnapshot, Stage};
use crate::model::{Labels, TimeRange, Timestamp};

/// Attempts to find the samples of a window that central refuses. Central has taken what it can of a refused
/// request (Prometheus does), so giving up early loses nothing more, and a window in which everything is
/// refused does not become thousands of requests.
const SPLITS_MAX: u32 = 32;

/// The same for what came late: a central that takes samples only in order refuses all of it.
const LATE_SPLITS_MAX: u32 = 3;

/// The cursor is saved at most this often while much is sent: after a crash so much is sent again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// So many windows of what came late are sent before each fresh one: a large backfill does not hold up the rest.
const LATE_WINDOWS_MAX: usize = 8;

/// Samples of a minute that is read again, at most; a minute with more is read in parts.
const LATE_SAMPLES_MAX: usize = 1_000_000;

/// How often the worker looks whether the store still has what is to be sent.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What a worker owns.
pub(super) struct Worker {
    pub(super) destination: Arc<Destination>,
    pub(super) external_labels: Labels,
    pub(super) deps: Deps,
    pub(super) instruments: OfDestination,
    pub(super) snapshot: watch::Sender<DestinationSnapshot>,
    /// No new window after this.
    pub(super) end: CancellationToken,
    /// The request in hand is given up after this.
    pub(super) cut: CancellationToken,
    /// Held while running: two workers of one name, before and after a reload, never overlap.
    pub(super) place: Arc<Mutex<()>>,
}

/// The worker was told to end.
struct Ended;

/// A window that was read.
struct Read {
    requests: Vec<Request>,
    samples: usize,
    counted: BTreeMap<i64, Counts>,
}

/// What only the running task knows.
struct Progress {
    cursor: Timestamp,
    /// The store's oldest sample when last looked.
    oldest: Timestamp,
    looked_at: Option<Duration>,
    saved: Option<Timestamp>,
    saved_at: Duration,
    pace: Pace,
    /// What was sent of the last minutes.
    tally: Tally,
    /// What came behind the cursor, up to this sequence of the store.
    late: Stretches,
    late_sequence: u64,
    late_saved: u64,
    late_pace: Pace,
    failures: u32,
}

impl Worker {
    /// Runs until told to end.
    pub(super) async fn run(self) {
        let place = self.place.clone();
        let _place = place.lock().await;
        let Ok(client) = self.client().await else { return };
        let Ok(mut progress) = self.begin().await else { return };
        info!(destination = %self.destination.name, cursor = %progress.cursor.to_rfc3339(), "forwarding");
        while !self.end.is_cancelled() {
            match self.turn(&client, &mut progress).await {
                Ok(()) => {}
                Err(Ended) => break,
            }
        }
        self.save(&mut progress).await;
    }

    /// Does what is due: what came late, but not for ever, then the next fresh window; else waits.
    async fn turn(&self, client: &Client, progress: &mut Progress) -> Result<(), Ended> {
        if !self.deps.clock.is_trusted() || self.deps.db.has_provisional() {
            self.show(progress.cursor, self.settled(), Stage::Unsure);
            return self.sleep(self.destination.send_interval).await;
        }
        self.find_start(progress);
        self.find_late(progress);
        let mut late_windows = 0;
        while late_windows < LATE_WINDOWS_MAX && self.step_late(client, progress).await? {
            late_windows += 1;
        }
        if self.step(client, progress).await? || late_windows == LATE_WINDOWS_MAX {
            return Ok(());
        }
        self.save(progress).await;
        self.sleep(self.destination.send_interval).await
    }

    /// Makes the client; tries again while a file of the settings is missing.
    async fn client(&self) -> Result<Client, Ended> {
        let mut failures = 0;
        loop {
            match Client::new(&self.destination, self.destination.timeout) {
                Ok(client) => return Ok(client),
                Err(error) => {
                    failures += 1;
                    self.wait(Reason::Own, None, error.to_string(), failures).await?;
                }
            }
        }
    }

    /// Names of the two cursors: how far in time, and up to which sequence of the store late samples.
    fn readers(&self) -> (String, String) {
        (format!("forward:{}", self.destination.name), format!("forward-late:{}", self.destination.name))
    }

    /// Finds out where to begin.
    async fn begin(&self) -> Result<Progress, Ended> {
        let mut failures = 0;
        loop {
            let (state, (fresh, late)) = (self.deps.state.clone(), self.readers());
            let read = move || Ok((state.cursors().get(&fresh)?, state.cursors().get(&late)?));
            let read: Result<Result<_, crate::storage::state::Error>, _> = self.deps.tasks.pool().run(read).await;
            match read {
                Ok(Ok((fresh, late))) => {
                    let saved = fresh.map(|c| Timestamp::from_millis(c.position));
                    let start = || pace::start(None, self.deps.db.stats().min_time, self.settled());
                    let late_sequence = late.map_or(0, |c| c.position.cast_unsigned());
                    return Ok(Progress {
                        cursor: saved.unwrap_or_else(start),
                        oldest: if saved.is_some() { Timestamp::MIN } else { Timestamp::MAX },
                        looked_at: None,
                        saved,
                        saved_at: self.deps.clock.elapsed(),
                        pace: Pace::new(),
                        tally: Tally::default(),
                        late: Stretches::default(),
                        late_sequence,
                        late_saved: late_sequence,
                        late_pace: Pace::new(),
                        failures: 0,
                    });
                }
                Ok(Err(error)) => {
                    failures += 1;
                    self.wait(Reason::Own, None, error.to_string(), failures).await?;
                }
                Err(panicked) => {
                    failures += 1;
                    self.wait(Reason::Own, None, panicked.to_string(), failures).await?;
                }
            }
        }
    }

    /// Moves the cursor to where there is something to read; counts and tells what the store no longer has.
    fn find_start(&self, progress: &mut Progress) {
        let now = self.deps.clock.elapsed();
        if progress.looked_at.is_some_and(|at| now.saturating_sub(at) < LOOK_INTERVAL) {
            return;
        }
        progress.looked_at = Some(now);
        let (cursor, oldest) = (progress.cursor, self.deps.db.stats().min_time);
        progress.cursor = pace::start(Some(cursor), oldest, self.settled());
        if progress.cursor < cursor {
            warn!(destination = %self.destination.name, cursor = %progress.cursor.to_rfc3339(), "the clock was wrong; the cursor goes back");
        }
        let Some(oldest) = oldest else { return };
        let skipped = pace::skipped(cursor, progress.oldest, oldest);
        if !skipped.is_zero() {
            self.instruments.skipped_seconds.add(skipped.as_secs().max(1));
            warn!(destination = %self.destination.name, ?skipped, "the store no longer has what was to be forwarded");
        }
        progress.oldest = oldest;
    }

    /// Notes which minutes behind the cursor received samples since the last look.
    fn find_late(&self, progress: &mut Progress) {
        let since = progress.late_sequence;
        let (sequence, ranges) = self.deps.db.late_since(since);
        // A store that was emptied counts anew.
        progress.late_sequence = if sequence < since { 0 } else { sequence };
        for range in ranges.into_iter().filter_map(|range| late::behind(range, progress.cursor)) {
            progress.late.add(Stretch { range, since });
        }
    }

    /// Returns the time before which samples have had time to arrive.
    fn settled(&self) -> Timestamp {
        let settle_ms = i64::try_from(self.destination.settle.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.deps.clock.now().as_millis().saturating_sub(settle_ms))
    }

    /// Sends the next window. `false` if there is none yet.
    async fn step(&self, client: &Client, progress: &mut Progress) -> Result<bool, Ended> {
        let (start, settled) = (progress.cursor, self.settled());
        let Some(end) = progress.pace.window_end(start, settled) else {
            self.show(start, settled, Stage::Live);
            return Ok(false);
        };
        let request_samples_max = self.destination.samples_per_request_max;
        let wanted = Wanted { start, end, request_samples_max, samples_max: request_samples_max, sent: None };
        let Some(Read { requests, samples, counted }) =
            self.read(wanted, &mut progress.pace, &mut progress.failures).await?
        else {
            return Ok(true);
        };
        for request in requests {
            self.send(client, request, SPLITS_MAX, &mut progress.failures).await?;
        }
        progress.cursor = end;
        progress.tally.add(counted, end);
        progress.pace.learn(samples, request_samples_max);
        self.show(end, settled, if end < settled { Stage::CatchingUp } else { Stage::Live });
        if self.deps.clock.elapsed().saturating_sub(progress.saved_at) >= SAVE_INTERVAL {
            self.save(progress).await;
        }
        Ok(end < settled)
    }

    /// Sends the next window of what came behind the cursor. `false` if there is none.
    async fn step_late(&self, client: &Client, progress: &mut Progress) -> Result<bool, Ended> {
        let Some(Stretch { range, since }) = progress.late.take_behind(progress.cursor) else { return Ok(false) };
        let width_end = progress.late_pace.window_end(range.start, range.end).unwrap_or(range.end);
        let end = progress.tally.window_end(range.start, width_end, range.end);
        let sent = progress.tally.of(range.start).cloned();
        let request_samples_max = self.destination.samples_per_request_max;
        let samples_max = if sent.is_some() { LATE_SAMPLES_MAX } else { request_samples_max };
        let was_known = sent.is_some();
        let wanted = Wanted { start: range.start, end, request_samples_max, samples_max, sent };
        let Some(Read { requests, samples, counted }) =
            self.read(wanted, &mut progress.late_pace, &mut progress.failures).await?
        else {
            progress.late.add(Stretch { range, since });
            progress.tally.forget(range.start);
            return Ok(true);
        };
        for request in requests {
            self.instruments.late.add(request.samples() as u64);
            self.send(client, request, LATE_SPLITS_MAX, &mut progress.failures).await?;
        }
        if was_known {
            progress.tally.replace(counted);
        }
        progress.late_pace.learn(samples, request_samples_max);
        if end < range.end {
            progress.late.add(Stretch { range: TimeRange::new(end, range.end), since });
        }
        Ok(true)
    }

    /// Reads a window on the pool. `None` if it held too much, after making the next one narrower, or could
    /// not be read, after waiting.
    async fn read(&self, wanted: Wanted, pace: &mut Pace, failures: &mut u32) -> Result<Option<Read>, Ended> {
        let (start, end) = (wanted.start, wanted.end);
        let message = match self.read_on_pool(wanted).await {
            Ok(Window::Read { requests, samples, dropped, counted }) => {
                self.instruments.drop_relabelled(dropped as u64);
                self.snapshot.send_modify(|s| s.samples_dropped += dropped as u64);
                return Ok(Some(Read { requests, samples, counted }));
            }
            Ok(Window::TooMany) if pace.narrow(start, end) => return Ok(None),
            Ok(Window::TooMany) => format!("too many samples in one millisecond at {}", start.to_rfc3339()),
            Err(message) => message,
        };
        *failures += 1;
        self.wait(Reason::Own, None, message, *failures).await?;
        Ok(None)
    }

    async fn read_on_pool(&self, wanted: Wanted) -> Result<Window, String> {
        let (db, destination, external) =
            (self.deps.db.clone(), self.destination.clone(), self.external_labels.clone());
        let read = move || {
            let shape = Shape { external_labels: &external, relabel: &destination.write_relabel };
            batch::read(&db, &wanted, shape).map_err(|e| e.to_string())
        };
        self.deps.tasks.pool().run(read).await.unwrap_or_else(|panicked| Err(panicked.to_string()))
    }

    /// Sends a request until central has it or has refused each sample that it does not want.
    async fn send(&self, client: &Client, request: Request, splits_max: u32, failures: &mut u32) -> Result<(), Ended> {
        let mut waiting = vec![request];
        let mut splits = 0;
        while let Some(request) = waiting.pop() {
            let Some((refusal, message)) = self.post(client, &request, failures).await? else { continue };
            let samples = request.samples() as u64;
            let halves = if splits < splits_max { request.split() } else { None };
            if let Some((first, second)) = halves {
                splits += 1;
                waiting.extend([second, first]);
            } else {
                warn!(destination = %self.destination.name, samples, %message, "samples refused for good");
                self.instruments.refuse(refusal.as_str(), samples);
                self.snapshot.send_modify(|s| s.samples_refused += samples);
            }
            self.failed(message);
        }
        Ok(())
    }

    /// Posts a request, again and again while central may take it later. Returns why it was refused.
    async fn post(
        &self,
        client: &Client,
        request: &Request,
        failures: &mut u32,
    ) -> Result<Option<(Refusal, String)>, Ended> {
        let samples = request.samples() as u64;
        loop {
            let body = match request.body() {
                Ok(body) => body,
                // Larger than any receiver takes: halves may fit.
                Err(error) => return Ok(Some((Refusal::TooLarge, error.to_string()))),
            };
            let bytes = body.len() as u64;
            let began = self.deps.clock.elapsed();
            let (answer, message) = tokio::select! {
                answered = client.post(body, self.deps.clock.now()) => answered,
                () = self.cut.cancelled() => return Err(Ended),
            };
            self.instruments.duration.observe_duration(self.deps.clock.elapsed().saturating_sub(began));
            match answer {
                Answer::Taken => {
                    *failures = 0;
                    self.instruments.sent.add(samples);
                    self.instruments.requests.inc();
                    self.instruments.bytes.add(bytes);
                    let now = self.deps.clock.now();
                    self.snapshot.send_modify(|s| {
                        s.samples_sent += samples;
                        s.requests += 1;
                        s.bytes_sent += bytes;
                        s.last_success = Some(now);
                    });
                    return Ok(None);
                }
                Answer::Refused(refusal) => return Ok(Some((refusal, message))),
                Answer::Later { reason, wait } => {
                    *failures += 1;
                    self.wait(reason, wait, message, *failures).await?;
                }
            }
        }
    }

    /// Waits after a failure, longer with each in a row.
    async fn wait(&self, reason: Reason, asked: Option<Duration>, message: String, failures: u32) -> Result<(), Ended> {
        if failures == 1 {
            warn!(destination = %self.destination.name, %message, "forwarding failed, trying again");
        }
        let (min, max) = (self.destination.backoff_min, self.destination.backoff_max);
        let delay = backoff(failures, asked, min, max, rand::random());
        self.instruments.retry(reason.as_str());
        self.failed(message);
        let now = self.deps.clock.now();
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        self.snapshot.send_modify(|s| {
            s.retries += 1;
            s.stage = Stage::Waiting;
            s.next_attempt = Some(Timestamp::from_millis(now.as_millis().saturating_add(delay_ms)));
        });
        self.show_lag();
        self.sleep(delay).await
    }

    async fn sleep(&self, time: Duration) -> Result<(), Ended> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.end.cancelled() => Err(Ended),
        }
    }

    /// Saves the cursors that moved; a failure is told, and costs no more than sending some of it again.
    async fn save(&self, progress: &mut Progress) {
        // What waits must be found again after a crash, so its sequence is not passed before it is sent.
        let late = progress.late.since().unwrap_or(progress.late_sequence);
        if progress.saved == Some(progress.cursor) && progress.late_saved == late {
            return;
        }
        let (state, (fresh_reader, late_reader)) = (self.deps.state.clone(), self.readers());
        let (cursor, is_late_new) = (progress.cursor, progress.late_saved != late);
        let save = move || -> Result<(), crate::storage::state::Error> {
            state.cursors().save(&fresh_reader, cursor.as_millis())?;
            if is_late_new { state.cursors().save(&late_reader, late.cast_signed()) } else { Ok(()) }
        };
        match self.deps.tasks.pool().run(save).await {
            Ok(Ok(())) => (progress.saved, progress.late_saved) = (Some(cursor), late),
            Ok(Err(error)) => error!(destination = %self.destination.name, %error, "cannot save the cursor"),
            Err(panicked) => error!(destination = %self.destination.name, %panicked, "cannot save the cursor"),
        }
        progress.saved_at = self.deps.clock.elapsed();
    }

    fn failed(&self, message: String) {
        let now = self.deps.clock.now();
        self.snapshot.send_modify(|s| {
            s.last_error = message;
            s.last_error_at = Some(now);
        });
    }

    fn show(&self, cursor: Timestamp, settled: Timestamp, stage: Stage) {
        self.snapshot.send_modify(|s| {
            s.stage = stage;
            s.cursor = Some(cursor);
            s.backlog_s = settled.since(cursor).as_secs_f64();
            s.next_attempt = None;
        });
        self.show_lag();
    }

    fn show_lag(&self) {
        let now = self.deps.clock.now();
        self.snapshot.send_modify(|s| {
            let Some(cursor) = s.cursor else { return };
            s.lag_s = now.since(cursor).as_secs_f64();
            s.backlog_s = self.settled().since(cursor).as_secs_f64();
            self.instruments.lag.set(s.lag_s);
        });
    }
}
