//! Formats spoken with other programs: bytes in, words of the model out, and back.
//!
//! [`exposition`] is the text that programs show at `/metrics`; [`remote_write`] is how Prometheus and its kin
//! push samples, and [`remote_write_2`] its newer form; [`remote_read`] is how they fetch
//! them, packed by [`xor_chunk`]; [`loki_push`] is how Promtail and its kin push log lines.
//! Nothing here does input or output, and nothing takes memory that the input has not paid for: every size is checked against a cap before it is believed.

#![deny(clippy::indexing_slicing)]

mod certificate;
pub(crate) mod der;
mod error;
pub mod exposition;
pub mod loki_push;
mod protobuf;
pub mod remote_read;
pub mod remote_write;
pub mod remote_write_2;
pub mod xor_chunk;

pub use certificate::{Certificate, Fingerprint};
pub use error::{Error, Result};
