//! Andon: monitoring for a factory edge box in one process.
//!
//! The rooms in reading order, ground floor first. A room imports only from floors below it;
//! `docs/ARCHITECTURE.md` tells the whole plan and `tests/architecture.rs` keeps it.
#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests write files of their own and read the machine's clock")
)]

pub mod model;

pub mod clock;
pub mod headroom;
pub mod instrument;
pub mod outbound;
pub mod task;
pub mod template;
pub(crate) mod watched;
pub mod wire;
pub mod yaml;

pub mod bus;
pub mod device;
pub mod storage;

pub mod query;

pub mod alarms;
pub mod collect;
pub mod forward;
pub mod gateway;
pub mod notify;
pub mod rules;
pub mod tenants;

pub mod http;

pub mod app;
pub mod cli;
pub mod config;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
