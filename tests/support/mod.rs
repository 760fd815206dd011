//! What the tests share.

pub mod central;
pub mod plant;
pub mod program;
