use std::sync::Arc;
use std::time::Duration;

use super::notice::{Notice, NoticeAlarm};
use super::queue::Queue;
use super::receiver::Failure;
use crate::model::{Labels, Timestamp};

const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A queue and its time, moved by hand.
#[derive(Default)]
struct Desk {
    queue: Queue,
    elapsed: Duration,
    next_id: u64,
    /// What was taken, each as `group: name=state ..`.
    told: Vec<String>,
}

impl Desk {
    fn now(&self) -> Timestamp {
        BEGIN + self.elapsed
    }

    fn pass(&mut self, seconds: u64) {
        self.elapsed += Duration::from_secs(seconds);
    }

    /// Puts in a notice about one group; alarms that end with `.` are over.
    fn push(&mut self, group: &str, severity: &str, alarms: &str) {
        self.next_id += 1;
        let alarm = |name: &str| {
            let labels = Labels::from_pairs([("alertname", name.trim_end_matches('.')), ("severity", severity)]);
            NoticeAlarm {
                fingerprint: labels.stable_hash(),
                labels,
                annotations: Labels::empty(),
                starts_at: self.now(),
                ends_at: name.ends_with('.').then(|| self.now()),
                expression: String::new(),
                source_url: String::new(),
            }
        };
        self.queue.push(Notice {
            id: self.next_id,
            made_at: self.now(),
            since: self.now(),
            group_key: group.to_owned(),
            receiver: "shift".to_owned(),
            integration: "slack[0]".to_owned(),
            group_labels: Labels::empty(),
            alarms: alarms.split_whitespace().map(alarm).collect(),
            folded: vec![],
            left_out: 0,
        });
    }

    /// Tries what may be tried until nothing is left for now; `answer` says whether a notice is taken.
    fn try_all(&mut self, mut answer: impl FnMut(&Notice) -> Result<(), Failure>) -> usize {
        let mut attempts = 0;
        loop {
            let (elapsed, now) = (self.elapsed, self.now());
            let next_id = &mut self.next_id;
            self.queue.fold(elapsed, now, || {
                *next_id += 1;
                *next_id
            });
            let ready = self.queue.ready(elapsed);
            if ready.is_empty() {
                return attempts;
            }
            let sent: Vec<Arc<Notice>> = ready.iter().map(|id| self.queue.get(*id).unwrap().notice.clone()).collect();
            ready.iter().for_each(|id| self.queue.launched(*id));
            for notice in sent {
                attempts += 1;
                match answer(&notice) {
                    Ok(()) => {
                        self.queue.taken(notice.id, elapsed);
                        self.told.push(words(&notice));
                    }
                    Err(failure) => self.queue.failed(notice.id, &failure, elapsed, now, 1.0),
                }
            }
        }
    }
}

fn words(notice: &Notice) -> String {
    let word = |a: &NoticeAlarm| format!("{}={}", a.name(), if a.ends_at.is_some() { "over" } else { "firing" });
    let alarms: Vec<String> = notice.alarms.iter().map(word).collect();
    format!("{}: {}", notice.group_key, alarms.join(" "))
}

fn gone() -> Result<(), Failure> {
    Err(Failure::passing("away"))
}

#[test]
fn what_a_receiver_missed_in_two_hours_is_one_digest_and_what_fires() {
    let mut desk = Desk::default();
    let mut attempts = 0;
    for minute in 0..120 {
        let group = minute / 3;
        match minute % 3 {
            0 => desk.push(&format!("g{group}"), "warning", &format!("A{group}")),
            1 if group % 10 != 0 => desk.push(&format!("g{group}"), "warning", &format!("A{group}.")),
            _ => {}
        }
        desk.pass(60);
        attempts += desk.try_all(|_| gone());
    }
    assert!(attempts < 60, "{attempts} attempts in two hours");
    assert_eq!(desk.told, Vec::<String>::new());
    desk.pass(300);
    let mut first = None;
    desk.try_all(|notice| {
        first.get_or_insert_with(|| notice.clone());
        Ok(())
    });
    let digest = first.unwrap();
    assert!(digest.is_digest());
    assert_eq!((digest.alarms.len(), digest.folded.len(), digest.since), (36, 36, BEGIN + Duration::from_secs(180)));
    let rest: Vec<&str> = desk.told.iter().skip(1).map(String::as_str).collect();
    assert_eq!(rest, ["g0: A0=firing", "g10: A10=firing", "g20: A20=firing", "g30: A30=firing"]);
    assert_eq!(desk.queue.len(), 0);
}

