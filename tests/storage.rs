//! The data folder from outside: what it holds, whether it checks out, what was written to it.

use std::time::Duration;

use andon::model::{Labels, Timestamp};
use andon::wire::remote_write::Encoder;

use crate::support::program::{Program, say};

const SETTINGS: &str = "host: {enabled: false}\nstorage: {reserve: 0B}\n";

/// Writes one sample to each of many series, hard to pack.
fn write(program: &Program, at: Timestamp, round: u64) {
    let mut encoder = Encoder::new();
    for series in 0..500_u64 {
        let labels = Labels::from_pairs([("__name__", "noise".to_owned()), ("s", format!("{series:04}"))]);
        let bits = (round * 500 + series).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        encoder.push(&labels, [(at.as_millis(), f64::from_bits(bits >> 12 | 0x3ff0_0000_0000_0000))]);
    }
    let message = encoder.finish().unwrap();
    let answer = program.request("POST", "/api/v1/write", "application/x-protobuf", &message).unwrap();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.body);
}

#[test]
fn what_is_written_is_counted_as_the_kernel_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let start = andon::clock::Clock::system().now() - Duration::from_secs(3600);
    for round in 0..400 {
        write(&program, start + Duration::from_secs(round), round);
    }
    assert_eq!(say(&["device", "--url", &format!("http://{}", program.address), "add", "press-1"]).code, Some(0));
    let kernel = || -> f64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", program.pid())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
    };
    let metrics = program.get("/metrics").unwrap().body;
    let by_cause = |cause: &str| -> f64 {
        let name = format!("andon_storage_written_bytes_total{{cause=\"{cause}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{cause} is not in {metrics}")).parse().unwrap()
    };
    assert!(by_cause("metrics_wal") > 500_000.0, "{metrics}");
    assert!(by_cause("state") > 4096.0, "{metrics}");
    let of_all = metrics.lines().filter(|line| line.starts_with("andon_storage_written_bytes_total{"));
    let sum: f64 = of_all.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
    let counted = kernel();
    if counted > 0.0 {
        // Whole pages for a few bytes make the kernel's figure larger; pages that were overwritten before they
        // went to the disk make it smaller.
        assert!(sum < 1.5 * counted && counted < 3.0 * sum + 2e6, "sum {sum}, kernel {counted}: {metrics}");
    }
    program.stop();
}

#[test]
fn a_data_folder_is_inspected_while_its_box_runs_and_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let data = folder.to_str().unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let now = andon::clock::Clock::system().now();
    // Windows that are long over are cut by themselves within seconds.
    for hours in [50, 30] {
        for round in 0..20 {
            write(&program, now - Duration::from_secs(hours * 3600 + round * 15), round);
        }
    }
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = say(&["inspect", data, "--verify", "--json", "--series", "3"]);
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let blocks = json["blocks"].as_array().unwrap();
        if blocks.iter().map(|block| block["samples"].as_u64().unwrap()).sum::<u64>() >= 20_000 {
            assert_eq!(json["damages"].as_array().unwrap().len(), 0);
            let values = &json["values"];
            assert_eq!(values["series"].as_array().unwrap().len(), 3, "{values}");
            assert_eq!(values["metrics"][0]["name"], "noise");
            assert_eq!(values["metrics"][0]["samples"], 20_000);
            assert!(values["kinds"][0]["bytes"].as_u64().unwrap() > 0, "{values}");
            break;
        }
        assert!(std::time::Instant::now() < end, "no blocks: {json}");
        std::thread::sleep(Duration::from_millis(500));
    }
    program.stop();
    let said = say(&["inspect", data, "--verify", "--series"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for words in ["NUMBER", "LEVEL", "Write-ahead log: ", "Quarantine: empty", "largest series", "every checksum fits"]
    {
        assert!(said.out.contains(words), "{words} is not in {}", said.out);
    }
    let blocks = folder.join("tsdb/blocks");
    let block = std::fs::read_dir(&blocks).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let chunks = block.join("chunks");
    let mut bytes = std::fs::read(&chunks).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&chunks, &bytes).unwrap();
    assert_eq!(say(&["inspect", data]).code, Some(0), "a look at the outside does not read it");
    let said = say(&["inspect", data, "--verify"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("Damaged: 1 place") && said.out.contains("/chunks is damaged"), "{}", said.out);
}

#[test]
fn what_is_no_data_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let said = say(&["inspect", dir.path().to_str().unwrap()]);
    assert!(said.code == Some(1) && said.err.contains("is no data folder"), "{}", said.err);
    let said = say(&["inspect", dir.path().join("none").to_str().unwrap()]);
    assert!(said.code == Some(1) && said.err.contains("there is no data folder"), "{}", said.err);
    assert_eq!(say(&["inspect"]).code, Some(2));
}
