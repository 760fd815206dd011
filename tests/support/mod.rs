//! What the tests share.

pub mod central;
pub mod program;
