//! What the tests share.

pub(crate) mod central;
pub(crate) mod program;
