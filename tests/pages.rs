//! Pages, through the front door of a real box.

use std::io::{Read, Write};
use std::time::Duration;

use andon::app::App;
use andon::clock::Clock;
use andon::config::{self, Source};
use andon::gateway::NewDevice;
use andon::http;
use andon::instrument::Registry;
use andon::model::{Labels, LogEntry};
use andon::storage::tsdb::Batch;
use andon::task::Tasks;

use crate::support::plant;

/// Every page, with parameters where they matter.
const PAGES: [&str; 31] = [
    "/",
    "/?range=24h",
    "/explore",
    "/explore?q=sum+by+(line_id)+(rate(factory_production_count_total[5m]))",
    "/explore?q=factory_line_state&q2=up&add=1&range=15m&step=30s",
    "/devices",
    "/devices/sensor-temp-001",
    "/devices/try?device=sensor-temp-001&subject=telemetry.sensor-temp-001.temp&payload=1",
    "/alarms",
    "/alarms?state=new&priority=1&find=line1",
    "/alarms/wall",
    "/alarms/history",
    "/alarms/history?find=line&with=severity%3D%22critical%22&event=raised",
    "/alarms/health?range=24h",
    "/silences",
    "/silences?filter=alertname%3DLineFault",
    "/silences?filter=line_id%3Dline1&when=every+Saturday+06:00+to+14:00",
    "/notifications",
    "/notifications?labels=severity%3D%22critical%22&outcome=sent",
    "/logs",
    "/targets",
    "/targets/relabel",
    "/targets/relabel?rules=own&labels=up%7Bjob%3D%22a%22%7D&own=-+action%3A+drop%0A++source_labels%3A+%5Bjob%5D",
    "/cardinality",
    "/cardinality?metric=factory_line_state&wanted=no&all=1",
    "/rules",
    "/rules/edit",
    "/rules/rule?name=LineFault&limit=1&for=1m",
    "/forwarding",
    "/storage",
    "/about",
];

