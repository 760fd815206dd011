//! When a filling disk turns the stores read-only, and when they take data again. Pure.

use super::Space;

/// Free space below which nothing more is taken.
pub const READ_ONLY_BELOW_BYTES: u64 = 16 << 20;

/// Free space from which data is taken again; further up than where it stopped, so that it does not flap.
pub const WRITABLE_FROM_BYTES: u64 = 24 << 20;

impl Space {
    /// Tells whether a store whose log holds so much may run out of room before that is written once more, as
    /// blocks: then nothing would ever free the log.
    #[must_use]
    pub fn is_tight(self, log_bytes: u64) -> bool {
        self.free_bytes < WRITABLE_FROM_BYTES.min(self.total_bytes / 12).saturating_add(log_bytes)
    }
}

/// Remembers whether the disk is too full to take more.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpaceWatch {
    is_read_only: bool,
}

impl SpaceWatch {
    /// Takes a measurement; returns whether data may be taken. A disk smaller than the bounds (a test's) is
    /// judged by a sixteenth of its size.
    pub fn measured(&mut self, space: Space) -> bool {
        let below = READ_ONLY_BELOW_BYTES.min(space.total_bytes / 16);
        let from = WRITABLE_FROM_BYTES.min(space.total_bytes / 12);
        self.is_read_only = space.free_bytes < if self.is_read_only { from } else { below };
        !self.is_read_only
    }

    /// Notes that a write found the disk full, whatever was measured.
    pub fn found_full(&mut self) {
        self.is_read_only = true;
    }

    /// Tells whether the disk was too full when last looked at.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_tight_while_what_the_log_holds_cannot_be_written_again() {
        let check = |free_bytes, total_bytes, log_bytes, expected| {
            assert_eq!(Space { free_bytes, total_bytes }.is_tight(log_bytes), expected);
        };
        check(WRITABLE_FROM_BYTES, 1 << 40, 0, false);
        check(WRITABLE_FROM_BYTES, 1 << 40, 1, true);
        check(WRITABLE_FROM_BYTES + 1, 1 << 40, 1, false);
        check(1100, 12_000, 100, false);
        check(1099, 12_000, 100, true);
    }

    #[test]
    fn it_does_not_flap_at_the_border() {
        let mut watch = SpaceWatch::default();
        let space = |free_bytes| Space { free_bytes, total_bytes: 1 << 40 };
        assert!(watch.measured(space(READ_ONLY_BELOW_BYTES)));
        assert!(!watch.measured(space(READ_ONLY_BELOW_BYTES - 1)));
        assert!(!watch.measured(space(WRITABLE_FROM_BYTES - 1)));
        assert!(watch.measured(space(WRITABLE_FROM_BYTES)));
        assert!(watch.measured(space(READ_ONLY_BELOW_BYTES)));
    }
}
