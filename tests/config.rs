//! Settings through the front door: good files load, bad ones get all their mistakes told.

use std::path::{Path, PathBuf};

use andon::config::{self, Config, DEFAULT_TEXT, Source};
use andon::yaml::Mistakes;

fn resolve(text: &str) -> Result<Config, Mistakes> {
    config::resolve(text, Path::new("/etc/andon/andon.yml"), &Source::default())
}

#[track_caller]
fn good(text: &str) -> Config {
    resolve(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Checks all mistakes of a text, without the file's name.
#[track_caller]
fn bad(text: &str, expected: &[&str]) {
    let mistakes = resolve(text).expect_err(text);
    let found: Vec<String> = mistakes.list.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
}

fn examples(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.to_str().unwrap().ends_with(ending));
    paths.sort();
    assert!(!paths.is_empty(), "no example ends in {ending}");
    paths
}

#[test]
fn the_good_examples_load() {
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/nats-streams.yml");
    for path in examples(".good.yml").into_iter().chain([packaged]) {
        let source = Source { file: Some(path.clone()), ..Source::default() };
        if let Err(error) = config::load(&source) {
            panic!("{}: {error}", path.display());
        }
    }
}

/// `ANDON_BLESS=1` writes the expected mistakes anew; read the difference before committing it.
#[test]
fn the_bad_examples_get_exactly_these_mistakes() {
    for path in examples(".bad.yml") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let error = config::resolve(&text, Path::new(name), &Source::default()).expect_err(name);
        let expected = path.with_extension("txt");
        if std::env::var("ANDON_BLESS").is_ok() {
            std::fs::write(&expected, format!("{error}\n")).unwrap();
        }
        assert_eq!(format!("{error}\n"), std::fs::read_to_string(&expected).unwrap(), "{name}");
    }
}

#[test]
fn the_defaults_are_those_that_the_packaged_file_names() {
    let uncommented: String = DEFAULT_TEXT
        .lines()
        .map(|line| match line.strip_prefix('#') {
            // An odd number of spaces after the # marks prose and examples.
            Some(text) if !(text.len() - text.trim_start().len()).is_multiple_of(2) => String::new(),
            Some(key) => format!("{key}\n"),
            None => format!("{line}\n"),
        })
        .collect();
    assert!(uncommented.contains("\nhttp:\n  listen: 127.0.0.1:26366\n"), "{uncommented}");
    let (mut named, mut default) = (good(&uncommented), good(DEFAULT_TEXT));
    named.text.clear();
    default.text.clear();
    assert_eq!(format!("{named:#?}"), format!("{default:#?}"));
}

#[test]
fn no_file_is_the_packaged_file_and_flags_win() {
    let source = Source { data: Some("/tmp/d".into()), listen: Some("127.0.0.1:0".to_owned()), ..Source::default() };
    let config =
        config::resolve("http: {listen: 127.0.0.1:7}\nstorage: {path: /x}\n", Path::new("x"), &source).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.storage.folder, Path::new("/tmp/d"));
    assert_eq!(config.alarms.folder, Path::new("/tmp/d/alarms/journal"));
    assert_eq!(config.notify.folder, Path::new("/tmp/d/notify"));
}

#[test]
fn an_open_listener_is_refused_unless_the_settings_say_so() {
    let error = resolve("http: {listen: '0.0.0.0:80'}\n").unwrap_err().to_string();
    assert!(error.starts_with("/etc/andon/andon.yml:1:16: http.listen: refusing to listen on 0.0.0.0:80"), "{error}");
    good("http: {listen: '0.0.0.0:80', unprotected: true}\n");
    let source = Source { listen: Some("0.0.0.0:80".to_owned()), ..Source::default() };
    let error = config::resolve("", Path::new("x"), &source).unwrap_err().to_string();
    assert!(error.contains("--listen: refusing"), "{error}");
}

#[test]
fn a_file_of_prometheus_loads_with_notes() {
    let config = good(
        "global: {scrape_interval: 15s, external_labels: {monitor: x}}\n\
         alerting: {alertmanagers: [{static_configs: [{targets: ['alertmanager:9093']}]}]}\n\
         rule_files: [/nowhere/rules/*.yml]\n\
         scrape_configs:\n- job_name: nats\n  metrics_path: /\n  static_configs: [{targets: ['nats:8222'], labels: {service: nats}}]\n\
         storage: {tsdb: {out_of_order_time_window: 30m}}\n",
    );
    assert_eq!(config.collect.scrape[0].name, "nats");
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert_eq!(config.notify.relay.alertmanagers[0].targets[0].get("__address__"), Some("alertmanager:9093"));
    assert_eq!(config.notify.relay.external_labels.get("monitor"), Some("x"));
}

