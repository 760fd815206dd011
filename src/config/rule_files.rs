//! `rule_files`, globs as Prometheus has them, and the packs that come along.

use std::collections::BTreeSet;

use super::folder::Folder;
use super::glob;
use crate::rules::RuleSource;
use crate::yaml::{Fields, closest};

/// Largest rule file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads the packs and files, packs first. A file that cannot be read is among them with the reason: the box
/// starts without it and shows it.
pub(super) fn read(root: &Fields<'_>, folder: &Folder) -> Vec<RuleSource> {
    let mut sources = packs(root);
    let mut paths = BTreeSet::new();
    for item in root.items("rule_files") {
        let Some(pattern) = item.string() else { continue };
        let found = glob::expand(&folder.path(&pattern));
        if found.is_empty() {
            item.note(format!("no file matches {pattern:?}"));
        }
        for path in found {
            if !paths.insert(path.clone()) {
                continue;
            }
            let text = read_file(&path);
            if let Err(why) = &text {
                item.note(format!("{}: {why}", path.display()));
            }
            sources.push(RuleSource { path: path.display().to_string(), text });
        }
    }
    sources
}

fn read_file(path: &std::path::Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("larger than {} MiB", FILE_BYTES_MAX >> 20));
    }
    std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))
}

/// Reads `rule_packs`: the names of packs; all of them by default.
fn packs(root: &Fields<'_>) -> Vec<RuleSource> {
    let builtin = RuleSource::builtin();
    let Some(item) = root.get("rule_packs") else { return builtin };
    let name_of = |source: &RuleSource| source.path.trim_start_matches("builtin:").trim_end_matches(".yml").to_owned();
    let names: Vec<String> = builtin.iter().map(name_of).collect();
    let mut wanted = BTreeSet::new();
    for item in item.items() {
        let Some(name) = item.string() else { continue };
        if names.contains(&name) {
            wanted.insert(name);
            continue;
        }
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = format!("no pack is named {name:?}; there are {}", known.join(", "));
        let _: Option<()> = match closest(&name, &known) {
            Some(near) => item.mistake_with(message, format!("did you mean {near:?}?")),
            None => item.mistake(message),
        };
    }
    builtin.into_iter().filter(|source| wanted.contains(&name_of(source))).collect()
}
