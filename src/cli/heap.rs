//! How the C library keeps the memory of a box that runs for months.
//!
//! glibc has a heap per thread, and each keeps what it once needed: after an hour of load a third of the memory
//! held nothing (`docs/decisions/0122`). It is told otherwise only in the environment and only when a program is
//! loaded, so a box that starts without these settings starts itself once more with them. It stays the same
//! process; the price is a millisecond. Other C libraries take no notice.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// One heap for all threads; what is larger than 256 KiB is mapped for itself and goes back when it is freed, and so
/// does the heap's end from 128 KiB.
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "262144"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Starts the program once more with the settings, unless one of them is there: whoever set it knows why. Returns
/// when there is nothing to do, and when it cannot be done: then the box takes more memory, no more.
///
/// These are no settings of the box, and so are not read by `config`: the C library reads them.
pub(super) fn settle() {
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let _failed = again.args(arguments).envs(SETTINGS).exec();
}
