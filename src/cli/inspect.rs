//! `andon inspect`: what a data folder holds, and whether it checks out.
//!
//! Reads files only, so it may be run while a box works in the folder.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::said::bytes;
use crate::clock::Clock;
use crate::model::{Timestamp, format_duration};
use crate::storage::disk::{LogFiles, OsDisk};
use crate::storage::inspect::{self, Inspection};
use crate::storage::tsdb::{BlockAbout, Depth, Share};

/// Arguments of `andon inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Data folder, usually /var/lib/andon; a box may be running there
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// Read everything and compare every checksum; ends with 1 if anything is damaged
    #[arg(long)]
    verify: bool,
    /// Tell where the bytes of values are: the N largest series, metrics and kinds of columns
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    series: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks and tells; 1 if something does not check out.
#[expect(clippy::print_stdout, reason = "telling is what this command is for")]
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.data;
    if !folder.is_dir() {
        bail!("there is no data folder at {}", folder.display());
    }
    if !["tsdb", "logs", "state.db"].iter().any(|name| folder.join(name).exists()) {
        bail!("{} is no data folder: it has no tsdb, logs or state.db", folder.display());
    }
    let depth = Depth { is_verified: args.verify, top: args.series };
    let found = inspect::inspect(&OsDisk::shared(), folder, depth)?;
    if args.json {
        println!("{}", as_json(&found, args.verify));
    } else {
        print!("{}", told(&found, args.verify, Clock::system().now()));
    }
    Ok(if found.damages.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(found: &Inspection, is_verified: bool, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        let _ = writeln!(text, "{words}");
    };
    line(&format!("Blocks: {}", blocks_in_short(&found.metrics.blocks)));
    for row in blocks(&found.metrics.blocks, now) {
        line(&row);
    }
    let logs = [
        ("Write-ahead log", &found.metrics.wal),
        ("Checkpoint", &found.metrics.checkpoint),
        ("Alarm journal", &found.alarms),
        ("Notices to send", &found.outbox),
        ("Write-ahead log of logs", &found.logs.wal),
    ];
    for (name, log) in logs {
        line(&format!("{name}: {}", log_in_short(log)));
    }
    let parts = &found.logs.parts;
    let (size, lines) = parts.iter().fold((0, 0), |sum, part| (sum.0 + part.bytes, sum.1 + part.lines));
    line(&format!("Logs: {}, {lines} lines, {}", counted(parts.len(), "part"), bytes(size)));
    for part in parts {
        let (streams, size) = (counted(usize::try_from(part.streams).unwrap_or(0), "stream"), bytes(part.bytes));
        line(&format!("  {}/{}  {streams}, {} lines, {size}", part.day, part.name, part.lines));
    }
    line(&format!("State: {}", bytes(found.state_bytes)));
    line(&format!("Quarantine: {}", if found.quarantine.is_empty() { "empty" } else { "not empty" }));
    for put_aside in &found.quarantine {
        line(&format!("  {}  {}  {}", put_aside.name, bytes(put_aside.bytes), put_aside.why));
    }
    if let Some(values) = &found.metrics.values {
        let lists = [("series", &values.series), ("metrics", &values.metrics), ("kinds of columns", &values.kinds)];
        for (name, shares) in lists {
            line(&format!("Bytes of values, largest {name}:"));
            for share in shares {
                line(&format!("  {:>10}  {:>6} a sample  {}", bytes(share.bytes), per_sample(share), share.name));
            }
        }
    }
    match (found.damages.is_empty(), is_verified) {
        (true, true) => line("Verified: every checksum fits."),
        (true, false) => {}
        (false, _) => line(&format!("Damaged: {}", counted(found.damages.len(), "place"))),
    }
    for damage in &found.damages {
        line(&format!("  {damage}"));
    }
    text
}

fn blocks_in_short(blocks: &[BlockAbout]) -> String {
    let (samples, size) = blocks.iter().fold((0, 0), |sum, block| (sum.0 + block.samples, sum.1 + block.bytes));
    format!("{}, {samples} samples, {}, {} a sample", blocks.len(), bytes(size), ratio(size, samples))
}

