//! The collectors through their door, beside real peers: node_exporter and nats-server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use andon::bus::{self, Bus, Subject};
use andon::clock::Clock;
use andon::collect::{self, Collector, Health, HostConfig, LogsConfig, NatsConfig, NatsServer, OwnConfig};
use andon::instrument::Registry;
use andon::model::{
    AnchoredRegex, DeviceMessage, DevicePresence, HttpClient, Labels, LogEntry, MatchOp, Matcher, Origin, Timestamp,
};
use andon::storage::disk::FaultyDisk;
use andon::storage::logs::{Direction, LogStore, ScanRequest};
use andon::storage::tsdb::Db;
use andon::task::{Phase, Tasks};
use nkeys::KeyPair;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::nats_security::{jwt, user};

/// A program beside us, ended with the test.
struct Peer(Child);

impl Peer {
    fn start(program: &str, arguments: &[&str]) -> Peer {
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Peer(started.unwrap_or_else(|e| panic!("{program}: {e}; tests/run installs what the tests need")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A collector with all that it needs around it.
struct Bench {
    db: Db,
    logs: LogStore,
    tasks: Tasks,
    messages: mpsc::Sender<DeviceMessage>,
    presence: watch::Sender<Arc<Vec<DevicePresence>>>,
    collector: Collector,
}

impl Bench {
    fn start(config: collect::Config, nats: Option<bus::NatsConfig>) -> Bench {
        Bench::start_over(Db::in_memory(), config, nats)
    }

    fn start_over(db: Db, config: collect::Config, nats: Option<bus::NatsConfig>) -> Bench {
        let (messages, received) = mpsc::channel(64);
        let presence = watch::Sender::new(Arc::default());
        let (logs, tasks, registry) = (LogStore::in_memory(), Tasks::new(1), Registry::default());
        let clock = Clock::system();
        let bus = Bus::start(
            bus::Config { nats, queue_messages_max: 64, queue_bytes_max: 1 << 20, ..bus::Config::embedded("box") },
            bus::Deps {
                tasks: tasks.clone(),
                registry: registry.clone(),
                clock: clock.clone(),
                disk: FaultyDisk::new(1).shared(),
            },
        );
        let deps = collect::Deps {
            db: db.clone(),
            logs: logs.clone(),
            clock,
            tasks: tasks.clone(),
            registry,
            messages: received,
            presence: presence.subscribe(),
            bus,
        };
        Bench { db, logs, tasks, messages, presence, collector: Collector::start(config, deps) }
    }

    /// Returns the newest sample of each series with this metric name.
    fn newest(&self, name: &str, op: MatchOp) -> BTreeMap<Labels, f64> {
        let matchers = [Matcher::new("__name__", op, name).unwrap()];
        let set = self.db.querier().select(&matchers, Timestamp::MIN, Timestamp::MAX, 1_000_000).unwrap();
        set.map(|series| series.map(|s| (s.labels, *s.values.last().unwrap())).unwrap()).collect()
    }

    fn one(&self, name: &str, job: &str) -> Option<f64> {
        self.newest(name, MatchOp::Equal).into_iter().find(|(labels, _)| labels.get("job") == Some(job)).map(|(_, v)| v)
    }

    /// Returns what was wrong with the last reading of a job.
    fn problem(&self, job: &str) -> String {
        let snapshot = self.collector.snapshot();
        snapshot.sources.iter().find(|source| source.job == job).unwrap().last_error.clone()
    }

    fn lines(&self) -> Vec<LogEntry> {
        let request = ScanRequest {
            matchers: Vec::new(),
            start_ns: i64::MIN,
            end_ns: i64::MAX,
            direction: Direction::Forward,
            needles: Vec::new(),
        };
        self.logs.scan(&request).unwrap().map(|entry| entry.unwrap()).collect()
    }

    async fn eventually(&self, what: &str, mut condition: impl FnMut(&Bench) -> bool) {
        for _ in 0..1500 {
            if condition(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("within 15 s it did not come true that {what}; {:#?}", self.collector.snapshot());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.token(Phase::Intake).cancel();
    }
}

fn config() -> collect::Config {
    let subjects = ["logs.{device}", "logs.{device}.>", "factory.{line}.alerts.{level}"];
    collect::Config {
        instance: "box".to_owned(),
        scrape: Vec::new(),
        host: None,
        nats: None,
        telemetry: collect::TelemetryConfig {
            rules: Vec::new(),
            telemetry_defaults: true,
            factory_defaults: true,
            devices_max: 100,
            metric_relabel: Vec::new(),
            job: "devices".to_owned(),
        },
        logs: LogsConfig { subjects: subjects.iter().map(|s| s.parse().unwrap()).collect(), scrub_secrets: true },
        own: OwnConfig { interval: Duration::from_secs(1) },
        limits: collect::Limits::default(),
    }
}

fn host() -> HostConfig {
    HostConfig {
        job: "host".to_owned(),
        interval: Duration::from_secs(1),
        proc_root: PathBuf::from("/proc"),
        sys_root: PathBuf::from("/sys"),
        file_system_root: PathBuf::from("/"),
        mount_points_exclude: AnchoredRegex::new(HostConfig::MOUNT_POINTS_EXCLUDE).unwrap(),
        file_systems_exclude: AnchoredRegex::new(HostConfig::FILE_SYSTEMS_EXCLUDE).unwrap(),
        disks_exclude: AnchoredRegex::new(HostConfig::DISKS_EXCLUDE).unwrap(),
        networks_exclude: AnchoredRegex::new("").unwrap(),
    }
}

fn job(name: &str, address: String) -> collect::scrape::Job {
    collect::scrape::Job {
        name: name.to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        metrics_path: "/metrics".to_owned(),
        scheme: "http".to_owned(),
        params: Vec::new(),
        honor_labels: false,
        honor_timestamps: true,
        sample_limit: 0,
        label_limit: 0,
        label_name_length_limit: 0,
        label_value_length_limit: 0,
        body_size_limit: 0,
        target_limit: 0,
        static_groups: vec![collect::scrape::TargetGroup { targets: vec![address], labels: Labels::empty() }],
        file_groups: Vec::new(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        http: HttpClient::plain(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_is_read_as_node_exporter_reads_it() {
    let address = format!("127.0.0.1:{}", free_port());
    let _peer = Peer::start("prometheus-node-exporter", &[&format!("--web.listen-address={address}")]);
    let bench =
        Bench::start(collect::Config { scrape: vec![job("node", address)], host: Some(host()), ..config() }, None);
    bench
        .eventually("both are up", |bench| bench.one("up", "node") == Some(1.0) && bench.one("up", "host") == Some(1.0))
        .await;

    let by_job = |name: &str, wanted: &str| -> BTreeMap<Labels, f64> {
        let all = bench.newest(name, MatchOp::Equal).into_iter();
        let of_job = all.filter(|(labels, _)| labels.get("job") == Some(wanted));
        of_job.map(|(labels, value)| (labels.drop(&["job", "instance"]), value)).collect()
    };
    // The names in the host rules of 001 and 004: same series, and where nothing moves the same value.
    for name in ["node_memory_MemTotal_bytes", "node_boot_time_seconds", "node_uname_info"] {
        assert_eq!(by_job(name, "host"), by_job(name, "node"), "{name}");
        assert_eq!(by_job(name, "host").len(), 1, "{name}");
    }
    for name in ["node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_load1"] {
        let names = |job| by_job(name, job).into_keys().collect::<BTreeSet<_>>();
        assert_eq!(names("host"), names("node"), "{name}");
    }
    let root =
        |name: &str, job: &str| by_job(name, job).into_iter().find(|(labels, _)| labels.get("mountpoint") == Some("/"));
    assert_eq!(root("node_filesystem_size_bytes", "host"), root("node_filesystem_size_bytes", "node"));
    let (avail, size) = (root("node_filesystem_avail_bytes", "host"), root("node_filesystem_size_bytes", "host"));
    assert!(avail.unwrap().1 <= size.unwrap().1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_is_watched_and_missed_and_others_messages_are_heard() {
    let (port, monitoring) = (free_port(), free_port());
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-a", "127.0.0.1", "-p", &port.to_string(), "-m", &monitoring.to_string(), "-js", "-sd"];
    let peer = Peer::start("nats-server", &[&arguments[..], &[folder.path().to_str().unwrap()]].concat());
    let url = format!("http://127.0.0.1:{monitoring}");
    let nats = NatsConfig {
        job: "nats".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        servers: vec![NatsServer { url, instance: "nats".to_owned() }],
        connections_max: 100,
        streams_max: 100,
    };
    let uplink = |box_id: &str| bus::Config {
        nats: Some(bus::NatsConfig::new(vec![format!("nats://127.0.0.1:{port}")])),
        ..bus::Config::embedded(box_id)
    };
    let bench = Bench::start(collect::Config { nats: Some(nats), ..config() }, uplink("box").nats);
    bench.eventually("the server is up", |bench| bench.one("up", "nats") == Some(1.0)).await;
    for name in ["nats_core_connection_count", "gnatsd_varz_connections", "nats_jetstream_storage_limit_bytes"] {
        assert!(bench.one(name, "nats").is_some(), "{name}");
    }
    assert_eq!((bench.one("gnatsd_healthz_status", "nats"), bench.problem("nats").as_str()), (Some(0.0), ""));
    bench.eventually("the bus is a connection", |bench| bench.one("gnatsd_connz_rtt", "nats") > Some(0.0)).await;
    assert!(bench.one("gnatsd_connz_uptime", "nats").is_some() && bench.one("gnatsd_connz_idle", "nats").is_some());

    let deps = bus::Deps {
        tasks: bench.tasks.clone(),
        registry: Registry::default(),
        clock: Clock::system(),
        disk: FaultyDisk::new(1).shared(),
    };
    let other = Bus::start(uplink("other"), deps);
    let subject: Subject = "telemetry.remote1.temp".parse().unwrap();
    for _ in 0..100 {
        let _ = other.publish(bus::Message::new(subject.clone(), "33.5")).await;
        if bench.one("telemetry_temp", "devices").is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let heard = bench.newest("telemetry_temp", MatchOp::Equal);
    let (labels, value) = heard.into_iter().next().unwrap();
    assert_eq!((labels.get("device_id"), value), (Some("remote1"), 33.5));

    drop(peer);
    bench.eventually("the server is down", |bench| bench.one("up", "nats") == Some(0.0)).await;
    let gone = bench.one("gnatsd_varz_connections", "nats").unwrap();
    assert!(andon::model::is_stale(gone), "its figures end with it");
}

/// Settings of a server whose accounts are made by tokens; one has limits by tiers: its key, and credentials for it.
fn with_tiers(port: u16, monitoring: u16, folder: &str) -> (String, String, String) {
    let (operator, plant, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let nats = json!({ "type": "operator", "version": 2 });
    let operator_jwt = jwt(&operator, &operator.public_key(), "operator", None, &nats);
    let account = |key: &KeyPair, name: &str, more: serde_json::Value| {
        let mut limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1 });
        limits.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let nats = json!({ "limits": limits, "default_permissions": { "pub": {}, "sub": {} }, "type": "account",
            "version": 2 });
        format!("{}: {}", key.public_key(), jwt(&operator, &key.public_key(), name, None, &nats))
    };
    let tier = json!({ "mem_storage": 1000, "disk_storage": 20000, "streams": 5, "consumer": -1 });
    let settings = format!(
        "listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitoring}\njetstream {{ store_dir: {folder:?} }}\n\
         operator: {operator_jwt}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}\n",
        system.public_key(),
        account(&plant, "plant", json!({ "tiered_limits": { "R1": tier } })),
        account(&system, "system", json!({})),
    );
    (settings, plant.public_key(), user(&plant, &KeyPair::new_user(), None))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_nats_account_by_tiers_are_read_from_its_token() {
    let (port, monitoring, folder) = (free_port(), free_port(), tempfile::tempdir().unwrap());
    let (settings, key, credentials) = with_tiers(port, monitoring, folder.path().to_str().unwrap());
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, settings).unwrap();
    let credentials_file = folder.path().join("box.creds");
    std::fs::write(&credentials_file, credentials).unwrap();
    let _peer = Peer::start("nats-server", &["-c", file.to_str().unwrap()]);
    let nats = NatsConfig {
        job: "nats".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        servers: vec![NatsServer { url: format!("http://127.0.0.1:{monitoring}"), instance: "nats".to_owned() }],
        connections_max: 100,
        streams_max: 100,
    };
    // A server knows an account when somebody of it is there.
    let uplink = bus::NatsConfig {
        credentials: bus::Credentials::File(credentials_file),
        ..bus::NatsConfig::new(vec![format!("nats://127.0.0.1:{port}")])
    };
    let bench = Bench::start(collect::Config { nats: Some(nats), ..config() }, Some(uplink));
    bench
        .eventually("a tier is there", |bench| bench.one("jetstream_account_tier_max_streams", "nats").is_some())
        .await;
    for (name, expected) in
        [("max_memory", 1000.0), ("max_storage", 20_000.0), ("max_streams", 5.0), ("max_consumers", -1.0)]
    {
        let found = bench.newest(&format!("jetstream_account_tier_{name}"), MatchOp::Equal);
        let (labels, value) = found.into_iter().next().unwrap();
        let of = ["account", "account_name", "account_id", "tier"].map(|label| labels.get(label).unwrap_or_default());
        assert_eq!((of, value), (["plant", "plant", key.as_str(), "R1"], expected), "{name}");
    }
    assert_eq!(bench.problem("nats"), "", "every page reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn device_messages_become_samples_and_lines() {
    let bench = Bench::start(config(), None);
    let send = |subject: &str, payload: &str| {
        let message = DeviceMessage {
            device_id: "press1".to_owned(),
            device_type: "sensor".to_owned(),
            subject: subject.to_owned(),
            payload: payload.to_owned().into(),
            received_at: Clock::system().now(),
            moved_ms: 0,
            origin: Origin::Gateway,
        };
        bench.messages.try_send(message).unwrap();
    };
    send("factory.line1.status", r#"{"lineState":"fault"}"#);
    send("telemetry.press1.temp", "71.5");
    send("logs.press1", r#"{"level":"warn","message":"hot","password":"hunter2"}"#);
    send("devices.press1.stats", r#"{"bufferSize":4}"#);
    let presence = DevicePresence {
        device_id: "press1".to_owned(),
        device_type: "sensor".to_owned(),
        is_connected: true,
        since: None,
        last_seen: None,
    };
    bench.presence.send_replace(Arc::new(vec![presence]));

    bench.eventually("the device is connected", |b| b.one("device_connection_state", "devices") == Some(1.0)).await;
    bench.eventually("its buffer is known", |b| b.one("device_buffer_size", "devices") == Some(4.0)).await;
    assert_eq!(bench.one("factory_line_state", "devices"), Some(2.0));
    assert_eq!(bench.one("telemetry_temp", "devices"), Some(71.5));
    let lines = bench.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].stream.get("level"), Some("warning"));
    assert_eq!(lines[0].line, r#"{"level":"warn","message":"hot","password":"***"}"#);
    let snapshot = bench.collector.snapshot();
    assert_eq!((snapshot.telemetry.messages, snapshot.telemetry.log_lines), (4, 1));
    assert_eq!(snapshot.telemetry.devices[0].device_id, "press1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_instruments_are_stored_and_a_reload_ends_what_is_gone() {
    let bench = Bench::start(collect::Config { host: Some(host()), ..config() }, None);
    bench.eventually("the host is up", |bench| bench.one("up", "host") == Some(1.0)).await;
    bench.eventually("the gateway's job is up", |bench| bench.one("up", "gateway") == Some(1.0)).await;
    bench.eventually("the process is read", |b| b.one("process_resident_memory_bytes", "andon").is_some()).await;
    let sources = |bench: &Bench| bench.collector.snapshot().sources.iter().map(|s| s.job.clone()).collect::<Vec<_>>();
    assert_eq!(sources(&bench), ["host", "gateway", "andon", "devices"]);
    let all_up = |bench: &Bench| bench.collector.snapshot().sources.iter().all(|source| source.health == Health::Up);
    bench.eventually("all are up", all_up).await;

    bench.collector.reload(config());
    assert_eq!(sources(&bench), ["gateway", "andon", "devices"]);
    bench
        .eventually("the host's series end", |bench| {
            bench.one("node_load1", "host").is_some_and(andon::model::is_stale)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_over_its_limit_keeps_its_old_series_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let config = andon::storage::tsdb::Config {
            retention: Duration::from_secs(3600),
            wal_sync: andon::storage::tsdb::WalSync::Never,
            series_max: 1000,
            ahead_max: Duration::from_secs(600),
        };
        let disk = Arc::new(andon::storage::disk::OsDisk);
        Db::open(config, disk, folder.path(), Clock::system(), &Registry::default()).unwrap()
    };
    let limits = collect::Limits { series_per_device_max: 5, ..collect::Limits::default() };
    for round in 0..2_u32 {
        let bench = Bench::start_over(open(), collect::Config { limits, ..config() }, None);
        let send = |device: &str, metric: &str, value: u32| {
            let message = DeviceMessage {
                device_id: device.to_owned(),
                device_type: "sensor".to_owned(),
                subject: format!("telemetry.{device}.{metric}"),
                payload: value.to_string().into(),
                received_at: Clock::system().now(),
                moved_ms: 0,
                origin: Origin::Gateway,
            };
            bench.messages.try_send(message).unwrap();
        };
        // The one whose names never end, and a good one.
        send("press1", "temp", 100 + round);
        (0..20).for_each(|i| send("press1", &format!("order{}", round * 100 + i), 1));
        send("press2", "temp", 200 + round);
        let value = |bench: &Bench, device: &str| {
            let found = bench.newest("telemetry_temp", MatchOp::Equal).into_iter();
            found.filter(|(labels, _)| labels.get("device_id") == Some(device)).map(|(_, value)| value).next()
        };
        bench
            .eventually("both temperatures are taken", |bench| {
                value(bench, "press1") == Some(f64::from(100 + round))
                    && value(bench, "press2") == Some(f64::from(200 + round))
            })
            .await;
        let snapshot = bench.collector.snapshot();
        let press = snapshot.telemetry.devices.iter().find(|d| d.device_id == "press1").unwrap();
        assert_eq!((press.series, press.refused), (5, if round == 0 { 16 } else { 20 }));
        let refused = &snapshot.refused[0];
        assert_eq!(
            (refused.supplier.to_string(), refused.series, refused.series_max),
            ("device press1".to_owned(), 5, 5)
        );
        let remedy = refused.remedy().unwrap();
        assert!(remedy.starts_with("telemetry:\n  metric_relabel_configs:\n") && remedy.contains("telemetry_order"));
        bench.db.close();
    }
}
