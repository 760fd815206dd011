//! Pages worked by keys alone, with script and without: what a technician does at a panel that has no pointer.

use crate::pages::Plant;
use crate::support::browser::Browser;

/// Rules that a technician writes on the page: four alarms that stay.
const RULES: &str = "groups:\n- name: by-hand\n  interval: 1s\n  rules:\n  - alert: Hot\n    expr: vector(91) > 80\n    \
                     labels: {severity: critical, line_id: line1}\n    annotations: {summary: The oven is hot}\n  \
                     - alert: Dusty\n    expr: vector(7) > 5\n    labels: {severity: warning, line_id: line2}\n  \
                     - alert: Loud\n    expr: vector(3) > 2\n    labels: {severity: warning, line_id: line2}\n  \
                     - alert: Slow\n    expr: vector(1) > 0\n    labels: {severity: info, line_id: line3}\n";

/// Presses Tab until something that the selector means has the focus.
async fn tab_to(browser: &mut Browser, selector: &str) {
    for _ in 0..150 {
        browser.press("Tab").await;
        if browser.ask(&format!("document.activeElement.matches({selector:?})")).await == true {
            return;
        }
    }
    let shown = browser.ask("document.body.innerHTML").await;
    panic!("Tab never came to {selector} on {shown}");
}

