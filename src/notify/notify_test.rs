use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{
    Config, Deps, Drawer, Fallback, GroupBy, Heartbeat, InhibitRule, Kind, NamedInterval, Notifier, Receiver, Route,
    TimeInterval, Way, Webhook,
};
use crate::bus::{self, Bus};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, AlarmState, HttpClient, Labels, Matcher, Secret, Silence, Timestamp};
use crate::storage::disk::{Disk, FaultyDisk};
use crate::storage::state::State;
use crate::task::{Phase, Tasks};

const WAIT: Duration = Duration::from_millis(50);
const INTERVAL: Duration = Duration::from_millis(100);

/// A receiver on loopback that keeps what it gets.
#[derive(Clone, Default)]
struct Sink {
    bodies: Arc<Mutex<Vec<serde_json::Value>>>,
    /// Statuses to answer before it takes anything.
    refusals: Arc<Mutex<VecDeque<u16>>>,
    /// Whether it answers everything with 503.
    is_away: Arc<std::sync::atomic::AtomicBool>,
}

impl Sink {
    async fn start(&self, tasks: &Tasks) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = self.clone();
        tasks.spawn("sink", crate::task::OnPanic::EndTask, async move {
            while let Ok((stream, _)) = listener.accept().await {
                sink.answer(stream).await;
            }
        });
        format!("http://{address}/")
    }

    /// Reads one request and answers it.
    async fn answer(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) <= 2 {
                break;
            }
            if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let refusal = self.refusals.lock().unwrap().pop_front();
        let is_away = self.is_away.load(std::sync::atomic::Ordering::SeqCst);
        let refusal = refusal.or(is_away.then_some(503));
        if refusal.is_none() {
            self.bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        }
        let head = format!("HTTP/1.1 {} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", refusal.unwrap_or(200));
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    /// Returns what came, each notice as `status: name=state ..`.
    fn told(&self) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        let one = |body: &serde_json::Value| {
            let alerts = body["alerts"].as_array().unwrap().iter();
            let alerts = alerts.map(|a| format!("{}={}", text(&a["labels"]["alertname"]), text(&a["status"])));
            format!("{}: {}", text(&body["status"]), alerts.collect::<Vec<_>>().join(" "))
        };
        bodies.iter().map(one).collect()
    }

    /// Waits until so many notices came, then a little longer for one too many.
    #[track_caller]
    fn expect(&self, expected: &[&str]) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let expected: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        async move {
            for _ in 0..500 {
                if self.told().len() >= expected.len() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(3 * INTERVAL).await;
            assert_eq!(self.told(), expected, "at {place}");
        }
    }
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// A bus inside the process.
fn bus(tasks: &Tasks, clock: &Clock) -> Bus {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let deps = bus::Deps { tasks: tasks.clone(), registry: Registry::default(), clock: clock.clone(), disk };
    Bus::start(bus::Config::embedded("box"), deps)
}

/// A room whose board is set by hand; disk and state outlive it.
struct Room {
    clock: Clock,
    disk: Arc<dyn Disk>,
    state: State,
    tasks: Tasks,
    board: watch::Sender<Arc<Vec<Alarm>>>,
    silences: watch::Sender<Arc<Vec<Silence>>>,
    notifier: Notifier,
    alarms: Vec<Alarm>,
}

impl Room {
    fn start(config: Config, disk: Arc<dyn Disk>, state: State, alarms: Vec<Alarm>) -> Room {
        Room::start_at(Clock::system(), config, disk, state, alarms)
    }

    fn start_at(clock: Clock, config: Config, disk: Arc<dyn Disk>, state: State, alarms: Vec<Alarm>) -> Room {
        let tasks = Tasks::new(1);
        let (board, watched) = watch::channel(Arc::new(alarms.clone()));
        let (silences, to_notify) = watch::channel(Arc::default());
        let deps = Deps {
            disk: disk.clone(),
            state: state.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: Registry::default(),
            board: watched,
            silences: to_notify,
            inhibited: watch::Sender::default(),
            bus: bus(&tasks, &clock),
            draw: Drawer::none(),
            read_targets: |_| (vec![], vec![]),
        };
        Room { clock, notifier: Notifier::start(config, deps), disk, state, tasks, board, silences, alarms }
    }

