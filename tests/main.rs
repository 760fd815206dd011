//! Everything that is tested through a front door, in one executable.
#![expect(clippy::disallowed_methods, reason = "tests write files of their own and read the machine's clock")]
#![expect(clippy::unwrap_used, reason = "what is not as expected ends a test, in its helpers too")]

mod alarms;
mod api;
mod architecture;
mod backfill;
mod backup;
mod blackbox;
mod browser;
mod bus;
mod cli;
mod collect;
mod config;
mod crash;
mod explore;
mod formats;
mod forward;
mod gateway;
mod grafana;
mod kept;
mod keyboard;
mod keys;
mod limits;
mod logs;
mod nats_security;
mod notify;
mod pages;
mod promql;
mod rules;
mod sdk;
mod storage;
mod streams;
mod support;
mod tenants;
mod tls;
mod verdicts;
mod wire;
