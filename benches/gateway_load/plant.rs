//! The program under load and a NATS server beside it, and how they are measured.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use andon::clock::Clock;
use andon::gateway::{self, NewDevice};
use andon::instrument::Registry;
use andon::storage::state::State;
use futures_util::StreamExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{self, Device, Reader};

const TOKEN: &str = "a-token-of-the-bench-";

/// How devices speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In clear text.
    Plain,
    /// In TLS.
    Tls,
    /// In TLS, with a certificate that an authority of the settings signed. It is no device's, so that one serves for
    /// all: who they are their tokens say.
    Certificate,
}

/// What the black box keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlackBox {
    /// Nothing.
    Off,
    /// Heads in 8 MiB, as it is if nothing is said.
    Heads,
    /// Payloads too, in 64 MiB.
    Payloads,
}

/// One line of the table.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) devices: usize,
    pub(crate) has_nats: bool,
    pub(crate) way: Way,
    pub(crate) black_box: BlackBox,
    pub(crate) program: PathBuf,
}

/// The program and what belongs to it; ends with the last handle.
#[derive(Clone)]
pub(crate) struct Plant(Arc<Running>);

struct Running {
    program: Child,
    nats: Option<Child>,
    client: Option<async_nats::Client>,
    /// Of devices.
    address: String,
    /// Of everybody else, without TLS.
    plain: String,
    secure: Option<TlsConnector>,
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
    pub(crate) async fn start(setup: &Setup) -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        register(&data.join("state.db"), setup.devices);
        let nats_port = free_port();
        let nats = setup.has_nats.then(|| {
            let arguments = ["-a", "127.0.0.1", "-p", &nats_port.to_string()];
            let mut server = Command::new("nats-server");
            server.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        let address = format!("127.0.0.1:{}", free_port());
        let plain = if setup.way == Way::Plain { address.clone() } else { format!("127.0.0.1:{}", free_port()) };
        let file = folder.path().join("andon.yml");
        std::fs::write(&file, setup.settings(nats_port, &plain)).unwrap();
        let program = Command::new(&setup.program)
            .args(["run", "--listen", &address, "--config"])
            .arg(&file)
            .arg("--data")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let secure = setup.way.connector();
        let mut running = Running { program, nats, client: None, address, plain, secure, _folder: folder };
        while get(&running.plain, "/-/ready").await.is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
            assert!(running.program.try_wait().unwrap().is_none(), "the program ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if setup.has_nats {
            running.client = Some(async_nats::connect(format!("127.0.0.1:{nats_port}")).await.unwrap());
        }
        // Upkeep at the start is over, and NATS connected.
        tokio::time::sleep(Duration::from_secs(5)).await;
        Plant(Arc::new(running))
    }

    /// Connects a registered device that is let in.
    pub(crate) async fn join(&self, id: &str, read_ahead_bytes: Option<u32>) -> (Device, Reader) {
        let (device, mut reader) = client::connect(&self.0.address, self.0.secure.as_ref(), read_ahead_bytes).await;
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
        let answer = get(&self.0.plain, "/metrics").await.unwrap_or_default();
        let reason = format!("reason=\"{reason}\"");
        let family = answer.lines().filter(|line| line.starts_with("gateway_websocket_disconnections_total{"));
        let values = family.filter(|line| line.contains(&reason)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
    }
}

impl Setup {
    fn settings(&self, nats_port: u16, plain: &str) -> String {
        let black_box = match self.black_box {
            BlackBox::Off => "{size_limit: 0B}",
            BlackBox::Heads => "{}",
            BlackBox::Payloads => "{size_limit: 64MB, payload_limit: 4KB}",
        };
        let mut text = format!(
            "gateway: {{total_messages_per_second: 1000000, unauthenticated_per_address_limit: 128, \
             connections_limit: 20000, connections_per_address_limit: 20000, black_box: {black_box}}}\n\
             telemetry: {{devices_limit: 100000}}\n"
        );
        if self.has_nats {
            text.push_str(&format!("bus:\n  nats: {{servers: ['nats://127.0.0.1:{nats_port}']}}\n"));
        }
        if self.way != Way::Plain {
            let (pem, key) = (file("server.pem"), file("server.key"));
            text.push_str(&format!("http:\n  plain_listen: {plain}\n  tls_server_config:\n"));
            text.push_str(&format!("    cert_file: {}\n    key_file: {}\n", pem.display(), key.display()));
        }
        if self.way == Way::Certificate {
            let ca = file("ca.pem");
            text.push_str("    client_auth_type: RequireAndVerifyClientCert\n");
            text.push_str(&format!("    client_ca_file: {}\n", ca.display()));
        }
        text
    }
}

impl Way {
    /// Returns what makes the handshakes of devices; nothing without TLS.
    fn connector(self) -> Option<TlsConnector> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match self {
            Way::Plain => return None,
            Way::Tls => builder.with_no_client_auth(),
            Way::Certificate => {
                let chain = vec![CertificateDer::from_pem_file(file("gate.pem")).unwrap()];
                let key = PrivateKeyDer::from_pem_file(file("gate.key")).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Some(TlsConnector::from(Arc::new(config)))
    }
}

/// Returns a file of the tests' certificates.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in [Some(&mut self.program), self.nats.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn register(file: &Path, devices: usize) {
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
