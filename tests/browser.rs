//! Pages in a real browser: the console stays quiet, the content policy is kept, nothing comes from elsewhere.

use std::process::{Command, Stdio};

use crate::pages::Plant;

/// Where a script, a chart or a form could go wrong.
const PAGES: [&str; 9] = [
    "/",
    "/explore?q=factory_oee_overall",
    "/cardinality",
    "/targets/relabel",
    "/devices/sensor-temp-001",
    "/alarms",
    "/logs",
    "/storage",
    "/about",
];

/// What the browser saw on one page.
struct Seen {
    dom: String,
    /// Lines that the page wrote to the console, and refusals of the content policy.
    console: Vec<String>,
    /// Addresses that the page asked for.
    requests: Vec<String>,
}

/// Opens a page, lets its script run, and looks.
fn open(base: &str, path: &str) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let net_log = folder.path().join("net.json");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
        ])
        .args(["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--log-net-log={}", net_log.display()))
        .arg(format!("{base}{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("chromium is not installed: apt-get install chromium");
    let log = String::from_utf8_lossy(&output.stderr);
    let net = std::fs::read_to_string(&net_log).unwrap_or_default();
    // One event a line; the browser has errands of its own, which do not name the page as their initiator.
    let requests = net
        .lines()
        .filter(|event| event.contains(&format!("\"initiator\":\"{base}\"")))
        .filter_map(|event| event.split("\"url\":\"").nth(1)?.split('"').next().map(str::to_owned))
        .collect();
    Seen {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        console: log.lines().filter(|l| l.contains("CONSOLE")).map(str::to_owned).collect(),
        requests,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_quiet_and_nothing_comes_from_elsewhere() {
    let plant = Plant::start().await;
    let base = plant.url("");
    for path in PAGES {
        let seen = tokio::task::block_in_place(|| open(&base, path));
        assert!(seen.dom.contains("<main"), "{path} was not shown: {}", seen.dom);
        assert!(!seen.dom.contains("NOT LIVE"), "{path} does not refresh");
        assert_eq!(seen.console, Vec::<String>::new(), "{path}");
        assert!(seen.requests.iter().any(|r| r.starts_with(&base)), "{path}: no request was seen at all");
        let strangers: Vec<_> = seen.requests.iter().filter(|r| !r.starts_with(&base)).collect();
        assert!(strangers.is_empty(), "{path} asks others: {strangers:?}");
    }
}
