//! What devices cost: many of them at the door of the real program, with NATS and without.
//!
//!     cargo bench --bench gateway_load -- [--devices 100,1000,5000] [--rate 5000] [--seconds 10] [--bus embedded|nats]
//!         [--way ws,wss,mtls] [--black-box off|heads|payloads] [--program target/release/andon]
//!
//! Each number of devices is run with each bus and each way; without the options with both buses, without TLS, and with
//! the black box as it is if nothing is said. The program runs as a process of its own in a folder of its own; devices are bare sockets of this one, so that they
//! cost little. For each number of devices: CPU to let one in, memory per connection that is idle (what all take by
//! their number; and what those after the first tenth take, without what the program takes once), messages per second of the program's
//! CPU, latency from device to NATS and back (with the bus inside: from device to device), and the latency of the others
//! before and during a reader that never reads and a device that floods. Latencies hold this process's own share and
//! whatever else runs on the machine; CPU and memory are the program's own. Not a test: it takes minutes.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, measures time, writes a folder of its own and ends where something is odd"
)]

#[path = "gateway_load/client.rs"]
mod client;
#[path = "gateway_load/plant.rs"]
mod plant;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Device, Reader};
use plant::{BlackBox, Latencies, Plant, Setup, Usage, Way};

/// Commands that go the other way, per second.
const COMMANDS_PER_SECOND: u32 = 500;
/// Before memory is looked at, and over how long what idle connections cost.
const SETTLING: Duration = Duration::from_secs(5);
/// What the flood and the deaf reader are about.
const FLOOD_SUBJECT: &str = "flood.all";

struct Arguments {
    devices: Vec<usize>,
    rate: u32,
    seconds: u64,
    buses: Vec<bool>,
    ways: Vec<Way>,
    black_box: BlackBox,
    program: PathBuf,
}

fn main() {
    let arguments = arguments();
    // As many files as there may be: each device is one here and one there.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{}", plant::around());
    println!(
        "| bus, way, black box | devices | joined in s | CPU ms each | idle: kB each | further | idle CPU % | messages/s | per CPU second | \
         up p50/p99 ms | down p50/p99 ms | others before p50/p99 ms | during | deaf, flood ended as |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for &has_nats in &arguments.buses {
        for &way in &arguments.ways {
            for &devices in &arguments.devices {
                let (black_box, program) = (arguments.black_box, arguments.program.clone());
                let setup = Setup { devices, has_nats, way, black_box, program };
                runtime.block_on(run(&setup, arguments.load()));
            }
        }
    }
}

fn arguments() -> Arguments {
    let mut read = Arguments {
        devices: vec![100, 1000, 5000],
        rate: 5000,
        seconds: 10,
        buses: vec![false, true],
        ways: vec![Way::Plain],
        black_box: BlackBox::Heads,
        program: env!("CARGO_BIN_EXE_andon").into(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--devices" => read.devices = value().split(',').map(|n| n.parse().unwrap()).collect(),
            "--rate" => read.rate = value().parse().unwrap(),
            "--seconds" => read.seconds = value().parse().unwrap(),
            "--bus" => read.buses = vec![value() == "nats"],
            "--way" => read.ways = value().split(',').map(way).collect(),
            "--program" => read.program = value().into(),
            "--black-box" => {
                read.black_box = match value().as_str() {
                    "off" => BlackBox::Off,
                    "heads" => BlackBox::Heads,
                    "payloads" => BlackBox::Payloads,
                    other => panic!("{other}: off, heads or payloads"),
                }
            }
            "--bench" => {}
            other => panic!("{other}: see the head of benches/gateway_load.rs"),
        }
    }
    read
}

fn way(name: &str) -> Way {
    match name {
        "ws" => Way::Plain,
        "wss" => Way::Tls,
        "mtls" => Way::Certificate,
        other => panic!("{other}: ws, wss or mtls"),
    }
}

impl Arguments {
    fn load(&self) -> Load {
        Load { rate: self.rate, seconds: self.seconds }
    }
}

/// What is sent, and for how long.
#[derive(Clone, Copy)]
struct Load {
    rate: u32,
    seconds: u64,
}

