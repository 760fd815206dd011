//! The room through its door.

use super::*;

/// Reads `text` with `read` and compares mistakes, one a line, without the file's name.
#[track_caller]
fn check(text: &str, read: impl Fn(Item<'_>), expected: &[&str]) {
    let report = Report::new("x");
    let root = parse(text, &report);
    read(Item::root(&root, &report));
    let found: Vec<String> = match report.finish() {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.list.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(found, expected, "{text}");
}

const KEYS: &[&str] = &["name", "interval", "size", "on", "limit", "list", "map", "level"];

fn read_all(item: Item<'_>) {
    let Some(fields) = item.fields(KEYS) else { return };
    let _ = fields.required_string("name");
    let _ = fields.positive_duration("interval");
    let _ = fields.byte_size("size");
    let _ = fields.bool("on");
    let _ = fields.count("limit", 1, 10);
    let _ = fields.strings("list");
    let _ = fields.string_map("map");
    let _ = fields.get("level").and_then(|i| i.one_of(&["low", "high"]));
}

#[test]
fn a_good_text_has_no_mistakes() {
    check(
        "name: x\ninterval: 1h30m\nsize: 20GB\non: yes\nlimit: 10\nlist: [a, 1, true]\nmap: {a: b, c: 1}\nlevel: high\n",
        read_all,
        &[],
    );
    check("name: x\ninterval:\nsize: ~\nmap:\n", read_all, &[]);
}

#[test]
fn all_mistakes_are_collected_and_sorted_by_line() {
    check(
        "intervall: 5s\ninterval: 5\nsize: big\n'on': \"true\"\nlimit: 11\nlist: a\nmap: [1]\nlevel: hihg\nname: [1]\n",
        read_all,
        &[
            "1:1: intervall: unknown key; did you mean \"interval\"?",
            "2:11: interval: not a duration: \"5\"; write the unit, for example 5s",
            "3:7: size: not a size: \"big\"; write it like 512KB, 100MB or 20GB",
            "4:7: on: expected true or false, found the text \"true\"; write true without quotes",
            "5:8: limit: must be from 1 to 10, found 11",
            "6:7: list: expected a list, found \"a\"; begin each element with \"- \"",
            "7:6: map: expected a map, found a list",
            "8:8: level: expected one of low, high, found \"hihg\"; did you mean \"high\"?",
            "9:7: name: expected a text, found a list",
        ],
    );
}

#[test]
fn a_missing_key_is_a_mistake_of_the_map() {
    check("on: true\n", read_all, &["1:1: name is missing"]);
    check("", read_all, &["1:1: name is missing"]);
    check("- a\n", read_all, &["1:1: expected a map, found a list"]);
}

#[test]
fn a_key_that_stands_twice_is_a_mistake_and_the_first_stays() {
    check("name: x\nname: [1]\n", read_all, &["2:1: name: stands twice; the first is in line 1"]);
}

#[test]
fn what_is_not_yaml_is_one_mistake_with_its_place() {
    let report = Report::new("x");
    assert!(parse("a: [1, 2\nb: }\n", &report).is_null());
    let mistakes = report.finish().unwrap_err();
    assert_eq!(mistakes.list.len(), 1);
    assert!(mistakes.list[0].line > 0 && mistakes.list[0].message.starts_with("not YAML: "), "{mistakes}");
}

#[test]
fn anchors_merge_keys_and_flow_style_are_understood() {
    check("map: &m {a: b}\nlist: &l [x]\nname: &n n\nlevel: low\n", read_all, &[]);
    let report = Report::new("x");
    let root = parse("base: &b {a: 1, c: 2}\nuse: {<<: *b, a: 3}\n", &report);
    let used = Item::root(&root.get("use").unwrap().clone(), &report).string_map();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), [("a".into(), "3".into()), ("c".into(), "2".into())]);
    assert!(report.is_clean());
}

#[test]
fn bombs_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let alias = format!("*a{}, ", i - 1).repeat(10);
        text.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
    }
    let report = Report::new("x");
    assert!(parse(&text, &report).is_null());
    assert!(report.finish().unwrap_err().list[0].message.contains("aliases included"));

    for deep in
        ["[".repeat(100_000), "a:\n".to_owned() + &(0..2000).map(|i| " ".repeat(i + 1) + "a:\n").collect::<String>()]
    {
        let report = Report::new("x");
        assert!(parse(&deep, &report).is_null());
        assert!(report.finish().is_err());
    }
}

#[test]
fn one_text_is_one_document() {
    check("---\nname: x\n", read_all, &[]);
    let report = Report::new("x");
    let _ = parse("name: x\n---\nname: y\n", &report);
    let mistakes = report.finish().unwrap_err();
    assert!(mistakes.to_string().contains("second document"), "{mistakes}");
}

#[test]
fn a_flood_of_mistakes_is_cut_off_and_counted() {
    let text: String = (0..300).map(|i| format!("zz{i}: 1\n")).collect();
    let report = Report::new("x");
    let root = parse(&text, &report);
    let _ = Item::root(&root, &report).fields(KEYS);
    let mistakes = report.finish().unwrap_err();
    assert_eq!((mistakes.list.len(), mistakes.left_out), (200, 100));
    assert!(mistakes.to_string().ends_with("x: and 100 more mistakes"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[a-z0-9:\\-\\[\\]{},&*<>|!#'\"% \n\t]{0,200}") {
        let report = Report::new("x");
        let root = parse(&text, &report);
        read_all(Item::root(&root, &report));
    }
}
