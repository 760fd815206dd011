//! The program under load and a NATS server beside it, and how they are measured.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use andon::clock::Clock;
use andon::gateway::{self, NewDevice};
use andon::instrument::Registry;
use andon::storage::state::State;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{self, Device, Reader};

const TOKEN: &str = "a-token-of-the-bench-";

/// The program and what belongs to it; ends with the last handle.
#[derive(Clone)]
pub(crate) struct Plant(Arc<Running>);

struct Running {
    program: Child,
    nats: Option<Child>,
    client: Option<async_nats::Client>,
    address: String,
    _folder: tempfile::TempDir,
}

/// CPU and memory of the program.
pub(crate) struct Usage {
    pub(crate) resident_kb: u64,
    cpu: f64,
}

/// Times that messages took.
#[derive(Default)]
pub(crate) struct Latencies(Mutex<Vec<u32>>);

/// Returns microseconds since this process began to measure.
pub(crate) fn now_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap()
}

/// Returns when a message was sent, if it says so.
pub(crate) fn sent_at(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(r#""t":"#)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Says what else the machine does.
pub(crate) fn around() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, load before: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

impl Latencies {
    pub(crate) fn note(&self, sent_us: u64) {
        let took = now_us().saturating_sub(sent_us);
        self.0.lock().unwrap().push(u32::try_from(took).unwrap_or(u32::MAX));
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// Returns the median and the 99th percentile in milliseconds.
    pub(crate) fn show(&self) -> String {
        let mut all = self.0.lock().unwrap().clone();
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
        let ms = |us: Option<u32>| us.map_or("-".to_owned(), |us| format!("{:.1}", f64::from(us) / 1000.0));
        format!("{}/{}", ms(at(50)), ms(at(99)))
    }
}

impl Usage {
    /// Returns CPU seconds since an earlier look.
    pub(crate) fn cpu_since(&self, earlier: &Usage) -> f64 {
        self.cpu - earlier.cpu
    }
}

impl Plant {
    /// Registers devices in a new folder and starts the program on it.
    pub(crate) async fn start(devices: usize, has_nats: bool) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        register(&data.join("state.db"), devices);
        let (nats_port, port) = (free_port(), free_port());
        let nats = has_nats.then(|| {
            let arguments = ["-a", "127.0.0.1", "-p", &nats_port.to_string()];
            let mut server = Command::new("nats-server");
            server.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        let mut settings = "gateway: {total_messages_per_second: 1000000, unauthenticated_per_address_limit: 128, \
            connections_limit: 20000, connections_per_address_limit: 20000}\n\
            telemetry: {devices_limit: 100000}\n"
            .to_owned();
        if has_nats {
            settings.push_str(&format!("bus:\n  nats: {{servers: ['nats://127.0.0.1:{nats_port}']}}\n"));
        }
        let file = folder.path().join("andon.yml");
        std::fs::write(&file, settings).unwrap();
        let address = format!("127.0.0.1:{port}");
        let program = Command::new(env!("CARGO_BIN_EXE_andon"))
            .args(["run", "--listen", &address, "--config"])
            .arg(&file)
            .arg("--data")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running { program, nats, client: None, address, _folder: folder };
        while get(&running.address, "/-/ready").await.is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
            assert!(running.program.try_wait().unwrap().is_none(), "the program ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if has_nats {
            running.client = Some(async_nats::connect(format!("127.0.0.1:{nats_port}")).await.unwrap());
        }
        // Upkeep at the start is over, and NATS connected.
        tokio::time::sleep(Duration::from_secs(5)).await;
        Plant(Arc::new(running))
    }

    /// Connects a registered device that is let in.
    pub(crate) async fn join(&self, id: &str, read_ahead_bytes: Option<u32>) -> (Device, Reader) {
        let (device, mut reader) = client::connect(&self.0.address, read_ahead_bytes).await;
        let auth = format!(r#"{{"type":8,"payload":{{"deviceId":"{id}","token":"{TOKEN}{id}"}}}}"#);
        device.send(auth.as_bytes()).await;
        let answer = reader.next().await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(r#""success":true"#), "{answer}");
        (device, reader)
    }

    /// Measures what comes on a pattern: on NATS, or to a device.
    pub(crate) async fn listen(&self, has_nats: bool, pattern: &str) -> Arc<Latencies> {
        let latencies = Arc::new(Latencies::default());
        let noted = latencies.clone();
        if has_nats {
            let mut messages = self.client().subscribe(pattern.to_owned()).await.unwrap();
            self.client().flush().await.unwrap();
            tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    sent_at(&message.payload).into_iter().for_each(|sent| noted.note(sent));
                }
            });
        } else {
            let (device, mut reader) = self.join("watcher", None).await;
            device.send(format!(r#"{{"type":1,"subject":"{pattern}"}}"#).as_bytes()).await;
            tokio::spawn(async move {
                let _device = device;
                while let Some(frame) = reader.next().await {
                    sent_at(&frame).into_iter().for_each(|sent| noted.note(sent));
                }
            });
        }
        latencies
    }

    /// Publishes on NATS.
    pub(crate) async fn publish(&self, subject: &str, body: String) {
        self.client().publish(subject.to_owned(), body.into()).await.unwrap();
        self.client().flush().await.unwrap();
    }

    fn client(&self) -> &async_nats::Client {
        self.0.client.as_ref().unwrap()
    }

    /// Returns CPU and memory of the program.
    pub(crate) fn usage(&self) -> Usage {
        let pid = self.0.program.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the name in brackets: state is field 3, times in user and system are 14 and 15, in hundredths.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        Usage { resident_kb: resident.trim().trim_end_matches(" kB").trim().parse().unwrap(), cpu: ticks / 100.0 }
    }

    /// Returns how many connections ended for a reason.
    pub(crate) async fn ended(&self, reason: &str) -> f64 {
        let answer = get(&self.0.address, "/metrics").await.unwrap_or_default();
        let reason = format!("reason=\"{reason}\"");
        let family = answer.lines().filter(|line| line.starts_with("gateway_websocket_disconnections_total{"));
        let values = family.filter(|line| line.contains(&reason)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in [Some(&mut self.program), self.nats.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn register(file: &std::path::Path, devices: usize) {
    let clock = Clock::system();
    let state = State::open(file, clock.clone(), &Registry::default()).unwrap();
    let texts = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let ids = (0..devices).map(|number| format!("device-{number}"));
    for id in ids.chain(["watcher", "deaf", "flood"].map(str::to_owned)) {
        let new = NewDevice {
            token: Some(format!("{TOKEN}{id}")),
            device_type: "sensor".to_owned(),
            publish: texts(&["telemetry.{device}.>", "commands.>", "flood.>"]),
            subscribe: texts(&["commands.{device}.>", "telemetry.>", "flood.>"]),
            id,
            ..NewDevice::default()
        };
        gateway::register(&state, new, &[], &[], clock.now()).unwrap();
    }
}

async fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
