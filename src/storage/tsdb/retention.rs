//! Which blocks go, by age and by bytes. Pure.

use super::block::BlockMeta;

/// Returns the numbers of the blocks that go: all that end at `oldest_ms` or before, then the oldest until
/// the rest takes at most `bytes_max`, but none that reaches behind `floor_ms`.
pub(crate) fn expired(metas: &[BlockMeta], oldest_ms: i64, bytes_max: Option<u64>, floor_ms: i64) -> Vec<u64> {
    let mut by_age: Vec<&BlockMeta> = metas.iter().collect();
    by_age.sort_by_key(|m| (m.max_ms, m.number));
    let mut bytes: u64 = by_age.iter().map(|m| m.bytes).sum();
    let mut gone = Vec::new();
    for meta in by_age {
        let is_old = meta.max_ms < oldest_ms;
        let is_over = bytes_max.is_some_and(|max| bytes > max) && meta.max_ms < floor_ms;
        if is_old || is_over {
            bytes -= meta.bytes;
            gone.push(meta.number);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(number: u64, max_ms: i64, bytes: u64) -> BlockMeta {
        BlockMeta {
            version: 1,
            number,
            start_ms: 0,
            end_ms: max_ms + 1,
            min_ms: 0,
            max_ms,
            series: 1,
            samples: 1,
            chunks: 1,
            bytes,
            level: 1,
            rank: number,
            merged: vec![],
            checksum: String::new(),
        }
    }

    #[track_caller]
    fn check(oldest_ms: i64, bytes_max: Option<u64>, floor_ms: i64, expected: &[u64]) {
        let metas = [meta(3, 300, 10), meta(1, 100, 10), meta(2, 200, 10)];
        assert_eq!(expired(&metas, oldest_ms, bytes_max, floor_ms), expected);
    }

    #[test]
    fn blocks_go_by_age_and_by_size_but_not_behind_the_floor() {
        check(0, None, 1000, &[]);
        check(100, None, 1000, &[]);
        check(101, None, 1000, &[1]);
        check(0, Some(30), 1000, &[]);
        check(0, Some(29), 1000, &[1]);
        check(0, Some(5), 1000, &[1, 2, 3]);
        check(0, Some(5), 300, &[1, 2]);
        check(101, Some(20), 1000, &[1]);
    }
}
