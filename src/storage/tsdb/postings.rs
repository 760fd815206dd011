//! Postings: sorted lists of series under a label pair, and what is done with them.

/// What answers which series carry a label: the head's index and a block's.
pub(crate) trait Postings {
    /// Returns all series, sorted.
    fn all(&self) -> Vec<u32>;

    /// Returns the series with this label pair, sorted.
    fn equal(&self, name: &str, value: &str) -> Vec<u32>;

    /// Calls `visit` with each value of a label that begins with `prefix`, in order, and appends the series
    /// under it to `found` if that says so. `found` is not sorted afterwards.
    fn matching(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> bool, found: &mut Vec<u32>);

    /// Returns how many values a label has.
    fn value_count(&self, name: &str) -> usize;

    /// Returns the value of a label of one series; empty if it does not have it.
    fn label(&self, series: u32, name: &str) -> &str;
}

/// Returns what is in both; both sorted.
pub(crate) fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut rest = large;
    let mut both = Vec::with_capacity(small.len());
    for id in small {
        // Gallops: the step doubles until it is past, then halves.
        let mut step = 1;
        while rest.get(step).is_some_and(|x| x < id) {
            step *= 2;
        }
        let within = rest.get(..=step.min(rest.len().saturating_sub(1))).unwrap_or(rest);
        let skip = within.partition_point(|x| x < id);
        rest = rest.get(skip..).unwrap_or_default();
        if rest.first() == Some(id) {
            both.push(*id);
        }
    }
    both
}

/// Returns what is in `a` but not in `b`; both sorted.
pub(crate) fn subtract(a: Vec<u32>, b: &[u32]) -> Vec<u32> {
    if b.is_empty() {
        return a;
    }
    let mut rest = b.iter().peekable();
    a.into_iter()
        .filter(|id| {
            while rest.next_if(|x| *x < id).is_some() {}
            rest.peek() != Some(&id)
        })
        .collect()
}

/// Sorts lists that were appended one to the other, and takes doubles out.
pub(crate) fn normalise(ids: &mut Vec<u32>) {
    ids.sort_unstable();
    ids.dedup();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_behave_as_sets(a in prop::collection::btree_set(0..200_u32, 0..80), b in prop::collection::btree_set(0..200_u32, 0..80)) {
            let list = |s: &BTreeSet<u32>| s.iter().copied().collect::<Vec<_>>();
            prop_assert_eq!(intersect(&list(&a), &list(&b)), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(subtract(list(&a), &list(&b)), a.difference(&b).copied().collect::<Vec<_>>());
        }
    }
}
