use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Config, Deps, Health, RuleSource, Rules};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, AlarmState, Alert, AlertState, Labels, Matcher, Timestamp, is_stale};
use crate::query::promql::{Engine, Limits};
use crate::storage::tsdb::{Batch, Db};
use crate::task::{Phase, Tasks};

const FILE: &str = r#"
groups:
  - name: line
    interval: 50ms
    rules:
      - record: line:temp:max
        expr: max(temp)
        labels: {area: north}
      - alert: Hot
        expr: line:temp:max > 80
        for: 100ms
        labels: {severity: critical, level: '{{ if gt $value 90.0 }}very{{ else }}just{{ end }}'}
        annotations:
          summary: '{{ $value | printf "%.1f" }} in {{ $labels.area }} of {{ $externalLabels.site }}'
          broken: '{{ query "nonsense(" }}'
      - alert: Never
        expr: vector(0) > 1
"#;

/// A room over a store in memory, with the alerts it sends.
struct Room {
    db: Db,
    tasks: Tasks,
    rules: Rules,
    alerts: mpsc::Receiver<Vec<Alert>>,
}

fn config(text: &str) -> Config {
    Config {
        files: vec![RuleSource { path: "r.yml".to_owned(), text: Ok(text.to_owned()) }],
        evaluation_interval: Duration::from_secs(60),
        query_offset: Duration::ZERO,
        external_labels: Labels::from_pairs([("site", "north works")]),
        external_url: "http://box".to_owned(),
    }
}

impl Room {
    fn start(config: Config, db: Db, active: Vec<Alarm>) -> Room {
        let tasks = Tasks::new(1);
        let limits = Limits {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(10),
            samples_max: 1_000_000,
            default_step: Duration::from_secs(60),
        };
        let (alarms, alerts) = mpsc::channel(64);
        let deps = Deps {
            state: crate::storage::state::State::in_memory(),
            db: db.clone(),
            engine: Engine::new(db.clone(), limits),
            clock: Clock::system(),
            tasks: tasks.clone(),
            registry: Registry::default(),
            alarms,
            active,
        };
        Room { rules: Rules::start(config, deps), db, tasks, alerts }
    }

    fn push(&self, value: f64) {
        let mut batch = Batch::default();
        batch.push(&Labels::from_pairs([("__name__", "temp")]), Clock::system().now(), value);
        self.db.append(&batch).unwrap();
    }

    /// Waits for a batch that has an alert for which `wanted` says yes.
    async fn alert(&mut self, wanted: impl Fn(&Alert) -> bool) -> Alert {
        let search = async {
            while let Some(batch) = self.alerts.recv().await {
                if let Some(alert) = batch.into_iter().find(|a| wanted(a)) {
                    return alert;
                }
            }
            panic!("the rules ended");
        };
        tokio::time::timeout(Duration::from_secs(10), search).await.expect("no such alert in 10 s")
    }

    /// Returns the newest value of each series of a name.
    fn newest(&self, name: &str) -> Vec<(Labels, f64)> {
        let matchers = [Matcher::equal("__name__", name)];
        let set = self.db.querier().select(&matchers, Timestamp::from_millis(0), Timestamp::MAX, usize::MAX).unwrap();
        set.map(|s| s.unwrap()).map(|s| (s.labels, *s.values.last().unwrap())).collect()
    }

    async fn stop(&self) {
        self.tasks.token(Phase::Intake).cancel();
        assert!(self.tasks.ended(Duration::from_secs(5), |_| true).await.is_empty());
    }
}

fn state(wanted: AlertState) -> impl Fn(&Alert) -> bool {
    move |alert| alert.state == wanted
}

