//! The times of sealed chunks, each list once: chunks name it by number.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::groups::{Groups, Place};
use crate::storage::disk::ByteWriter;
use crate::storage::tsdb::column::{Effort, decode_times, encode_times};

/// So many decoded columns are kept by a reader.
const DECODED_MAX: usize = 512;

/// One list of times, packed.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// How many times; 0 if nobody has the column.
    pub(crate) count: u32,
    pub(crate) bytes: Arc<[u8]>,
}

impl Column {
    pub(crate) fn overlaps(&self, min: i64, max: i64) -> bool {
        self.min <= max && self.max >= min
    }
}

/// Columns by number. A reader's copy is the list itself: it is written anew only while somebody reads.
pub(super) type ColumnList = Arc<Vec<Column>>;

/// What series have in common: the times of their samples.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) groups: Groups,
    columns: ColumnList,
    free: Vec<u32>,
    by_content: HashTable<u32>,
}

impl Shared {
    pub(super) fn columns(&self) -> &ColumnList {
        &self.columns
    }

    pub(super) fn column(&self, number: u32) -> Option<&Column> {
        self.columns.get(number as usize)
    }

    /// Returns the number of the column of a place's times.
    pub(super) fn seal_place(&mut self, place: &Place) -> u32 {
        let mut groups = std::mem::take(&mut self.groups);
        let number = groups.sealed(place, |times| self.seal(times));
        self.groups = groups;
        number
    }

    /// Returns the number of the column of these times.
    pub(super) fn seal(&mut self, times: &[i64]) -> u32 {
        let mut bytes = ByteWriter::default();
        encode_times(times, Effort::Fast, &mut bytes);
        let (min, max) = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
        self.share(min, max, u32::try_from(times.len()).unwrap_or(u32::MAX), bytes.as_slice())
    }

    /// Returns the number of the column with this content.
    pub(super) fn share(&mut self, min: i64, max: i64, count: u32, bytes: &[u8]) -> u32 {
        let columns = &self.columns;
        let is_same = |n: &u32| columns.get(*n as usize).is_some_and(|c| *c.bytes == *bytes);
        if let Some(number) = self.by_content.find(hash(bytes), is_same) {
            return *number;
        }
        let column = Column { min, max, count, bytes: bytes.into() };
        let columns = Arc::make_mut(&mut self.columns);
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = columns.get_mut(number as usize) {
                    *place = column;
                }
                number
            }
            None => {
                columns.push(column);
                u32::try_from(columns.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let hash_of = |n: &u32| columns.get(*n as usize).map_or(0, |c| hash(&c.bytes));
        self.by_content.insert_unique(hash(bytes), number, hash_of);
        number
    }

    /// Drops columns that are not among the `used`.
    pub(super) fn keep(&mut self, used: impl Iterator<Item = u32>) {
        self.groups.forget_sealed();
        let mut is_used = vec![false; self.columns.len()];
        for number in used {
            if let Some(flag) = is_used.get_mut(number as usize) {
                *flag = true;
            }
        }
        let nothing: Arc<[u8]> = Arc::default();
        let columns = Arc::make_mut(&mut self.columns);
        let length = is_used.iter().rposition(|used| *used).map_or(0, |last| last + 1);
        columns.truncate(length);
        columns.shrink_to_fit();
        self.free.clear();
        for ((column, used), number) in columns.iter_mut().zip(is_used).zip(0_u32..) {
            if !used {
                *column = Column { min: 0, max: 0, count: 0, bytes: nothing.clone() };
                self.free.push(number);
            }
        }
        self.by_content = HashTable::new();
        for (number, column) in (0_u32..).zip(columns.iter()).filter(|(_, c)| c.count > 0) {
            let hash_of = |n: &u32| columns.get(*n as usize).map_or(0, |c| hash(&c.bytes));
            self.by_content.insert_unique(hash(&column.bytes), number, hash_of);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(|c| c.bytes.len() + 24).sum();
        let table = self.by_content.capacity() * 6;
        columns + table + self.columns.capacity() * size_of::<Column>() + self.groups.memory_bytes()
    }
}

/// Columns of times that a reader has decoded: neighbours mostly have the same.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// By the place of the packed column, which is held so that no other comes to stand there.
    lists: HashMap<usize, Opened, FixedState>,
}

/// A column, packed and not.
type Opened = (Arc<[u8]>, Arc<[i64]>);

impl Decoded {
    /// Returns the times of a column.
    pub(super) fn times(&mut self, column: &Column) -> Arc<[i64]> {
        let place = column.bytes.as_ptr().addr();
        if let Some((_, times)) = self.lists.get(&place) {
            return times.clone();
        }
        // What does not decode would be a bug; the rest is still worth reading.
        let times: Arc<[i64]> = decode_times(&column.bytes).unwrap_or_default().into();
        if self.lists.len() >= DECODED_MAX {
            self.lists.clear();
        }
        self.lists.insert(place, (column.bytes.clone(), times.clone()));
        times
    }
}

fn hash(bytes: &[u8]) -> u64 {
    FixedState::default().hash_one(bytes)
}
