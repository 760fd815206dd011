//! Work that stands back for all other work of the machine.

use std::io;

/// The nicest a thread can be.
const NICEST: i32 = 19;

/// Gives the calling thread the lowest priority, for processor and (through it, with schedulers that know
/// priorities) disk. It cannot be taken back.
///
/// # Errors
/// When the system refuses.
pub(crate) fn lowest_priority() -> io::Result<()> {
    // On Linux the priority is the thread's own, and no process id means the caller.
    rustix::process::setpriority_process(None, NICEST)?;
    Ok(())
}
