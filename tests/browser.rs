//! Pages in a real browser: the console stays quiet, the content policy is kept, nothing comes from elsewhere.

use std::process::{Command, Stdio};

use crate::pages::Plant;
use crate::support::browser::Browser;

/// Where a script, a chart or a form could go wrong.
pub(crate) const PAGES: [&str; 18] = [
    "/",
    "/explore?q=factory_oee_overall",
    "/cardinality",
    "/targets/relabel",
    "/devices",
    "/devices/sensor-temp-001",
    "/alarms",
    "/alarms/wall",
    "/alarms/history",
    "/alarms/health",
    "/notifications?labels=line_id%3Dline1",
    "/silences?filter=alertname%3DLineFault",
    "/rules",
    "/rules/edit",
    "/rules/rule?name=LineFault&limit=1&for=1m",
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

#[tokio::test(flavor = "multi_thread")]
async fn forms_work_under_a_name_without_tls() {
    // The browser says less of where a form comes from than it does to its own machine: no Sec-Fetch-Site.
    let plant = Plant::start().await;
    let base = plant.url("").replace("127.0.0.1", "box.lan");
    let mut browser = Browser::start().await;
    browser.open(&format!("{base}/about")).await;
    browser.ask("window.before = true; document.querySelector('form[action=\"/theme\"] button').click()").await;
    browser.wait_for("window.before === undefined && document.readyState === 'complete'").await;
    browser.wait_for("document.querySelector('main') !== null").await;
    assert_eq!(browser.ask("location.pathname").await, "/about");
}

/// The field for the first expression.
const FIELD: &str = "document.getElementById('q')";

#[tokio::test(flavor = "multi_thread")]
async fn completion_is_worked_by_keys() {
    let plant = Plant::start().await;
    let mut browser = Browser::start().await;
    let is_open = format!("{FIELD}.getAttribute('aria-expanded') === 'true'");
    let chosen = format!("document.getElementById({FIELD}.getAttribute('aria-activedescendant'))");
    browser.open(&plant.url("/explore")).await;
    assert_eq!(browser.ask(&format!("{FIELD}.getAttribute('role')")).await, "combobox");
    assert_eq!(browser.ask(&format!("document.activeElement === {FIELD}")).await, true);

    // Arrows choose, and Enter takes without asking.
    browser.write("sum(factory_oee").await;
    browser.wait_for(&is_open).await;
    browser.press("ArrowDown").await;
    browser.press("ArrowDown").await;
    browser.press("ArrowUp").await;
    assert_eq!(browser.ask(&format!("{chosen}.getAttribute('aria-selected')")).await, "true");
    assert_eq!(browser.ask(&format!("{chosen}.querySelector('b').textContent")).await, "factory_oee_availability");
    browser.press("Enter").await;
    assert_eq!(browser.ask(&format!("{FIELD}.value")).await, "sum(factory_oee_availability");

    // Tab takes the first; a label leads on to its values.
    browser.write("{line").await;
    browser.wait_for(&is_open).await;
    browser.press("Tab").await;
    browser.wait_for(&format!("{is_open} && {FIELD}.value.endsWith('{{line_id=\"')")).await;
    browser.press("Tab").await;
    assert_eq!(browser.ask(&format!("{FIELD}.value")).await, "sum(factory_oee_availability{line_id=\"line1\"");

    // Escape closes and leaves what is written.
    browser.write(",job").await;
    browser.wait_for(&is_open).await;
    browser.press("Escape").await;
    assert_eq!(browser.ask(&is_open).await, false);
    assert_eq!(browser.ask("location.search").await, "", "nothing was asked so far");
    browser.ask(&format!("{FIELD}.value = 'factory_line_state'")).await;
    browser.press("Enter").await;
    browser.wait_for("location.search.startsWith('?q=factory_line_state&')").await;
    plant.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_is_wider_than_a_phone() {
    let plant = Plant::start().await;
    let mut browser = Browser::start().await;
    browser.resize(390, 844).await;
    for path in PAGES.iter().chain(&["/explore", "/explore?q=sum(rate(factory_production_count_total%5B5m%5D)"]) {
        browser.open(&plant.url(path)).await;
        browser.ask("document.querySelectorAll('details').forEach((part) => part.open = true)").await;
        let width = browser.ask("document.documentElement.scrollWidth").await;
        assert_eq!(width, 390, "{path}");
    }
    plant.app.stop().await;
}
