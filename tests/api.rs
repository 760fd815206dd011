//! Prometheus's API of the real program, and the commands that ask it.

use std::time::{Duration, Instant};

use andon::model::Labels;
use andon::wire::remote_write::{Encoder, Entry, Part, Reader};
use serde_json::Value;

use crate::support::program::{Answer, Program, say};

const PROTOBUF: &str = "application/x-protobuf";

/// A box that collects nothing by itself.
const QUIET: &str = "host: {enabled: false}\nrule_packs: []\n";

fn now_ms() -> i64 {
    andon::clock::Clock::system().now().as_millis()
}

/// Labels and samples of a series.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn body(series: &[Series<'_>]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for (labels, samples) in series {
        encoder.push(&Labels::from_pairs(labels.iter().copied()), samples.iter().copied());
    }
    encoder.finish().unwrap()
}

fn write(program: &Program, body: &[u8]) -> Answer {
    program.request("POST", "/api/v1/write", PROTOBUF, body).unwrap()
}

fn data(program: &Program, path: &str) -> Value {
    let answer = program.get(path).unwrap();
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let mut answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["status"], "success", "{path}");
    answer["data"].take()
}

#[test]
fn what_is_pushed_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), QUIET);
    let now = now_ms();
    let labels: &[(&str, &str)] = &[("__name__", "pushed"), ("line", "1")];
    let answer = write(&program, &body(&[(labels, &[(now - 2000, 1.0), (now - 1000, 2.0)])]));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let found = data(&program, "/api/v1/query?query=pushed");
    assert_eq!(found["result"][0]["value"][1], "2", "{found}");

    let url = format!("http://{}", program.address);
    let said = say(&["query", "--url", &url, "pushed", "--format", "csv"]);
    assert!(said.out.ends_with(",\"pushed{line=\"\"1\"\"}\",\"2\"\n"), "{said:?}");
    let said = say(&["query", "--url", &url, "pushed[1m]", "--format", "table"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 2), "{said:?}");
    let said = say(&["query", "series", "--url", &url, "pushed"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "pushed{line=\"1\"}\n"), "{said:?}");
    let said = say(&["query", "labels", "--url", &url, "--match", "pushed", "line", "--format", "csv"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "label\n\"1\"\n"), "{said:?}");
    let said = say(&["query", "labels", "--url", &url, "--match", "pushed"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "__name__\nline\n"), "{said:?}");
    let said = say(&["query", "--url", &url, "sum("]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("parse error"), "{said:?}");
}

#[test]
fn what_cannot_be_taken_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &format!("{QUIET}http: {{body_size_limit: 100KB}}\n"));
    let good: &[(&str, &str)] = &[("__name__", "good")];
    let now = now_ms();
    let answer = write(&program, &body(&[(good, &[(now, 1.0)]), (&[("__name__", "")], &[(now, 1.0)])]));
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("1 of 2 samples refused, the others are kept: "), "{answer:?}");
    assert_eq!(data(&program, "/api/v1/query?query=good")["result"].as_array().unwrap().len(), 1);

    assert_eq!(write(&program, b"garbage").status, 400);
    assert_eq!(write(&program, &[0xff, 0xff, 0xff, 0xff, 0x07, 0]).status, 413);
    assert_eq!(write(&program, &vec![0; 200 << 10]).status, 413);
    let answer = program.request("POST", "/api/v1/write", "application/json", b"{}").unwrap();
    assert_eq!(answer.status, 415);
    let version_3 = "application/x-protobuf;proto=io.prometheus.write.v3.Request";
    let answer = program.request("POST", "/api/v1/write", version_3, b"").unwrap();
    assert_eq!(answer.status, 415, "{answer:?}");
    assert_eq!(program.get("/api/v1/write").unwrap().status, 405);
}

