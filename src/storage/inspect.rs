//! Looking into a data folder without opening it: nothing is changed, and a box may work there meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::disk::{self, Disk};
use super::{files, tsdb};

/// Returns what is wrong with the blocks of a data folder that this version cannot open.
///
/// # Errors
/// When the folder cannot be listed.
pub(super) fn blocks_unreadable(disk: &Arc<dyn Disk>, folder: &Path) -> disk::Result<Vec<String>> {
    tsdb::blocks(disk, &folder.join(files::METRICS)).map(|(_, damages)| damages)
}