#[test]
fn a_short_failure_makes_no_digest() {
    let mut desk = Desk::default();
    desk.push("a", "warning", "A.");
    desk.push("b", "warning", "B.");
    assert_eq!(desk.try_all(|_| gone()), 2, "two were on their way at once");
    desk.pass(299);
    desk.try_all(|_| Ok(()));
    assert_eq!(desk.told, ["a: A=over", "b: B=over"]);
}

#[test]
fn while_a_way_is_away_one_notice_at_a_time_is_tried() {
    let mut desk = Desk::default();
    for i in 0..6 {
        desk.push(&format!("g{i}"), "info", "A");
    }
    assert_eq!(desk.try_all(|_| gone()), 4, "no more than four at once");
    assert_eq!(desk.queue.next_due(desk.elapsed).map(|at| at.as_secs()), Some(8));
    desk.pass(8);
    assert_eq!(desk.try_all(|_| gone()), 1);
    desk.push("urgent", "critical", "B");
    desk.pass(16);
    let mut order = Vec::new();
    desk.try_all(|notice| {
        order.push(notice.group_key.clone());
        Ok(())
    });
    assert_eq!(order, ["urgent", "g0", "g1", "g2", "g3", "g4", "g5"]);
}

#[test]
fn a_refused_notice_holds_nobody_up() {
    let mut desk = Desk::default();
    desk.push("bad", "critical", "A");
    desk.push("good", "critical", "B");
    let answer = |notice: &Notice| if notice.group_key == "bad" { Err(Failure::refusal("no")) } else { Ok(()) };
    assert_eq!(desk.try_all(answer), 2);
    assert_eq!(desk.told, ["good: B=firing"]);
    assert_eq!(desk.queue.next_due(desk.elapsed).map(|at| at.as_secs()), Some(30));
}

#[test]
fn a_digest_that_is_not_taken_takes_up_what_comes_and_goes_later() {
    let mut desk = Desk::default();
    desk.push("a", "warning", "A.");
    desk.push("b", "warning", "B.");
    desk.try_all(|_| gone());
    desk.pass(600);
    assert_eq!(desk.try_all(|_| gone()), 1);
    assert_eq!(desk.queue.len(), 1);
    desk.push("c", "critical", "C.");
    desk.pass(600);
    desk.try_all(|_| Ok(()));
    assert_eq!(desk.told, ["digest: C=over A=over B=over"]);
}

#[test]
fn a_rate_limit_holds_back_and_what_waits_too_long_is_a_digest() {
    let mut desk = Desk::default();
    desk.queue.limits.insert(("shift".to_owned(), "slack[0]".to_owned()), 2);
    for i in 0..40 {
        desk.push(&format!("g{i:02}"), "info", "A.");
    }
    desk.push("hot", "critical", "B");
    desk.try_all(|_| Ok(()));
    assert_eq!(desk.told, ["hot: B=firing", "g00: A=over"]);
    assert_eq!(desk.queue.next_due(desk.elapsed).map(|at| at.as_secs()), Some(60));
    desk.pass(60);
    desk.try_all(|_| Ok(()));
    assert_eq!(desk.told.len(), 4);
    desk.pass(240);
    desk.try_all(|_| Ok(()));
    assert_eq!(desk.told.len(), 5);
    assert!(desk.told[4].starts_with("digest: "), "{:?}", desk.told);
    assert_eq!(desk.queue.len(), 0);
}

#[test]
fn what_is_over_for_long_is_told_only_if_it_was_urgent() {
    let mut desk = Desk::default();
    desk.push("a", "info", "A.");
    desk.push("b", "critical", "B.");
    desk.push("c", "info", "C");
    desk.pass(5 * 3600);
    assert_eq!(desk.queue.expired(desk.now()), [1]);
    desk.pass(67 * 3600 + 1);
    assert_eq!(desk.queue.expired(desk.now()), [1, 2], "what fires never is too old");
}

#[test]
fn the_oldest_of_what_is_over_goes_first_when_there_are_too_many() {
    let mut desk = Desk::default();
    desk.push("first", "info", "A");
    for i in 0..super::queue::WAITING_MAX - 1 {
        desk.push(&format!("g{i}"), "info", "A.");
    }
    desk.push("last", "info", "A");
    let groups: Vec<String> = desk.queue.iter().map(|w| w.notice.group_key.clone()).collect();
    assert_eq!(groups.len(), super::queue::WAITING_MAX);
    assert!(groups.iter().any(|g| g == "first") && groups.iter().any(|g| g == "last"));
    assert!(groups.iter().all(|g| g != "g0"));
}