/// A field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn remote_write_2_is_taken_and_says_how_much_was_written() {
    const VERSION_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), QUIET);
    let now = varint(now_ms().cast_unsigned());
    let table: Vec<u8> = ["", "__name__", "boots_total", "host", "a", "Boots.", "h"]
        .iter()
        .flat_map(|s| field(4, s.as_bytes()))
        .collect();
    let sample = field(2, &[&[0x09][..], &2.5f64.to_le_bytes(), &[0x10], &now].concat());
    let counter = field(5, &[0x08, 1, 0x18, 5]);
    let series = |labels: &[u8], rest: &[u8]| field(5, &[&field(1, labels), rest].concat());
    let pack = |parts: &[&[u8]]| snap::raw::Encoder::new().compress_vec(&parts.concat()).unwrap();
    let send = |body: &[u8]| program.request("POST", "/api/v1/write", VERSION_2, body).unwrap();
    let written = |answer: &Answer| {
        let head = answer.head.to_lowercase();
        let count = |kind: &str| {
            let name = format!("x-prometheus-remote-write-{kind}-written: ");
            head.split(&name).nth(1).unwrap().lines().next().unwrap().to_owned()
        };
        ["samples", "histograms", "exemplars"].map(count)
    };
    let answer = send(&pack(&[&table, &series(&[1, 2, 3, 4], &[sample.clone(), counter].concat())]));
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(written(&answer), ["1", "0", "0"]);
    let found = data(&program, "/api/v1/query?query=boots_total");
    assert_eq!(found["result"][0]["value"][1], "2.5", "{found}");
    assert_eq!(found["result"][0]["metric"]["host"], "a", "{found}");
    let known = data(&program, "/api/v1/metadata?metric=boots_total");
    assert_eq!(known["boots_total"][0]["type"], "counter", "{known}");
    assert_eq!(known["boots_total"][0]["help"], "Boots.", "{known}");

    let histogram = series(&[1, 6], &field(3, &[0x08, 1]));
    let answer = send(&pack(&[&table, &histogram, &series(&[1, 2], &sample)]));
    assert_eq!((answer.status, written(&answer)), (400, ["1", "0", "0"].map(str::to_owned)));
    assert!(answer.body.contains("native histograms are not kept"), "{answer:?}");
    let answer = send(&pack(&[&table, &series(&[1, 99], &sample)]));
    assert_eq!((answer.status, written(&answer)), (400, ["0", "0", "0"].map(str::to_owned)));
    let answer = write(&program, &body(&[(&[("__name__", "one")], &[(now_ms(), 1.0), (now_ms() + 1, 1.0)])]));
    assert_eq!((answer.status, written(&answer)), (204, ["2", "0", "0"].map(str::to_owned)));
    let metrics = program.get("/metrics").unwrap().body;
    let refused = "{reason=\"native_histogram\",way=\"remote_write\"} 1";
    assert!(metrics.contains(refused), "{metrics}");
}

#[test]
fn others_read_samples_whole_and_as_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        Program::start(folder.path(), &format!("{QUIET}global: {{external_labels: {{site: north, job: none}}}}\n"));
    let now = now_ms();
    let samples: Vec<(i64, f64)> = (0..300).map(|i| (now - 300_000 + i * 1000, i as f64)).collect();
    let pushed: &[(&str, &str)] = &[("__name__", "m"), ("job", "a")];
    write(&program, &body(&[(pushed, &samples), (&[("__name__", "other")], &samples)]));

    let name = field(3, &[field(2, b"__name__"), field(3, b"m")].concat());
    // A matcher for a label that only we put on.
    let site = field(3, &[field(2, b"site"), field(3, b"north")].concat());
    let times = [&[0x08][..], &varint((now - 250_000).cast_unsigned()), &[0x10], &varint(now.cast_unsigned())].concat();
    let query = field(1, &[times, name, site].concat());
    let ask = |forms: &[u8]| {
        let request = [&query[..], &field(2, forms)].concat();
        let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        program.request("POST", "/api/v1/read", PROTOBUF, &packed).unwrap()
    };
    let whole = ask(&[0]);
    assert_eq!(whole.status, 200, "{whole:?}");
    let message = snap::raw::Decoder::new().decompress_vec(&whole.bytes).unwrap();
    // The only result: a message of series, as a write request is.
    let length_bytes = message[1..].iter().take_while(|b| **b >= 0x80).count() + 1;
    let mut found = Reader::new(&message[1 + length_bytes..]);
    let Some(Ok(Entry::Series(series))) = found.next() else { panic!("no series: {whole:?}") };
    let labels: Vec<_> = series.labels().flatten().collect();
    assert_eq!(labels, [("__name__", "m"), ("job", "a"), ("site", "north")]);
    let parts: Vec<Part> = series.parts().map(Result::unwrap).collect();
    let wanted = samples.iter().filter(|s| s.0 >= now - 250_000);
    assert_eq!(parts, wanted.map(|(time, value)| Part::Sample(*time, *value)).collect::<Vec<_>>());
    assert!(found.next().is_none());

    let chunks = ask(&[1, 0]);
    assert_eq!(chunks.status, 200);
    let kind = "content-type: application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert!(chunks.head.contains(kind), "{chunks:?}");
    let at = chunks.bytes.iter().take_while(|b| **b >= 0x80).count() + 1;
    let (sum, message) = chunks.bytes[at..].split_at(4);
    assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
    // 250 samples in chunks of 120, the last message without a number: the first query's.
    let packed = [&[0x18, 1, 0x22][..]].concat();
    let count = message.windows(3).filter(|w| *w == packed).count();
    assert_eq!(count, 3, "{message:x?}");

    let garbage = program.request("POST", "/api/v1/read", PROTOBUF, b"garbage").unwrap();
    assert_eq!(garbage.status, 400, "{garbage:?}");
    let text = program.get("/federate?match[]=m").unwrap().body;
    assert!(text.contains("m{job=\"a\",site=\"north\",instance=\"\"} 299 "), "{text}");
}

