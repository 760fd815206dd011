//! Scraping: metrics fetched from other programs.

mod config;

pub use crate::model::{Authorization, HttpClient, Tls};
pub use config::{FileGroups, Job, TargetGroup};
