//! One HTTP GET with caps on size, time and redirects.

use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use reqwest::{Method, Url};

use super::buffers::Buffers;
use crate::collect::describe;
use crate::model::HttpClient;
use crate::outbound::Outbound;
use crate::wire::exposition::Format;

/// What we ask for. The old text format first: it is what every exporter tests.
const ACCEPTED: &str = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
    text/plain;q=0.4,*/*;q=0.1";

/// A bound above every scrape timeout; the target's own is shorter.
const REQUEST_MAX: Duration = Duration::from_secs(3600);

/// Fetches with the settings of one job; connections are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher(Outbound);

/// An answer.
#[derive(Debug)]
pub(super) struct Body {
    /// The bytes, unpacked.
    pub(super) bytes: Vec<u8>,
    /// What they are.
    pub(super) format: Format,
}

impl Fetcher {
    /// Makes a client.
    ///
    /// # Errors
    /// In words, when a certificate or key cannot be used.
    pub(super) fn new(settings: &HttpClient) -> Result<Self, String> {
        Outbound::new(settings, REQUEST_MAX).map(Fetcher).map_err(|e| e.to_string())
    }

    /// Fetches a page of metrics.
    ///
    /// # Errors
    /// In words for people, without the URL.
    pub(super) async fn get(
        &self,
        url: &Url,
        timeout: Duration,
        body_bytes_max: u64,
        buffers: &Buffers,
    ) -> Result<Body, String> {
        let fetch = async {
            let request = self.0.request(Method::GET, url.as_str()).map_err(|e| e.to_string())?;
            // On the same machine packing saves nothing and both ends pay for it.
            let request = if is_loopback(url) { request.header(ACCEPT_ENCODING, "identity") } else { request };
            let request = request
                .header(ACCEPT, ACCEPTED)
                .header("X-Prometheus-Scrape-Timeout-Seconds", timeout.as_secs_f64().to_string());
            let mut response = request.send().await.map_err(|e| describe(&e))?;
            let status = response.status();
            if !status.is_success() {
                return Err(format!("server returned HTTP status {status}"));
            }
            let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
            let format = Format::of_content_type(content_type);
            let mut bytes = buffers.take_bytes();
            while let Some(chunk) = response.chunk().await.map_err(|e| describe(&e))? {
                if (bytes.len() + chunk.len()) as u64 > body_bytes_max {
                    return Err("body size limit exceeded".to_owned());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(Body { bytes, format })
        };
        match tokio::time::timeout(timeout, fetch).await {
            Ok(result) => result,
            Err(_) => Err(format!("no complete answer within {timeout:?}")),
        }
    }
}

/// Tells whether a URL leads to this machine by its own words.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_name_and_its_addresses() {
        let check = |url: &str| is_loopback(&url.parse().unwrap());
        for url in ["http://localhost:9100/", "http://127.0.0.1:1/", "http://127.9.9.9/", "https://[::1]:1/metrics"] {
            assert!(check(url), "{url}");
        }
        for url in ["http://localhost.example/", "http://10.0.0.1/", "http://[fe80::1]/", "http://box/"] {
            assert!(!check(url), "{url}");
        }
    }
}