#[test]
fn expressions_are_told_as_trees_and_features_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), QUIET);
    let tree = data(&program, "/api/v1/parse_query?query=sum(rate(a[5m]))");
    assert_eq!((tree["type"].as_str(), tree["op"].as_str()), (Some("aggregation"), Some("sum")), "{tree}");
    assert_eq!(tree["expr"]["args"][0]["range"], 300_000, "{tree}");
    let long = format!("a{}", "%2Ba".repeat(4000));
    let answer = program.request(
        "POST",
        "/api/v1/parse_query",
        "application/x-www-form-urlencoded",
        format!("query={long}").as_bytes(),
    );
    assert_eq!(answer.unwrap().status, 200);
    let answer = program.get("/api/v1/parse_query?query=a%2B").unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("\"errorType\":\"bad_data\""), "{answer:?}");

    let features = data(&program, "/api/v1/features");
    assert_eq!(features["promql_functions"]["rate"], true);
    assert_eq!(features["promql_operators"]["limit_ratio"], true);
    assert_eq!((&features["api"]["admin"], &features["tsdb"]["native_histograms"]), (&false.into(), &false.into()));
    assert_eq!(data(&program, "/api/v1/targets/metadata").as_array().unwrap().len(), 0);
    assert_eq!(program.get("/api/v1/targets/metadata?limit=x").unwrap().status, 400);
}

