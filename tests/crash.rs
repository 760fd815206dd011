//! The program killed at random, started again and compared: what was acknowledged is there.

use std::time::Duration;

use andon::model::{Labels, Timestamp};
use andon::wire::remote_write::Encoder;

use crate::support::program::Program;

const SERIES: usize = 20;
const KILLS: usize = 5;
const SETTINGS: &str = "host: {enabled: false}\n";

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "crash_seq".to_owned()), ("s", format!("{series:02}"))])
}

/// Writes one sample to each series; true if it was acknowledged.
fn write(program: &Program, at: Timestamp, value: f64) -> bool {
    let mut encoder = Encoder::new();
    for series in 0..SERIES {
        encoder.push(&labels(series), [(at.as_millis(), value)]);
    }
    let answer = program.request("POST", "/api/v1/write", "application/x-protobuf", &encoder.finish().unwrap());
    answer.is_some_and(|a| a.status == 204 || a.status == 200)
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let start = andon::clock::Clock::system().now() - Duration::from_secs(60);
    let mut acknowledged = Vec::new();
    let mut next = 0;
    for round in 0..KILLS {
        let program = Program::start(dir.path(), SETTINGS);
        for _ in 0..(20 + round * 17) {
            let at = start + Duration::from_millis(next * 10);
            #[expect(clippy::cast_precision_loss, reason = "a small count")]
            let value = next as f64;
            if write(&program, at, value) {
                acknowledged.push((at, value));
            }
            next += 1;
        }
        program.kill();
    }
    assert!(acknowledged.len() > 100, "the load was taken: {}", acknowledged.len());

    let program = Program::start(dir.path(), SETTINGS);
    let end = acknowledged.last().unwrap().0;
    let path = format!("/api/v1/query?query=crash_seq%5B120s%5D&time={}", end.as_seconds() + 1.0);
    let answer = program.get(&path).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body[answer.body.find('{').unwrap()..=answer.body.rfind('}').unwrap()];
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    let series = json["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), SERIES);
    for one in series {
        let points: Vec<(i64, f64)> = one["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                (Timestamp::from_seconds(p[0].as_f64().unwrap()).as_millis(), p[1].as_str().unwrap().parse().unwrap())
            })
            .collect();
        for (at, value) in &acknowledged {
            let found = points.iter().find(|(t, _)| *t == at.as_millis());
            assert_eq!(found.map(|(_, v)| *v), Some(*value), "sample at {at} of {}", one["metric"]);
        }
    }
    program.stop();
}
