//! Scraping: metrics fetched from other programs.

mod config;

pub use config::{Authorization, FileGroups, HttpClient, Job, TargetGroup, Tls};