#[tokio::test]
async fn rules_record_fire_and_resolve() {
    let mut room = Room::start(config(FILE), Db::in_memory(), vec![]);
    room.push(85.0);
    let alert = room.alert(state(AlertState::Firing)).await;
    assert_eq!(alert.labels.to_string(), "{alertname=\"Hot\", area=\"north\", level=\"just\", severity=\"critical\"}");
    assert_eq!(alert.annotations.get("summary"), Some("85.0 in north of north works"));
    assert!(alert.annotations.get("broken").unwrap().starts_with("<error expanding template: "));
    assert!(alert.fired_at.unwrap() >= alert.active_at + Duration::from_millis(100));
    let recorded = room.newest("line:temp:max");
    assert_eq!(recorded, [(Labels::from_pairs([("__name__", "line:temp:max"), ("area", "north")]), 85.0)]);
    let snapshot = room.rules.snapshot();
    let group = &snapshot.groups[0];
    assert_eq!((group.name.as_str(), group.file.as_str(), group.rules.len()), ("line", "r.yml", 3));
    assert!(group.rules.iter().all(|r| r.health == Health::Ok && r.last_error.is_empty()), "{group:?}");

    room.push(70.0);
    let alert = room.alert(state(AlertState::Resolved)).await;
    assert!(alert.resolved_at.is_some());
    let told = room.newest("ALERTS");
    assert!(told.iter().all(|(_, value)| is_stale(*value)), "{told:?}");
    room.stop().await;
}

#[tokio::test]
async fn good_rules_of_a_bad_file_run_and_a_reload_keeps_what_runs() {
    let bad = FILE.replace("vector(0) > 1", "vector(0) >");
    let room = Room::start(config(&bad), Db::in_memory(), vec![]);
    let snapshot = room.rules.snapshot();
    assert_eq!(snapshot.groups[0].rules.len(), 2);
    assert_eq!(snapshot.mistakes.len(), 1);
    assert_eq!((snapshot.mistakes[0].rule.as_str(), snapshot.mistakes[0].line), ("Never", 17));
    assert!(!snapshot.files[0].is_outdated);

    room.rules.reload(config(FILE));
    assert_eq!(room.rules.snapshot().groups[0].rules.len(), 3);
    assert_eq!(room.rules.snapshot().mistakes, []);

    room.rules.reload(config(&bad));
    let snapshot = room.rules.snapshot();
    assert_eq!((snapshot.groups[0].rules.len(), snapshot.mistakes.len()), (3, 1));
    assert!(snapshot.files[0].is_outdated);
    room.stop().await;
}

#[tokio::test]
async fn a_changed_group_keeps_its_alerts_and_a_rule_that_goes_is_resolved() {
    let mut room = Room::start(config(FILE), Db::in_memory(), vec![]);
    room.push(85.0);
    let before = room.alert(state(AlertState::Firing)).await;
    room.rules.reload(config(&FILE.replace("for: 100ms", "for: 1h").replace("vector(0) > 1", "vector(0) > 2")));
    let snapshot = room.rules.snapshot();
    let kept = &snapshot.groups[0].rules[1].alerts()[0];
    assert_eq!((kept.state, kept.fired_at), (AlertState::Firing, before.fired_at));

    room.rules.reload(config("groups: []"));
    let gone = room.alert(state(AlertState::Resolved)).await;
    assert_eq!(gone.labels, before.labels);
    assert!(room.newest("line:temp:max").iter().all(|(_, value)| is_stale(*value)));
    assert_eq!(room.rules.snapshot().groups, []);
    room.stop().await;
}

fn active(labels: &Labels, raised_at: Timestamp) -> Alarm {
    Alarm {
        fingerprint: labels.stable_hash(),
        labels: labels.clone(),
        annotations: Labels::empty(),
        state: AlarmState::Active,
        raised_at,
        cleared_at: None,
        acknowledgement: None,
        value: 85.0,
        expression: "line:temp:max > 80".to_owned(),
        source_url: String::new(),
        rule_version: 0,
        changed_at: raised_at,
    }
}

