//! Two tenants on a real NATS server: what each is shown, that neither sees the other, and what is unusual.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use andon::app::App;
use andon::config::{self, Source};
use async_nats::{Client, ConnectOptions};
use serde_json::{Value, json};

use crate::pages::client as http;

const SOON: Duration = Duration::from_secs(30);
/// The pair that the documentation of NATS uses as its example.
const NKEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const ACME: &str = "acme-key-of-32-characters-000000";
const GLOBEX: &str = "globex-key-of-32-characters-0000";
const INITECH: &str = "initech-key-of-32-characters-000";

/// A NATS server and a box beside it, both ended with the test.
struct Site {
    server: Child,
    app: App,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Site {
    /// Starts a server on free ports; on others if somebody else took them meanwhile.
    async fn serve(folder: &Path) -> (Child, u16, u16) {
        for _ in 0..10 {
            let (port, monitoring) = (free_port(), free_port());
            let mut server = Site::server(folder, port, monitoring);
            while server.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok()
                    && TcpStream::connect(("127.0.0.1", monitoring)).is_ok()
                {
                    return (server, port, monitoring);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        panic!("nats-server does not stay");
    }

    fn server(folder: &Path, port: u16, monitoring: u16) -> Child {
        let own = |tenant: &str| {
            format!(r#"["tenant.{tenant}.>", "_SYS.tenant.{tenant}.>", "_HEARTBEAT.tenant.{tenant}.>", "_INBOX.>"]"#)
        };
        let users = format!(
            "host: 127.0.0.1\nport: {port}\nhttp: \"127.0.0.1:{monitoring}\"\nauthorization: {{ users: [\n\
             {{ user: box, password: secret }}\n\
             {{ nkey: {NKEY}, permissions: {{ publish: {} }} }}\n\
             {{ user: globex, password: secret, permissions: {{ publish: {} }} }}\n] }}\n",
            own("acme"),
            own("globex")
        );
        let file = folder.join("nats.conf");
        std::fs::write(&file, users).unwrap();
        Command::new("nats-server")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is not installed: apt-get install nats-server")
    }

    async fn open() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let (server, port, monitoring) = Site::serve(folder.path()).await;
        let settings = folder.path().join("andon.yml");
        let text = format!(
            "host: {{enabled: false}}\nown_metrics: {{interval: 1s}}\n\
             bus: {{nats: {{servers: ['nats://127.0.0.1:{port}'], user: box, password: secret}}}}\n\
             nats_monitoring: {{servers: ['http://127.0.0.1:{monitoring}'], interval: 1s}}\n\
             tenants:\n  check_interval: 1s\n  learn_for: 5s\n  anomaly_hold: 10m\n  list:\n  \
             - {{id: acme, plan: enterprise, key: {ACME}, connections: [{NKEY}]}}\n  \
             - {{id: globex, plan: professional, key: {GLOBEX}, connections: [globex]}}\n  \
             - {{id: initech, key: {INITECH}}}\n"
        );
        std::fs::write(&settings, text).unwrap();
        let source = Source {
            file: Some(settings),
            data: Some(folder.path().join("data")),
            listen: Some("127.0.0.1:0".to_owned()),
        };
        let app = App::start(config::load(&source).unwrap(), source, None).await.unwrap();
        Site { server, app, port, _folder: folder }
    }

    async fn connect(&self, options: impl Fn() -> ConnectOptions) -> Client {
        let connect = async {
            loop {
                match options().connect(format!("nats://127.0.0.1:{}", self.port)).await {
                    Ok(client) => return client,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(SOON, connect).await.expect("nats-server does not answer")
    }

    /// Asks with a key; returns status and answer.
    async fn ask(&self, key: &str, path: &str) -> (u16, Value) {
        let request = http().get(format!("http://{}/api/v1/metrics/{path}", self.app.local_addr()));
        let answer = request.bearer_auth(key).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn data(&self, key: &str, path: &str) -> Value {
        let (status, mut answer) = self.ask(key, path).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{path}: {answer}");
        answer["data"].take()
    }

    /// Asks until the answer is as wanted.
    async fn wait_for(&self, key: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let data = self.data(key, path).await;
            if wanted(&data) {
                return data;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} never came to what is wanted: {data:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A client of a tenant.
struct Peer {
    nats: Client,
    tenant: &'static str,
    name: &'static str,
}

impl Peer {
    async fn say(&self, rest: &str, times: u32) {
        let body = json!({ "client_id": self.name, "value": 7 }).to_string();
        for _ in 0..times {
            self.nats.publish(format!("tenant.{}.{rest}", self.tenant), body.clone().into()).await.unwrap();
        }
        self.nats.flush().await.unwrap();
    }

    /// A heartbeat that says it is of `tenant`.
    async fn beat_as(&self, tenant: &str, status: &str, sent: u64) {
        let now = andon::clock::Clock::system().now().to_rfc3339();
        let body = json!({
            "client_id": self.name, "tenant_id": tenant, "timestamp": now, "status": status, "version": "1.2",
            "metrics": { "messages_sent": sent, "messages_received": 0, "errors": 0, "uptime_seconds": 60 },
            "metadata": { "name": self.name, "type": "agent", "capabilities": ["say"] },
        });
        let subject = format!("_HEARTBEAT.tenant.{}.client.{}", self.tenant, self.name);
        self.nats.publish(subject, body.to_string().into()).await.unwrap();
        self.nats.flush().await.unwrap();
    }

    async fn beat(&self, status: &str, sent: u64) {
        self.beat_as(self.tenant, status, sent).await;
    }
}

/// A site with one client of each tenant, both of which have been heard.
async fn site() -> (Site, Peer, Peer) {
    let site = Site::open().await;
    let press = site.connect(|| ConnectOptions::with_nkey(SEED.to_owned()).name("press")).await;
    let shop =
        site.connect(|| ConnectOptions::with_user_and_password("globex".into(), "secret".into()).name("shop")).await;
    let press = Peer { nats: press, tenant: "acme", name: "press" };
    let shop = Peer { nats: shop, tenant: "globex", name: "shop" };
    // The box's subscriptions reach the server at some time: from then on everything comes.
    for (peer, key) in [(&press, ACME), (&shop, GLOBEX)] {
        let heard = async {
            loop {
                peer.beat("healthy", 0).await;
                if site.data(key, "presence").await["online_clients"] == 1 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SOON, heard).await.expect("no heartbeat came");
    }
    (site, press, shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_sees_its_own_and_nothing_of_the_other() {
    let (site, press, shop) = site().await;
    press.say("channel.orders.new", 40).await;
    press.say("stock.4711", 2).await;
    shop.say("carts", 7).await;
    let acme = site.wait_for(ACME, "realtime?include_clients=true", |d| d["messages"] == 42).await;
    let globex = site.wait_for(GLOBEX, "realtime?include_clients=true", |d| d["messages"] == 7).await;
    assert_eq!(acme["subject_distribution"], json!({"tenant.acme.channel.orders.new": 40, "tenant.acme.stock.*": 2}));
    assert_eq!(globex["subject_distribution"], json!({"tenant.globex.carts": 7}));
    assert_eq!(
        (&acme["active_channels"], &acme["client_analytics"]["press"]["message_count"]),
        (&json!(1), &json!(42))
    );
    assert!(globex.get("client_analytics").is_none() && globex.get("error_rate").is_none(), "{globex}");
    let text = format!("{globex} {}", site.data(GLOBEX, "presence").await);
    assert!(!text.contains("acme") && !text.contains("press"), "{text}");

    // Nobody speaks for another tenant: neither by the body, nor where the server does not let it publish.
    let before = site.data(GLOBEX, "presence").await["total_clients"].clone();
    press.beat_as("globex", "healthy", 0).await;
    press.nats.publish("tenant.globex.carts", "{}".into()).await.unwrap();
    press.nats.publish("_HEARTBEAT.tenant.globex.client.press", "{}".into()).await.unwrap();
    shop.say("carts", 1).await;
    site.wait_for(GLOBEX, "realtime", |d| d["messages"].as_u64() >= Some(8)).await;
    assert_eq!(site.data(GLOBEX, "realtime").await["messages"], 8);
    assert_eq!(site.data(GLOBEX, "presence").await["total_clients"], before);

    // There is no way to name a tenant but its key.
    assert_eq!(site.data(GLOBEX, "realtime?tenant=acme&tenant_id=acme").await["messages"], 8);
    for key in ["", "wrong", "acme", &ACME[1..]] {
        assert_eq!(site.ask(key, "realtime").await.0, 401, "{key:?}");
    }

    // A client on NATS is known by its NKey, too.
    let presence = site.wait_for(ACME, "presence", |d| !d["clients"][0]["connection"].is_null()).await;
    let client = &presence["clients"][0];
    assert_eq!((&client["client_id"], &client["connection"]["identity"]), (&json!("press"), &json!(NKEY)));
    assert_eq!((&client["status"], &client["health_status"]), (&json!("online"), &json!("healthy")));
    assert_eq!(client["metadata"]["capabilities"], json!(["say"]));
    assert!(client["connection"]["in_messages"].as_u64() >= Some(42), "{client}");
    press.beat("disconnecting", 42).await;
    press.nats.drain().await.unwrap();
    site.wait_for(ACME, "presence", |d| d["online_clients"] == 0).await;
    let health = site.data(ACME, "health-check").await;
    assert_eq!((&health["overall_health"], &health["clients"]["offline"]), (&json!("degraded"), &json!(1)));
    assert_eq!(health["issues"], json!([{"client_id": "press", "type": "offline", "severity": "medium"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_bound_what_is_shown_and_history_comes_from_the_store() {
    let (site, press, _shop) = site().await;
    // From the first sample of a count on, the store knows what came.
    site.wait_for(ACME, "analytics", |d| d["history"].as_array().is_some_and(|h| !h.is_empty())).await;
    press.say("orders", 30).await;
    let basic = site.data(INITECH, "realtime").await;
    let names: Vec<&str> = basic.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["active_channels", "active_clients", "bytes", "counted_since", "messages", "window_seconds"]);
    for (key, path, status) in [
        (INITECH, "analytics", 403),
        (INITECH, "presence", 200),
        (INITECH, "health-check", 200),
        (GLOBEX, "analytics?period=7d", 200),
        (GLOBEX, "analytics?period=30d", 403),
        (GLOBEX, "anomalies", 403),
        (ACME, "analytics?period=30d", 200),
        (ACME, "analytics?period=2h", 400),
        (ACME, "anomalies?hours=0", 400),
        (ACME, "anomalies", 200),
    ] {
        assert_eq!(site.ask(key, path).await.0, status, "{key} {path}");
    }
    let data = site.wait_for(ACME, "analytics", |d| d["summary"]["total_messages"].as_f64() >= Some(30.0)).await;
    assert_eq!(data["summary"]["unique_agents"], 1.0, "{data}");
    assert!(data["summary"]["total_api_calls"].as_f64() >= Some(1.0), "{data}");
    assert!(!data["history"].as_array().unwrap().is_empty() && data["advanced"]["usage_pattern"].is_string());
    let other = site.data(GLOBEX, "analytics").await;
    assert_eq!(other["summary"]["total_messages"], 0.0, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_anomaly_is_found_and_raised() {
    let (site, press, shop) = site().await;
    // What is normal: a few messages now and then, of a known kind.
    let learnt = |d: &Value| !d["normal_rate_per_second"].is_null();
    let mut sent = 0;
    while !learnt(&site.data(ACME, "realtime").await) {
        press.say("orders", 2).await;
        shop.say("carts", 2).await;
        sent += 2;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(site.data(ACME, "anomalies").await["summary"]["total_anomalies"], 0);
    let raised = async |kind: &str| {
        site.wait_for(ACME, "anomalies", |d| d["summary"]["by_type"][kind].as_u64() >= Some(1)).await
    };

    press.say("orders", 4000).await;
    raised("message_rate").await;

    press.say("invoices.2026", 1).await;
    let found = raised("unusual_subject").await;
    let found = found["anomalies"].as_array().unwrap().iter().find(|a| a["type"] == "unusual_subject").unwrap();
    assert_eq!((&found["subject"], &found["severity"]), (&json!("tenant.acme.invoices.*"), &json!("low")));

    // At one check or another most of these are among few messages.
    for _ in 0..60 {
        press.nats.publish("_SYS.tenant.acme.ERROR.db", "{}".into()).await.unwrap();
    }
    press.say("orders", 30).await;
    raised("error_rate").await;

    // It says it sent 500 more than came.
    sent += 4000 + 1 + 30;
    press.beat("healthy", sent).await;
    press.beat("healthy", sent + 500).await;
    press.beat("healthy", sent + 500).await;
    let found = raised("count_mismatch").await;
    let found = found["anomalies"].as_array().unwrap().iter().find(|a| a["type"] == "count_mismatch").unwrap();
    assert_eq!(found["client_id"], "press", "{found}");

    press.beat("unhealthy", sent + 500).await;
    raised("unhealthy_client").await;
    let health = site.data(ACME, "health-check").await;
    assert_eq!(health["overall_health"], "unhealthy");

    // They are alarms as others: on the board, with the tenant's name; and nobody else's.
    let url = format!("http://{}/api/v2/alerts", site.app.local_addr());
    let alerts: Value = serde_json::from_str(&http().get(url).send().await.unwrap().text().await.unwrap()).unwrap();
    let mut names: Vec<&str> =
        alerts.as_array().unwrap().iter().filter_map(|a| a["labels"]["alertname"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "TenantClientUnhealthy",
            "TenantCountMismatch",
            "TenantErrorRateHigh",
            "TenantMessageRateUnusual",
            "TenantSubjectUnusual"
        ]
    );
    assert!(alerts.as_array().unwrap().iter().all(|a| a["labels"]["tenant"] == "acme"), "{alerts}");
    assert!(site.data(ACME, "realtime").await["anomalies_detected"].as_u64() >= Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_each_tenant_and_its_clients() {
    let (site, press, _shop) = site().await;
    press.say("orders.new", 5).await;
    press.beat("degraded", 5).await;
    site.wait_for(ACME, "presence", |data| data.to_string().contains("degraded")).await;
    let page = async |path: &str| {
        let answer = http().get(format!("http://{}{path}", site.app.local_addr())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (_, list) = page("/tenants").await;
    for part in ["href=\"/tenants\"", "href=\"/tenants/acme\"", "href=\"/tenants/globex\"", "initech", "1 not well"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let (_, acme) = page("/tenants/acme").await;
    for part in ["press", "degraded", "5 sent", "orders", "1 of 1 clients online"] {
        assert!(acme.contains(part), "{part}: {acme}");
    }
    assert!(!acme.contains("shop"), "{acme}");
    assert_eq!(page("/tenants/nobody").await.0, 404);
}
