//! The box's own health: processor, memory, disks, and the ways in and out.

use super::ask::Asker;
use super::chart::{Meter, Pointer, Svg, spark};
use super::number::{Unit, ago, span};
use super::window::Window;
use crate::bus::Link;
use crate::collect::Health;
use crate::forward::Stage;

/// How late forwarding may be before it is worth a colour, in seconds.
const LAG_WORTH_NOTICE_S: f64 = 120.0;

/// One row of the box's health.
#[derive(Debug, Clone, Default)]
pub(super) struct Vital {
    /// What it is.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) text: String,
    /// What puts it in place; may be empty.
    pub(super) note: String,
    /// Priority class (`p1`, `p2`); empty while all is well.
    pub(super) class: &'static str,
    /// A meter or a sparkline; may be empty.
    pub(super) picture: Svg,
    /// Where there is more.
    pub(super) href: String,
}

impl Vital {
    /// Returns the shape that stands before the value.
    pub(super) fn shape(&self) -> &'static str {
        if self.class.is_empty() { "ok" } else { self.class }
    }
}

/// Returns the rows, those of the machine first.
pub(super) fn vitals(asker: &Asker, window: &Window) -> Vec<Vital> {
    let mut rows = machine(asker, window);
    rows.push(store(asker));
    rows.push(collecting(asker));
    rows.push(bus(asker));
    rows.push(forwarding(asker));
    rows
}

/// A share with a meter and two limits; the limits are those of the rule pack `host.yml`.
fn share(name: &'static str, expression: &str, value: Option<f64>, warn: f64, act: f64, note: String) -> Option<Vital> {
    let value = value?;
    let class = match value {
        v if v >= act => "p1",
        v if v >= warn => "p2",
        _ => "",
    };
    let text = Unit::Ratio.show(value);
    let title = format!("{name} {text}");
    let mut pointers = vec![Pointer { value: warn, name: "worth a look" }];
    if act.is_finite() {
        pointers.push(Pointer { value: act, name: "act" });
    }
    let meter = Meter { title: &title, value, ends: (0.0, 1.0), pointers: &pointers, class };
    let href = format!("/explore?q={}", super::visit::encode(expression));
    Some(Vital { name, text, note, class, picture: meter.svg(), href })
}

