//! Limits through the front door: a target, a sender and a device each with a label whose values never end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use andon::model::Labels;
use andon::wire::remote_write::Encoder;

use crate::support::program::{Answer, Program};

/// A target with one good series and some that have a label with another value each time.
struct Target {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Target {
    fn start() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (end, next) = (is_over.clone(), AtomicU64::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (mut stream, mut head) = (stream, [0; 4096]);
                let _ = stream.read(&mut head);
                let mut body = "machine_temperature 71.5\n".to_owned();
                for _ in 0..20 {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    body += &format!("http_requests_total{{code=\"200\",request_id=\"r-{id:06}\"}} 1\n");
                }
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Target { address, is_over }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(self.address);
    }
}

fn settings(scrape: &str) -> String {
    format!(
        "storage:\n  metrics:\n    series_per_target_limit: 60\n    series_per_sender_limit: 50\n    label_limit: 8\n\
         host:\n  enabled: false\n{scrape}"
    )
}

fn write(program: &Program, orders: std::ops::Range<u32>, more: &[(&str, &str)]) -> Answer {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut encoder = Encoder::new();
    for order in orders {
        let order = format!("o-{order:06}");
        let mut pairs = vec![("__name__", "orders_total"), ("job", "shop"), ("order_id", order.as_str())];
        pairs.extend(more);
        let at = i64::try_from(now.as_millis()).unwrap();
        encoder.push(&Labels::from_pairs(pairs), std::iter::once((at, 1.0)));
    }
    program.request("POST", "/api/v1/write", "application/x-protobuf", &encoder.finish().unwrap()).unwrap()
}

/// Returns the value of one of Andon's own metrics.
fn own(program: &Program, series: &str) -> f64 {
    let text = program.get("/metrics").unwrap().body;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or(0.0)
}

fn query(program: &Program, expression: &str) -> String {
    let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = program.get(&format!("/api/v1/query?query={escaped}")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "it did not come true that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_sender_over_its_limit_is_told_so_and_its_old_series_are_taken_also_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path(), &settings(""));
    assert_eq!(write(&program, 0..30, &[]).status, 204);
    let answer = write(&program, 20..60, &[]);
    assert_eq!(answer.status, 429, "{}", answer.body);
    let head = answer.head.to_lowercase();
    assert!(head.contains("retry-after: ") && head.contains("andon-refused: new-series"), "{head}");
    assert!(head.contains("samples-written: 30"), "{head}");
    for words in ["sender 127.0.0.1 has 50 series", "metric orders_total, label order_id", "10 of 40 samples"] {
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    for _ in 0..2 {
        assert_eq!(write(&program, 0..50, &[]).status, 204, "old series are taken");
        assert_eq!(write(&program, 1000..1001, &[]).status, 429, "new ones are not");
        program.kill();
        program = Program::start(folder.path(), &settings(""));
    }
    let labels: Vec<(String, String)> = (0..9).map(|i| (format!("l{i}"), "x".to_owned())).collect();
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let answer = write(&program, 0..1, &labels);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("series orders_total{") && answer.body.contains("more than 8 labels"),
        "{}",
        answer.body
    );
}

fn scrape_config(target: &Target, more: &str) -> String {
    format!(
        "scrape_configs:\n  - job_name: web\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    \
         static_configs: [{{targets: ['{}']}}]\n{more}",
        target.address
    )
}

#[test]
fn a_target_over_its_limit_keeps_its_old_series_and_the_page_has_the_rule_that_mends_it() {
    let (folder, target) = (tempfile::tempdir().unwrap(), Target::start());
    let refused = format!(
        "andon_collect_source_samples_refused_total{{reason=\"over_source_limit\",source=\"target web/{}\"}}",
        target.address
    );
    let mut program = Program::start(folder.path(), &settings(&scrape_config(&target, "")));
    eventually("new series are refused", || own(&program, &refused) > 40.0);
    let up = |program: &Program| query(program, "up{job=\"web\"}").contains(",\"1\"]");
    assert!(up(&program) && query(&program, "machine_temperature").contains("\"71.5\""));

    // Killed and started again: what is there stays on its account.
    program.kill();
    program = Program::start(folder.path(), &settings(&scrape_config(&target, "")));
    eventually("they are refused again", || own(&program, &refused) > 40.0);
    eventually("the target is up", || up(&program));
    let series = query(&program, "count(last_over_time({job=\"web\",instance!=\"\"}[1h]))");
    assert!(series.contains(",\"65\"]"), "60 and the five of the report: {series}");
    assert!(query(&program, "machine_temperature").contains("\"71.5\""), "old series are taken");

    // The page has the rule; with it nothing is refused any more.
    let page = program.get("/targets").unwrap().body;
    let rule = page.split("<pre class=\"whole\">").nth(1).unwrap().split("</pre>").next().unwrap();
    let rule = rule.replace("&#39;", "'").replace("&#x27;", "'");
    assert!(page.contains(&format!("target web/{}", target.address)) && page.contains("request_id"));
    let block: Vec<&str> = rule.lines().skip_while(|line| !line.contains("metric_relabel_configs")).collect();
    assert!(!block.is_empty(), "{rule}");
    program.kill();
    let mended = scrape_config(&target, &format!("{}\n", block.join("\n")));
    program = Program::start(folder.path(), &settings(&mended));
    let left = "count_over_time((scrape_samples_post_metric_relabeling{job=\"web\"} == 1)[1m:1s])";
    eventually("three scrapes gave the good series alone", || query(&program, left).contains(",\"3\"]"));
    assert_eq!(own(&program, &refused), 0.0, "{block:?}");
}

/// Answers as Prometheus does: the whole scrape fails, in its words, and all that was counted is reported.
#[test]
fn the_limits_of_prometheus_fail_the_scrape_as_there() {
    let (folder, target) = (tempfile::tempdir().unwrap(), Target::start());
    let check = |more: &str, error: &str| {
        let path = folder.path().join(error.len().to_string());
        std::fs::create_dir_all(&path).unwrap();
        let program = Program::start(&path, &settings(&scrape_config(&target, &format!("    {more}\n"))));
        eventually("the scrape fails", || query(&program, "up{job=~\"web|other\"} == 0").contains(",\"0\"]"));
        let targets = program.get("/api/v1/targets").unwrap().body;
        assert!(targets.contains(error), "{error}: {targets}");
        program
    };
    let program = check("sample_limit: 10", "\"lastError\":\"sample limit exceeded\"");
    let counted = |name: &str| query(&program, &format!("{name}{{job=\"web\"}}"));
    assert!(counted("scrape_samples_scraped").contains(",\"21\"]"));
    assert!(counted("scrape_samples_post_metric_relabeling").contains(",\"21\"]"));
    check("label_limit: 4", "label_limit exceeded (metric: http_requests_total, number of labels: 5, limit: 4)");
    let two = format!("['{}', '127.0.0.1:1']", target.address);
    check(
        &format!(
            "target_limit: 1\n  - job_name: other\n    scrape_interval: 1s\n    target_limit: 1\n    \
                  static_configs: [{{targets: {two}}}]"
        ),
        "target_limit exceeded (number of targets: 2, limit: 1)",
    );
    check("label_value_length_limit: 3", "label_value_length_limit exceeded (metric: ");
}