#[test]
fn the_files_beside_the_project_load_unchanged() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    for file in ["conformance/configs/andon.yml", "fixtures/nats-websocket-bridge/prometheus.yml"] {
        let path = beside.join(file);
        // The folder of references is not part of a clone.
        if path.exists() {
            config::load(&Source { file: Some(path), ..Source::default() }).unwrap();
        }
    }
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hook"), "http://u:hunter2@127.0.0.1:1/hook\n").unwrap();
    let text = "notifications:\n  route: {receiver: a}\n  receivers:\n  - {name: a, webhook_configs: [{url_file: hook}]}\n\
                remote_write:\n- {url: 'http://u:hunter2@c/w', basic_auth: {username: u, password: hunter2}}\n\
                bus: {nats: {servers: [n], token: hunter2}}\n";
    let config = config::resolve(text, &folder.path().join("andon.yml"), &Source::default()).unwrap();
    let webhook = &config.notify.receivers[0].ways[0];
    let andon::notify::Kind::Webhook(andon::notify::Webhook { url, .. }) = &webhook.kind else { panic!("{webhook:?}") };
    assert_eq!(url.expose(), "http://127.0.0.1:1/hook");
    assert_eq!(config.forward.destinations[0].name, "http://c/w");
    assert!(!config.text.contains("hunter2"), "{}", config.text);
    let bus = format!("{:?} {:?} {:?}", config.bus, webhook, config.forward.destinations[0].http);
    assert!(!bus.contains("hunter2"), "{bus}");
}

#[test]
fn chats_and_pagers_are_read_with_what_global_says_and_with_templates_of_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.tmpl"), "{{ define \"own\" }}{{ .Receiver }}{{ end }}").unwrap();
    let read = |text: &str| config::resolve(text, &folder.path().join("andon.yml"), &Source::default());
    let section = |receiver: &str| {
        format!(
            "notifications:\n  global: {{slack_api_url: 'http://hunter2', opsgenie_api_key: hunter2, telegram_bot_token: hunter2}}\n  \
             templates: ['*.tmpl']\n  route: {{receiver: a}}\n  receivers:\n  - {{name: a, {receiver}}}\n"
        )
    };
    let every = "slack_configs: [{channel: '#x', title: '{{ template \"own\" . }}'}], telegram_configs: [{chat_id: -1}], \
         pagerduty_configs: [{routing_key: hunter2}], opsgenie_configs: [{responders: [{type: team, name: x}]}], \
         discord_configs: [{webhook_url: 'http://hunter2'}], msteams_configs: [{webhook_url: 'http://hunter2'}], \
         msteamsv2_configs: [{webhook_url: 'http://hunter2'}], pushover_configs: [{user_key: hunter2, token: hunter2}]";
    let config = read(&section(every)).unwrap();
    let found: Vec<_> = config.notify.receivers[0].ways.iter().map(|w| (w.kind.name(), w.send_resolved)).collect();
    let expected = ["slack", "pagerduty", "opsgenie", "telegram", "discord", "msteams", "msteamsv2", "pushover"];
    assert_eq!(found, expected.map(|name| (name, name != "slack")));
    assert!(!config.text.contains("hunter2"), "{}", config.text);
    assert!(!format!("{:?}", config.notify).contains("hunter2"));
    for (bad, why) in [
        ("slack_configs: [{title: '{{ template \"owm\" . }}'}]", "template \"owm\" not defined"),
        ("slack_configs: [{title: '{{ .Status | upper }}'}]", "function \"upper\" not defined"),
        ("slack_configs: [{titel: x}]", "did you mean \"title\"?"),
        ("pagerduty_configs: [{}]", "routing_key or service_key is missing"),
        ("telegram_configs: [{chat_id: x}]", "expected a whole number"),
        ("discord_configs: [{}]", "webhook_url or webhook_url_file is missing"),
        ("opsgenie_configs: [{responders: [{type: team}]}]", "one of id, name and username is missing"),
    ] {
        let mistakes = read(&section(bad)).unwrap_err().to_string();
        assert!(mistakes.contains(why), "{bad}: {mistakes}");
    }
}

#[test]
fn what_a_route_does_not_say_it_has_from_above() {
    let config = good(
        "notifications:\n  receivers: [{name: a}, {name: b}]\n  time_intervals:\n\
         \x20 - {name: night, time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}], weekdays: ['monday:friday']}]}\n\
         \x20 route:\n    receiver: a\n    group_by: [alertname]\n    group_wait: 1s\n    routes:\n\
         \x20   - {matchers: ['severity=\"critical\"', team=~x|y], receiver: b, group_by: ['...'], mute_time_intervals: [night]}\n",
    );
    let route = config.notify.route.unwrap();
    let child = &route.routes[0];
    assert_eq!((child.receiver.as_str(), child.group_wait.as_secs(), child.matchers.len()), ("b", 1, 2));
    assert_eq!(child.group_by, andon::notify::GroupBy::All);
    assert_eq!(child.group_interval.as_secs(), 300);
}

