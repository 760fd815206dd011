//! What was probably meant.

/// Returns the candidate nearest to `word`, if one is near enough to be a slip of the keyboard.
///
/// Near is: the same without case, `-` and `_`, or at most one change for each three letters (a neighbour
/// swap counts as one change).
#[must_use]
pub fn closest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |s: &str| s.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect::<String>().to_lowercase();
    let wanted = plain(word);
    if wanted.chars().count() > 100 {
        return None;
    }
    candidates
        .iter()
        .map(|c| (distance(&wanted, &plain(c)), *c))
        .filter(|(d, c)| *d <= c.chars().count().max(3) / 3)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Returns the number of changes between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["scrape_interval", "scrape_timeout", "job_name", "for", "url"];
        for (word, expected) in [
            ("scrape_intervall", Some("scrape_interval")),
            ("scrapeInterval", Some("scrape_interval")),
            ("job-name", Some("job_name")),
            ("fro", Some("for")),
            ("uri", Some("url")),
            ("labels", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &keys), expected, "{word}");
        }
    }
}