    fn new(config: Config) -> Room {
        Room::start(config, Arc::new(FaultyDisk::new(1)), State::in_memory(), vec![])
    }

    async fn restart(self, config: Config) -> Room {
        self.stop().await;
        Room::start(config, self.disk, self.state, self.alarms)
    }

    async fn stop(&self) {
        self.tasks.token(Phase::Work).cancel();
        assert!(self.tasks.ended(Duration::from_secs(5), |n| n == "notify dispatch").await.is_empty());
    }

    fn raise(&mut self, name: &str, severity: &str) {
        let alarm = active(name, severity, self.clock.now());
        self.alarms.retain(|a| a.labels != alarm.labels);
        self.alarms.push(alarm);
        self.board.send_replace(Arc::new(self.alarms.clone()));
    }

    /// Silences the alarms of a name from now on for so long.
    fn silence(&self, name: &str, duration: Duration) {
        let now = Clock::system().now();
        self.silences.send_replace(Arc::new(vec![Silence {
            id: "s".to_owned(),
            matchers: vec![Matcher::equal("alertname", name)],
            starts_at: now,
            ends_at: now + duration,
            updated_at: now,
            created_by: "eva".to_owned(),
            comment: String::new(),
        }]));
    }

    fn clear(&mut self, name: &str) {
        let now = self.clock.now();
        for alarm in self.alarms.iter_mut().filter(|a| a.name() == name) {
            alarm.state = AlarmState::Cleared;
            alarm.cleared_at = Some(now);
        }
        self.board.send_replace(Arc::new(self.alarms.clone()));
    }
}

fn active(name: &str, severity: &str, now: Timestamp) -> Alarm {
    let labels = Labels::from_pairs([("alertname", name), ("severity", severity)]);
    Alarm {
        fingerprint: labels.stable_hash(),
        labels,
        annotations: Labels::empty(),
        state: AlarmState::Active,
        raised_at: now,
        cleared_at: None,
        acknowledgement: None,
        value: 1.0,
        expression: "up == 0".to_owned(),
        source_url: String::new(),
        rule_version: 0,
        changed_at: now,
    }
}

/// Waits until something holds, up to a minute.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn config(url: &str) -> Config {
    Config {
        folder: PathBuf::from("/notify"),
        external_url: "http://box".to_owned(),
        box_name: "box".to_owned(),
        time_zone: jiff::tz::TimeZone::UTC,
        ack_links_for: None,
        heartbeats: vec![],
        relay: super::RelayConfig::default(),
        route: Some(Route {
            receiver: "team".to_owned(),
            matchers: vec![],
            continues: false,
            group_by: GroupBy::Labels(vec!["severity".to_owned()]),
            group_wait: WAIT,
            group_interval: INTERVAL,
            repeat_interval: Duration::from_secs(3600),
            mute_time_intervals: vec![],
            active_time_intervals: vec![],
            routes: vec![],
        }),
        receivers: vec![Receiver {
            name: "team".to_owned(),
            ways: vec![Way {
                kind: Kind::Webhook(Webhook { url: Secret::new(url), alerts_max: 0 }),
                send_resolved: true,
                timeout: Duration::from_secs(5),
                http: HttpClient::plain(),
            }],
            fallback: None,
            per_minute_max: None,
        }],
        inhibit_rules: vec![],
        time_intervals: vec![],
    }
}

async fn sink() -> (Sink, Config) {
    let sink = Sink::default();
    let url = sink.start(&Tasks::new(1)).await;
    (sink, config(&url))
}