/// Returns a table of the blocks, oldest time first.
fn blocks(blocks: &[BlockAbout], now: Timestamp) -> Vec<String> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut sorted: Vec<&BlockAbout> = blocks.iter().collect();
    sorted.sort_by_key(|block| (block.start, block.number));
    let minute = |t: Timestamp| t.to_rfc3339().get(..16).unwrap_or("").replace('T', " ");
    let hours = |block: &BlockAbout| format!("{} h", block.end.since(block.start).as_secs() / 3600);
    let age = |block: &BlockAbout| {
        let seconds = now.since(block.end).as_secs();
        let unit = if seconds >= 2 * 86_400 {
            86_400
        } else if seconds >= 7200 {
            3600
        } else {
            60
        };
        format_duration(std::time::Duration::from_secs(seconds / unit * unit))
    };
    let head = format!(
        "  {:>8}  {:16}  {:>5}  {:>5}  {:>8}  {:>11}  {:>9}  {:>8}  {:>5}",
        "NUMBER", "FROM (UTC)", "SPAN", "LEVEL", "SERIES", "SAMPLES", "BYTES", "A SAMPLE", "AGE"
    );
    let row = |block: &&BlockAbout| {
        format!(
            "  {:>8}  {:16}  {:>5}  {:>5}  {:>8}  {:>11}  {:>9}  {:>8}  {:>5}",
            block.number,
            minute(block.start),
            hours(block),
            block.level,
            block.series,
            block.samples,
            bytes(block.bytes),
            ratio(block.bytes, block.samples),
            age(block)
        )
    };
    std::iter::once(head).chain(sorted.iter().map(row)).collect()
}

fn log_in_short(log: &LogFiles) -> String {
    let mut text = format!("{}, {}", counted(log.segments.len(), "segment"), bytes(log.bytes()));
    if let Some(records) = log.records {
        let _ = write!(text, ", {records} records");
    }
    if log.torn_bytes > 0 {
        let _ = write!(text, ", {} at the end torn or just being written", bytes(log.torn_bytes));
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn per_sample(share: &Share) -> String {
    ratio(share.bytes, share.samples)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(bytes: u64, samples: u64) -> String {
    if samples == 0 { "-".to_owned() } else { format!("{:.3}", bytes as f64 / samples as f64) }
}

fn as_json(found: &Inspection, is_verified: bool) -> Value {
    let log = |log: &LogFiles| {
        json!({
            "segments": log.segments.iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect::<Vec<_>>(),
            "records": log.records,
            "tornBytes": log.torn_bytes,
        })
    };
    let block = |b: &BlockAbout| {
        json!({
            "number": b.number, "name": b.name, "start": b.start.to_rfc3339(), "end": b.end.to_rfc3339(),
            "level": b.level, "series": b.series, "samples": b.samples, "chunks": b.chunks, "bytes": b.bytes,
        })
    };
    let share = |s: &Share| json!({"name": s.name, "bytes": s.bytes, "samples": s.samples});
    let shares = |list: &[Share]| list.iter().map(share).collect::<Vec<_>>();
    let values = found.metrics.values.as_ref();
    json!({
        "blocks": found.metrics.blocks.iter().map(block).collect::<Vec<_>>(),
        "wal": log(&found.metrics.wal),
        "checkpoint": log(&found.metrics.checkpoint),
        "alarms": log(&found.alarms),
        "outbox": log(&found.outbox),
        "logs": {
            "wal": log(&found.logs.wal),
            "parts": found.logs.parts.iter().map(|p| json!({
                "day": p.day, "name": p.name, "bytes": p.bytes, "streams": p.streams, "lines": p.lines,
            })).collect::<Vec<_>>(),
        },
        "stateBytes": found.state_bytes,
        "quarantine": found.quarantine.iter().map(|q| json!({"name": q.name, "bytes": q.bytes, "why": q.why})).collect::<Vec<_>>(),
        "values": values.map(|v| json!({
            "series": shares(&v.series), "metrics": shares(&v.metrics), "kinds": shares(&v.kinds),
        })),
        "verified": is_verified,
        "damages": found.damages,
    })
}
