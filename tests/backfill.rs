//! Samples out of one box and into another, with the commands as their user types them.

use std::path::Path;
use std::time::Duration;

use crate::support::program::{Program, say};

const SETTINGS: &str = "host: {enabled: false}\n";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_exported_is_the_same_in_another_box() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = andon::clock::Clock::system().now();
    let file = dir.path().join("past.om");
    let mut lines = String::from("# TYPE parts counter\n");
    for i in 0..3000_u32 {
        let time = (now - Duration::from_secs(u64::from(3 * 86_400 - i * 60))).as_seconds();
        lines += &format!("parts_total{{machine=\"press\"}} {} {time:.3}\n", i * 7);
        lines += &format!("{{\"oven heat\",zone=\"a \\\"b\\\"\"}} {} {time:.3}\n", f64::from(i) / 10.0);
    }
    std::fs::write(&file, format!("{lines}# EOF\n")).unwrap();

    let first = Program::start(dir.path(), SETTINGS);
    let url = format!("http://{}", first.address);
    let checked = say(&["backfill", text(&file), "--check"]);
    assert!(checked.out.contains("good: 6000 samples, "), "{checked:?}");
    for _ in 0..2 {
        let said = say(&["backfill", text(&file), "--url", &url]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert!(said.out.contains("6000 samples, "), "{said:?}");
    }

    let selectors = ["parts_total", "{\"oven heat\"}", "{zone!=\"\"}"];
    let out = dir.path().join("all.om");
    let export = |url: &str, format: &str, out: &Path| {
        let said =
            say(&[&["export"][..], &selectors, &["--format", format, "--url", url, "--out", text(out)]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        std::fs::read_to_string(out).unwrap()
    };
    let exported = export(&url, "openmetrics", &out);
    assert_eq!(exported.lines().count(), 6001);
    assert!(exported.ends_with("# EOF\n"));
    assert_eq!(export(&url, "csv", &dir.path().join("all.csv")).lines().count(), 6001);
    assert_eq!(export(&url, "jsonl", &dir.path().join("all.jsonl")).lines().count(), 2);
    let part = say(&["export", "parts_total", "--url", &url, "--start", "1d", "--format", "csv"]);
    // The past ends 22 hours ago.
    let of_a_day = part.out.lines().count();
    assert!((115..=121).contains(&of_a_day), "{of_a_day}");

    let second = Program::start(other.path(), SETTINGS);
    let other_url = format!("http://{}", second.address);
    assert_eq!(say(&["backfill", text(&out), "--url", &other_url]).code, Some(0));
    assert_eq!(export(&other_url, "openmetrics", &other.path().join("all.om")), exported);
}

#[test]
fn a_file_that_is_not_sound_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path(), SETTINGS);
    let url = format!("http://{}", program.address);
    let now = andon::clock::Clock::system().now().as_seconds();
    let file = dir.path().join("bad.om");
    for (lines, what) in [
        (format!("good 1 {now}\nbad one {now}\n# EOF\n"), "line 2: \"one\" is no value"),
        (format!("good 1 {now}\nbad 1\n# EOF\n"), "line 2: the sample has no time"),
        (format!("good 1 {now}\n"), "does not end with \"# EOF\""),
    ] {
        std::fs::write(&file, lines).unwrap();
        let said = say(&["backfill", text(&file), "--url", &url]);
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(what) && said.err.contains("nothing was sent"), "{}", said.err);
    }
    assert!(program.get("/api/v1/query?query=good").unwrap().body.contains("\"result\":[]"));

    // One sample is older than the box keeps: that one is named, the other is taken.
    std::fs::write(&file, format!("good 1 {now}\nold 1 1000000000\n# EOF\n")).unwrap();
    let said = say(&["backfill", text(&file), "--url", &url]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("1 samples were refused, first: ") && said.out.contains("retention"), "{said:?}");
    assert!(program.get("/api/v1/query?query=good").unwrap().body.contains("\"value\":["));

    for arguments in [vec!["backfill", "none.om"], vec!["backfill", text(&file), "--url", "http://127.0.0.1:1"]] {
        let said = say(&arguments);
        assert!(said.code == Some(1) && said.err.starts_with("andon: "), "{said:?}");
    }
    let refused = program.get("/api/v1/export?match[]=up&format=xml").unwrap();
    assert!(refused.status == 400 && refused.body.contains("is none of jsonl, csv, openmetrics"), "{}", refused.body);
    assert_eq!(program.get("/api/v1/export").unwrap().status, 400);
}
