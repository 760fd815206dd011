use super::queue::*;
use super::*;
use crate::bus::spool::format::Mark;

const SECOND: Duration = Duration::from_secs(1);

fn entry(number: u64, stream: &str, bytes: usize) -> Entry {
    Entry {
        number,
        stream: stream.into(),
        id: format!("id.{number}").into(),
        at: Timestamp::from_millis(0),
        subject: format!("{stream}.a").parse().unwrap(),
        device_id: None,
        correlation_id: None,
        payload: vec![0; bytes].into(),
    }
}

fn push(queue: &mut Queue, stream: &str, bytes: usize) -> oneshot::Receiver<std::result::Result<(), Lost>> {
    let (waiter, receipt) = oneshot::channel();
    let number = queue.next_number();
    queue.push(Arc::new(entry(number, stream, bytes)), Some(waiter), Duration::ZERO);
    receipt
}

/// Sends all that may go; returns the numbers.
fn send(queue: &mut Queue, now: Duration) -> Vec<u64> {
    std::iter::from_fn(|| queue.next_to_send(now)).map(|entry| entry.number).collect()
}

#[test]
fn what_is_not_acknowledged_goes_again_in_order_on_the_next_connection() {
    let mut queue = Queue::new(1);
    for _ in 0..4 {
        drop(push(&mut queue, "a", 1));
    }
    assert_eq!(send(&mut queue, SECOND), [1, 2, 3, 4]);
    assert_eq!(queue.acknowledge("a", 1, 10, false, SECOND), Acknowledged::Stored);
    assert_eq!(queue.acknowledge("a", 3, 12, false, SECOND), Acknowledged::Stored);
    assert_eq!(queue.acknowledge("a", 3, 12, true, SECOND), Acknowledged::Unknown);
    queue.forget_sent();
    assert_eq!(send(&mut queue, SECOND), [2, 4]);
    assert_eq!(queue.acknowledge("a", 2, 11, true, SECOND), Acknowledged::Repeated);
    assert_eq!((queue.done("a"), queue.sequence("a"), queue.pending()), (3, 12, 1));
}

#[test]
fn a_refusal_makes_its_stream_wait_and_no_other() {
    let mut queue = Queue::new(1);
    for stream in ["a", "b", "a"] {
        drop(push(&mut queue, stream, 1));
    }
    assert_eq!(send(&mut queue, SECOND), [1, 3, 2]);
    queue.refuse("a", SECOND);
    queue.refuse("a", SECOND);
    assert_eq!(send(&mut queue, SECOND), [0; 0]);
    assert_eq!(queue.retry_at(SECOND), Some(SECOND + Duration::from_millis(250)), "counted once");
    drop(push(&mut queue, "b", 1));
    assert_eq!(send(&mut queue, SECOND), [4]);
    assert_eq!(send(&mut queue, 2 * SECOND), [1, 3]);
    assert!(!queue.time_out(3 * SECOND));
    assert!(queue.time_out(20 * SECOND));
    assert_eq!(send(&mut queue, 20 * SECOND), [1, 3, 2, 4]);
}

#[test]
fn who_waits_hears_from_the_first_that_keeps_it() {
    let mut queue = Queue::new(1);
    let mut receipts: Vec<_> = (0..3).map(|_| push(&mut queue, "a", 1)).collect();
    assert!(!queue.is_write_due(SECOND, true, SECOND / 2), "NATS will say");
    assert!(queue.is_write_due(SECOND, false, Duration::ZERO), "the disk has to");
    send(&mut queue, SECOND);
    queue.acknowledge("a", 2, 1, false, SECOND);
    assert_eq!(receipts[1].try_recv(), Ok(Ok(())));
    assert!(receipts[0].try_recv().is_err());
    assert_eq!(queue.to_write().len(), 3, "a copy of what is acknowledged too");
    drop(push(&mut queue, "a", 1));
    queue.written(3, SECOND);
    assert_eq!((receipts[0].try_recv(), receipts[2].try_recv()), (Ok(Ok(())), Ok(Ok(()))));
    assert_eq!(queue.to_write().len(), 1);
    let mut refused = push(&mut queue, "a", 1);
    assert!(queue.give_up("a", 5, Lost::Refused));
    assert_eq!(refused.try_recv(), Ok(Err(Lost::Refused)));
}