#[test]
fn targets_are_shown_as_prometheus_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(
        folder.path(),
        "host: {enabled: false}\nscrape_configs:\n- job_name: nobody\n  scrape_interval: 1s\n\
         \x20 static_configs: [{targets: ['127.0.0.1:1', '127.0.0.1:2'], labels: {rack: a}}]\n\
         \x20 relabel_configs: [{source_labels: [__address__], regex: '.*:2', action: drop}]\n",
    );
    let end = Instant::now() + Duration::from_secs(20);
    let active = loop {
        let mut targets = data(&program, "/api/v1/targets");
        assert_eq!(targets["droppedTargets"][0]["discoveredLabels"]["__address__"], "127.0.0.1:2", "{targets}");
        let active = targets["activeTargets"][0].take();
        if active["health"] == "down" {
            break active;
        }
        assert!(Instant::now() < end, "never scraped: {active}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(active["labels"]["instance"], "127.0.0.1:1");
    assert_eq!(active["labels"]["rack"], "a");
    assert_eq!(active["scrapePool"], "nobody");
    assert_eq!(active["scrapeUrl"], "http://127.0.0.1:1/metrics");
    assert_eq!((active["scrapeInterval"].as_str(), active["scrapeTimeout"].as_str()), (Some("1s"), Some("1s")));
    assert!(!active["lastError"].as_str().unwrap().is_empty());
    assert_eq!(data(&program, "/api/v1/targets?state=dropped")["activeTargets"].as_array().unwrap().len(), 0);
    assert_eq!(data(&program, "/api/v1/targets?state=active")["droppedTargets"].as_array().unwrap().len(), 0);
    assert_eq!(data(&program, "/api/v1/targets?scrapePool=other")["activeTargets"].as_array().unwrap().len(), 0);
    assert_eq!(data(&program, "/api/v1/scrape_pools")["scrapePools"][0], "nobody");
}

#[test]
fn the_box_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(
        folder.path(),
        &format!("{QUIET}box_name: line-7\nbus: {{nats: {{servers: ['127.0.0.1:1'], token: hunter2}}}}\n"),
    );
    assert!(data(&program, "/api/v1/status/buildinfo")["version"].as_str().unwrap().starts_with("3."));
    assert_eq!(data(&program, "/api/v1/status/runtimeinfo")["hostname"], "line-7");
    let flags = data(&program, "/api/v1/status/flags");
    assert!(flags["storage.tsdb.path"].as_str().unwrap().ends_with("/data"), "{flags}");
    let yaml = data(&program, "/api/v1/status/config")["yaml"].as_str().unwrap().to_owned();
    assert!(yaml.contains("box_name: line-7") && !yaml.contains("hunter2"), "{yaml}");
    let now = now_ms();
    write(
        &program,
        &body(&[(&[("__name__", "m"), ("a", "1")], &[(now, 1.0)]), (&[("__name__", "m"), ("a", "2")], &[(now, 1.0)])]),
    );
    let tsdb = data(&program, "/api/v1/status/tsdb?limit=1000");
    let counts = tsdb["seriesCountByMetricName"].as_array().unwrap();
    assert!(counts.iter().any(|c| c["name"] == "m" && c["value"] == 2), "{tsdb}");

    assert_eq!(program.get("/-/healthy").unwrap().status, 200);
    let metrics = program.get("/metrics").unwrap();
    assert!(metrics.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert!(metrics.body.contains("\n# TYPE andon_"));
}

/// Sends a question and does not wait for the answer.
fn ask_and_stay(program: &Program, expression: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(program.address).unwrap();
    let path = format!("/api/v1/query_range?query={expression}&start=1000000&end=1011000&step=1");
    std::io::Write::write_all(&mut stream, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    stream
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "it did not come true that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_question_ends_when_its_client_goes_away_and_what_took_long_is_on_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), QUIET);
    assert_eq!(program.get("/api/v1/query?query=1%2Bnosuch").unwrap().status, 200);
    assert_eq!(program.get("/api/v1/query?query=topk(NaN,vector(1))").unwrap().status, 422);
    let page = || program.get("/queries").unwrap().body;
    let shown = page();
    assert!(shown.contains("1+nosuch") && shown.contains("127.0.0.1"), "{shown}");
    assert!(shown.contains("topk(NaN,vector(1))") && shown.contains("NaN</div>"), "{shown}");
    assert!(shown.contains("Nothing now."), "{shown}");

    // Eleven thousand windows of as many samples each: minutes of work that holds little.
    let client = ask_and_stay(&program, "quantile_over_time(0.5,vector(1)[9h:1s])");
    eventually("it is being answered", || page().contains("9h:1s") && !page().contains("Nothing now."));
    assert_eq!(program.get("/api/v1/query?query=1").unwrap().status, 200, "others are answered meanwhile");
    drop(client);
    eventually("it ends", || page().contains("Nothing now."));
    assert!(page().contains("canceled"));
}

#[test]
fn a_connection_waits_for_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &format!("{QUIET}http: {{connections_limit: 1}}\n"));
    // Who has been answered has the place, and keeps it while the connection is open.
    let mut first = std::net::TcpStream::connect(program.address).unwrap();
    std::io::Write::write_all(&mut first, b"GET /-/healthy HTTP/1.1\r\nhost: box\r\n\r\n").unwrap();
    assert!(std::io::Read::read(&mut first, &mut [0; 1024]).unwrap() > 0);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| program.get("/-/healthy").map(|a| a.status));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!second.is_finished());
        drop(first);
        assert_eq!(second.join().unwrap(), Some(200));
    });
}

