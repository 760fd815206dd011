//! Andon's own log lines: to the console, to a rotated file if one is set, and into the log store.
//!
//! Console and file are written by a thread of their own behind a bounded queue, so that a slow terminal or a
//! full disk never holds a task. Lines for the log store go over a bounded channel; what does not fit is
//! counted and dropped.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::clock::Clock;
use crate::config::{LogFormat, Logging as Config};
use crate::model::{Labels, LogEntry};

/// Lines that may wait for the log store, the console and the file, each; one more is dropped.
const WAITING_MAX: usize = 1024;

/// Files of own log lines that are kept.
const FILES_MAX: usize = 7;

/// Rooms whose lines never go into the log store: a line about a failed append must not cause the next one.
const NOT_STORED: [&str; 2] = ["andon::storage::logs", "andon::storage::disk"];

/// The running log; what is waiting is written when it is dropped.
#[derive(Debug)]
pub struct Logging {
    _guards: Vec<WorkerGuard>,
    /// Lines for the log store.
    pub lines: OwnLines,
}

/// Own lines on their way into the log store.
#[derive(Debug)]
pub struct OwnLines {
    /// The clock that lines are stamped by; the box must go by the same.
    pub(super) clock: Clock,
    pub(super) received: mpsc::Receiver<OwnLine>,
    pub(super) dropped: Arc<AtomicU64>,
    /// Bytes written to own log files since somebody last took them away.
    pub(super) file_bytes: Arc<AtomicU64>,
}

/// An event on its way into the log store. When it was is told by a count of time that does not depend on what time it
/// is: that is known only when the stores are open, and the first lines are older.
#[derive(Debug)]
pub(super) struct OwnLine {
    stream: Labels,
    line: String,
    /// By the clock's `elapsed`.
    at: Duration,
}

impl OwnLine {
    /// Returns the entry, stamped by the box's time.
    pub(super) fn stamped(self, clock: &Clock) -> LogEntry {
        let age = clock.elapsed().saturating_sub(self.at);
        let age_ns = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        LogEntry { stream: self.stream, timestamp_ns: clock.now_ns().saturating_sub(age_ns), line: self.line }
    }
}

/// Counts what goes to a file.
struct Counted<W> {
    writer: W,
    bytes: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Starts logging for the process. Only the first call of a process has an effect on where lines go.
#[must_use]
pub fn start(config: &Config, clock: &Clock) -> Logging {
    let filter = || EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (console, guard) = queue().finish(std::io::stderr());
    let mut guards = vec![guard];
    let file_bytes = Arc::new(AtomicU64::new(0));
    let console = fmt::layer().with_writer(console).with_ansi(std::io::stderr().is_terminal());
    let console = match config.format {
        LogFormat::Text => console.with_target(false).boxed(),
        LogFormat::Json => console.json().flatten_event(true).boxed(),
    };
    let file = config.folder.as_ref().and_then(|folder| {
        let appender = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix("andon")
            .filename_suffix("log")
            .max_log_files(FILES_MAX)
            .build(folder)
            .ok()?;
        let (writer, guard) = queue().finish(Counted { writer: appender, bytes: file_bytes.clone() });
        guards.push(guard);
        Some(fmt::layer().json().flatten_event(true).with_writer(writer))
    });
    let (sender, received) = mpsc::channel(WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let store = StoreLayer { clock: clock.clone(), sender, dropped: dropped.clone() };
    let _ = tracing_subscriber::registry()
        .with(console.with_filter(filter()))
        .with(file.with_filter(filter()))
        .with(store.with_filter(filter()))
        .try_init();
    Logging { _guards: guards, lines: OwnLines { clock: clock.clone(), received, dropped, file_bytes } }
}

/// Returns what makes the queue before a slow writer. Its places are taken at once, 32 bytes each: the library's
/// usual 128 000 are 4 MiB.
fn queue() -> NonBlockingBuilder {
    NonBlockingBuilder::default().buffered_lines_limit(WAITING_MAX)
}

/// Turns events into entries of the stream `{source="andon", level, room}`.
struct StoreLayer {
    clock: Clock,
    sender: mpsc::Sender<OwnLine>,
    dropped: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for StoreLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let target = metadata.target();
        if NOT_STORED.iter().any(|room| target.starts_with(room)) || !target.starts_with("andon") {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let room = target.split("::").nth(1).unwrap_or("main");
        let stream = Labels::from_pairs([("source", "andon"), ("level", level(*metadata.level())), ("room", room)]);
        let line = OwnLine { stream, line: line.finish(), at: self.clock.elapsed() };
        if self.sender.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// An event as one line: the message, then its fields as `name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self) -> String {
        // A line is a line: what came from outside may hold line ends and control characters.
        let text = format!("{}{}", self.message, self.fields);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::{BUILT_AT, Saved, Trust};
    use crate::instrument::Registry;
    use crate::model::Timestamp;
    use crate::storage::disk::FaultyDisk;
    use crate::storage::logs::{self, LogStore};

    const LAST_STAMP: Timestamp = Timestamp::from_millis(BUILT_AT.as_millis() + 86_400_000);

    /// Logs a line before the stores are open and one after, in a process on a machine that was started; returns the
    /// entries.
    fn entries(clock: &Clock, saved: Option<&Saved>) -> Vec<LogEntry> {
        let (sender, mut received) = mpsc::channel(8);
        let layer = StoreLayer { clock: clock.clone(), sender, dropped: Arc::default() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "andon::app", "listening");
            clock.advance(Duration::from_secs(3));
            clock.begin(Trust::Plausible, saved);
            tracing::warn!(target: "andon::storage::timekeeping", "the system's clock is not believed");
            clock.advance(Duration::from_secs(1));
        });
        let lines = std::iter::from_fn(|| received.try_recv().ok());
        lines.map(|line| line.stamped(clock)).collect()
    }

    #[test]
    fn lines_of_a_boot_in_1970_are_kept_at_the_time_of_the_box() {
        let before = Clock::hand_set(LAST_STAMP);
        before.begin(Trust::Plausible, None);
        let saved = before.to_save(&before.guide().unwrap());
        before.boot(Timestamp::from_millis(12_000));
        for (saved, not_before) in [(None, BUILT_AT), (Some(&saved), LAST_STAMP)] {
            let clock = before.again();
            let entries = entries(&clock, saved);
            let config = logs::Config { sync_interval: Duration::ZERO, ..logs::Config::usual() };
            let registry = Registry::default();
            let disk = FaultyDisk::new(1).shared();
            let store = LogStore::open(disk, Path::new("/data/logs"), config, clock.clone(), &registry).unwrap();
            let now_ns = clock.now_ns();
            let ages: Vec<i64> = entries.iter().map(|e| (now_ns - e.timestamp_ns) / 1_000_000_000).collect();
            assert_eq!(ages, [4, 1], "in their order and distance");
            assert!(clock.now() > not_before && !clock.is_trusted());
            let outcome = store.append(entries).unwrap();
            assert_eq!((outcome.appended, outcome.too_old, outcome.too_new), (2, 0, 0));
        }
    }
}
