//! The plant over an hour of simulated time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::plant::{Command, Kind, Line, Mode};
use crate::model::Timestamp;

const STEP_S: f64 = 0.1;

/// Runs a line whose commands come back at once; calls with each message.
fn run(line: &mut Line, seconds: u32, mut see: impl FnMut(&Line, Kind, &str, &Value)) {
    for kind in Kind::ALL {
        line.set_online(kind, true);
    }
    for step in 0..seconds * 10 {
        let now = Timestamp::from_millis(i64::from(step) * 100);
        let tick = line.tick(now, STEP_S);
        for (kind, subject, body) in &tick.messages {
            see(line, *kind, subject, body);
            if subject.ends_with("conveyor.cmd") {
                line.command(Command::parse(body).expect("an order can be read"));
            }
        }
    }
}

fn line(seed: u64) -> Line {
    Line::new("line1".to_owned(), &Kind::ALL, seed)
}

#[test]
fn everything_goes_wrong_within_an_hour_and_is_mended() {
    for seed in 0..5 {
        let mut line = line(seed);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut states = BTreeSet::new();
        run(&mut line, 3600, |_, _, subject, body| {
            *seen.entry(subject.to_owned()).or_default() += 1;
            if subject == "factory.line1.status" {
                states.insert(body["lineState"].as_str().unwrap().to_owned());
            }
        });
        for subject in [
            "temp",
            "conveyor.status",
            "conveyor.cmd",
            "quality.rejects",
            "quality.stats",
            "output",
            "oee",
            "status",
            "status.line1-panel",
            "eStop",
            "emergency",
            "batch.complete",
            "alerts.warning",
            "alerts.critical",
            "alerts.emergency",
        ] {
            assert!(seen.contains_key(&format!("factory.line1.{subject}")), "seed {seed}: {subject} in {seen:?}");
        }
        assert!(seen.contains_key("logs.line1-conveyor"));
        assert_eq!(states.len(), 3, "running, stopped, fault: {states:?}");
        assert!(line.running_s > 2000.0, "the line runs most of the time: {}", line.running_s);
        assert!(line.counts.total > 1500 && line.counts.rejects * 10 < line.counts.total);
    }
}

#[test]
fn the_values_are_plausible() {
    let mut line = line(7);
    run(&mut line, 3600, |line, _, subject, body| match subject {
        "factory.line1.temp" => {
            let value = body["value"].as_f64().unwrap();
            assert!((60.0..95.0).contains(&value), "{value} F");
        }
        "factory.line1.oee" => {
            let part = |name: &str| body[name].as_f64().unwrap();
            let product = part("availability") * part("performance") * part("quality") / 10_000.0;
            assert!((part("oee") - product).abs() < 0.3, "{body}");
            assert!(["availability", "performance", "quality", "oee"].iter().all(|n| (0.0..=100.0).contains(&part(n))));
        }
        "factory.line1.output" => {
            assert_eq!(
                body["count"].as_u64().unwrap() + body["rejects"].as_u64().unwrap(),
                body["total"].as_u64().unwrap()
            );
        }
        "factory.line1.conveyor.status" if line.mode == Mode::EmergencyStop => {
            assert!(body["currentSpeed"].as_f64().unwrap() <= 60.0);
        }
        _ => {}
    });
}

#[test]
fn a_stop_stops_the_belt_and_a_start_needs_a_reset() {
    let mut line = line(1);
    run(&mut line, 10, |_, _, _, _| {});
    assert!((line.speed - 60.0).abs() < 0.1);
    line.command(Command::EmergencyStop);
    for _ in 0..10 {
        line.tick(Timestamp::from_millis(0), STEP_S);
    }
    assert!(line.speed < 0.1, "{}", line.speed);
    line.command(Command::Start);
    assert_eq!(line.mode, Mode::EmergencyStop);
    line.command(Command::Reset);
    line.command(Command::Start);
    assert_eq!(line.mode, Mode::Running);
}

#[test]
fn a_line_says_only_what_its_devices_say() {
    let mut small = Line::new("line2".to_owned(), &[Kind::Temperature], 3);
    let mut kinds = BTreeSet::new();
    run(&mut small, 300, |_, kind, _, _| {
        kinds.insert(kind);
    });
    assert_eq!(kinds, BTreeSet::from([Kind::Temperature]));
}

#[test]
fn the_same_seed_is_the_same_plant() {
    let story = |seed| {
        let mut all = Vec::new();
        run(&mut line(seed), 300, |_, _, subject, body| all.push(format!("{subject} {body}")));
        all
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5), story(6));
}
