use std::collections::BTreeMap;
use std::io::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::collect::config::Limits;
use crate::collect::snapshot::Health;
use crate::instrument::Registry;
use crate::model::{
    AnchoredRegex, Matcher, MetricKind, RelabelAction, RelabelRule, Secret, Timestamp, format_duration, is_stale,
};

const NOW_MS: i64 = 1_700_000_000_000;

/// What the test's server answers next, and what it was asked last.
#[derive(Debug, Clone, Default)]
struct Served {
    head: String,
    body: Vec<u8>,
    asked: String,
}

/// A target on loopback; ends with the test's runtime.
struct Server {
    address: String,
    served: Arc<Mutex<Served>>,
}

impl Server {
    async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = Arc::new(Mutex::new(Served { head: "200 OK\r\n".to_owned(), ..Served::default() }));
        let shared = served.clone();
        tasks.spawn("test target", OnPanic::EndTask, async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match socket.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => break,
                    }
                }
                let answer = {
                    let mut served = shared.lock().unwrap();
                    served.asked = String::from_utf8(request).unwrap();
                    let head = format!(
                        "HTTP/1.1 {}Content-Length: {}\r\nConnection: close\r\n\r\n",
                        served.head,
                        served.body.len()
                    );
                    [head.as_bytes(), &served.body].concat()
                };
                let _ = socket.write_all(&answer).await;
            }
        });
        Server { address, served }
    }

    fn answer(&self, head: &str, body: impl Into<Vec<u8>>) {
        let mut served = self.served.lock().unwrap();
        served.head = head.to_owned();
        served.body = body.into();
    }

    fn asked(&self) -> String {
        self.served.lock().unwrap().asked.clone()
    }
}

