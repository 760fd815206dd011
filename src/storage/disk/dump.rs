//! Dumps of formats, for tests: `tests/formats/*.hex` are bytes as pairs of hexadecimal digits; `#` begins a remark.

/// Reads a dump.
pub(crate) fn bytes(dump: &str) -> Vec<u8> {
    let digits = dump.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Reads a dump of several records: before each stands a line `kind N`.
pub(crate) fn records(dump: &str) -> Vec<(u8, Vec<u8>)> {
    let mut records: Vec<(u8, Vec<u8>)> = Vec::new();
    for line in dump.lines() {
        match line.strip_prefix("kind ") {
            Some(kind) => records.push((kind.trim().parse().unwrap(), Vec::new())),
            None => {
                let read = bytes(line);
                assert!(read.is_empty() || !records.is_empty(), "bytes before the first kind");
                records.iter_mut().next_back().into_iter().for_each(|(_, all)| all.extend(&read));
            }
        }
    }
    records
}

/// Fails, and shows both, if what is written is not what the dump says.
#[track_caller]
pub(crate) fn check_same(written: &[u8], dump: &str) {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    assert!(written == bytes(dump), "written now:\n{}\nthe dump:\n{}", hex(written), hex(&bytes(dump)));
}
