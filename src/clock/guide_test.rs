use std::time::Duration;

use super::{Belief, Change, Clock, Doubt, SAVE_INTERVAL_MS, Saved, Standing, Trust};
use crate::model::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const YEAR_MS: i64 = 365 * DAY_MS;

/// True time at the beginning: June 2026.
const TRUE_MS: i64 = 1_780_300_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Looks, and lets what was found hold.
fn look(clock: &Clock) -> Change {
    let (guide, change) = clock.look().unwrap();
    clock.commit(guide);
    change
}

/// Lets time pass with a look every hour.
fn pass(clock: &Clock, hours: u32) {
    for _ in 0..hours {
        clock.advance(HOUR);
        look(clock);
    }
}

fn saved(clock: &Clock) -> Saved {
    clock.to_save(&clock.look().unwrap().0)
}

/// A clock that somebody looks after, on a machine that was started with this on its wall clock.
fn started(wall_ms: i64, trust: Trust, saved: Option<&Saved>) -> Clock {
    let clock = Clock::hand_set(at(wall_ms));
    clock.begin(trust, saved);
    clock
}

/// What was saved at this time by a box that ran then, on another start of the machine.
fn last_stamp(ms: i64) -> Saved {
    Saved {
        start_id: 99,
        offset_ns: 0,
        standing: Standing::Believed(Belief::Plausible),
        stamp: at(ms),
        retention_now: at(ms),
    }
}

#[track_caller]
fn check_start(wall_ms: i64, last_ms: Option<i64>, trust: Trust, expected: Standing) {
    let saved = last_ms.map(last_stamp);
    let clock = started(wall_ms, trust, saved.as_ref());
    assert_eq!(clock.state().unwrap().standing, expected, "{wall_ms} after {last_ms:?} with {trust:?}");
    if let Standing::Doubted(Doubt::BeforeBuild | Doubt::BeforeLastStamp | Doubt::FarAhead) = expected {
        let last_ms = last_ms.unwrap_or(0);
        assert!(clock.now() > at(last_ms + SAVE_INTERVAL_MS) && clock.now() >= super::BUILT_AT);
    } else {
        assert_eq!(clock.now(), at(wall_ms));
    }
}

#[test]
fn a_start_shows_whether_the_clock_can_be_right() {
    use Standing::{Believed, Doubted};
    let last = Some(TRUE_MS);
    check_start(TRUE_MS, None, Trust::Plausible, Believed(Belief::Plausible));
    check_start(TRUE_MS + DAY_MS, last, Trust::Plausible, Believed(Belief::Plausible));
    check_start(TRUE_MS - 5000, last, Trust::Plausible, Believed(Belief::Plausible));
    check_start(1000, None, Trust::Plausible, Doubted(Doubt::BeforeBuild));
    check_start(1000, last, Trust::Plausible, Doubted(Doubt::BeforeBuild));
    check_start(TRUE_MS - 11_000, last, Trust::Plausible, Doubted(Doubt::BeforeLastStamp));
    check_start(TRUE_MS + 31 * DAY_MS, last, Trust::Plausible, Believed(Belief::Plausible));
    check_start(TRUE_MS + 32 * DAY_MS, last, Trust::Plausible, Doubted(Doubt::FarAhead));
    check_start(TRUE_MS + 20 * YEAR_MS, None, Trust::Plausible, Doubted(Doubt::FarAhead));
    check_start(TRUE_MS, last, Trust::Synchronized, Doubted(Doubt::Unsynchronized));
    check_start(1000, last, Trust::Synchronized, Doubted(Doubt::BeforeBuild));
    check_start(1000, last, Trust::Always, Believed(Belief::Always));
}