#[test]
fn what_is_over_the_bound_comes_back_from_disk_in_order() {
    let mut queue = Queue::new(1);
    let size = LANES_BYTES_MAX / 4;
    for _ in 0..7 {
        drop(push(&mut queue, "a", size));
        let last = queue.next_number() - 1;
        if last <= 6 {
            queue.written(last, SECOND);
        }
    }
    assert_eq!(send(&mut queue, SECOND), [1, 2, 3, 4]);
    assert_eq!(queue.wants_from_disk(), None, "there is no room");
    for number in 1..=4 {
        queue.acknowledge("a", number, number, false, SECOND);
    }
    assert_eq!(queue.wants_from_disk(), Some(5));
    queue.refill(vec![entry(5, "a", size)], 5);
    assert_eq!(queue.wants_from_disk(), Some(6));
    queue.refill(vec![entry(6, "a", size)], 6);
    assert_eq!(queue.wants_from_disk(), None, "the last was not written yet: it is there");
    drop(push(&mut queue, "a", 1));
    assert_eq!(send(&mut queue, SECOND), [5, 6, 7, 8]);
    assert_eq!(queue.pending(), 4);
}

#[test]
fn copies_are_let_go_when_they_were_acknowledged_long_ago() {
    let mut queue = Queue::new(1);
    for second in 1..=10 {
        drop(push(&mut queue, "a", 1));
        send(&mut queue, SECOND * second);
        queue.acknowledge("a", u64::from(second), u64::from(second), false, SECOND * second);
        queue.written(u64::from(second), SECOND * second);
    }
    assert_eq!(queue.released("a"), 0);
    queue.on_time(5 * SECOND, 10 * SECOND);
    assert_eq!(queue.released("a"), 5);
    queue.on_time(5 * SECOND, 100 * SECOND);
    assert_eq!(queue.released("a"), 10);
    assert_eq!(queue.steps()[0].1.last().map(|step| (step.number, step.sequence)), Some((10, 10)));
}

#[test]
fn a_stream_that_went_back_gets_all_behind_its_step_again() {
    let mut queue = Queue::new(1);
    for number in 1..=6 {
        let now = SECOND * u32::try_from(number).unwrap();
        drop(push(&mut queue, if number == 2 { "b" } else { "a" }, 1));
        send(&mut queue, now);
        queue.acknowledge(if number == 2 { "b" } else { "a" }, number, number * 10, false, now);
    }
    queue.written(6, SECOND);
    assert_eq!(queue.pending(), 0);
    drop(push(&mut queue, "a", 1));
    send(&mut queue, 7 * SECOND);
    assert_eq!(queue.acknowledge("a", 7, 35, false, 7 * SECOND), Acknowledged::WentBack);
    let steps = queue.steps();
    let step = steps[0].1.iter().find(|step| step.number == 3).copied().unwrap();
    queue.go_back("a", step, 3);
    assert_eq!((queue.pending(), queue.wants_from_disk()), (4, Some(4)), "three on disk, one not written yet");
    queue.refill((4..=6).map(|number| entry(number, "a", 1)).collect(), 6);
    assert_eq!(send(&mut queue, 8 * SECOND), [4, 5, 6, 7]);
}

#[test]
fn a_queue_goes_on_where_it_was() {
    let mut queue = Queue::new(8);
    let mark = Mark { stream: "a".into(), done: 5, sequence: 50, sent: 6 };
    queue.restore_step(&Mark { done: 3, sequence: 30, ..mark.clone() }, SECOND);
    queue.restore(&mark, 2, SECOND);
    assert_eq!((queue.pending(), queue.wants_from_disk(), queue.next_number()), (2, Some(6), 8));
    queue.refill(vec![entry(5, "a", 1), entry(6, "a", 1), entry(7, "a", 1)], 7);
    drop(push(&mut queue, "a", 1));
    let sent: Vec<_> = std::iter::from_fn(|| queue.next_to_send(SECOND)).collect();
    let again: Vec<_> = sent.iter().map(|entry| (entry.number, queue.note_sent(entry))).collect();
    assert_eq!(again, [(6, true), (7, false), (8, false)]);
    assert_eq!(queue.marks(), [Mark { sent: 8, ..mark }]);
}

#[test]
fn what_is_dropped_at_the_bound_is_done_with() {
    let mut queue = Queue::new(1);
    for _ in 0..4 {
        drop(push(&mut queue, "a", 1));
    }
    send(&mut queue, SECOND);
    queue.drop_through("a", 2, 2);
    assert_eq!((queue.pending(), queue.done("a")), (2, 2));
    queue.forget_sent();
    assert_eq!(send(&mut queue, SECOND), [3, 4]);
}
