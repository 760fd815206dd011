//! Every way to show NATS who the box is, right and wrong, against a real server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use andon::bus::{self, Bus, Config, Credentials, Link, NatsConfig};
use andon::clock::Clock;
use andon::instrument::Registry;
use andon::storage::disk::FaultyDisk;
use andon::task::Tasks;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bus::{Server, connected, free_port, message, pattern};
use crate::tls::file;

const SOON: Duration = Duration::from_secs(20);

/// A NATS server with settings of its own, and a box that wants in.
struct Bench {
    folder: TempDir,
    port: u16,
    server: Option<Server>,
    running: Option<(Bus, Tasks)>,
}

impl Bench {
    fn new(settings: &str) -> Bench {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut bench = Bench { folder, port, server: None, running: None };
        bench.serve(settings);
        bench
    }

    /// Starts the server anew with these settings.
    fn serve(&mut self, settings: &str) {
        self.server = None;
        let path = self.put("nats.conf", settings);
        self.server = Some(Server::start_with(self.port, &["-c", path.to_str().unwrap()]));
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a box with these settings.
    fn start(&mut self, change: impl FnOnce(&mut NatsConfig)) {
        let mut nats = NatsConfig::new(vec![format!("nats://localhost:{}", self.port)]);
        change(&mut nats);
        let tasks = Tasks::new(1);
        let (registry, clock, disk) = (Registry::default(), Clock::system(), FaultyDisk::new(1).shared());
        let deps = bus::Deps { tasks: tasks.clone(), registry, clock, disk };
        let bus = Bus::start(Config { nats: Some(nats), ..Config::embedded("box") }, deps);
        self.running = Some((bus, tasks));
    }

    fn bus(&self) -> &Bus {
        &self.running.as_ref().unwrap().0
    }

    /// Fails if the box does not get in, or nothing flows.
    async fn gets_in(&mut self, change: impl FnOnce(&mut NatsConfig)) {
        self.start(change);
        connected(self.bus()).await;
        self.bus().publish(message("a.b", "1")).await.unwrap();
    }

    /// Fails if the box gets in, or its state does not name all of that.
    async fn is_told(&mut self, named: &[&str], change: impl FnOnce(&mut NatsConfig)) {
        self.start(change);
        let mut state = self.bus().state();
        let told = |state: &bus::State| {
            assert_ne!(state.link, Link::Connected, "it got in");
            state.error.as_ref().is_some_and(|error| named.iter().all(|name| error.contains(name)))
        };
        let wait = tokio::time::timeout(SOON, state.wait_for(told)).await.map(|told| told.map(|_| ()));
        assert!(wait.is_ok(), "{named:?} are not named by {:?}", self.bus().state().borrow().error);
    }
}

#[tokio::test]
async fn by_name_and_password_and_again_when_the_server_has_learnt_them() {
    let settings = |password: &str| format!("authorization {{ user: box, password: {password:?} }}");
    let by = |password: &str| {
        let (user, password) = ("box".to_owned(), password.to_owned());
        move |nats: &mut NatsConfig| nats.credentials = Credentials::UserPassword { user, password }
    };
    let mut bench = Bench::new(&settings("right"));
    bench.gets_in(by("right")).await;
    bench.is_told(&["set user and password"], |_| {}).await;
    bench.is_told(&["bus.nats.user", "bus.nats.password", "the server's settings"], by("wrong")).await;
    // It goes on trying: when the server takes it, it is in.
    bench.serve(&settings("wrong"));
    connected(bench.bus()).await;
}

#[tokio::test]
async fn by_a_token() {
    let mut bench = Bench::new("authorization { token: \"s3cr3t\" }");
    let by = |token: &str| {
        let token = token.to_owned();
        move |nats: &mut NatsConfig| nats.credentials = Credentials::Token(token)
    };
    bench.gets_in(by("s3cr3t")).await;
    bench.is_told(&["bus.nats.token"], by("other")).await;
    let error = bench.bus().state().borrow().error.clone().unwrap();
    assert!(!error.contains("other") && !error.contains("s3cr3t"), "{error}");
}

#[tokio::test]
async fn by_an_nkey() {
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let mut bench = Bench::new(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", ours.public_key()));
    let by = |seed: String| move |nats: &mut NatsConfig| nats.credentials = Credentials::NKey(seed);
    bench.gets_in(by(ours.seed().unwrap())).await;
    bench.is_told(&["bus.nats.nkey", "among the server's users"], by(other.seed().unwrap())).await;
    bench.is_told(&["bus.nats.nkey", "SU..."], by("no seed at all".to_owned())).await;
}

/// Returns a token as NATS writes it.
pub(crate) fn jwt(issuer: &KeyPair, subject: &str, name: &str, expires: Option<i64>, nats: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let mut claims = json!({ "jti": format!("{name}-{subject}"), "iat": 1_700_000_000, "iss": issuer.public_key(),
        "name": name, "sub": subject, "nats": nats });
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    let text = format!("{}.{}", encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

fn account(operator: &KeyPair, account: &KeyPair) -> String {
    let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1 });
    let nats = json!({ "limits": limits, "default_permissions": { "pub": {}, "sub": {} }, "type": "account",
        "version": 2 });
    jwt(operator, &account.public_key(), "plant", None, &nats)
}

pub(crate) fn user(account: &KeyPair, user: &KeyPair, expires: Option<i64>) -> String {
    let nats = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let token = jwt(account, &user.public_key(), "box", expires, &nats);
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test]
async fn by_a_file_of_credentials() {
    let (operator, plant, other) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let nats = json!({ "type": "operator", "version": 2 });
    let operator_jwt = jwt(&operator, &operator.public_key(), "operator", None, &nats);
    let mut bench = Bench::new(&format!(
        "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}",
        plant.public_key(),
        account(&operator, &plant)
    ));
    let right = bench.put("box.creds", &user(&plant, &KeyPair::new_user(), None));
    let unknown = bench.put("unknown.creds", &user(&other, &KeyPair::new_user(), None));
    let expired = bench.put("expired.creds", &user(&plant, &KeyPair::new_user(), Some(1_700_000_100)));
    let missing = bench.folder.path().join("missing.creds");
    let by = |path: &Path| {
        let path = path.to_owned();
        move |nats: &mut NatsConfig| nats.credentials = Credentials::File(path)
    };
    bench.gets_in(by(&right)).await;
    bench.is_told(&["bus.nats.credentials_file", "unknown.creds", "get a new one"], by(&unknown)).await;
    bench.is_told(&["bus.nats.credentials_file", "expired.creds", "expired"], by(&expired)).await;
    bench.is_told(&["bus.nats.credentials_file", "missing.creds", "No such file"], by(&missing)).await;
    bench.put("missing.creds", &user(&plant, &KeyPair::new_user(), None));
    connected(bench.bus()).await;
}

/// Returns settings of a server with the tests' certificate.
fn with_tls(more: &str) -> String {
    format!("tls {{ cert_file: {:?}, key_file: {:?}, {more} }}", file("server.pem"), file("server.key"))
}

#[tokio::test]
async fn over_tls_of_an_authority_of_ones_own() {
    let mut bench = Bench::new(&with_tls("timeout: 5"));
    bench.gets_in(|nats| nats.ca_file = Some(file("ca.pem"))).await;
    bench
        .gets_in(|nats| {
            nats.ca_file = Some(file("ca.pem"));
            nats.servers = nats.servers.iter().map(|server| server.replace("nats://", "tls://")).collect();
        })
        .await;
    bench.is_told(&["bus.nats.ca_file", "the authority that signed it"], |_| {}).await;
    bench.is_told(&["bus.nats.ca_file", "stranger-ca.pem"], |nats| nats.ca_file = Some(file("stranger-ca.pem"))).await;
    bench.is_told(&["bus.nats.ca_file", "nowhere.pem"], |nats| nats.ca_file = Some(file("nowhere.pem"))).await;
}

#[tokio::test]
async fn with_a_certificate_of_the_box() {
    let mut bench = Bench::new(&with_tls(&format!("timeout: 5, verify: true, ca_file: {:?}", file("ca.pem"))));
    let by = |name: &str| {
        let pair = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        move |nats: &mut NatsConfig| {
            nats.ca_file = Some(file("ca.pem"));
            nats.certificate = Some(pair);
        }
    };
    bench.gets_in(by("press-1")).await;
    let here = bench.bus().subscribe(&pattern("a.>"));
    bench.bus().publish(message("a.c", "2")).await.unwrap();
    assert!(tokio::time::timeout(SOON, here.recv()).await.unwrap().is_some());
    let wanted = ["NATS wants a certificate", "bus.nats.cert_file", "bus.nats.key_file"];
    bench.is_told(&wanted, |nats| nats.ca_file = Some(file("ca.pem"))).await;
    bench.is_told(&["bus.nats.cert_file", "stranger.pem"], by("stranger")).await;
    bench.is_told(&["bus.nats.cert_file", "expired.pem"], by("expired")).await;
}