#[test]
fn the_gauntlet_is_run_on_true_time_once_it_is_known() {
    let clock = started(1000, Trust::Plausible, Some(&last_stamp(TRUE_MS - DAY_MS)));
    let stamp = clock.stamp();
    pass(&clock, 2);
    assert_eq!(clock.now().since(stamp.at), HOUR * 2);
    assert!(!clock.is_trusted());

    // A time server is reached: the stamp of two hours ago finds its place.
    clock.set_wall(at(TRUE_MS + 2 * HOUR_MS), true);
    let Change::Found(by_ms) = look(&clock) else { panic!("not found") };
    assert!(clock.is_trusted());
    assert_eq!((clock.now(), clock.moved_ms() - stamp.moved_ms), (at(TRUE_MS + 2 * HOUR_MS), by_ms));
    assert_eq!(stamp.at.as_millis() + by_ms, TRUE_MS);

    // Set by hand: nobody follows, nobody is kept waiting, and the time server is right again at the end.
    let mut true_ms = TRUE_MS + 2 * HOUR_MS;
    for step_ms in [-YEAR_MS, DAY_MS, -3 * HOUR_MS] {
        clock.set_wall(at(true_ms + step_ms), false);
        assert_eq!(clock.now(), at(true_ms));
        let Change::Ignored(_) = look(&clock) else { panic!("{step_ms} was not ignored") };
        assert_eq!(clock.state().unwrap().ahead_ms, step_ms);
        pass(&clock, 1);
        true_ms += HOUR_MS;
        assert_eq!((clock.now(), clock.retention_now(), clock.is_trusted()), (at(true_ms), at(true_ms), true));
    }
    clock.set_wall(at(true_ms + 40), true);
    assert_eq!(look(&clock), Change::None);
    assert_eq!((clock.now(), clock.state().unwrap().steps), (at(true_ms + 40), 5));
}

#[test]
fn an_unexplained_step_is_doubted_until_somebody_explains_it() {
    type Explanation = fn(&Clock, i64) -> Change;
    let explanations: [(Explanation, i64); 4] = [
        // Set back.
        (
            |clock, true_ms| {
                clock.set_wall(at(true_ms + 3), false);
                look(clock)
            },
            3,
        ),
        // A time server confirms it.
        (
            |clock, true_ms| {
                clock.set_wall(at(true_ms + DAY_MS), true);
                look(clock)
            },
            DAY_MS,
        ),
        // A time server sets something else.
        (
            |clock, true_ms| {
                clock.set_wall(at(true_ms - YEAR_MS), true);
                look(clock)
            },
            -YEAR_MS,
        ),
        // An operator says so.
        (
            |clock, _| {
                let (guide, change) = clock.confirm().unwrap();
                clock.commit(guide);
                change
            },
            DAY_MS,
        ),
    ];
    for (explain, by_ms) in explanations {
        let clock = started(TRUE_MS, Trust::Plausible, None);
        assert_eq!(look(&clock), Change::None);
        clock.set_wall(at(TRUE_MS + DAY_MS), false);
        assert_eq!(look(&clock), Change::Doubted(Doubt::Stepped));
        pass(&clock, 3);
        let now_ms = TRUE_MS + 3 * HOUR_MS;
        assert_eq!((clock.now(), clock.is_trusted()), (at(now_ms), false));
        assert_eq!(explain(&clock, now_ms), Change::Found(by_ms));
        assert_eq!((clock.now(), clock.is_trusted()), (at(now_ms + by_ms), true));
    }
}

#[test]
fn small_corrections_and_what_a_time_server_does_are_followed() {
    let clock = started(TRUE_MS, Trust::Plausible, None);
    clock.set_wall(at(TRUE_MS + 9000), false);
    assert_eq!((clock.now(), look(&clock)), (at(TRUE_MS + 9000), Change::None));
    clock.set_wall(at(TRUE_MS), false);
    assert_eq!((clock.now(), look(&clock)), (at(TRUE_MS), Change::None));
    clock.set_wall(at(TRUE_MS + HOUR_MS), true);
    assert_eq!((look(&clock), clock.now()), (Change::Followed(HOUR_MS), at(TRUE_MS + HOUR_MS)));
    let clock = started(TRUE_MS, Trust::Always, None);
    clock.set_wall(at(1000), false);
    assert_eq!((clock.now(), look(&clock)), (at(1000), Change::Followed(1000 - TRUE_MS)));
}