#[test]
fn what_is_known_elsewhere_and_would_be_missed_is_refused() {
    bad(
        "scrape_configs:\n- job_name: k\n  kubernetes_sd_configs: [{role: node}]\nroute: {receiver: x}\n",
        &[
            "3:26: scrape_configs[0].kubernetes_sd_configs: not supported by Andon; use static_configs or file_sd_configs",
            "4:8: route: not supported by Andon; in Andon this stands under notifications",
        ],
    );
    bad(
        "notifications:\n  route: {receiver: x}\n  receivers:\n  - name: x\n    sns_configs: [{topic_arn: a}]\n",
        &[
            "5:18: notifications.receivers[0].sns_configs: not supported by Andon; there is no such service in Andon; webhook_configs may reach it",
        ],
    );
}

#[test]
fn a_change_that_needs_a_restart_is_named() {
    let old = good("");
    let new = good("http: {listen: '127.0.0.1:7'}\nbox_name: x\nscrape_configs: [{job_name: a}]\n");
    assert_eq!(new.needs_restart(&old), ["box_name", "http", "bus"]);
    assert_eq!(good("scrape_configs: [{job_name: a}]\n").needs_restart(&old), [""; 0]);
}

#[test]
fn a_missing_file_is_named() {
    let source = Source { file: Some("/nowhere/andon.yml".into()), ..Source::default() };
    let error = config::load(&source).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/andon.yml: "), "{error}");
}

/// Returns the only mistake of a `tls_server_config`, without its place, and without the folder of the tests' files.
fn tls_mistake(keys: &str) -> String {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/");
    let text = format!("http: {{tls_server_config: {{{keys}}}}}\n").replace("@", files);
    let mistakes = resolve(&text).expect_err(keys).list;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes[0].to_string().split_once(": ").unwrap().1.replace(files, "@")
}

#[test]
fn files_of_tls_are_tried_and_what_is_wrong_with_them_is_told() {
    let at = "http.tls_server_config";
    let check = |keys: &str, expected: &str| assert_eq!(tls_mistake(keys), format!("{at}{expected}"), "{keys}");
    let both = "cert_file: '@server.pem', key_file: '@server.key'";
    check("cert_file: '@none.pem', key_file: '@server.key'", ": @none.pem: No such file or directory (os error 2)");
    check(
        "cert_file: '@server.key', key_file: '@server.key'",
        ": @server.key: it holds no certificate in PEM (BEGIN CERTIFICATE)",
    );
    check(
        "cert_file: '@server.pem', key_file: '@server.pem'",
        ": @server.pem: it holds no private key in PEM without a password (BEGIN PRIVATE KEY)",
    );
    check(
        "cert_file: '@server.pem', key_file: '@gate.key'",
        ": @gate.key: it is not the key of the first certificate in @server.pem",
    );
    check("cert_file: '@server.pem'", ": key_file is missing");
    check(
        &format!("{both}, client_auth_type: RequireAndVerifyClientCert"),
        ": client_ca_file is missing: whose certificates are to be taken?",
    );
    check(
        &format!("{both}, client_ca_file: '@ca.pem'"),
        ": client_ca_file without client_auth_type: no client is asked for a certificate; client_auth_type: \
         VerifyClientCertIfGiven",
    );
    check(
        &format!("{both}, client_auth_type: RequestClientCert, client_ca_file: '@make'"),
        ": @make: it holds no certificate in PEM (BEGIN CERTIFICATE)",
    );
    check(
        &format!("{both}, client_auth_type: RequestClientCert, client_ca_file: '@ca.pem', client_crl_file: '@ca.pem'"),
        ": @ca.pem: it holds no revocation list in PEM (BEGIN X509 CRL)",
    );
    check(&format!("{both}, min_version: TLS10"), ".min_version: only TLS 1.2 and 1.3 are spoken; TLS12 or TLS13");
    check(&format!("{both}, min_version: TLS13, max_version: TLS12"), ": min_version is above max_version");
    check(&format!("{both}, key: x"), ".key: not supported by Andon; put it into a file and name it as key_file");
}

#[test]
fn a_key_that_may_not_be_read_is_told_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("box.key");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/server.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&key).is_ok() {
        // Who may read everything cannot see this.
        return;
    }
    let told = tls_mistake(&format!("cert_file: '@server.pem', key_file: '{}'", key.display()));
    assert!(told.contains("chgrp andon") && told.contains("chmod 640"), "{told}");
}