fn job(addresses: &[&str]) -> Job {
    Job {
        name: "node".to_owned(),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(5),
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
        static_groups: vec![TargetGroup {
            targets: addresses.iter().map(|a| (*a).to_owned()).collect(),
            labels: Labels::empty(),
        }],
        file_groups: Vec::new(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        http: HttpClient {
            authorization: Authorization::None,
            tls: Tls::default(),
            follow_redirects: true,
            compression: true,
        },
    }
}

fn rule(action: RelabelAction, source: &str, regex: &str, target: &str, replacement: &str) -> RelabelRule {
    RelabelRule {
        source_labels: vec![source.to_owned()],
        separator: ";".to_owned(),
        regex: AnchoredRegex::new(regex).unwrap(),
        modulus: 1,
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        action,
    }
}

/// One target under test, scraped by hand every 15 s.
struct Bench {
    server: Server,
    db: Db,
    task: ScrapeLoop,
    handle: Handle,
    at_ms: i64,
    tasks: Tasks,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut Job)) -> Self {
        let tasks = Tasks::new(1);
        let server = Server::start(&tasks).await;
        let mut job = job(&[&server.address]);
        change(&mut job);
        let db = Db::in_memory();
        let clock = Clock::hand_set(Timestamp::from_millis(NOW_MS));
        let sinks = Sinks {
            db: db.clone(),
            intake: Intake::new(db.clone(), clock.clone(), Limits::default(), &Registry::default()),
            clock,
            instruments: Instruments::new(&Registry::default()),
            buffers: Buffers::default(),
        };
        let Made::Target(target) = target::make(&job, &server.address, &Labels::empty()) else { panic!("no target") };
        let fetcher = Fetcher::new(&job.http);
        let (task, handle) =
            ScrapeLoop::new(Arc::new(job), *target, fetcher, Forced::default(), sinks, CancellationToken::new());
        Bench { server, db, task, handle, at_ms: NOW_MS, tasks }
    }

    /// Scrapes `body` 15 s after the last time and returns what the store got then, without the report.
    async fn scrape(&mut self, body: &str) -> BTreeMap<String, String> {
        self.server.answer("200 OK\r\n", body);
        self.again().await
    }

    async fn again(&mut self) -> BTreeMap<String, String> {
        self.at_ms += 15_000;
        self.task.scrape(crate::clock::Stamp { at: Timestamp::from_millis(self.at_ms), moved_ms: 0 }).await;
        let mut all = self.at(self.at_ms);
        all.retain(|name, _| !name.starts_with("scrape_") && !name.starts_with("up{"));
        all
    }

    fn at(&self, at_ms: i64) -> BTreeMap<String, String> {
        let at = Timestamp::from_millis(at_ms);
        let every = [Matcher::new("job", crate::model::MatchOp::Regex, ".*").unwrap()];
        let set = self.db.querier().select(&every, at, at, 10_000).unwrap().map(Result::unwrap);
        set.map(|series| {
            let value = series.values[0];
            let text = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
            (series.labels.to_string().replace(&self.server.address, "ADDR"), text)
        })
        .collect()
    }

    fn report(&self) -> [String; 4] {
        let all = self.at(self.at_ms);
        let get = |name: &str| all.iter().find(|(n, _)| n.starts_with(name)).unwrap().1.clone();
        [
            get("up{"),
            get("scrape_samples_scraped{"),
            get("scrape_samples_post_metric_relabeling{"),
            get("scrape_series_added{"),
        ]
    }

    fn error(&self) -> String {
        self.handle.status.lock().unwrap().last_error.clone()
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

#[tokio::test]
async fn a_scrape_gives_samples_and_a_report() {
    let mut bench = Bench::new(|_| {}).await;
    let got = bench.scrape("# TYPE a counter\n# HELP a What.\na{x=\"1\"} 5\nb 6").await;
    assert_eq!(
        got,
        map(&[("a{instance=\"ADDR\", job=\"node\", x=\"1\"}", "5"), ("b{instance=\"ADDR\", job=\"node\"}", "6")])
    );
    assert_eq!(bench.report(), ["1", "2", "2", "2"]);
    bench.scrape("a{x=\"1\"} 7\nb 6").await;
    assert_eq!(bench.report(), ["1", "2", "2", "0"]);
    let metadata = bench.db.metadata();
    assert_eq!(
        (metadata[0].0.as_str(), metadata[0].1.kind, metadata[0].1.help.as_str()),
        ("a", MetricKind::Counter, "What.")
    );
    let status = bench.handle.status.lock().unwrap().clone();
    assert_eq!((status.health, status.samples, status.last_error.as_str()), (Health::Up, 2, ""));
    assert!(status.url.ends_with("/metrics"));
}

#[tokio::test]
async fn what_vanishes_gets_a_staleness_marker_once() {
    let mut bench = Bench::new(|_| {}).await;
    bench.scrape("a 1\nb 1\nc 1 1700000000000").await;
    let got = bench.scrape("a 1").await;
    assert_eq!(
        got,
        map(&[("a{instance=\"ADDR\", job=\"node\"}", "1"), ("b{instance=\"ADDR\", job=\"node\"}", "stale")])
    );
    assert_eq!(bench.scrape("a 1").await.len(), 1);
    assert_eq!(bench.scrape("a 1\nb 2").await.len(), 2, "and it may come back");
}

#[tokio::test]
async fn a_failed_scrape_ends_all_series_and_keeps_nothing_of_its_body() {
    let mut bench = Bench::new(|_| {}).await;
    bench.scrape("a 1").await;
    let got = bench.scrape("a 2\nd 1\nb{ 3").await;
    assert_eq!(got, map(&[("a{instance=\"ADDR\", job=\"node\"}", "stale")]));
    assert_eq!(bench.report(), ["0", "2", "2", "0"]);
    assert_eq!(bench.error(), "line 3: a label set is not closed");
    assert_eq!(bench.scrape("a 3").await, map(&[("a{instance=\"ADDR\", job=\"node\"}", "3")]));

    bench.server.answer("503 Service Unavailable\r\n", "busy");
    bench.again().await;
    assert_eq!(bench.error(), "server returned HTTP status 503 Service Unavailable");
    bench.tasks.token(Phase::Intake).cancel();
}

#[tokio::test]
async fn a_target_that_is_not_there_says_so() {
    let mut bench = Bench::new(|job| job.metrics_path = "/m".to_owned()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    bench.task = {
        let job = job(&[]);
        let Made::Target(target) = target::make(&job, &closed.to_string(), &Labels::empty()) else {
            panic!("no target")
        };
        let clock = Clock::hand_set(Timestamp::from_millis(NOW_MS));
        let sinks = Sinks {
            db: bench.db.clone(),
            intake: Intake::new(bench.db.clone(), clock.clone(), Limits::default(), &Registry::default()),
            clock,
            instruments: Instruments::new(&Registry::default()),
            buffers: Buffers::default(),
        };
        let (task, handle) = ScrapeLoop::new(
            Arc::new(job.clone()),
            *target,
            Fetcher::new(&job.http),
            Forced::default(),
            sinks,
            CancellationToken::new(),
        );
        bench.handle = handle;
        task
    };
    bench.again().await;
    assert!(bench.error().contains("onnection refused"), "{}", bench.error());
}

#[tokio::test]
async fn labels_of_ours_win_unless_they_are_honored() {
    let body = "a{job=\"theirs\",instance=\"x\",exported_job=\"old\"} 1";
    let mut bench = Bench::new(|_| {}).await;
    assert_eq!(
        bench.scrape(body).await,
        map(&[(
            "a{exported_exported_job=\"theirs\", exported_instance=\"x\", exported_job=\"old\", instance=\"ADDR\", job=\"node\"}",
            "1"
        )])
    );
    let mut bench = Bench::new(|job| job.honor_labels = true).await;
    assert_eq!(bench.scrape(body).await, map(&[("a{exported_job=\"old\", instance=\"x\", job=\"theirs\"}", "1")]));
}

#[tokio::test]
async fn metrics_are_relabelled_and_dropped() {
    let mut bench = Bench::new(|job| {
        job.metric_relabel = vec![
            rule(RelabelAction::Drop, "__name__", "go_.*", "", ""),
            rule(RelabelAction::Replace, "x", "(.+)", "y", "$1!"),
        ];
    })
    .await;
    for _ in 0..2 {
        let got = bench.scrape("go_a 1\nb{x=\"1\"} 2").await;
        assert_eq!(got, map(&[("b{instance=\"ADDR\", job=\"node\", x=\"1\", y=\"1!\"}", "2")]));
    }
    assert_eq!(bench.report(), ["1", "2", "1", "0"]);
}

#[tokio::test]
async fn limits_fail_the_scrape_by_name() {
    let at = |change: fn(&mut Job), body: &'static str| async move {
        let mut bench = Bench::new(change).await;
        bench.scrape(body).await;
        bench.error()
    };
    assert_eq!(at(|j| j.sample_limit = 2, "a 1\nb 1").await, "");
    assert_eq!(at(|j| j.sample_limit = 2, "a 1\nb 1\nc 1").await, "sample limit exceeded");
    assert_eq!(at(|j| j.label_limit = 4, "a{x=\"1\"} 1").await, "");
    assert_eq!(
        at(|j| j.label_limit = 3, "a{x=\"1\"} 1").await,
        "label_limit exceeded (metric: a, number of labels: 4, limit: 3)"
    );
    assert_eq!(
        at(|j| j.label_name_length_limit = 8, "a{long_name=\"1\"} 1").await,
        "label_name_length_limit exceeded (metric: a, label name: long_name, length: 9, limit: 8)"
    );
    assert_eq!(
        at(|j| j.label_value_length_limit = 30, "a{x=\"1234567890123456789012345678901\"} 1").await,
        "label_value_length_limit exceeded (metric: a, label name: x, value: \"1234567890123456789012345678901\", length: 31, limit: 30)"
    );
    assert_eq!(at(|j| j.body_size_limit = 3, "a 1").await, "");
    assert_eq!(at(|j| j.body_size_limit = 3, "a 12").await, "body size limit exceeded");
}

#[tokio::test]
async fn times_of_the_target_count_if_honored_and_believable() {
    let body = format!("a 1 {}\nb 2 {}", NOW_MS - 1, NOW_MS + 15_000 + 600_001);
    let mut bench = Bench::new(|_| {}).await;
    assert_eq!(bench.scrape(&body).await.len(), 0);
    assert_eq!(bench.at(NOW_MS - 1).len(), 1);
    assert_eq!(bench.report(), ["1", "2", "2", "1"]);
    let mut bench = Bench::new(|job| job.honor_timestamps = false).await;
    assert_eq!(bench.scrape(&body).await.len(), 2);
}

#[tokio::test]
async fn packed_bodies_are_unpacked_and_bounded() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(format!("a 1\n{}", "#\n".repeat(100_000)).as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    assert!(packed.len() < 1000);
    let mut bench = Bench::new(|_| {}).await;
    bench.server.answer("200 OK\r\nContent-Encoding: gzip\r\n", packed.clone());
    assert_eq!(bench.again().await.len(), 1);
    // Not asked for on the same machine, but taken.
    assert!(bench.server.asked().to_lowercase().contains("accept-encoding: identity"));

    let mut bench = Bench::new(|job| job.body_size_limit = 100_000).await;
    bench.server.answer("200 OK\r\nContent-Encoding: gzip\r\n", packed);
    bench.again().await;
    assert_eq!(bench.error(), "body size limit exceeded");
}

#[tokio::test]
async fn the_request_says_who_and_what() {
    let mut bench = Bench::new(|job| {
        job.params = vec![("module".to_owned(), vec!["http 2xx".to_owned(), "b".to_owned()])];
        job.http.authorization = Authorization::Basic { username: "u".to_owned(), password: Secret::new("p") };
    })
    .await;
    bench.scrape("a 1").await;
    let asked = bench.server.asked();
    assert!(asked.starts_with("GET /metrics?module=http+2xx&module=b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Basic dTpw"), "{asked}");
    assert!(asked.contains("x-prometheus-scrape-timeout-seconds: 5"), "{asked}");

    let mut bench = Bench::new(|job| {
        job.http.authorization = Authorization::Token { kind: "Bearer".to_owned(), credentials: Secret::new("t") };
        job.http.compression = false;
    })
    .await;
    bench.scrape("a 1").await;
    assert!(bench.server.asked().contains("authorization: Bearer t"));
    assert!(!bench.server.asked().contains("gzip"));
}

#[tokio::test]
async fn a_removed_target_ends_its_series() {
    let mut bench = Bench::new(|_| {}).await;
    bench.scrape("a 1").await;
    bench.handle.remove();
    bench.task.run().await;
    let every = [Matcher::new("job", crate::model::MatchOp::Regex, ".+").unwrap()];
    let all = bench.db.querier().select(&every, Timestamp::MIN, Timestamp::MAX, 100).unwrap().map(Result::unwrap);
    let stale = all.filter(|series| series.values.iter().any(|value| is_stale(*value))).count();
    assert_eq!(stale, 6, "a and the five of the report");
}

#[track_caller]
fn check_target(job: &Job, address: &str, expected: &str) {
    let got = match target::make(job, address, &Labels::from_pairs([("__meta_x", "m"), ("line", "1")])) {
        Made::Target(target) => format!("{} {} {}", target.url, target.labels, format_duration(target.interval)),
        Made::Dropped(_) => "dropped".to_owned(),
        Made::Invalid(problem) => problem,
    };
    assert_eq!(got, expected);
}

#[test]
fn an_address_becomes_a_target() {
    use RelabelAction::{Drop, Replace};
    let mut plain = job(&[]);
    check_target(&plain, "h:9", "http://h:9/metrics {instance=\"h:9\", job=\"node\", line=\"1\"} 15s");
    check_target(&plain, "h/x", "target h/x: \"h/x\" is no host with a port");
    check_target(&plain, "[::1]:9", "http://[::1]:9/metrics {instance=\"[::1]:9\", job=\"node\", line=\"1\"} 15s");

    // The blackbox exporter's way: the address becomes a parameter, the exporter's takes its place.
    plain.metrics_path = "/probe".to_owned();
    plain.params = vec![("module".to_owned(), vec!["http_2xx".to_owned()])];
    plain.relabel = vec![
        rule(Replace, "__address__", "(.*)", "__param_target", "$1"),
        rule(Replace, "__param_target", "(.*)", "instance", "$1"),
        rule(Replace, "none", "(.*)", "__address__", "exporter:9115"),
        rule(Replace, "__meta_x", "(.*)", "x", "$1"),
    ];
    check_target(
        &plain,
        "http://site/a",
        "http://exporter:9115/probe?module=http_2xx&target=http%3A%2F%2Fsite%2Fa {instance=\"http://site/a\", job=\"node\", line=\"1\", x=\"m\"} 15s",
    );
    plain.relabel = vec![rule(Replace, "none", "(.*)", "__scrape_interval__", "1m")];
    check_target(&plain, "h:9", "http://h:9/probe?module=http_2xx {instance=\"h:9\", job=\"node\", line=\"1\"} 1m");
    plain.relabel = vec![rule(Replace, "none", "(.*)", "__scrape_interval__", "1s")];
    check_target(&plain, "h:9", "target h:9: scrape timeout must be above 0 and not above the interval");
    plain.relabel = vec![rule(Drop, "__address__", "h.*", "", "")];
    check_target(&plain, "h:9", "dropped");
}

#[tokio::test]
async fn jobs_come_and_go_with_a_reload() {
    let tasks = Tasks::new(1);
    let server = Server::start(&tasks).await;
    let db = Db::in_memory();
    let (first, second) = (server.address.as_str(), "127.0.0.1:1");
    let sinks = crate::collect::source::Sinks {
        db: db.clone(),
        clock: Clock::system(),
        tasks: tasks.clone(),
        instruments: Instruments::new(&Registry::default()),
    };
    let intake = Intake::new(db.clone(), Clock::system(), Limits::default(), &Registry::default());
    let mut one = job(&[first]);
    one.interval = Duration::from_millis(50);
    one.timeout = Duration::from_millis(50);
    server.answer("200 OK\r\n", "a 1");
    let scraper = Scraper::start(vec![one.clone()], &sinks, intake);
    eventually(|| scraper.snapshot().iter().any(|j| j.targets.iter().any(|t| t.health == Health::Up))).await;

    one.static_groups[0].targets = vec![first.to_owned(), second.to_owned()];
    scraper.reload(vec![one.clone()]);
    eventually(|| scraper.snapshot()[0].targets.iter().any(|t| t.health == Health::Down)).await;
    let up = scraper.snapshot()[0].targets.iter().filter(|t| t.health == Health::Up).count();
    assert_eq!(up, 1, "the target that stayed was not begun anew");

    scraper.reload(Vec::new());
    eventually(|| tasks.running().iter().all(|name| !name.starts_with("collect scrape http"))).await;
    assert!(scraper.snapshot().is_empty());
    tasks.token(Phase::Intake).cancel();
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come true within 5 s");
}