fn machine(asker: &Asker, window: &Window) -> Vec<Vital> {
    const CPU: &str = "1 - avg(rate(node_cpu_seconds_total{mode=\"idle\",job=\"host\"}[5m]))";
    const MEMORY: &str = "1 - node_memory_MemAvailable_bytes{job=\"host\"} / node_memory_MemTotal_bytes{job=\"host\"}";
    const DISKS: &str =
        "sort_desc(1 - node_filesystem_avail_bytes{job=\"host\"} / (node_filesystem_size_bytes{job=\"host\"} > 0))";
    const HEAT: &str = "max({__name__=~\"node_hwmon_temp_celsius|node_thermal_zone_temp\",job=\"host\"})";
    let load =
        asker.number("node_load1{job=\"host\"}").map_or_else(String::new, |l| format!("load {}", Unit::Plain.show(l)));
    let total = asker.number("node_memory_MemTotal_bytes{job=\"host\"}");
    let memory_note = total.map_or_else(String::new, |b| format!("of {}", Unit::Bytes.show(b)));
    let disk = asker.vector(DISKS).into_iter().find(|(_, v)| v.is_finite());
    let mount = disk.as_ref().and_then(|(l, _)| l.get("mountpoint")).unwrap_or("").to_owned();
    let mut rows: Vec<Vital> = [
        share("Processor", CPU, asker.number(CPU), 0.9, f64::INFINITY, load),
        share("Memory", MEMORY, asker.number(MEMORY), 0.9, 0.97, memory_note),
        share("Fullest disk", DISKS, disk.map(|(_, v)| v), 0.85, 0.95, mount),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(heat) = asker.number(HEAT) {
        rows.push(Vital {
            name: "Temperature",
            text: Unit::Sign("°C").show(heat),
            class: if heat >= 85.0 { "p2" } else { "" },
            picture: spark(&asker.line(HEAT, window, window.step(60)), window.start, window.end),
            href: format!("/explore?q={}", super::visit::encode(HEAT)),
            note: "hottest sensor".to_owned(),
        });
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn store(asker: &Asker) -> Vital {
    let stats = asker.state.db.stats();
    let bytes = stats.block_bytes + stats.wal_bytes;
    let since = stats.min_time.map_or_else(String::new, |t| format!("keeps {}", span(asker.now.since(t))));
    Vital {
        name: "Store",
        text: format!("{} series", Unit::Plain.show(stats.head_series as f64)),
        note: if bytes > 0 { format!("{}, {since}", Unit::Bytes.show(bytes as f64)) } else { since },
        href: "/storage".to_owned(),
        ..Vital::default()
    }
}

fn collecting(asker: &Asker) -> Vital {
    let snapshot = asker.state.collector.snapshot();
    let targets = snapshot.jobs.iter().flat_map(|j| j.targets.iter().map(|t| t.health));
    let all: Vec<Health> = targets.chain(snapshot.sources.iter().map(|s| s.health)).collect();
    let down = all.iter().filter(|h| **h == Health::Down).count();
    Vital {
        name: "Collecting",
        text: format!("{} of {} up", all.iter().filter(|h| **h == Health::Up).count(), all.len()),
        note: if down > 0 { format!("{down} down") } else { "targets and sources".to_owned() },
        class: if down > 0 { "p2" } else { "" },
        href: "/targets".to_owned(),
        ..Vital::default()
    }
}

fn bus(asker: &Asker) -> Vital {
    let state = asker.state.bus.state().borrow().clone();
    let (text, class) = match state.link {
        Link::Embedded => ("inside this box", ""),
        Link::Connecting => ("connecting", ""),
        Link::Connected => ("connected", ""),
        Link::Disconnected => ("not connected", "p2"),
        Link::Closed => ("closed, connecting anew", "p2"),
    };
    let note = match (state.server, state.error) {
        (Some(server), _) => format!("to {server} since {}", ago(state.since, asker.now)),
        (None, Some(error)) => error,
        (None, None) if state.link == Link::Embedded => kept_here(asker),
        (None, None) => String::new(),
    };
    let Some(spool) = asker.state.bus.spool() else {
        let streams = asker.state.bus.streams();
        let is_wrong = streams.iter().any(|stream| stream.problem.is_some() || stream.dropped > 0);
        let class = if is_wrong { "p2" } else { class };
        return Vital {
            name: "Bus",
            text: text.to_owned(),
            note,
            class,
            href: "/targets".to_owned(),
            ..Vital::default()
        };
    };
    let dropped = (spool.dropped > 0).then(|| format!("{} messages for streams lost", spool.dropped));
    let waiting = (spool.waiting > 0).then(|| format!("{} wait for their stream", spool.waiting));
    let class = if dropped.is_some() || spool.problem.is_some() { "p2" } else { class };
    let notes: Vec<String> = [dropped, spool.problem, waiting, Some(note)].into_iter().flatten().collect();
    let note = notes.join("; ");
    Vital { name: "Bus", text: text.to_owned(), note, class, href: "/targets".to_owned(), ..Vital::default() }
}

/// Returns what the streams hold that this box keeps itself, worst news first.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn kept_here(asker: &Asker) -> String {
    let streams = asker.state.bus.streams();
    if streams.is_empty() {
        return "no NATS server is configured".to_owned();
    }
    let dropped: u64 = streams.iter().map(|stream| stream.dropped).sum();
    let dropped = (dropped > 0).then(|| format!("{dropped} messages refused by their stream"));
    let problem = streams.iter().find_map(|s| s.problem.as_ref().map(|problem| format!("{}: {problem}", s.name)));
    let messages = Unit::Plain.show(streams.iter().map(|stream| stream.messages).sum::<u64>() as f64);
    let bytes = Unit::Bytes.show(streams.iter().map(|stream| stream.bytes).sum::<u64>() as f64);
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let kept = format!("{messages} messages in {} ({bytes})", names.join(", "));
    [problem, dropped, Some(kept)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn forwarding(asker: &Asker) -> Vital {
    let snapshot = asker.state.forwarder.snapshot();
    let href = "/forwarding".to_owned();
    let Some(worst) = snapshot.destinations.iter().max_by(|a, b| a.lag_s.total_cmp(&b.lag_s)) else {
        return Vital {
            name: "Forwarding",
            text: "off".to_owned(),
            note: "no destination is configured".to_owned(),
            href,
            ..Vital::default()
        };
    };
    let is_late = worst.stage == Stage::Waiting || worst.lag_s > LAG_WORTH_NOTICE_S;
    Vital {
        name: "Forwarding",
        text: worst.stage.as_str().to_owned(),
        note: format!("{} behind by {}", worst.name, Unit::Seconds.show(worst.lag_s)),
        class: if is_late { "p2" } else { "" },
        href,
        ..Vital::default()
    }
}
