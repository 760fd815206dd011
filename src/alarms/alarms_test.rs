use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::{Alarms, Config, Delay, Deps, Error, Event, HistoryQuery, Inhibited};
use crate::clock::Clock;
use crate::instrument::Registry;
use crate::model::{Alarm, AlarmState, Alert, AlertState, Labels, Timestamp, parse_matchers};
use crate::storage::disk::{Disk, FaultyDisk, OsDisk};
use crate::task::{Phase, Tasks};

const START: i64 = 1_700_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

/// A room on a disk of its own, with a hand-set clock.
struct Room {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    clock: Clock,
    state: crate::storage::state::State,
    tasks: Tasks,
    alarms: Alarms,
    alerts: mpsc::Sender<Vec<Alert>>,
    /// What notify finds to be muted.
    muted: watch::Sender<Option<Arc<Inhibited>>>,
}

impl Room {
    fn open(disk: Arc<dyn Disk>, folder: PathBuf, clock: Clock) -> Room {
        Room::with_state(disk, folder, clock.clone(), crate::storage::state::State::in_memory_at(clock))
    }

    fn with_state(disk: Arc<dyn Disk>, folder: PathBuf, clock: Clock, state: crate::storage::state::State) -> Room {
        let tasks = Tasks::new(1);
        let (alerts, receiver) = mpsc::channel(64);
        let muted = watch::Sender::default();
        let config = Config {
            folder: folder.clone(),
            history_age: Duration::from_secs(90 * 86_400),
            active_max: 3,
            resolve_timeout: Duration::from_secs(300),
            external_labels: Labels::empty(),
            delays: vec![Delay {
                matchers: parse_matchers("alertname=\"Bouncing\"").unwrap(),
                on: Duration::from_secs(10),
                off: Duration::from_secs(60),
            }],
            calendar: Arc::default(),
            time_zone: jiff::tz::TimeZone::UTC,
        };
        let deps = Deps {
            disk: disk.clone(),
            state: state.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            registry: Registry::default(),
            alerts: receiver,
            inhibited: muted.subscribe(),
        };
        Room { alarms: Alarms::start(config, deps), disk, folder, clock, state, tasks, alerts, muted }
    }

    fn in_memory() -> Room {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(1));
        Room::open(disk, PathBuf::from("/journal"), Clock::hand_set(at(0)))
    }

    /// Ends the process without a word and starts it again.
    async fn restart(self) -> Room {
        self.stop().await;
        Room::with_state(self.disk, self.folder, self.clock, self.state)
    }

    async fn stop(&self) {
        for phase in [Phase::Intake, Phase::Work, Phase::Stores] {
            self.tasks.token(phase).cancel();
        }
        assert!(self.tasks.ended(Duration::from_secs(5), |_| true).await.is_empty());
    }

    /// Tells an alert and waits until the board has it.
    async fn tell(&self, alert: Alert) {
        let mut board = self.alarms.board();
        board.mark_unchanged();
        self.alerts.send(vec![alert]).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(300), board.changed()).await;
    }

    fn board(&self) -> Vec<Alarm> {
        self.alarms.snapshot().alarms.to_vec()
    }

    async fn find(&self, query: HistoryQuery) -> Vec<(Event, String)> {
        let found = self.alarms.history(&query).await.unwrap();
        found.iter().map(|t| (t.event, t.alarm.name().to_owned())).collect()
    }

    async fn events(&self) -> Vec<(Event, i64)> {
        let history = self.alarms.history(&HistoryQuery::default()).await.unwrap();
        history.iter().map(|t| (t.event, (t.at.as_millis() - START) / 1000)).collect()
    }
}

fn firing(name: &str, fired_at: i64) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name), ("severity", "medium")]),
        annotations: Labels::from_pairs([("summary", "s")]),
        state: AlertState::Firing,
        value: 81.0,
        active_at: at(fired_at - 10),
        fired_at: Some(at(fired_at)),
        resolved_at: None,
        evaluated_at: at(fired_at),
        expires_at: at(fired_at + 240),
        expression: "up == 0".to_owned(),
        group: "g".to_owned(),
        source_url: String::new(),
        rule_version: 0,
    }
}

