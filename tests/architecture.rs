//! The house rules that a compiler does not know: floors, doors, lengths, format heads, who may use what.
//!
//! The table below is the one of `docs/ARCHITECTURE.md`. A failing test names the file, the rule and the way out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms with their floors. A room imports only from lower floors; rooms on one floor are strangers.
const ROOMS: &[(&str, u32)] = &[
    ("model", 0),
    ("clock", 1),
    ("task", 1),
    ("headroom", 1),
    ("instrument", 1),
    ("wire", 1),
    ("outbound", 1),
    ("yaml", 1),
    ("template", 1),
    ("watched", 1),
    ("storage::disk", 2),
    ("bus", 3),
    ("device", 2),
    ("storage::tsdb", 3),
    ("storage::logs", 3),
    ("storage::state", 3),
    ("storage::last", 3),
    ("storage", 4),
    ("query::promql", 5),
    ("query::logql", 5),
    ("query", 5),
    ("rules", 6),
    ("alarms", 6),
    ("notify", 6),
    ("collect", 6),
    ("gateway", 6),
    ("forward", 6),
    ("tenants", 6),
    ("http", 7),
    ("config", 8),
    ("app", 9),
    ("cli", 10),
];

/// Longest file without tests, in lines.
const LINES_MAX: usize = 600;

/// Crates and modules that only some files may name.
const FENCED: &[(&str, &[&str])] = &[
    ("promql_parser", &["src/query/promql/syntax/judge_test.rs"]),
    ("rusqlite", &["src/storage/state/"]),
    ("sled", &["src/storage/last/"]),
    ("async_nats", &["src/bus/"]),
    ("axum", &["src/http/"]),
    ("saphyr", &["src/yaml/"]),
    ("askama", &["src/http/"]),
    ("clap", &["src/cli/", "src/main.rs"]),
];

/// Files that may write to the file system by `std::fs`, besides `storage/disk`.
const WRITERS: &[&str] = &["src/storage/", "src/cli/"];

struct Source {
    path: PathBuf,
    name: String,
    text: String,
    /// The text up to the tests at its end.
    code: String,
}

fn sources(root: &str) -> Vec<Source> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![base.join(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(base).unwrap().to_string_lossy().into_owned();
                let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or("").to_owned();
                found.push(Source { path, name, text, code });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("_test.rs") || name.contains("/testing/")
}

/// Returns the room of a file by its path below `src`, the longest name first.
fn room_of(path: &str) -> Option<(&'static str, u32)> {
    let inner = path.strip_prefix("src/")?.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    room_by_module(&inner)
}

fn room_by_module(module: &str) -> Option<(&'static str, u32)> {
    let is_in = |room: &str| module == room || module.starts_with(&format!("{room}::"));
    ROOMS.iter().filter(|(room, _)| is_in(room)).max_by_key(|(room, _)| room.len()).copied()
}

/// Returns what the code imports from its own crate: the paths behind `crate::`, groups taken apart.
fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in code.split("crate::").skip(1) {
        if let Some(group) = line.strip_prefix('{') {
            let mut depth = 1;
            let mut part = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && c == ',') {
                    paths.push(part.trim().to_owned());
                    part.clear();
                } else {
                    part.push(c);
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            let end =
                line.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '{')).unwrap_or(line.len());
            paths.push(line[..end].to_owned());
        }
    }
    paths.iter().flat_map(|p| ungroup(p)).collect()
}

/// `storage::{tsdb::Db, logs}` names two rooms.
fn ungroup(path: &str) -> Vec<String> {
    match path.split_once("::{") {
        Some((head, rest)) => rest.trim_end_matches('}').split(',').map(|p| format!("{head}::{}", p.trim())).collect(),
        None => vec![path.to_owned()],
    }
}

