//! Where samples are forwarded to, resolved. A reload is enough for every field.

use std::time::Duration;

use crate::model::{HttpClient, Labels, RelabelRule};

/// All destinations.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Put on each series that does not have them; `global.external_labels`.
    pub external_labels: Labels,
    /// One for each entry of `remote_write`; names are unique.
    pub destinations: Vec<Destination>,
}

/// One remote-write endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// Names the cursor: a destination that keeps its name goes on where it was, whatever else changes.
    /// Default: the URL without user, password and query.
    pub name: String,
    /// Where to post.
    pub url: String,
    /// Sent with each request besides those of the protocol.
    pub headers: Vec<(String, String)>,
    /// Who we are and whom we believe.
    pub http: HttpClient,
    /// How long one answer may take; default 30 s.
    pub timeout: Duration,
    /// Change or drop series on their way; `write_relabel_configs`.
    pub write_relabel: Vec<RelabelRule>,
    /// Samples in one request, at most; `queue_config.max_samples_per_send`, default 5000, 1 to 100 000.
    pub samples_per_request_max: usize,
    /// How often new samples are sent while central has all older ones; `queue_config.batch_send_deadline`,
    /// default 5 s, at least 100 ms.
    pub send_interval: Duration,
    /// How long a sample may take from its time to our store. Samples that arrive later than that are
    /// sent behind the newer ones. Default 10 s, the usual longest scrape.
    pub settle: Duration,
    /// Wait after a first failure; doubles with each further one. Default 1 s.
    pub backoff_min: Duration,
    /// Longest wait of our own between attempts; a longer `Retry-After` is obeyed up to 5 minutes. Default 5 s.
    pub backoff_max: Duration,
}