fn resolved(name: &str, fired_at: i64, resolved_at: i64) -> Alert {
    Alert { state: AlertState::Resolved, resolved_at: Some(at(resolved_at)), ..firing(name, fired_at) }
}

#[tokio::test]
async fn an_alarm_is_raised_acknowledged_and_cleared() {
    let room = Room::in_memory();
    room.tell(firing("Hot", 5)).await;
    let alarm = room.board().remove(0);
    assert_eq!((alarm.name(), alarm.state, alarm.raised_at), ("Hot", AlarmState::Active, at(5)));

    let acknowledged = room.alarms.acknowledge(alarm.fingerprint, " Eva ", "on it").await.unwrap();
    let acknowledgement = acknowledged.acknowledgement.unwrap();
    assert_eq!((acknowledgement.by.as_str(), acknowledgement.note.as_str()), ("Eva", "on it"));
    room.tell(Alert { value: 90.0, ..firing("Hot", 5) }).await;
    assert!(room.board()[0].acknowledgement.is_some(), "a new value leaves the note");
    assert_eq!(room.board()[0].value, 90.0);

    room.tell(resolved("Hot", 5, 60)).await;
    assert_eq!((room.board()[0].state, room.board()[0].cleared_at), (AlarmState::Cleared, Some(at(60))));
    room.tell(firing("Hot", 100)).await;
    assert_eq!((room.board()[0].raised_at, room.board()[0].acknowledgement.clone()), (at(100), None));
    assert_eq!(
        room.events().await,
        [(Event::Raised, 100), (Event::Cleared, 60), (Event::Acknowledged, 0), (Event::Raised, 5)]
    );
    room.stop().await;
}