impl Setup {
    /// Returns what a line begins with.
    fn name(&self) -> String {
        let bus = if self.has_nats { "NATS" } else { "inside" };
        let way = match self.way {
            Way::Plain => "ws",
            Way::Tls => "wss",
            Way::Certificate => "wss with certificates",
        };
        let black_box = match self.black_box {
            BlackBox::Off => "none",
            BlackBox::Heads => "heads",
            BlackBox::Payloads => "payloads",
        };
        format!("{bus}, {way}, {black_box}")
    }
}

/// What the devices hear, for whoever measures.
#[derive(Default)]
struct Heard {
    down: Latencies,
    messages: AtomicU64,
}

async fn run(setup: &Setup, wanted: Load) {
    let (count, has_nats) = (setup.devices, setup.has_nats);
    let plant = Plant::start(setup).await;
    let heard = Arc::new(Heard::default());
    let before = plant.usage();
    let mut devices = join(&plant, 0..count / 10, &heard).await;
    tokio::time::sleep(SETTLING).await;
    let (tenth, start) = (plant.usage(), Instant::now());
    devices.extend(join(&plant, count / 10..count, &heard).await);
    let (joined, all) = (start.elapsed(), plant.usage());
    tokio::time::sleep(SETTLING).await;
    let idle = plant.usage();
    tokio::time::sleep(SETTLING).await;
    let idle_later = plant.usage();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let kb_each =
        |since: &Usage, count: usize| idle.resident_kb.saturating_sub(since.resident_kb) as f64 / count as f64;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let cpu_ms_each = 1000.0 * all.cpu_since(&tenth) / (count - count / 10) as f64;

    let devices = Arc::new(devices);
    let up = plant.listen(has_nats, "telemetry.>").await;
    let load = load(&plant, &devices, &heard, &up, wanted, has_nats).await;
    // The same at a tenth of the rate, before and during: what the others feel.
    let calm = Load { rate: wanted.rate / 10, ..wanted };
    let quiet = self::load(&plant, &devices, &heard, &up, calm, has_nats).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Never read: the reader is only kept.
    let (deaf, deaf_reader) = plant.join("deaf", Some(4096)).await;
    deaf.send(r#"{"type":1,"subject":"flood.>"}"#.as_bytes()).await;
    let flood = tokio::spawn(flood(plant.clone(), stop.clone()));
    let disturbed = self::load(&plant, &devices, &heard, &up, calm, has_nats).await;
    stop.store(true, Ordering::Relaxed);
    let floods = flood.await.unwrap();
    println!(
        "| {} | {count} | {:.1} | {cpu_ms_each:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {} | {} | {} | {} | slow_consumer {}, rate_limit {} of {floods} |",
        setup.name(),
        joined.as_secs_f64(),
        kb_each(&before, count),
        kb_each(&tenth, count - count / 10),
        100.0 * idle_later.cpu_since(&idle) / SETTLING.as_secs_f64(),
        load.per_second,
        load.per_cpu_second,
        load.up,
        load.down,
        quiet.up,
        disturbed.up,
        plant.ended("slow_consumer").await,
        plant.ended("rate_limit").await,
    );
    drop((deaf, deaf_reader));
}

/// Connects devices, 64 at a time, each subscribed to its commands.
async fn join(plant: &Plant, numbers: Range<usize>, heard: &Arc<Heard>) -> Vec<Device> {
    let mut devices = Vec::with_capacity(numbers.len());
    let mut number = numbers.start;
    while number < numbers.end {
        let batch: Vec<_> = (number..numbers.end.min(number + 64))
            .map(|number| {
                let (plant, heard) = (plant.clone(), heard.clone());
                tokio::spawn(async move {
                    let (device, reader) = plant.join(&format!("device-{number}"), None).await;
                    let subscribe = format!(r#"{{"type":1,"subject":"commands.device-{number}.>"}}"#);
                    device.send(subscribe.as_bytes()).await;
                    tokio::spawn(listen(reader, heard));
                    device
                })
            })
            .collect();
        number += batch.len();
        for device in batch {
            devices.push(device.await.unwrap());
        }
    }
    devices
}

/// Reads what comes for a device, until its connection ends.
async fn listen(mut reader: Reader, heard: Arc<Heard>) {
    while let Some(frame) = reader.next().await {
        if let Some(sent) = plant::sent_at(&frame) {
            heard.messages.fetch_add(1, Ordering::Relaxed);
            heard.down.note(sent);
        }
    }
}

/// What a load measured.
struct Measured {
    per_second: f64,
    per_cpu_second: f64,
    up: String,
    down: String,
}

/// Lets all devices publish in turn at a rate and commands go the other way; both are spread evenly over time.
async fn load(
    plant: &Plant,
    devices: &Arc<Vec<Device>>,
    heard: &Arc<Heard>,
    up: &Arc<Latencies>,
    wanted: Load,
    has_nats: bool,
) -> Measured {
    up.clear();
    heard.down.clear();
    let (start, before) = (Instant::now(), plant.usage());
    let sending = tokio::spawn(publish(devices.clone(), wanted.rate, wanted.seconds));
    let commanding = tokio::spawn(command(plant.clone(), devices.clone(), wanted.seconds, has_nats));
    let sent = sending.await.unwrap();
    commanding.await.unwrap();
    let (took, after): (Duration, Usage) = (start.elapsed(), plant.usage());
    tokio::time::sleep(Duration::from_millis(500)).await;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let messages = (sent + heard.down.count()) as f64;
    let lost = sent.saturating_sub(up.count());
    if lost > 0 {
        println!("<!-- {lost} of {sent} were not heard within half a second after the end -->");
    }
    Measured {
        per_second: messages / took.as_secs_f64(),
        per_cpu_second: messages / after.cpu_since(&before).max(0.01),
        up: up.show(),
        down: heard.down.show(),
    }
}

/// Publishes in turn from each device; returns how many were sent.
async fn publish(devices: Arc<Vec<Device>>, rate: u32, seconds: u64) -> u64 {
    let total = u64::from(rate) * seconds;
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let (start, mut sent) = (Instant::now(), 0_u64);
    while sent < total {
        tick.tick().await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
        let due = ((start.elapsed().as_secs_f64() * f64::from(rate)) as u64).min(total);
        for number in sent..due {
            let at = usize::try_from(number).unwrap() % devices.len();
            let now = plant::now_us();
            let text = format!(
                r#"{{"type":0,"subject":"telemetry.device-{at}.value","payload":{{"value":{}.5,"t":{now}}}}}"#,
                number % 100
            );
            devices[at].send(text.as_bytes()).await;
        }
        sent = due;
    }
    sent
}

/// Sends commands to each device in turn: from NATS, or from a device.
async fn command(plant: Plant, devices: Arc<Vec<Device>>, seconds: u64, has_nats: bool) {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / COMMANDS_PER_SECOND);
    for number in 0..u64::from(COMMANDS_PER_SECOND) * seconds {
        tick.tick().await;
        let at = usize::try_from(number).unwrap() % devices.len();
        let (subject, now) = (format!("commands.device-{at}.set"), plant::now_us());
        if has_nats {
            plant.publish(&subject, format!(r#"{{"t":{now}}}"#)).await;
        } else {
            let text = format!(r#"{{"type":0,"subject":"{subject}","payload":{{"t":{now}}}}}"#);
            let sender = &devices[(at + 1) % devices.len()];
            sender.send(text.as_bytes()).await;
        }
    }
}

/// Publishes as fast as the socket takes it, and comes back whenever it is sent away; returns how often it came.
async fn flood(plant: Plant, stop: Arc<AtomicBool>) -> u64 {
    let text = format!(r#"{{"type":0,"subject":"{FLOOD_SUBJECT}","payload":"{}"}}"#, "x".repeat(16_000));
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let (device, mut reader) = plant.join("flood", None).await;
        let reading = tokio::spawn(async move { while reader.next().await.is_some() {} });
        rounds += 1;
        while !stop.load(Ordering::Relaxed) && device.try_send(text.as_bytes()).await {}
        reading.abort();
    }
    rounds
}