async fn text(browser: &mut Browser) -> String {
    browser.ask("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
}

/// Fills the field that Tab comes to.
async fn fill(browser: &mut Browser, selector: &str, value: &str) {
    tab_to(browser, selector).await;
    browser.ask("document.activeElement.value = ''").await;
    browser.insert(value).await;
}

/// Presses Enter on what Tab comes to and waits for a page that says so.
async fn submit(browser: &mut Browser, selector: &str, says: &str) {
    tab_to(browser, selector).await;
    browser.press("Enter").await;
    browser
        .wait_for(&format!("document.readyState === 'complete' && document.body.innerText.includes({says:?})"))
        .await;
}

async fn store_rules(plant: &Plant, browser: &mut Browser) {
    browser.open(&plant.url("/rules/edit")).await;
    fill(browser, "textarea", "groups: [{name: by-hand, rules: [{alert: Hot, expr: 'vector(91'}]}]").await;
    submit(browser, "button[value=check]", "Mistakes").await;
    fill(browser, "textarea", RULES).await;
    fill(browser, "input[name=by]", "Eva").await;
    fill(browser, "input[name=note]", "first rules").await;
    tab_to(browser, "button[value=store]").await;
    browser.press("Enter").await;
    plant.wait_for("/alarms", "Slow").await;
    plant.wait_for("/alarms", "Hot").await;
}

async fn acknowledge(plant: &Plant, browser: &mut Browser) {
    browser.open(&plant.url("/alarms")).await;
    // One, in its row.
    tab_to(browser, "tr:has(td) details.ack > summary").await;
    let name = "document.activeElement.closest('tr').querySelector('.alarm-name').textContent";
    let first = browser.ask(name).await.as_str().unwrap().to_owned();
    browser.press("Enter").await;
    fill(browser, "details[open] input[name=by]", "Eva").await;
    fill(browser, "details[open] input[name=note]", "cleaning it").await;
    submit(browser, "details[open] button.go", "taken by Eva").await;
    // Two others, ticked.
    for _ in 0..2 {
        tab_to(browser, "input[type=checkbox][name=f]:not(:checked)").await;
        browser.press(" ").await;
    }
    fill(browser, "#many input[name=by]", "Ole").await;
    submit(browser, "#many button[value=ticked]", "taken by Ole").await;
    let taken = browser.ask("document.body.innerText.split('taken by Ole').length - 1").await;
    assert_eq!(taken, 2, "{first} was the first: {}", text(browser).await);
    // All that are left; one that comes meanwhile was not shown and stays.
    fill(browser, "#many input[name=by]", "Kim").await;
    let shown = browser.ask("[...document.querySelectorAll('tr:has(details.ack)')].map(row => row.id)").await;
    assert!(!shown.as_array().unwrap().is_empty());
    submit(browser, "#many button[value=shown]", "taken by Kim").await;
    let left = format!("{shown}.filter(id => document.querySelector('#' + id + ' details.ack'))");
    assert_eq!(browser.ask(&left).await, serde_json::json!([]), "of {shown}");
}

async fn shelve(plant: &Plant, browser: &mut Browser) {
    browser.open(&plant.url("/alarms?find=Slow")).await;
    tab_to(browser, "a.alarm-name").await;
    browser.press("Enter").await;
    browser.wait_for("location.pathname.length > 12 && document.readyState === 'complete'").await;
    tab_to(browser, "#shelve summary").await;
    browser.press("Enter").await;
    fill(browser, "#shelve details input[name=by]", "Eva").await;
    fill(browser, "#shelve details input[name=note]", "sensor is being changed").await;
    submit(browser, "#shelve details button", "helved").await;
    submit(browser, "#shelve form[action$=unshelve] button", "Shelve it for a while").await;
}

async fn silence(plant: &Plant, browser: &mut Browser) {
    browser.open(&plant.url("/silences")).await;
    fill(browser, "#new input[name=filter]", "line_id=\"line2\"").await;
    submit(browser, "#new form[method=get] button", "These alarms").await;
    let preview = text(browser).await;
    assert!(preview.contains("Dusty") && preview.contains("Loud") && !preview.contains("Hot"), "{preview}");
    fill(browser, "#new form[method=post] input[name=by]", "Eva").await;
    fill(browser, "#new form[method=post] input[name=comment]", "line 2 is being cleaned").await;
    submit(browser, "#new form[method=post] button", "line 2 is being cleaned").await;
    submit(browser, "#silences form button", "Nothing is silenced").await;
}

async fn look_back(plant: &Plant, browser: &mut Browser) {
    browser.open(&plant.url("/alarms/history")).await;
    fill(browser, "input[name=find]", "cleaning it").await;
    tab_to(browser, "form[action='/alarms/history'] button").await;
    browser.press("Enter").await;
    browser.wait_for("document.readyState === 'complete' && location.search.includes('find=cleaning')").await;
    let found = text(browser).await;
    assert!(found.contains("cleaning it") && !found.contains("being changed"), "{found}");
    browser.open(&plant.url("/alarms")).await;
    let theme = "document.documentElement.className";
    let before = browser.ask(theme).await;
    tab_to(browser, ".theme button").await;
    browser.press("Enter").await;
    browser.wait_for(&format!("document.readyState === 'complete' && {theme} !== {before}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_s_whole_work_is_done_by_keys_with_script_and_without() {
    for has_script in [true, false] {
        let plant = Plant::start().await;
        let mut browser = Browser::start().await;
        browser.resize(1280, 800).await;
        if !has_script {
            browser.forbid_script().await;
        }
        store_rules(&plant, &mut browser).await;
        acknowledge(&plant, &mut browser).await;
        shelve(&plant, &mut browser).await;
        silence(&plant, &mut browser).await;
        look_back(&plant, &mut browser).await;
        plant.app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_walk_tick_and_acknowledge() {
    let plant = Plant::start().await;
    let mut browser = Browser::start().await;
    store_rules(&plant, &mut browser).await;
    browser.open(&plant.url("/alarms")).await;
    let names = "[...document.querySelectorAll('#board a.alarm-name')]";
    let at = format!("{names}.indexOf(document.activeElement)");
    browser.press("j").await;
    assert_eq!(browser.ask(&at).await, 0);
    browser.press("j").await;
    browser.press("j").await;
    browser.press("k").await;
    assert_eq!(browser.ask(&at).await, 1);
    let name = browser.ask("document.activeElement.textContent").await;
    browser.press("x").await;
    let ticked = "[...document.querySelectorAll('input[name=f]:checked')].map((box) => \
                  box.closest('tr').querySelector('.alarm-name').textContent).join()";
    assert_eq!(browser.ask(ticked).await, name);
    browser.press("c").await;
    assert_eq!(browser.ask("document.activeElement.matches('details[open] input[name=by]')").await, true);
    browser.insert("Eva").await;
    submit(&mut browser, "details[open] button.go", "taken by Eva").await;
    let taken = "[...document.querySelectorAll('#board tr')].find((row) => row.innerText.includes('taken by Eva'))";
    assert_eq!(browser.ask(&format!("{taken}.querySelector('.alarm-name').textContent")).await, name);
    plant.app.stop().await;
}

/// What has the focus: nothing, or its name if it cannot be seen or does not show it, or an empty text.
const FLAW: &str = "(() => {
    const at = document.activeElement;
    if (!at || at === document.body) return null;
    const box = at.getBoundingClientRect(), style = getComputedStyle(at);
    const label = at.labels && at.labels[0] && getComputedStyle(at.labels[0]);
    const shown = style.outlineStyle !== 'none' || label && label.outlineStyle !== 'none';
    const seen = (box.width > 3 && box.height > 3 && style.visibility === 'visible' && style.opacity !== '0')
        || label && label.display !== 'none' && label.outlineStyle !== 'none';
    const where = at.outerHTML.slice(0, 120);
    if (!seen) return 'unseen ' + where;
    if (!shown) return 'no outline ' + where;
    if (box.right < 1 || box.left > innerWidth || box.bottom < 1 || box.top > innerHeight) return 'outside ' + where;
    if (!(at.innerText || '').trim() && !at.ariaLabel && !at.title && !(at.labels && at.labels.length)) return 'nameless ' + where;
    return '';
})()";

#[tokio::test(flavor = "multi_thread")]
async fn every_stop_of_the_tab_key_is_seen_and_has_a_name() {
    let plant = Plant::start().await;
    let mut browser = Browser::start().await;
    plant.wait_for("/alarms", "LineFault").await;
    for (width, height) in [(1280, 800), (390, 844)] {
        browser.resize(width, height).await;
        for path in crate::browser::PAGES {
            browser.open(&plant.url(path)).await;
            let mut stops = 0;
            browser.ask("document.activeElement.blur()").await;
            loop {
                browser.press("Tab").await;
                let flaw = browser.ask(FLAW).await;
                // The end: the focus leaves the page for the window's own bar.
                let Some(flaw) = flaw.as_str() else { break };
                assert_eq!(flaw, "", "{path} at {width}");
                stops += 1;
                assert!(stops < 500, "{path} at {width}: Tab never ends");
            }
            assert!(stops > 0, "{path} at {width}: Tab stops nowhere");
        }
    }
    plant.app.stop().await;
}
