//! One way of a receiver, ready to send: the requests, and what comes of them.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};

use super::{Failure, Notice, Post, Way};
use crate::model::Timestamp;
use crate::notify::message::Message;
use crate::outbound::Outbound;

/// Longest part of an answer that is kept as a reason.
const REASON_CHARS_MAX: usize = 200;

/// Most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A way with its client.
#[derive(Debug, Clone)]
pub(in crate::notify) struct Sender {
    settings: Way,
    /// Or why no client could be made: a file of its TLS settings is missing.
    client: Result<Outbound, String>,
}

impl Sender {
    pub(in crate::notify) fn new(settings: Way) -> Self {
        let client = Outbound::new(&settings.http, settings.timeout).map_err(|e| e.to_string());
        Sender { settings, client }
    }

    /// Returns the settings it was made from.
    pub(in crate::notify) fn settings(&self) -> &Way {
        &self.settings
    }

    /// Sends a notice; it is taken if all its requests are.
    pub(in crate::notify) async fn send(
        &self,
        notice: &Notice,
        external_url: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let message = Message::new(notice, external_url, now);
        let refuse = |reason: String| Failure { reason, is_refusal: true, retry_after: None };
        let posts = self.settings.kind.posts(&message).map_err(refuse)?;
        for post in posts {
            self.post(post).await?;
        }
        Ok(())
    }

    /// Sends one request; any answer of the 200s takes it, unless its body says that it does not.
    async fn post(&self, post: Post) -> Result<(), Failure> {
        let client = self.client.as_ref().map_err(Failure::passing)?;
        let request = client.request(Method::POST, &post.url).map_err(|e| Failure::passing(e.to_string()))?;
        let mut request = request.header(CONTENT_TYPE, post.content_type).body(post.body);
        if let Some(credentials) = &post.authorization {
            let refuse = |_| Failure {
                reason: "the key holds a character that does not fit into a header".to_owned(),
                is_refusal: true,
                retry_after: None,
            };
            let mut value = HeaderValue::from_str(credentials).map_err(refuse)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        // The address may carry a secret, so it is taken out of what is shown.
        let mut response = request.send().await.map_err(|e| Failure::passing(told(&e.without_url())))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(seconds);
        let mut answer = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            answer.extend_from_slice(&bytes);
            if answer.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        let text: String = String::from_utf8_lossy(&answer).chars().take(REASON_CHARS_MAX).collect();
        if status.is_success() && !says_no(&answer) {
            return Ok(());
        }
        let passes =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let reason = format!("answered {status}: {}", text.lines().next().unwrap_or("").trim());
        let reason = reason.trim_end_matches([':', ' ']).to_owned();
        Err(Failure { reason, is_refusal: !passes, retry_after })
    }
}

/// Slack and Telegram may answer 200 with `{"ok": false}`.
fn says_no(answer: &[u8]) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    value.is_some_and(|v| v.get("ok") == Some(&serde_json::Value::Bool(false)))
}

/// Returns what went wrong with its causes, which is where the useful part is.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Reads `Retry-After` in seconds; dates are rare and fall back to our own waits.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_says_no_is_no() {
        assert!(says_no(br#"{"ok": false, "error": "channel_not_found"}"#));
        assert!(!says_no(br#"{"ok": true}"#) && !says_no(b"ok") && !says_no(b""));
    }
}