#[test]
fn series_are_deleted_and_snapshots_made_only_where_the_settings_allow_it() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), QUIET);
    for path in ["delete_series?match[]=m", "clean_tombstones", "snapshot"] {
        let answer = program.request("POST", &format!("/api/v1/admin/tsdb/{path}"), FORM, b"").unwrap();
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(answer.body.contains("admin APIs disabled"), "{answer:?}");
    }
    drop(program);

    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &format!("{QUIET}http: {{admin_api: true}}\n"));
    let admin = |path: &str, form: &str| {
        program.request("POST", &format!("/api/v1/admin/tsdb/{path}"), FORM, form.as_bytes()).unwrap()
    };
    let now = now_ms();
    let series = |n: &'static str| vec![("__name__", "m"), ("n", n)];
    let samples: Vec<(i64, f64)> = (0..10).map(|i| (now - i * 1000, 1.0)).rev().collect();
    write(&program, &body(&[(&series("1"), &samples), (&series("2"), &samples)]));
    let count = |n: &str| {
        let found = data(&program, &format!("/api/v1/query?query=count_over_time(m%7Bn=%22{n}%22%7D[1m])"));
        found["result"][0]["value"][1].as_str().unwrap_or("0").parse::<u64>().unwrap()
    };
    assert_eq!(admin("delete_series", "").status, 400);
    assert_eq!(admin("delete_series", "match[]=m%7B").status, 400);
    let made = admin("snapshot", "");
    assert_eq!(made.status, 200, "{made:?}");
    let name = serde_json::from_str::<Value>(&made.body).unwrap()["data"]["name"].as_str().unwrap().to_owned();
    assert!(folder.path().join("data/snapshots").join(name).join("blocks").is_dir());
    let end = format!("match[]=m%7Bn=%221%22%7D&end={}", (now - 5000) as f64 / 1e3);
    let answer = admin("delete_series", &end);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!((count("1"), count("2")), (5, 10));
    assert_eq!(admin("clean_tombstones", "").status, 204);
    assert_eq!((count("1"), count("2")), (5, 10));
    assert_eq!(admin("snapshot?skip_head=maybe", "").status, 400);
    assert_eq!(admin("snapshot?skip_head=true", "").status, 200);
}

#[test]
fn a_reload_takes_good_settings_and_refuses_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), QUIET);
    let file = folder.path().join("andon.yml");
    let pools = |program: &Program| data(program, "/api/v1/scrape_pools")["scrapePools"].to_string();
    std::fs::write(&file, format!("{QUIET}scrape_configs: [{{job_name: new}}]\n")).unwrap();
    assert_eq!(program.request("POST", "/-/reload", "", &[]).unwrap().status, 200);
    let end = Instant::now() + Duration::from_secs(10);
    while pools(&program) != "[\"new\"]" {
        assert!(Instant::now() < end, "{}", pools(&program));
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(&file, format!("{QUIET}scrape_configs: [{{job_nam: other}}]\n")).unwrap();
    let answer = program.request("PUT", "/-/reload", "", &[]).unwrap();
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("andon.yml:3:19: scrape_configs[0].job_nam: unknown key; did you mean \"job_name\"?"),
        "{answer:?}"
    );
    assert_eq!(pools(&program), "[\"new\"]");
    assert_eq!(program.get("/-/reload").unwrap().status, 405);
}

#[test]
fn check_tells_all_mistakes_and_what_a_good_file_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad, rules) =
        (folder.path().join("good.yml"), folder.path().join("bad.yml"), folder.path().join("r.yml"));
    std::fs::write(
        &rules,
        "groups: [{name: g, rules: [{record: 'a:b', expr: 'sum(up)'}, {alert: A, expr: 'sum('}]}]\n",
    )
    .unwrap();
    std::fs::write(&good, "scrape_configs: [{job_name: a}]\nalerting: {}\n").unwrap();
    std::fs::write(&bad, "rule_files: [r.yml]\n").unwrap();
    let said = say(&["check", "config", good.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("good: listens on 127.0.0.1:26366, data in /var/lib/andon, 1 scrape job, "), "{said:?}");
    for arguments in [["check", "config", bad.to_str().unwrap()], ["check", "rules", rules.to_str().unwrap()]] {
        let said = say(&arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.err.contains("r.yml:1:") && said.err.contains("rule \"A\""), "{said:?}");
    }
}
