//! Target groups in files that others write (`file_sd_configs`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FileGroups, TargetGroup};
use crate::model::Labels;
use crate::yaml::{Item, Report, parse};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Most files that one pattern may stand for.
const FILES_MAX: usize = 1000;

/// What is known about the files of one job.
#[derive(Debug, Default)]
pub(super) struct Files {
    read: BTreeMap<PathBuf, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Size, time of change and number of the file as it was read.
    stamp: (u64, i64, i64, u64),
    /// The last good content.
    groups: Vec<TargetGroup>,
    problem: Option<String>,
}

impl Files {
    /// Looks at all files again and reads those that changed. Returns whether anything did. A file with a
    /// mistake keeps its last good groups; one that is gone has none.
    pub(super) fn refresh(&mut self, patterns: &[FileGroups]) -> bool {
        let mut paths: Vec<PathBuf> =
            patterns.iter().flat_map(|groups| &groups.paths).flat_map(|p| expand(p)).collect();
        paths.sort();
        paths.dedup();
        let before = self.read.len();
        self.read.retain(|path, _| paths.binary_search(path).is_ok());
        let mut has_changed = self.read.len() != before;
        for path in paths {
            let Ok(metadata) = fs::metadata(&path) else {
                has_changed |= self.read.remove(&path).is_some();
                continue;
            };
            let stamp = (metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino());
            let known = self.read.entry(path.clone()).or_default();
            if known.stamp == stamp {
                continue;
            }
            known.stamp = stamp;
            has_changed = true;
            match read(&path, metadata.len()) {
                Ok(groups) => (known.groups, known.problem) = (groups, None),
                Err(problem) => known.problem = Some(problem),
            }
        }
        has_changed
    }

    /// Returns the groups of all files.
    pub(super) fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.read.values().flat_map(|known| &known.groups)
    }

    /// Returns what is wrong with files.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.read.values().filter_map(|known| known.problem.as_ref())
    }
}

/// Reads files of targets: the labels of each with its address, and what is wrong. For others than scrapes.
pub fn read_targets(patterns: &[PathBuf]) -> (Vec<Labels>, Vec<String>) {
    let (mut targets, mut problems) = (Vec::new(), Vec::new());
    for path in patterns.iter().flat_map(|p| expand(p)) {
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                problems.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        match read(&path, length) {
            Ok(groups) => targets.extend(groups.iter().flat_map(|group| {
                let with = |address: &String| [("__address__".to_owned(), address.clone())];
                let labels = group.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
                let labels: Vec<(String, String)> = labels.collect();
                group
                    .targets
                    .iter()
                    .map(move |t| Labels::from_pairs(labels.iter().cloned().chain(with(t))))
                    .collect::<Vec<_>>()
            })),
            Err(problem) => problems.push(problem),
        }
    }
    (targets, problems)
}

/// Returns the files that a path with `*` in its last part stands for.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|file| matches(name, file)).take(FILES_MAX).map(|file| folder.join(file)).collect()
}

/// Tells whether a name is one that `pattern` stands for; `*` is any text, also none.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|left| {
            left.char_indices()
                .map(|(i, _)| i)
                .chain([left.len()])
                .any(|i| left.get(i..).is_some_and(|l| matches(rest, l)))
        }),
    }
}

fn read(path: &Path, len: u64) -> Result<Vec<TargetGroup>, String> {
    let name = path.display().to_string();
    if len > FILE_BYTES_MAX {
        return Err(format!("{name}: larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    // JSON is YAML too, so one reader does for both.
    let report = Report::new(name.clone());
    let root = parse(&text, &report);
    let groups = Item::root(&root, &report).items().iter().filter_map(|item| group(item, &name)).collect();
    report.finish().map_err(|mistakes| mistakes.to_string())?;
    Ok(groups)
}

fn group(item: &Item<'_>, path: &str) -> Option<TargetGroup> {
    let fields = item.fields(&["targets", "labels"])?;
    let targets = fields.get("targets").map(|targets| targets.strings()).unwrap_or_default();
    let mut labels = fields.get("labels").map(|labels| labels.string_map()).unwrap_or_default();
    labels.insert("__meta_filepath".to_owned(), path.to_owned());
    Some(TargetGroup { targets, labels: Labels::from_pairs(labels) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn files_are_read_again_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line1.json");
        let patterns =
            [FileGroups { paths: vec![folder.path().join("line*.json")], refresh_interval: Duration::from_secs(60) }];
        let mut files = Files::default();
        assert!(!files.refresh(&patterns));

        std::fs::write(&path, r#"[{"targets": ["a:1", "b:2"], "labels": {"line": "1"}}]"#).unwrap();
        assert!(files.refresh(&patterns));
        assert!(!files.refresh(&patterns));
        let groups: Vec<_> = files.groups().cloned().collect();
        assert_eq!(groups[0].targets, ["a:1", "b:2"]);
        assert_eq!(groups[0].labels.get("line"), Some("1"));
        assert_eq!(groups[0].labels.get("__meta_filepath"), path.to_str());

        std::fs::write(&path, "- targets: [c:3]\n  label: {}\n").unwrap();
        assert!(files.refresh(&patterns));
        assert_eq!(files.groups().count(), 1, "the last good content stays");
        assert!(files.problems().next().unwrap().contains("label"), "{:?}", files.problems().next());

        std::fs::remove_file(&path).unwrap();
        assert!(files.refresh(&patterns));
        assert_eq!((files.groups().count(), files.problems().count()), (0, 0));
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*", "axxb", true),
            ("a*b", "ab", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
