//! The dumps of formats: every one is read by a test beside the code that owns the format, and says whose it
//! is. The tests are beside the code because the formats are nobody else's business.

use std::fs;
use std::path::Path;

/// Returns the text of all sources below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            text += &sources(&entry);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            text += &fs::read_to_string(entry).unwrap();
        }
    }
    text
}

#[test]
fn every_dump_is_hexadecimal_names_its_owner_and_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = sources(&root.join("src"));
    let index = fs::read_to_string(root.join("docs/formats.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root.join("tests/formats")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let dump = fs::read_to_string(&path).unwrap();
        let head = dump.lines().next().unwrap_or("");
        let owner = head.split(['(', ')']).find(|part| part.starts_with("src/"));
        let owner = owner.unwrap_or_else(|| panic!("{name} does not name its owner in the first line"));
        assert!(root.join(owner).exists(), "{name} names {owner}, which is not there");
        // A dump of several records says before each of which kind it is.
        let bytes = dump.lines().filter(|l| !l.starts_with("kind ")).map(|l| l.split('#').next().unwrap_or(""));
        for pair in bytes.flat_map(str::split_whitespace) {
            assert!(pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok(), "{name}: `{pair}` is not a byte");
        }
        assert!(code.contains(&format!("tests/formats/{name}")), "no test reads {name}");
        assert!(index.contains(&name) && index.contains(owner), "docs/formats.md does not list {name} of {owner}");
        count += 1;
    }
    assert!(count >= 12, "{count} dumps");
}
