//! The dumps of formats: every one is read by a test beside the code that owns the format, and says whose it
//! is. The tests are beside the code (`format_test.rs`) because the formats are nobody else's business.

use std::fs;
use std::path::Path;

#[test]
fn every_dump_is_hexadecimal_names_its_owner_and_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = ["disk", "tsdb", "logs"]
        .iter()
        .filter_map(|room| fs::read_to_string(root.join(format!("src/storage/{room}/format_test.rs"))).ok())
        .collect();
    let mut count = 0;
    for entry in fs::read_dir(root.join("tests/formats")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let dump = fs::read_to_string(&path).unwrap();
        let head = dump.lines().next().unwrap_or("");
        let owner = head.split(['(', ')']).find(|part| part.starts_with("src/"));
        let owner = owner.unwrap_or_else(|| panic!("{name} does not name its owner in the first line"));
        assert!(root.join(owner).exists(), "{name} names {owner}, which is not there");
        for pair in dump.lines().flat_map(|l| l.split('#').next().unwrap_or("").split_whitespace()) {
            assert!(pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok(), "{name}: `{pair}` is not a byte");
        }
        assert!(tests.contains(&name), "no test reads {name}");
        count += 1;
    }
    assert!(count >= 12, "{count} dumps");
}