#[tokio::test]
async fn alarms_of_a_group_are_told_together_and_their_end_too() {
    let (sink, config) = sink().await;
    let mut room = Room::new(config);
    room.raise("A", "critical");
    room.raise("B", "critical");
    room.raise("C", "info");
    sink.expect(&["firing: A=firing B=firing", "firing: C=firing"]).await;
    room.clear("A");
    sink.expect(&["firing: A=firing B=firing", "firing: C=firing", "firing: A=resolved B=firing"]).await;
    room.clear("B");
    room.clear("C");
    let told = sink.told().len() + 2;
    for _ in 0..200 {
        if sink.told().len() >= told {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut last = sink.told().split_off(3);
    last.sort();
    assert_eq!(last, ["resolved: B=resolved", "resolved: C=resolved"]);
    // The sink has it before the room knows.
    for _ in 0..200 {
        if room.notifier.snapshot().receivers[0].sent == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(room.notifier.snapshot().receivers[0].sent, 5);
    assert_eq!(*room.notifier.snapshot().groups, []);
    room.stop().await;
}

#[tokio::test]
async fn a_restart_tells_nothing_again_and_loses_no_end() {
    let (sink, config) = sink().await;
    let mut room = Room::new(config.clone());
    room.raise("A", "critical");
    sink.expect(&["firing: A=firing"]).await;
    let mut room = room.restart(config.clone()).await;
    sink.expect(&["firing: A=firing"]).await;
    room.stop().await;
    room.clear("A");
    let room = room.restart(config).await;
    sink.expect(&["firing: A=firing", "resolved: A=resolved"]).await;
    room.stop().await;
}

#[tokio::test]
async fn a_notice_is_tried_again_until_it_is_taken() {
    let (sink, config) = sink().await;
    sink.refusals.lock().unwrap().extend([500, 429]);
    let mut room = Room::new(config);
    room.raise("A", "critical");
    sink.expect(&["firing: A=firing"]).await;
    let snapshot = room.notifier.snapshot();
    assert_eq!((snapshot.receivers[0].sent, snapshot.receivers[0].failed, snapshot.outbox_len), (1, 2, 0));
    room.stop().await;
}

#[tokio::test]
async fn what_nobody_took_is_told_after_a_restart() {
    let (sink, good) = sink().await;
    // A port nobody listens on.
    let mut room = Room::new(config("http://127.0.0.1:9/"));
    room.raise("A", "critical");
    for _ in 0..300 {
        if room.notifier.snapshot().receivers.first().is_some_and(|r| r.failed > 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let snapshot = room.notifier.snapshot();
    assert_eq!(snapshot.outbox_len, 1);
    assert!(snapshot.receivers[0].last_error.as_deref().unwrap().contains("onnect"), "{:?}", snapshot.receivers);
    assert!(!snapshot.receivers[0].last_error.as_deref().unwrap().contains("127.0.0.1:9/"));
    let room = room.restart(good).await;
    sink.expect(&["firing: A=firing"]).await;
    assert_eq!(room.notifier.snapshot().outbox_len, 0);
    room.stop().await;
}

#[tokio::test]
async fn muted_and_inhibited_alarms_are_not_told() {
    let (sink, mut config) = sink().await;
    config.inhibit_rules.push(InhibitRule {
        source: vec![Matcher::equal("alertname", "A")],
        target: vec![Matcher::equal("severity", "info")],
        equal: vec![],
    });
    let mut room = Room::new(config.clone());
    room.raise("A", "critical");
    room.raise("B", "info");
    sink.expect(&["firing: A=firing"]).await;
    assert_eq!(room.notifier.snapshot().inhibited.len(), 1);
    room.clear("A");
    // Two groups: which is told first is chance.
    tokio::time::sleep(5 * INTERVAL).await;
    let mut told = sink.told();
    told.sort();
    assert_eq!(told, ["firing: A=firing", "firing: B=firing", "resolved: A=resolved"]);

    let always = TimeInterval {
        times: vec![],
        weekdays: vec![],
        days_of_month: vec![],
        months: vec![],
        years: vec![],
        location: jiff::tz::TimeZone::UTC,
        holidays: None,
    };
    let mut silent = config.clone();
    silent.time_intervals.push(NamedInterval { name: "always".to_owned(), intervals: vec![always] });
    if let Some(route) = &mut silent.route {
        route.mute_time_intervals.push("always".to_owned());
    }
    room.notifier.reload(silent);
    tokio::time::sleep(INTERVAL).await;
    room.raise("D", "warning");
    room.clear("B");
    tokio::time::sleep(4 * INTERVAL).await;
    assert_eq!(sink.told().len(), 3);
    room.notifier.reload(config);
    tokio::time::sleep(10 * INTERVAL).await;
    let mut told = sink.told().split_off(3);
    told.sort();
    assert_eq!(told, ["firing: D=firing", "resolved: B=resolved"], "what was muted is told when it is over");
    room.stop().await;
}

#[tokio::test]
async fn a_receiver_may_want_no_resolved_alarms() {
    let (sink, mut config) = sink().await;
    config.receivers[0].ways[0].send_resolved = false;
    let mut room = Room::new(config);
    room.raise("A", "critical");
    sink.expect(&["firing: A=firing"]).await;
    room.clear("A");
    sink.expect(&["firing: A=firing"]).await;
    room.stop().await;
}

#[tokio::test]
async fn an_old_alarm_of_before_the_start_is_told_at_once() {
    let (sink, mut config) = sink().await;
    if let Some(route) = &mut config.route {
        route.group_wait = Duration::from_secs(3600);
    }
    let mut room = Room::new(config);
    room.raise("A", "critical");
    room.alarms[0].raised_at = Timestamp::from_millis(1000);
    room.board.send_replace(Arc::new(room.alarms.clone()));
    sink.expect(&["firing: A=firing"]).await;
    room.stop().await;
}

#[tokio::test]
async fn a_silenced_alarm_is_told_when_the_silence_is_over_and_its_end_to_who_heard_of_it() {
    let (sink, config) = sink().await;
    let mut room = Room::new(config);
    room.raise("A", "critical");
    sink.expect(&["firing: A=firing"]).await;
    room.silence("B", 10 * INTERVAL);
    room.raise("B", "warning");
    tokio::time::sleep(4 * INTERVAL).await;
    assert_eq!(sink.told(), ["firing: A=firing"]);
    sink.expect(&["firing: A=firing", "firing: B=firing"]).await;
    room.silence("A", Duration::from_secs(60));
    room.clear("A");
    sink.expect(&["firing: A=firing", "firing: B=firing", "resolved: A=resolved"]).await;
    room.silence("C", Duration::from_secs(60));
    room.raise("C", "info");
    tokio::time::sleep(2 * INTERVAL).await;
    room.clear("C");
    sink.expect(&["firing: A=firing", "firing: B=firing", "resolved: A=resolved"]).await;
    room.stop().await;
}

/// Lets time pass in small steps: the room wakes by its board at each.
async fn pass(room: &Room, seconds: u64, step_s: u64) {
    for _ in 0..seconds / step_s {
        room.clock.advance(Duration::from_secs(step_s));
        room.board.send_replace(Arc::new(room.alarms.clone()));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn by_alarm(mut config: Config) -> Config {
    if let Some(route) = &mut config.route {
        route.group_by = GroupBy::Labels(vec!["alertname".to_owned()]);
        route.group_wait = Duration::from_secs(10);
        route.group_interval = Duration::from_secs(60);
    }
    config
}

#[tokio::test]
async fn forty_alarms_of_two_hours_without_a_receiver_are_one_digest_and_the_live_ones() {
    let (sink, config) = sink().await;
    let clock = Clock::hand_set(Timestamp::from_millis(1_700_000_000_000));
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let mut room = Room::start_at(clock, by_alarm(config.clone()), disk, State::in_memory(), vec![]);
    sink.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    for i in 0..40 {
        room.raise(&format!("A{i:02}"), if i % 2 == 0 { "critical" } else { "warning" });
        pass(&room, 90, 15).await;
        if i % 8 != 0 {
            room.clear(&format!("A{i:02}"));
        }
        pass(&room, 90, 15).await;
        // As the board does after 15 minutes.
        let old = room.clock.now() - Duration::from_secs(900);
        room.alarms.retain(|a| a.cleared_at.is_none_or(|at| at > old));
    }
    assert_eq!(sink.told(), Vec::<String>::new());
    assert!(room.notifier.snapshot().receivers[0].away_since.is_some());

    // The box is started anew in the midst of it.
    room.stop().await;
    let Room { clock, disk, state, alarms, .. } = room;
    let room = Room::start_at(clock, by_alarm(config), disk, state, alarms);
    sink.is_away.store(false, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..300 {
        if sink.told().len() >= 6 {
            break;
        }
        pass(&room, 5, 5).await;
    }
    pass(&room, 300, 15).await;
    let told = sink.told();
    assert_eq!(told.len(), 6, "{told:#?}");
    assert_eq!(told[0].matches("=resolved").count(), 35, "{}", told[0]);
    let digest = sink.bodies.lock().unwrap()[0]["digest"].as_str().unwrap().to_owned();
    assert!(digest.contains("35 came and went, 5 still fire and follow in messages of their own"), "{digest}");
    let live = ["A00", "A08", "A16", "A24", "A32"].map(|name| format!("firing: {name}=firing"));
    let mut rest = told[1..].to_vec();
    rest.sort();
    assert_eq!(rest, live);
    assert_eq!(room.notifier.snapshot().outbox_len, 0);
    room.stop().await;
}

#[tokio::test]
async fn a_flood_of_groups_reaches_everybody_once_the_urgent_first_and_within_the_rate() {
    const ALARMS: usize = 600;
    let (sink, mut config) = sink().await;
    let slow = Sink::default();
    let url = slow.start(&Tasks::new(1)).await;
    let mut person = self::config(&url).receivers.remove(0);
    (person.name, person.per_minute_max) = ("eva".to_owned(), Some(10));
    config.receivers.push(person);
    if let Some(route) = &mut config.route {
        route.group_by = GroupBy::All;
        (route.group_wait, route.group_interval) = (Duration::from_secs(1), Duration::from_secs(60));
        let to = |receiver: &str| Route { receiver: receiver.to_owned(), continues: true, ..route.clone() };
        route.routes = vec![to("team"), to("eva")];
    }
    let clock = Clock::hand_set(Timestamp::from_millis(1_700_000_000_000));
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
    let mut room = Room::start_at(clock, config, disk, State::in_memory(), vec![]);
    let now = room.clock.now();
    let severity = |i: usize| if i % 120 == 119 { "critical" } else { "info" };
    // All of them at once.
    room.alarms = (0..ALARMS).map(|i| active(&format!("A{i:04}"), severity(i), now)).collect();
    pass(&room, 2, 1).await;
    until(|| room.notifier.snapshot().outbox_len == ALARMS - 10).await;
    let told = sink.told();
    let each: std::collections::BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), each.len()), (ALARMS, ALARMS), "each once");
    let urgent = |told: &[String]| {
        let name = |text: &String| text.trim_start_matches("firing: A").trim_end_matches("=firing").parse::<usize>();
        told.iter().take(5).filter(|text| name(text).is_ok_and(|i| i % 120 == 119)).count()
    };
    assert_eq!((urgent(&told), urgent(&slow.told())), (5, 5), "the urgent ones went first");
    let snapshot = room.notifier.snapshot();
    assert_eq!((slow.told().len(), snapshot.outbox_len), (10, ALARMS - 10), "ten in the first minute, the rest waits");
    pass(&room, 58, 29).await;
    assert_eq!(slow.told().len(), 10);

    // All is over before most of it was told: what waits becomes one digest.
    for alarm in &mut room.alarms {
        (alarm.state, alarm.cleared_at) = (AlarmState::Cleared, Some(room.clock.now()));
    }
    pass(&room, 60, 30).await;
    until(|| sink.bodies.lock().unwrap().len() >= 2 * ALARMS).await;
    for _ in 0..40 {
        pass(&room, 30, 30).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(|| room.notifier.snapshot().outbox_len == 0).await;
    let snapshot = room.notifier.snapshot();
    assert_eq!((sink.told().len(), snapshot.outbox_len), (2 * ALARMS, 0), "nothing is lost");
    let bodies = slow.bodies.lock().unwrap().clone();
    let digests: Vec<&str> = bodies.iter().filter_map(|b| b["digest"].as_str()).collect();
    assert!(bodies.len() < 120 && !digests.is_empty() && digests[0].contains("came and went"), "{}", bodies.len());
    room.stop().await;
}

#[tokio::test]
async fn while_a_receiver_is_away_its_fallback_is_told_and_hears_the_end() {
    let (sink, mut config) = sink().await;
    let second = Sink::default();
    let url = second.start(&Tasks::new(1)).await;
    let mut spare = self::config(&url).receivers.remove(0);
    spare.name = "spare".to_owned();
    config.receivers.push(spare);
    config.receivers[0].fallback = Some(Fallback { receiver: "spare".to_owned(), after: Duration::from_millis(300) });
    sink.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut room = Room::new(config);
    room.raise("A", "critical");
    second.expect(&["firing: A=firing"]).await;
    room.clear("A");
    second.expect(&["firing: A=firing", "resolved: A=resolved"]).await;
    assert_eq!(sink.told(), Vec::<String>::new());
    room.stop().await;
}

#[tokio::test]
async fn an_alarm_that_comes_again_is_told_to_who_wants_no_ends() {
    let (sink, mut config) = sink().await;
    config.receivers[0].ways[0].send_resolved = false;
    let mut room = Room::new(config);
    for expected in 1..=2 {
        room.raise("A", "critical");
        sink.expect(&vec!["firing: A=firing"; expected]).await;
        room.clear("A");
        sink.expect(&vec!["firing: A=firing"; expected]).await;
    }
    room.stop().await;
}

#[tokio::test]
async fn signs_of_life_go_out_and_it_is_known_when_one_was_taken() {
    let (sink, mut config) = sink().await;
    config.heartbeats = vec![Heartbeat { receiver: "team".to_owned(), interval: Duration::from_millis(40) }];
    sink.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    let room = Room::new(config);
    let until = async |passes: fn(&super::HeartbeatSnapshot) -> bool| {
        for _ in 0..500 {
            if room.notifier.snapshot().heartbeats.first().is_some_and(passes) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", room.notifier.snapshot().heartbeats);
    };
    until(|h| h.error.is_some() && h.seen_at.is_none()).await;
    sink.is_away.store(false, std::sync::atomic::Ordering::SeqCst);
    until(|h| h.error.is_none() && h.seen_at.is_some()).await;
    for _ in 0..500 {
        if sink.told().len() > 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(sink.told().len() > 2 && sink.told().iter().all(|t| t == "firing: Heartbeat=firing"));
    assert_eq!(room.notifier.snapshot().outbox_len, 0, "an old sign of life is worth nothing");
    room.stop().await;
}

#[tokio::test]
async fn a_test_goes_to_each_way_and_shows_what_came_of_it() {
    let (sink, config) = sink().await;
    let room = Room::new(config);
    let tested = room.notifier.test("team").await.unwrap();
    assert_eq!((tested[0].integration.as_str(), &tested[0].failure), ("webhook[0]", &None));
    assert_eq!(sink.told(), ["firing: Test=firing"]);
    sink.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    let tested = room.notifier.test("team").await.unwrap();
    assert!(tested[0].failure.as_deref().unwrap().contains("503"), "{tested:?}");
    assert_eq!(room.notifier.test("nobody").await, None);
    room.stop().await;
}
