//! One POST and what came of it.

use std::error::Error as _;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER};

use super::answer::{self, Answer, Reason};
use super::config::Destination;
use crate::model::Timestamp;
use crate::outbound::{self, Outbound};

/// Bytes of an answer's body that are read for the message.
const MESSAGE_BYTES_MAX: usize = 512;

/// Posts to one destination.
#[derive(Debug)]
pub(super) struct Client {
    outbound: Outbound,
    url: String,
    headers: Vec<(String, String)>,
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// When a file of the TLS settings cannot be used.
    pub(super) fn new(destination: &Destination, timeout: Duration) -> outbound::Result<Self> {
        Ok(Client {
            outbound: Outbound::new(&destination.http, timeout)?,
            url: destination.url.clone(),
            headers: destination.headers.clone(),
        })
    }

    /// Posts a body once. Returns what to do and, unless it was taken, why in words.
    pub(super) async fn post(&self, body: Vec<u8>, now: Timestamp) -> (Answer, String) {
        let later = |reason, message: String| (Answer::Later { reason, wait: None }, message);
        let mut request = match self.outbound.request(Method::POST, &self.url) {
            Ok(request) => request,
            Err(error) => return later(Reason::Own, error.to_string()),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request
            .header(CONTENT_ENCODING, "snappy")
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0");
        let mut response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return later(Reason::Network, in_words(&error)),
        };
        let status = response.status();
        let header = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
        let refused = header(HeaderName::from_static("andon-refused"));
        let answer = answer::sort(status.as_u16(), header(RETRY_AFTER), refused, now);
        if answer == Answer::Taken {
            return (answer, String::new());
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= MESSAGE_BYTES_MAX {
                break;
            }
        }
        body.truncate(MESSAGE_BYTES_MAX);
        let body = String::from_utf8_lossy(&body);
        (answer, format!("answered {status}: {}", body.trim()).trim_end_matches([':', ' ']).to_owned())
    }
}

/// Returns the innermost reasons of a failure, without the URL (it may hold a password).
fn in_words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let what = if error.is_connect() { "cannot connect" } else { "the connection failed" };
    if error.source().is_none() { what.to_owned() } else { format!("{what}: {innermost}") }
}