#[test]
fn a_clock_that_was_never_set_is_believed_when_it_is_set_even_without_a_witness() {
    let clock = started(1000, Trust::Plausible, Some(&last_stamp(TRUE_MS)));
    clock.advance(HOUR);
    clock.set_wall(at(TRUE_MS - HOUR_MS), false);
    assert_eq!(look(&clock), Change::None, "before the last stamp");
    clock.set_wall(at(TRUE_MS + 100 * DAY_MS), false);
    assert!(matches!(look(&clock), Change::Found(_)));
    assert_eq!(clock.state().unwrap().standing, Standing::Believed(Belief::Plausible));
    let clock = started(1000, Trust::Synchronized, None);
    clock.set_wall(at(TRUE_MS), false);
    assert_eq!(look(&clock), Change::None);
    clock.set_wall(at(TRUE_MS), true);
    assert!(matches!(look(&clock), Change::Found(_)));
}

#[test]
fn another_process_on_the_same_start_goes_on_where_the_first_was() {
    let clock = started(1000, Trust::Plausible, Some(&last_stamp(TRUE_MS)));
    pass(&clock, 1);
    let (now, saved) = (clock.now(), saved(&clock));
    clock.advance(HOUR);
    let again = clock.again();
    again.begin(Trust::Plausible, Some(&saved));
    assert_eq!((again.now(), again.is_trusted()), (now + HOUR, false));
    // A step while no process ran is noticed.
    let clock = started(TRUE_MS, Trust::Plausible, None);
    let saved = self::saved(&clock);
    clock.set_wall(at(TRUE_MS + DAY_MS), false);
    let again = clock.again();
    again.begin(Trust::Plausible, Some(&saved));
    assert_eq!((again.now(), look(&again)), (at(TRUE_MS), Change::Doubted(Doubt::Stepped)));
}

#[test]
fn no_stamp_is_given_twice_over_a_power_cut() {
    let clock = started(1000, Trust::Plausible, Some(&last_stamp(TRUE_MS)));
    let saved = saved(&clock);
    clock.advance(Duration::from_millis(SAVE_INTERVAL_MS.unsigned_abs()));
    let last = clock.now();
    clock.boot(at(1000));
    let again = clock.again();
    again.begin(Trust::Plausible, Some(&saved));
    assert!(again.now() > last);
}

#[test]
fn retention_goes_slowly_over_a_jump_that_nobody_confirms() {
    let clock = started(TRUE_MS + 20 * DAY_MS, Trust::Plausible, Some(&last_stamp(TRUE_MS)));
    assert_eq!((clock.now(), clock.retention_now()), (at(TRUE_MS + 20 * DAY_MS), at(TRUE_MS)));
    pass(&clock, 24);
    assert_eq!(clock.retention_now(), at(TRUE_MS + 2 * DAY_MS));
    let saved = saved(&clock);
    let again = clock.again();
    again.begin(Trust::Plausible, Some(&saved));
    assert_eq!(again.retention_now(), at(TRUE_MS + 2 * DAY_MS), "nor by restarting");
    pass(&again, 24 * 20);
    assert_eq!(again.retention_now(), again.now());
    // Back with a witness: retention never counts from later than now.
    again.set_wall(at(TRUE_MS), true);
    look(&again);
    assert_eq!(again.retention_now(), at(TRUE_MS));
    again.set_wall(at(TRUE_MS + DAY_MS), true);
    look(&again);
    assert_eq!(again.retention_now(), at(TRUE_MS + DAY_MS));
}

#[test]
fn others_are_not_measured_by_a_clock_in_doubt() {
    let clock = started(1000, Trust::Plausible, None);
    assert!(clock.latest_taken(HOUR) > at(TRUE_MS + YEAR_MS));
    let clock = started(TRUE_MS, Trust::Plausible, None);
    assert_eq!(clock.latest_taken(DAY), at(TRUE_MS + DAY_MS));
}
