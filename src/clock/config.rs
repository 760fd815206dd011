//! Settings of the clock.

/// When the system's clock is believed. Whatever is set here, an operator may say that it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Whatever it says: for a box whose clock is kept by something that Andon cannot see.
    Always,
    /// When it is synchronised, or says nothing impossible: not before the build or the last stamp, not far
    /// beyond it, and not after a step that nobody explains. The default.
    #[default]
    Plausible,
    /// Only when it is synchronised.
    Synchronized,
}