#[test]
fn a_room_imports_only_from_floors_below() {
    let mut broken = Vec::new();
    for source in sources("src") {
        let Some((room, floor)) = room_of(&source.name) else { continue };
        if is_test_file(&source.name) {
            continue;
        }
        for path in imports(&source.code) {
            let Some((other, other_floor)) = room_by_module(&path) else { continue };
            let related = other == room
                || (room.starts_with(other) && room.contains("::"))
                || other.starts_with(&format!("{room}::"));
            if !related && other_floor >= floor {
                let way_out = if other_floor == floor {
                    "rooms on one floor are strangers; pass a `model` type through `app`"
                } else {
                    "imports only go down"
                };
                broken
                    .push(format!("{}: `{room}` ({floor}) imports `{other}` ({other_floor}): {way_out}", source.name));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn nobody_climbs_two_doors_at_once() {
    let broken: Vec<_> =
        sources("src").into_iter().filter(|s| s.code.contains("super::super")).map(|s| s.name).collect();
    assert!(broken.is_empty(), "`super::super` hides an import from this test; write `crate::`: {broken:?}");
}

#[test]
fn a_file_answers_one_question() {
    let broken: Vec<_> = sources("src")
        .into_iter()
        .filter(|s| !is_test_file(&s.name))
        .map(|s| (s.code.lines().count(), s.name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(broken.is_empty(), "longer than {LINES_MAX} lines without tests: {broken:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let broken: Vec<_> = sources("src")
        .into_iter()
        .filter(|s| !s.text.trim_start().starts_with("//!") && !is_test_file(&s.name))
        .map(|s| s.name)
        .collect();
    assert!(broken.is_empty(), "no module doc at the head: {broken:?}");
}

#[test]
fn fenced_crates_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for source in sources("src") {
        for (name, allowed) in FENCED {
            let uses = source.code.contains(&format!("{name}::")) || source.code.contains(&format!("use {name};"));
            if uses && !allowed.iter().any(|a| source.name.starts_with(a)) {
                broken.push(format!("{} names `{name}`, which only {allowed:?} may", source.name));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn rooms_that_ask_and_answer_without_waiting_have_no_async() {
    let quiet =
        ["src/model/", "src/wire/", "src/template/", "src/yaml/", "src/instrument/", "src/storage/", "src/query/"];
    let broken: Vec<_> = sources("src")
        .into_iter()
        .filter(|s| quiet.iter().any(|q| s.name.starts_with(q)))
        .filter(|s| {
            s.code.contains("async fn")
                || s.code.contains(".await")
                || ["TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"].iter().any(|n| s.code.contains(n))
        })
        .map(|s| s.name)
        .collect();
    assert!(broken.is_empty(), "no `async` and no network below the workers: {broken:?}");
}

#[test]
fn only_storage_writes_files() {
    let calls = ["fs::write(", "File::create(", "fs::rename(", "OpenOptions::new(", "fs::remove_"];
    let broken: Vec<_> = sources("src")
        .into_iter()
        .filter(|s| !is_test_file(&s.name) && !WRITERS.iter().any(|w| s.name.starts_with(w)))
        .filter(|s| calls.iter().any(|c| s.code.contains(c)))
        .map(|s| s.name)
        .collect();
    assert!(broken.is_empty(), "files that must last are written by `storage/disk` alone: {broken:?}");
}

#[test]
fn types_of_the_model_are_never_serialised() {
    let broken: Vec<_> =
        sources("src/model").into_iter().filter(|s| s.code.contains("Serialize")).map(|s| s.name).collect();
    assert!(broken.is_empty(), "the disk, the wire, the API and the pages have shapes of their own: {broken:?}");
}

#[test]
fn every_format_has_a_head_and_a_dump() {
    let dumps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let names: Vec<String> = fs::read_dir(&dumps)
        .map(|d| d.filter_map(|e| e.ok()).map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let mut broken = Vec::new();
    for source in sources("src") {
        if !source.text.lines().any(|l| l.trim() == "//! # Format") {
            continue;
        }
        // src/storage/tsdb/wal/record.rs owns tests/formats/tsdb_wal_record*.hex
        let stem = source
            .name
            .trim_start_matches("src/")
            .trim_start_matches("storage/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .replace('/', "_");
        if !names.iter().any(|n| n.starts_with(&stem)) {
            broken.push(format!("{} owns a format; tests/formats/{stem}*.hex is missing", source.name));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn names_that_say_nothing_are_not_used() {
    let empty = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
    let mut broken = Vec::new();
    for source in sources("src") {
        for part in source.path.iter().map(|p| p.to_string_lossy()) {
            if empty.contains(&part.trim_end_matches(".rs")) {
                broken.push(source.name.clone());
            }
        }
    }
    assert!(broken.is_empty(), "if no name comes, the cut is wrong: {broken:?}");
}

#[test]
fn the_table_of_rooms_is_the_one_in_the_docs() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md")).unwrap();
    let mut by_floor: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (room, floor) in ROOMS {
        by_floor.entry(*floor).or_default().push(room);
    }
    for (floor, rooms) in by_floor {
        for room in rooms {
            let row = format!("| `{room}` | {floor} |");
            assert!(docs.contains(&row), "docs/ARCHITECTURE.md has no row {row:?}");
        }
    }
}
