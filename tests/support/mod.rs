//! What the tests share.

pub mod central;