/// A box that has worked for an hour.
pub(crate) struct Plant {
    pub(crate) app: App,
    _folder: tempfile::TempDir,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Plant {
    pub(crate) async fn start() -> Plant {
        let plant = Plant::start_in(tempfile::tempdir().unwrap()).await;
        let state = plant.app.state();
        for (id, kind) in plant::DEVICES {
            state.gateway.add_device(new_device(id, kind)).await.unwrap();
        }
        plant::fill(state, state.clock.now());
        plant
    }

    /// A box whose data are in `data` of a folder; none, or those of a life before.
    async fn start_in(folder: tempfile::TempDir) -> Plant {
        let settings = folder.path().join("andon.yml");
        std::fs::write(
            &settings,
            "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\nbox_name: packaging-7\nhost: {enabled: false}\n",
        )
        .unwrap();
        std::fs::write(
            folder.path().join("rules.yml"),
            "groups:\n- name: line\n  rules:\n  - alert: LineFault\n    expr: factory_line_state == 2\n    \
             labels: {severity: critical}\n    annotations:\n      summary: '{{ $labels.line_id }} has a fault'\n      \
             action: Clear the jam, then reset at the panel\n",
        )
        .unwrap();
        let source = Source {
            file: Some(settings),
            data: Some(folder.path().join("data")),
            listen: Some("127.0.0.1:0".to_owned()),
        };
        let config = config::load(&source).unwrap();
        let app = App::start(config, source, None).await.unwrap();
        Plant { app, _folder: folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.local_addr())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(client().get(self.url(path))).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }

    /// Asks until the page holds a text.
    pub(crate) async fn wait_for(&self, path: &str, text: &str) -> String {
        for _ in 0..150 {
            let body = self.get(path).await.body;
            if body.contains(text) {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} never said {text:?}");
    }
}

fn new_device(id: &str, kind: &str) -> NewDevice {
    NewDevice {
        id: id.to_owned(),
        device_type: kind.to_owned(),
        publish: Some(vec!["telemetry.{device}.>".to_owned()]),
        subscribe: Some(vec!["factory.line1.>".to_owned()]),
        ..NewDevice::default()
    }
}

/// Sends a form as a browser does.
fn post(url: &str, fields: &str) -> reqwest::RequestBuilder {
    client().post(url).header("content-type", "application/x-www-form-urlencoded").body(fields.to_owned())
}

pub(crate) fn client() -> reqwest::Client {
    // Only the first call of a process takes effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_safe_mode_is_told_on_every_page_and_the_next_start_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("tsdb/wal")).unwrap();
    std::fs::write(data.join("tsdb/wal/00000001"), "asks for too much memory").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    std::fs::write(data.join("tsdb.starting"), format!("{now}\n").repeat(3)).unwrap();
    let plant = Plant::start_in(folder).await;
    for path in ["/", "/storage", "/about"] {
        let body = plant.get(path).await.body;
        assert!(body.contains("Safe mode: the newest metrics of before this start are missing."), "{path}");
    }
    assert!(plant.get("/storage").await.body.contains("-wal"), "the quarantine is listed");
    assert!(plant.get("/metrics").await.body.contains("andon_storage_safe_mode 1"));

    let Plant { app, _folder: folder } = plant;
    app.stop().await;
    let plant = Plant::start_in(folder).await;
    assert!(!plant.get("/").await.body.contains("Safe mode"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_answers_whole_and_without_anything_inline() {
    let plant = Plant::start().await;
    for path in PAGES {
        let answer = plant.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        let body = &answer.body;
        assert!(body.ends_with("</html>\n") || body.ends_with("</html>"), "{path} is cut off");
        assert!(body.contains("packaging-7"), "{path} does not name the box");
        check_nothing_inline(path, body);
        for header in ["content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"] {
            assert!(answer.headers.contains_key(header), "{path} has no {header}");
        }
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
    }
    plant.app.stop().await;
}

/// Script and style come from files of our own, and nothing is fetched from elsewhere.
#[track_caller]
fn check_nothing_inline(path: &str, body: &str) {
    for tag in body.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or("").to_lowercase();
        let name = tag.split([' ', '\n']).next().unwrap_or("");
        // Names of attributes only: every other piece between quotes is a value.
        let names: String = tag.split('"').step_by(2).collect();
        assert!(!names.contains(" style="), "{path}: style in <{tag}>");
        assert!(!names.contains(" on"), "{path}: handler in <{tag}>");
        if name == "script" {
            assert!(tag.contains("src=\"/assets/"), "{path}: script in the page");
        }
        assert!(name != "style", "{path}: style in the page");
        if ["script", "link", "img", "iframe", "use"].contains(&name) {
            assert!(!tag.contains("//"), "{path}: <{tag}> fetches from elsewhere");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_shows_the_plant() {
    let plant = Plant::start().await;
    let body = plant.wait_for("/", "LineFault").await;
    for text in [
        "line1 has a fault.",
        "0 of 7 devices are connected.",
        "1 alarm needs attention.",
        "line1 has a fault</div>",
        "Availability",
        "Performance",
        "Quality",
        "Emergency stops",
        "Processor",
        "Fullest disk",
        "sensor-vision-001",
        "class=\"strip band\"",
        "class=\"line s1\"",
    ] {
        assert!(body.contains(text), "no {text:?} in {body}");
    }
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_acknowledged_from_its_row() {
    let plant = Plant::start().await;
    let body = plant.wait_for("/alarms", "Clear the jam, then reset at the panel").await;
    let action = body.split("action=\"/alarms/").nth(1).and_then(|t| t.split('"').next()).unwrap();
    let url = plant.url(&format!("/alarms/{action}"));
    let form = || post(&url, "by=Ines+%3Cb%3E&note=on+my+way");
    let refused = plant.ask(form().header("origin", "https://elsewhere.example")).await;
    assert_eq!(refused.status, 403);
    let taken = plant.ask(form().header("origin", plant.url(""))).await;
    assert_eq!((taken.status, taken.headers["location"].to_str().unwrap()), (303, "/alarms"));
    let body = plant.wait_for("/alarms", "taken by Ines &#60;b&#62;").await;
    assert!(body.contains("on my way") && !body.contains("Ines <b>"));
    let unknown = plant.ask(post(&plant.url("/alarms/1/acknowledge"), "by=x")).await;
    assert_eq!(unknown.status, 404);
    plant.app.stop().await;
}

#[tokio::test]
async fn a_device_is_added_changed_given_a_token_kept_out_and_forgotten_on_pages() {
    let plant = Plant::start().await;
    let send = |path: &str, fields: &str| plant.ask(post(&plant.url(path), fields));
    let added = send("/devices", "id=press-9&type=press&role=&group=line1&expires=90d").await;
    assert_eq!(added.status, 200, "{}", added.body);
    assert!(added.body.contains("andon_device_"), "{}", added.body);
    assert_eq!(send("/devices", "id=press-9").await.status, 409);
    assert_eq!(send("/devices", "id=press+9").await.status, 400);
    let body = plant.wait_for("/devices/press-9", "line1").await;
    assert!(!body.contains("andon_device_") && body.contains("holds until"), "{body}");
    let changed = send("/devices/press-9/change", "type=press&role=&group=line2&publish=a.%3E%0D%0Ab&subscribe=").await;
    assert_eq!(changed.status, 303, "{}", changed.body);
    let body = plant.wait_for("/devices/press-9", "line2").await;
    assert!(body.contains("a.&#62;, b"), "{body}");
    let bad = send("/devices/press-9/change", "publish=a..b").await;
    assert!(bad.status == 400 && bad.body.contains("Nothing was changed"), "{}", bad.body);
    let rotated = send("/devices/press-9/rotate", "overlap=2h&expires=").await;
    assert!(
        rotated.body.contains("andon_device_") && rotated.body.contains("The token it had holds for"),
        "{}",
        rotated.body
    );
    assert_eq!(send("/devices/press-9/revoke", "").await.status, 303);
    plant.wait_for("/devices/press-9", "It is kept out").await;
    assert_eq!(send("/devices/press-9/enable", "").await.status, 303);
    assert!(!plant.get("/devices/press-9").await.body.contains("It is kept out"));
    assert_eq!(send("/devices/press-9/remove", "").await.status, 303);
    assert_eq!(plant.get("/devices/press-9").await.status, 404);
    assert_eq!(send("/devices/press-9/remove", "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_stays_text_on_every_page() {
    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'";
    let plant = Plant::start().await;
    let state = plant.app.state();
    let now = state.clock.now();
    let mut batch = Batch::default();
    for (name, label) in [
        ("factory_line_state", "line_id"),
        ("factory_oee_overall", "line_id"),
        ("factory_defect_count_total", "defect_type"),
        ("hostile_metric", "device_id"),
        ("node_filesystem_size_bytes", "mountpoint"),
    ] {
        batch.push(&Labels::from_pairs([("__name__", name), (label, HOSTILE), ("job", "host")]), now, 2.0);
    }
    state.db.append(&batch).unwrap();
    let stream = Labels::from_pairs([("job", HOSTILE), ("device_id", HOSTILE)]);
    let entry = LogEntry { stream, timestamp_ns: now.as_millis() * 1_000_000, line: HOSTILE.to_owned() };
    state.logs.append(vec![entry]).unwrap();
    let more = [
        "/explore?q=hostile_metric",
        "/explore?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/logs?q=%3Cscript%3E",
        "/devices/try?subject=telemetry.a.b&payload=%22%3E%3Cscript%3E&device=%22%3E%3Cimg%3E",
    ];
    for path in PAGES.iter().chain(&more) {
        let body = plant.get(path).await.body;
        assert!(!body.contains("<script>"), "{path} has a script");
        assert!(!body.contains("<img"), "{path} has a picture");
        check_nothing_inline(path, &body);
    }
    assert!(plant.get("/logs").await.body.contains("alert(1)"));
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_becomes_is_shown_without_keeping_it() {
    let plant = Plant::start().await;
    let tried =
        |subject: &str, body: &str| format!("/devices/try?device=sensor-temp-001&subject={subject}&payload={body}");
    let body =
        plant.get(&tried("telemetry.sensor-temp-001.oil", "{%22value%22:71.5,%22unit%22:%22celsius%22}")).await.body;
    assert!(body.contains("1 sample") && body.contains("71.5"), "{body}");
    assert!(body.contains("telemetry_oil{device_id=&#34;sensor-temp-001&#34;"), "{body}");
    assert!(!body.contains("may not publish"), "{body}");
    assert!(plant.get(&tried("factory.line1.oee", "{}")).await.body.contains("may not publish on this subject"));
    assert!(plant.get(&tried("a..b", "1")).await.body.contains("empty token"));
    assert!(plant.get(&tried("telemetry.x.y", "{")).await.body.contains("the body is not JSON"));
    let kept = plant.get("/api/v1/query?query=telemetry_oil").await.body;
    assert!(kept.contains("\"result\":[]"), "{kept}");
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_assets_keep_to_their_weight() {
    let plant = Plant::start().await;
    let overview = plant.get("/").await.body;
    assert!(gzip(&overview) <= 40 * 1024, "overview: {} bytes", gzip(&overview));
    let explore = plant.get("/explore?q=up").await.body;
    let kinds = [("andon-", ".css", 10 * 1024), ("andon-", ".js", 10 * 1024), ("explore-", ".js", 6 * 1024)];
    for (name, extension, bytes_max) in kinds {
        let begin = format!("/assets/{name}");
        let path = explore.split('"').find(|t| t.starts_with(&begin) && t.ends_with(extension));
        let asset = plant.get(path.unwrap_or_else(|| panic!("no {name}{extension}"))).await;
        assert!(asset.headers["cache-control"].to_str().unwrap().contains("immutable"));
        let weight = if extension == ".js" { asset.body.len() } else { gzip(&asset.body) };
        assert!(weight <= bytes_max, "{name}{extension}: {weight} bytes");
    }
    assert_eq!(plant.get("/assets/andon-0000000000000000.js").await.status, 404);
    plant.app.stop().await;
}

fn gzip(text: &str) -> usize {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_question_is_shown_where_it_is() {
    let plant = Plant::start().await;
    let body = plant.get("/explore?q=sum(factory_line_state+foo)").await.body;
    assert!(body.contains("<mark>"), "{body}");
    let body = plant.get("/explore?q=factory_line_stat").await.body;
    assert!(body.contains("There has never been a metric factory_line_stat") && body.contains(">factory_line_state<"));
    let body = plant.get("/explore?q=sum(rate(factory_line_stat[5m]))&range=2h").await.body;
    assert!(body.contains("?q=sum%28rate%28factory_line_state%5B5m%5D%29%29&#38;range=2h"), "{body}");
    let body = plant.get("/explore?q=factory_line_state%7Bline_id=%22line9%22%7D").await.body;
    assert!(body.contains("has series, but none with these labels"));
    let body = plant.get("/logs?q=%7Bjob").await.body;
    assert!(body.contains("<mark>"));
    let body = plant.get("/logs?q=jammed").await.body;
    assert!(body.contains("label feeder jammed") && !body.contains("pass rate"));
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn light_and_dark_are_kept_in_a_cookie_and_lead_nowhere_else() {
    let plant = Plant::start().await;
    let form = |back: &str| post(&plant.url("/theme"), &format!("theme=dark&back={back}"));
    let answer = plant.ask(form("/logs?q%3Dx")).await;
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (303, "/logs?q=x"));
    assert!(answer.headers["set-cookie"].to_str().unwrap().starts_with("theme=dark;"));
    for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        assert_eq!(plant.ask(form(elsewhere)).await.headers["location"], "/");
    }
    let page = plant.ask(client().get(plant.url("/about")).header("cookie", "a=b; theme=dark")).await;
    assert!(page.body.contains("<html lang=\"en\" class=\"dark\">"));
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_page_says_so() {
    let plant = Plant::start().await;
    let answer = plant.get("/nowhere").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("There is no page at this address."));
    assert_eq!(plant.get("/devices/nobody").await.status, 404);
    assert_eq!(plant.get("/api/v1/nowhere").await.body, "404 page not found\n");
    plant.app.stop().await;
}

fn listener(connections_max: usize) -> http::Config {
    http::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        plain_listen: None,
        tls: None,
        unprotected: false,
        connections_max,
        body_bytes_max: 1024,
        header_timeout: Duration::from_millis(300),
        admin_api: false,
    }
}

#[tokio::test]
async fn a_port_is_taken_once_and_only_on_loopback() {
    let first = http::Server::bind(listener(1), Clock::system()).await.unwrap();
    let taken = http::Config { listen: first.local_addr(), ..listener(1) };
    assert!(matches!(http::Server::bind(taken, Clock::system()).await, Err(http::Error::PortTaken { .. })));
    let open = http::Config { listen: "0.0.0.0:0".parse().unwrap(), ..listener(1) };
    assert!(matches!(http::Server::bind(open, Clock::system()).await, Err(http::Error::Unprotected { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_box_is_healthy_but_not_ready() {
    let tasks = Tasks::new(1);
    let server = http::Server::bind(listener(8), Clock::system()).await.unwrap();
    let url = format!("http://{}", server.local_addr());
    let door = server.serve(&tasks, &Registry::default());
    door.progress("replaying the write-ahead log, 40 %");
    assert_eq!(client().get(format!("{url}/-/healthy")).send().await.unwrap().status(), 200);
    let answer = client().get(format!("{url}/-/ready")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("40 %"));
    tasks.token(andon::task::Phase::Intake).cancel();
    assert!(tasks.ended(Duration::from_secs(5), |_| true).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_connection_is_closed_and_the_next_has_its_place() {
    let tasks = Tasks::new(1);
    let server = http::Server::bind(listener(1), Clock::system()).await.unwrap();
    let address = server.local_addr();
    let _door = server.serve(&tasks, &Registry::default());
    let closed = tokio::task::spawn_blocking(move || {
        let mut slow = std::net::TcpStream::connect(address).unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").unwrap();
        let mut second = std::net::TcpStream::connect(address).unwrap();
        let mut told = String::new();
        second.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        second.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
        slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).is_ok()
    });
    assert!(closed.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_page_tells_size_age_safety_and_wear() {
    let plant = Plant::start().await;
    let page = plant.get("/storage").await.body;
    for words in [
        "Data folder",
        "Together",
        "The whole disk",
        "Written today",
        "Life of the flash",
        "storage.flash_endurance",
        "a power cut loses about 1",
        "andon backup FILE",
        "kept 15",
        "nothing lies in quarantine",
    ] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    let state = plant.app.state();
    let now = state.clock.now();
    state.storage.note_backup(now - Duration::from_secs(7200), 5 << 20);
    let place = std::path::Path::new(&state.info.data_dir).join("quarantine/2026-08-21-block");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("why.txt"), "a bit <flipped>\n").unwrap();
    let page = plant.get("/storage").await.body;
    assert!(page.contains("2\u{202f}h ago"), "the last backup is in {page}");
    assert!(page.contains("a bit &lt;flipped&gt;") || page.contains("a bit &#60;flipped&#62;"), "{page}");
    assert!(!page.contains("nothing lies in quarantine"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_written_on_a_page_and_run() {
    let plant = Plant::start().await;
    let url = plant.url("/rules/edit");
    let rule = "groups%3A%0D%0A-+name%3A+own%0D%0A++rules%3A%0D%0A++-+alert%3A+Mine%0D%0A++++expr%3A+vector(1)";
    let looked = plant.ask(post(&url, &format!("what=check&after=0&text={rule}"))).await;
    assert!(looked.status == 200 && looked.body.contains("Looked at, not stored."), "{}", looked.body);
    assert_eq!(plant.get("/rules/stored.yml").await.status, 404);
    let bad = plant.ask(post(&url, &format!("what=store&by=Eva&after=0&text={rule}%2B"))).await;
    assert!(bad.status == 400 && bad.body.contains("parse error") && bad.body.contains("name: own"), "{}", bad.body);
    let stored = plant.ask(post(&url, &format!("what=store&by=Eva&note=try&after=0&text={rule}"))).await;
    assert_eq!(stored.status, 303, "{}", stored.body);
    plant.wait_for("/rules", "stored:rules.yml").await;
    let yaml = plant.get("/rules/stored.yml").await;
    assert_eq!(yaml.body, "groups:\n- name: own\n  rules:\n  - alert: Mine\n    expr: vector(1)");
    let late = plant.ask(post(&url, &format!("what=store&by=Jo&after=0&text={rule}"))).await;
    assert!(late.status == 409 && late.body.contains("Eva stored version 1 meanwhile"), "{}", late.body);
    plant.app.stop().await;
}