#[tokio::test]
async fn a_restart_neither_clears_nor_raises() {
    let room = Room::in_memory();
    room.tell(firing("Hot", 5)).await;
    room.tell(firing("Loud", 6)).await;
    let hot = room.board().iter().find(|a| a.name() == "Hot").unwrap().fingerprint;
    room.alarms.acknowledge(hot, "Eva", "").await.unwrap();
    room.tell(resolved("Loud", 6, 7)).await;
    let (board, events) = (room.board(), room.events().await);

    let room = room.restart().await;
    assert_eq!(room.board(), board);
    assert_eq!(room.events().await, events);
    room.tell(Alert { evaluated_at: at(30), ..firing("Hot", 5) }).await;
    assert_eq!(room.events().await, events, "heard of again, nothing happened");
    room.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_nobody_speaks_of_any_more_is_cleared_and_leaves_the_board() {
    let room = Room::in_memory();
    let mut board = room.alarms.board();
    room.tell(firing("Hot", 0)).await;
    board.mark_unchanged();
    room.clock.advance(Duration::from_secs(241));
    board.changed().await.unwrap();
    assert_eq!(room.board()[0].state, AlarmState::Cleared);
    room.clock.advance(Duration::from_secs(15 * 60));
    board.changed().await.unwrap();
    assert_eq!(room.board(), []);
    assert_eq!(room.events().await, [(Event::Cleared, 241), (Event::Raised, 0)]);
    room.stop().await;
}

#[tokio::test]
async fn a_full_board_refuses_new_alarms_only() {
    let room = Room::in_memory();
    for name in ["A", "B", "C", "D"] {
        room.tell(firing(name, 1)).await;
    }
    let names: Vec<String> = room.board().iter().map(|a| a.name().to_owned()).collect();
    assert_eq!(room.board().len(), 3, "{names:?}");
    room.tell(resolved("A", 1, 2)).await;
    assert_eq!(room.alarms.snapshot().active().count(), 2);
    room.stop().await;
}

#[tokio::test]
async fn commands_are_checked() {
    let room = Room::in_memory();
    assert_eq!(room.alarms.acknowledge(7, "Eva", "").await, Err(Error::NotFound(7)));
    assert!(matches!(room.alarms.acknowledge(7, " ", "").await, Err(Error::Text { .. })));
    assert!(matches!(room.alarms.acknowledge(7, "Eva", &"x".repeat(2001)).await, Err(Error::Text { .. })));
    room.stop().await;
    assert_eq!(room.alarms.acknowledge(7, "Eva", "").await, Err(Error::Stopped));
}

#[tokio::test]
async fn history_is_found_by_time_and_alarm() {
    let room = Room::in_memory();
    room.tell(firing("A", 1)).await;
    room.tell(firing("B", 10)).await;
    room.tell(resolved("A", 1, 20)).await;
    let some = |event, name: &str| (event, name.to_owned());
    let since = HistoryQuery { start: Some(at(10)), ..HistoryQuery::default() };
    assert_eq!(room.find(since).await, [some(Event::Cleared, "A"), some(Event::Raised, "B")]);
    let until = HistoryQuery { end: Some(at(10)), ..HistoryQuery::default() };
    assert_eq!(room.find(until).await, [some(Event::Raised, "A")]);
    let one = HistoryQuery { limit: 1, ..HistoryQuery::default() };
    assert_eq!(room.find(one).await, [some(Event::Cleared, "A")]);
    let matchers = vec![crate::model::Matcher::equal("alertname", "B")];
    assert_eq!(room.find(HistoryQuery { matchers, ..HistoryQuery::default() }).await, [some(Event::Raised, "B")]);
    room.stop().await;
}

#[tokio::test]
async fn the_journal_on_a_real_disk_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alarms").join("journal");
    let room = Room::open(OsDisk::shared(), path, Clock::hand_set(at(0)));
    room.tell(firing("Hot", 5)).await;
    let board = room.board();
    let room = room.restart().await;
    assert_eq!(room.board(), board);
    room.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_matters_and_was_not_noted_stays_for_people_but_not_for_notices() {
    let room = Room::in_memory();
    let critical = Labels::from_pairs([("alertname", "Hot"), ("severity", "critical")]);
    room.tell(Alert { labels: critical.clone(), ..firing("Hot", 0) }).await;
    room.tell(Alert { labels: critical.clone(), ..resolved("Hot", 0, 10) }).await;
    let mut board = room.alarms.board();
    board.mark_unchanged();
    room.clock.advance(Duration::from_secs(16 * 60));
    board.changed().await.unwrap();
    assert_eq!(*board.borrow().clone(), []);
    assert_eq!(room.board().len(), 1);
    // It gives way to a new one.
    for name in ["A", "B", "C"] {
        room.tell(firing(name, 1000)).await;
    }
    assert_eq!(room.alarms.snapshot().active().count(), 3);
    room.stop().await;
}

#[tokio::test]
async fn shelving_is_journalled_and_outlives_a_restart() {
    let room = Room::in_memory();
    room.tell(firing("Hot", 5)).await;
    room.tell(firing("Loud", 6)).await;
    let hot = room.board().iter().find(|a| a.name() == "Hot").unwrap().fingerprint;
    let mut board = room.alarms.watch();
    board.mark_unchanged();
    let silence = room.alarms.shelve(hot, "Eva", "known", at(0), at(3600)).await.unwrap();
    board.changed().await.unwrap();
    let told = room.alarms.history(&HistoryQuery { limit: 1, ..HistoryQuery::default() }).await.unwrap().remove(0);
    assert_eq!((told.event, told.alarm.name(), told.by.as_str()), (Event::Shelved, "Hot", "Eva"));
    assert_eq!((told.note.as_str(), told.until), ("known", Some(at(3600))));
    // Longer is the same shelving.
    let longer = room.alarms.shelve(hot, "Eva", "known", at(0), at(7200)).await.unwrap();
    assert_eq!((longer.id.as_str(), longer.ends_at), (silence.id.as_str(), at(7200)));

    let room = room.restart().await;
    let events = room.events().await;
    assert_eq!(events[0], (Event::Shelved, 0));
    let mut board = room.alarms.watch();
    board.mark_unchanged();
    room.alarms.expire_silence(&silence.id).await.unwrap();
    board.changed().await.unwrap();
    assert_eq!(
        room.find(HistoryQuery { limit: 1, ..HistoryQuery::default() }).await,
        [(Event::Back, "Hot".to_owned())]
    );
    room.stop().await;
}

#[tokio::test]
async fn the_journal_answers_what_memory_has_no_more() {
    let room = Room::in_memory();
    for second in 0..1100 {
        room.alerts.send(vec![firing("Hot", second * 2), resolved("Hot", second * 2, second * 2 + 1)]).await.unwrap();
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while room.board().first().is_none_or(|a| a.cleared_at != Some(at(2199))) {
        assert!(tokio::time::Instant::now() < end);
        tokio::task::yield_now().await;
    }
    let seconds = |query: HistoryQuery| {
        let mut found = Vec::new();
        room.alarms.visit_history(&query, &mut |t| {
            found.push((t.at.as_millis() - START) / 1000);
            true
        });
        found
    };
    let all: Vec<i64> = (0..2200).rev().collect();
    assert_eq!(seconds(HistoryQuery::default()), all, "each once, newest first, memory and disk together");
    let some = HistoryQuery { start: Some(at(5)), end: Some(at(9)), ..HistoryQuery::default() };
    assert_eq!(seconds(some), [8, 7, 6, 5]);
    let by_text = HistoryQuery { text: "hOT".to_owned(), event: Some(Event::Raised), ..HistoryQuery::default() };
    assert_eq!(seconds(by_text).len(), 1100);
    assert_eq!(room.alarms.figures(at(0), at(2200)).raised, 1100);
    room.stop().await;
}

#[tokio::test]
async fn what_bounces_is_one_alarm_that_begins_and_ends_late() {
    let room = Room::in_memory();
    let after = async |seconds: u64, alert: Alert| {
        room.clock.advance(Duration::from_secs(seconds));
        room.tell(alert).await;
        room.events().await
    };
    // Gone again before the on-delay of 10 s was over.
    assert_eq!(after(5, firing("Bouncing", 5)).await, []);
    assert_eq!(after(5, resolved("Bouncing", 5, 10)).await, []);
    assert_eq!(after(10, firing("Bouncing", 20)).await, []);
    assert_eq!(after(9, firing("Bouncing", 20)).await, []);
    assert_eq!(after(1, firing("Bouncing", 20)).await, [(Event::Raised, 30)]);
    let fingerprint = room.board()[0].fingerprint;
    room.alarms.acknowledge(fingerprint, "Eva", "").await.unwrap();
    // Back within the off-delay of 60 s: the same alarm, still acknowledged.
    let before = after(10, resolved("Bouncing", 20, 40)).await;
    assert_eq!(before, [(Event::Acknowledged, 30), (Event::Raised, 30)]);
    assert_eq!(after(59, firing("Bouncing", 99)).await, before);
    assert!(room.board()[0].acknowledgement.is_some());
    assert_eq!(after(1, resolved("Bouncing", 99, 100)).await, before);
    assert_eq!(after(60, resolved("Bouncing", 99, 100)).await[0], (Event::Cleared, 160));
    // Others do not wait.
    assert_eq!(after(0, firing("Hot", 160)).await[0], (Event::Raised, 160));
}

#[tokio::test]
async fn a_wait_goes_on_over_a_restart() {
    let mut room = Room::in_memory();
    let pass = |room: &Room, seconds: u64| room.clock.advance(Duration::from_secs(seconds));
    // Due at 20, ten seconds after it began.
    pass(&room, 10);
    room.tell(firing("Bouncing", 10)).await;
    pass(&room, 4);
    room = room.restart().await;
    // Its rule has forgotten that it fired, and waits for its samples.
    room.tell(Alert { state: AlertState::Pending, fired_at: None, ..firing("Bouncing", 10) }).await;
    pass(&room, 2);
    room.tell(firing("Bouncing", 16)).await;
    assert_eq!(room.events().await, []);
    pass(&room, 4);
    room.tell(firing("Bouncing", 16)).await;
    assert_eq!(room.events().await, [(Event::Raised, 20)]);
    assert_eq!(room.alarms.snapshot().caused().count(), 1);

    // Gone at 30: over at 90. Whoever asks for alarms whose cause is there is not told of it.
    pass(&room, 10);
    room.tell(resolved("Bouncing", 16, 30)).await;
    pass(&room, 40);
    room = room.restart().await;
    let snapshot = room.alarms.snapshot();
    assert_eq!((snapshot.active().count(), snapshot.caused().count()), (1, 0));
    pass(&room, 19);
    room.tell(firing("Hot", 89)).await;
    assert_eq!(room.events().await.len(), 2, "nobody speaks of it, and it is not time yet");
    pass(&room, 1);
    room.tell(firing("Hot", 89)).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while room.events().await.len() < 3 && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(room.events().await[0], (Event::Cleared, 90));
}

#[tokio::test]
async fn what_did_not_last_waits_no_more_after_a_restart() {
    let room = Room::in_memory();
    let pass = |room: &Room, seconds: u64| room.clock.advance(Duration::from_secs(seconds));
    room.tell(firing("Bouncing", 0)).await;
    pass(&room, 5);
    room.tell(resolved("Bouncing", 0, 5)).await;
    let room = room.restart().await;
    room.tell(firing("Bouncing", 5)).await;
    pass(&room, 9);
    room.tell(firing("Bouncing", 5)).await;
    assert_eq!(room.events().await, []);
    // Nobody knows what was while the box was off for longer.
    let room = room.restart().await;
    pass(&room, 400);
    let room = room.restart().await;
    room.tell(firing("Bouncing", 414)).await;
    assert_eq!(room.events().await, []);
    pass(&room, 10);
    room.tell(firing("Bouncing", 414)).await;
    assert_eq!(room.events().await, [(Event::Raised, 424)]);
}

#[tokio::test]
async fn what_another_alarm_mutes_is_in_the_history() {
    let room = Room::in_memory();
    room.tell(firing("LineDown", 0)).await;
    room.tell(firing("Hot", 0)).await;
    let fingerprint = |name: &str| room.board().iter().find(|a| a.name() == name).unwrap().fingerprint;
    let inhibited: Inhibited = [(fingerprint("Hot"), fingerprint("LineDown"))].into();
    let newest = async || {
        let history = room.alarms.history(&HistoryQuery::default()).await.unwrap();
        (history[0].event, history[0].alarm.name().to_owned(), history[0].by.clone())
    };
    for (muted, expected) in [
        (inhibited.clone(), (Event::Inhibited, "LineDown")),
        (Inhibited::new(), (Event::Back, "")),
        (inhibited, (Event::Inhibited, "LineDown")),
    ] {
        let mut board = room.alarms.board();
        board.mark_unchanged();
        room.muted.send_replace(Some(Arc::new(muted)));
        tokio::time::timeout(Duration::from_secs(5), board.changed()).await.unwrap().unwrap();
        assert_eq!(newest().await, (expected.0, "Hot".to_owned(), expected.1.to_owned()));
    }
    // After a restart it is not known what is muted until notify has looked: nothing comes back meanwhile.
    room.stop().await;
    let Room { disk, folder, clock, state, .. } = room;
    let room = Room::with_state(disk, folder, clock, state);
    assert_eq!(room.events().await.len(), 5);
}
