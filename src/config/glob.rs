//! Paths with wildcards, as `rule_files` has them: `*`, `?` and `[..]` in any part, as in Go's
//! `filepath.Glob`.

use std::path::{Component, Path, PathBuf};

/// Paths that one pattern may give.
const PATHS_MAX: usize = 10_000;

/// Returns the paths that match, sorted. A pattern without wildcards gives itself, whether it exists or not,
/// so that a missing file is noticed. Folders that cannot be read give nothing.
pub(crate) fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        let is_pattern = matches!(part, Component::Normal(_)) && text.contains(['*', '?', '[']);
        if !is_pattern {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let tokens: Vec<char> = text.chars().collect();
        found = found.iter().flat_map(|folder| matching(folder, &tokens)).take(PATHS_MAX).collect();
    }
    found.sort();
    found
}

fn matching(folder: &Path, pattern: &[char]) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.filter(|name| matches(pattern, &name.chars().collect::<Vec<_>>())).map(|name| folder.join(name)).collect()
}

/// Tells whether a name fits a pattern; a pattern that is not well formed fits nothing.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|i| matches(rest, &name[i..])),
        ['?', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        ['[', class @ ..] => {
            let (Some(end), Some(first)) = (class.iter().skip(1).position(|c| *c == ']').map(|i| i + 1), name.first())
            else {
                return false;
            };
            let (class, rest) = (&class[..end], &class[end + 1..]);
            let (negated, class) = match class {
                ['^', class @ ..] => (true, class),
                _ => (false, class),
            };
            let mut inside = false;
            let mut i = 0;
            while let Some(start) = class.get(i) {
                match class.get(i + 1..i + 3) {
                    Some(['-', end]) => {
                        inside |= (start..=end).contains(&first);
                        i += 3;
                    }
                    _ => {
                        inside |= start == first;
                        i += 1;
                    }
                }
            }
            inside != negated && matches(rest, &name[1..])
        }
        [literal, rest @ ..] => name.first() == Some(literal) && matches(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(matches(&chars(pattern), &chars(name)), expected, "{pattern} on {name}");
    }

    #[test]
    fn wildcards_match_within_a_name() {
        check("*.yml", "a.yml", true);
        check("*.yml", "a.yaml", false);
        check("*.y*ml", "a.yaml", true);
        check("rule?.yml", "rule1.yml", true);
        check("rule?.yml", "rule.yml", false);
        check("[a-c]x", "bx", true);
        check("[^a-c]x", "bx", false);
        check("[abz]x", "zx", true);
        check("[ab", "a", false);
    }

    #[test]
    fn any_part_of_a_path_may_have_wildcards() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/1.yml", "a/2.txt", "b/1.yml", "c/1.yml"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = expand(&root.path().join("[ab]/*.yml"));
        assert_eq!(found, [root.path().join("a/1.yml"), root.path().join("b/1.yml")]);
        let missing = root.path().join("missing.yml");
        assert_eq!(expand(&missing), std::slice::from_ref(&missing));
        assert!(expand(&root.path().join("none/*.yml")).is_empty());
    }
}
