//! What the tests share.

pub(crate) mod browser;
pub(crate) mod central;
pub(crate) mod plant;
pub(crate) mod program;