#[tokio::test]
async fn after_a_restart_what_fired_fires_on_and_what_was_pending_goes_on_waiting() {
    let now = Clock::system().now();
    let firing =
        Labels::from_pairs([("alertname", "Hot"), ("area", "north"), ("level", "just"), ("severity", "critical")]);
    let pending = firing.builder().set("level", "very").to_owned().build();
    let raised_at = now - Duration::from_secs(86_400 * 3);
    let db = Db::in_memory();
    let mut batch = Batch::default();
    // Its condition held for 20 s when the box stopped, an hour ago.
    let stopped_at = now - Duration::from_secs(3600);
    let series = pending.builder().set("__name__", "ALERTS_FOR_STATE").to_owned().build();
    batch.push(&series, stopped_at, (stopped_at - Duration::from_secs(20)).as_seconds());
    db.append(&batch).unwrap();

    let text = FILE.replace("for: 100ms", "for: 30s");
    let mut room = Room::start(config(&text), db, vec![active(&firing, raised_at)]);
    let alert = room.alert(state(AlertState::Firing)).await;
    assert_eq!((alert.labels.clone(), alert.fired_at), (firing.clone(), Some(raised_at)));
    // Evaluated a few times without any sample: both stay as they are.
    for _ in 0..3 {
        room.alert(|a| a.labels == firing && a.state == AlertState::Firing).await;
    }
    let snapshot = room.rules.snapshot();
    let alerts = snapshot.groups[0].rules[1].alerts();
    let waiting = alerts.iter().find(|a| a.labels == pending).unwrap();
    assert_eq!(waiting.state, AlertState::Pending);
    let waited = now.since(waiting.active_at);
    assert!(waited <= Duration::from_secs(21) && waited >= Duration::from_secs(18), "{waited:?}");
    room.stop().await;
}

#[tokio::test]
async fn a_rule_that_cannot_be_evaluated_says_why() {
    let text = "groups: [{name: g, interval: 50ms, rules: [{record: x, expr: 'vector(1) * on(a) group_left vector(1)'}, \
                {record: y, expr: 'label_replace(vector(1), \"bad name\", \"\", \"\", \"(\")'}]}]";
    let room = Room::start(config(text), Db::in_memory(), vec![]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let unhappy = loop {
        let snapshot = room.rules.snapshot();
        let failed = snapshot.groups.iter().flat_map(|g| &g.rules).find(|r| r.health == Health::Err).cloned();
        if failed.is_some() || tokio::time::Instant::now() > deadline || !snapshot.mistakes.is_empty() {
            break (failed, snapshot.mistakes.clone());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // Either the check or the evaluation finds it; silence would be wrong.
    assert!(unhappy.0.is_some_and(|r| !r.last_error.is_empty()) || !unhappy.1.is_empty());
    let _: Arc<_> = room.rules.snapshot();
    room.stop().await;
}

#[tokio::test]
async fn what_people_store_runs_at_once_beside_the_files_and_outlives_a_reload() {
    let room = Room::start(config("groups: []"), Db::in_memory(), vec![]);
    let text = "groups: [{name: own, interval: 50ms, rules: [{alert: A, expr: vector(1)}]}]";
    let rules = room.rules.clone();
    let names = || rules.snapshot().groups.iter().map(|g| g.name.clone()).collect::<Vec<_>>();
    assert_eq!(rules.store(text, "Eva", "new", 0), Ok(1));
    assert_eq!(names(), ["own"]);
    rules.reload(config(FILE));
    assert_eq!(names(), ["line", "own"]);
    assert!(rules.store("groups: [{name: own, rules: [{alert: A, expr: vector(}]}]", "Eva", "", 1).is_err());
    assert_eq!(names(), ["line", "own"]);
    assert_eq!(rules.store("", "Eva", "no longer", 1), Ok(2));
    assert_eq!((names(), rules.stored().len()), (vec!["line".to_owned()], 2));
    room.stop().await;
}

#[tokio::test]
async fn a_restored_alert_waits_for_its_samples_and_their_no_ends_it_at_once() {
    let now = Clock::system().now();
    let firing =
        Labels::from_pairs([("alertname", "Hot"), ("area", "north"), ("level", "just"), ("severity", "critical")]);
    let text = FILE.replace("for: 100ms", "for: 30s");
    let mut room = Room::start(config(&text), Db::in_memory(), vec![active(&firing, now - Duration::from_secs(60))]);
    for _ in 0..4 {
        room.alert(|a| a.labels == firing && a.state == AlertState::Firing).await;
    }
    room.push(70.0);
    let over = room.alert(state(AlertState::Resolved)).await;
    assert_eq!(over.labels, firing);
    room.stop().await;
}
