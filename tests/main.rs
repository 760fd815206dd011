//! Everything that is tested through a front door, in one executable.

mod alarms;
mod api;
mod architecture;
mod bus;
mod cli;
mod collect;
mod config;
mod crash;
mod formats;
mod forward;
mod gateway;
mod logs;
mod notify;
mod pages;
mod promql;
mod rules;
mod support;
