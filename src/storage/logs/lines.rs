//! Lines of one stream as columns: times, ends, one text.

/// Lines of one stream. In the head in the order they came; in a block by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines {
    times: Vec<i64>,
    /// Where each line ends in `text`.
    ends: Vec<u32>,
    text: String,
    is_sorted: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Lines { times: Vec::new(), ends: Vec::new(), text: String::new(), is_sorted: true }
    }
}

impl Lines {
    pub(super) fn with_capacity(lines: usize, text_bytes: usize) -> Self {
        Lines {
            times: Vec::with_capacity(lines),
            ends: Vec::with_capacity(lines),
            text: String::with_capacity(text_bytes),
            is_sorted: true,
        }
    }

    /// Adds a line behind the others.
    ///
    /// # Panics
    /// When the text would pass 4 GiB; batches and blocks are closed long before.
    pub(super) fn push(&mut self, timestamp_ns: i64, line: &str) {
        self.is_sorted &= self.times.last().is_none_or(|last| *last <= timestamp_ns);
        self.text.push_str(line);
        self.times.push(timestamp_ns);
        match u32::try_from(self.text.len()) {
            Ok(end) => self.ends.push(end),
            Err(_) => panic!("bug: a batch of lines over 4 GiB"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Tells whether the lines stand by time.
    pub(super) fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// Returns the bytes of memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.times.len() * 12
    }

    pub(super) fn all_text(&self) -> &str {
        &self.text
    }

    pub(super) fn times(&self) -> &[i64] {
        &self.times
    }

    /// Returns a line's time; the last if there are not so many.
    pub(super) fn time(&self, at: usize) -> i64 {
        self.times.get(at).or(self.times.last()).copied().unwrap_or(0)
    }

    /// Returns a line's text; empty if there are not so many.
    pub(super) fn text(&self, at: usize) -> &str {
        let end = self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.text.get(start..end).unwrap_or("")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &str)> {
        self.times.iter().enumerate().map(|(at, time)| (*time, self.text(at)))
    }

    /// Returns the first and the last time; `None` if there is no line.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        Some((*self.times.iter().min()?, *self.times.iter().max()?))
    }

    /// Returns the lines by time; those of the same time stay in the order they came.
    pub(super) fn sorted(&self) -> Lines {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|at| self.time(*at));
        let mut sorted = Lines::with_capacity(self.len(), self.text.len());
        for at in order {
            sorted.push(self.time(at), self.text(at));
        }
        sorted
    }

    /// Returns which lines lie in `[start_ns, end_ns)`; the lines must be sorted.
    pub(super) fn range(&self, start_ns: i64, end_ns: i64) -> std::ops::Range<usize> {
        let start = self.times.partition_point(|time| *time < start_ns);
        start..self.times.partition_point(|time| *time < end_ns).max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_time_and_then_by_arrival() {
        let mut lines = Lines::default();
        for (time, text) in [(3, "c"), (1, "a"), (3, ""), (2, "bü"), (3, "d")] {
            lines.push(time, text);
        }
        assert!(!lines.is_sorted());
        let sorted = lines.sorted();
        assert!(sorted.is_sorted());
        assert_eq!(sorted.iter().collect::<Vec<_>>(), [(1, "a"), (2, "bü"), (3, "c"), (3, ""), (3, "d")]);
        assert_eq!((sorted.range(2, 3), sorted.range(4, 9), sorted.range(5, 0)), (1..2, 5..5, 5..5));
        assert_eq!(sorted.bounds(), Some((1, 3)));
    }
}
