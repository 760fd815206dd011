//! One way of a receiver, ready to send: the requests, and what comes of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};

use tokio::sync::oneshot;

use super::email::Mailer;
use super::{Failure, Kind, Notice, Post, Request, Way, command, modbus, sms};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::notify::message::{Message, Surroundings};
use crate::notify::{Drawer, Picture};
use crate::outbound::Outbound;
use crate::task::{OnPanic, Phase, Tasks};

/// Longest part of an answer that is kept as a reason.
const REASON_CHARS_MAX: usize = 200;

/// Most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long sends in hand may take when the box stops; what is not done by then is sent after the start.
pub(in crate::notify) const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What senders use of the house.
#[derive(Debug, Clone)]
pub(in crate::notify) struct Tools {
    pub(in crate::notify) bus: Bus,
    pub(in crate::notify) tasks: Tasks,
    /// Draws charts for mails.
    pub(in crate::notify) draw: Drawer,
}

/// A way with its client.
#[derive(Debug, Clone)]
pub(in crate::notify) struct Sender {
    settings: Way,
    client: Client,
}

/// What is made once for a way, or why it could not be made: a file of its TLS settings is missing.
#[derive(Debug, Clone)]
enum Client {
    Http(Result<Outbound, String>),
    Mail(Result<Arc<Mailer>, String>),
    /// Made anew each time.
    None,
}

impl Sender {
    pub(in crate::notify) fn new(settings: Way) -> Self {
        let client = match &settings.kind {
            Kind::Email(email) => Client::Mail(Mailer::new(email, settings.timeout).map(Arc::new)),
            Kind::Nats(_) | Kind::Command(_) | Kind::Modbus(_) | Kind::Sms(_) => Client::None,
            Kind::Webhook(_)
            | Kind::Slack(_)
            | Kind::PagerDuty(_)
            | Kind::OpsGenie(_)
            | Kind::Telegram(_)
            | Kind::Discord(_)
            | Kind::MsTeams(_)
            | Kind::Pushover(_) => {
                Client::Http(Outbound::new(&settings.http, settings.timeout).map_err(|e| e.to_string()))
            }
        };
        Sender { settings, client }
    }

    /// Returns the settings it was made from.
    pub(in crate::notify) fn settings(&self) -> &Way {
        &self.settings
    }

    /// Sends a notice in a task of its own and returns what will come of it, with how long it took. Of its own, because
    /// who waits for several of them must not have to look at one for it to go on.
    pub(in crate::notify) fn launch(
        self: Arc<Self>,
        notice: Arc<Notice>,
        surroundings: Surroundings,
        tools: Tools,
        external_url: String,
        clock: Clock,
    ) -> BoxFuture<'static, (Result<(), Failure>, Duration)> {
        let (answer, landing) = oneshot::channel();
        let (tasks, begun) = (tools.tasks.clone(), clock.elapsed());
        let stop = tasks.token(Phase::Work);
        tasks.spawn("notify send", OnPanic::EndTask, async move {
            let stopped = async {
                stop.cancelled().await;
                tokio::time::sleep(STOP_PATIENCE).await;
            };
            tokio::select! {
                outcome = self.send(&notice, &surroundings, &tools, &external_url, clock.now()) => {
                    // Nobody may wait any more: then it is sent again after the start.
                    let _ = answer.send((outcome, clock.elapsed().saturating_sub(begun)));
                }
                () = stopped => {}
            }
        });
        let panicked = || (Err(Failure::passing("the attempt ended without an outcome")), Duration::ZERO);
        Box::pin(async move { landing.await.unwrap_or_else(|_| panicked()) })
    }

    /// Sends a notice; it is taken if all of it is. Ends after the way's time, at the latest after a few of them.
    pub(in crate::notify) async fn send(
        &self,
        notice: &Notice,
        surroundings: &Surroundings,
        tools: &Tools,
        external_url: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let message = Message::new(notice, surroundings, external_url, now);
        let chart = match &self.settings.kind {
            Kind::Email(email) if email.has_chart => chart(notice, tools, now).await,
            _ => None,
        };
        let request = self.settings.kind.request(&message, self.settings.send_resolved, chart.as_ref());
        let timeout = self.settings.timeout;
        match request.map_err(Failure::refusal)? {
            Request::Posts(posts) => {
                for post in posts {
                    self.post(post, now).await?;
                }
                Ok(())
            }
            Request::Mail(mail) => match &self.client {
                Client::Mail(mailer) => mailer.as_ref().map_err(Failure::passing)?.send(*mail).await,
                Client::Http(_) | Client::None => Err(Failure::refusal("bug: no mailer was made")),
            },
            Request::Message(sent) => match &self.settings.kind {
                Kind::Nats(nats) => nats.send(sent, &tools.bus, timeout).await,
                _ => Err(Failure::refusal("bug: a message for the bus of another kind")),
            },
            Request::Command(call) => command::run(call, timeout).await,
            Request::Writes(writes) => match &self.settings.kind {
                Kind::Modbus(modbus) => modbus::write(&modbus.address, modbus.unit, &writes, timeout).await,
                _ => Err(Failure::refusal("bug: writes of another kind")),
            },
            Request::Text(text) => match &self.settings.kind {
                Kind::Sms(sms) => sms::send(sms, &text, timeout).await,
                _ => Err(Failure::refusal("bug: a text of another kind")),
            },
        }
    }

    /// Sends one request; any answer of the 200s takes it, unless its body says that it does not.
    async fn post(&self, post: Post, now: Timestamp) -> Result<(), Failure> {
        let Client::Http(client) = &self.client else { return Err(Failure::refusal("bug: no client was made")) };
        let client = client.as_ref().map_err(Failure::passing)?;
        let request = client.request(Method::POST, &post.url).map_err(|e| Failure::passing(e.to_string()))?;
        let mut request = request.header(CONTENT_TYPE, post.content_type).body(post.body);
        if let Some(credentials) = &post.authorization {
            let refuse = |_| Failure::refusal("the key holds a character that does not fit into a header");
            let mut value = HeaderValue::from_str(credentials).map_err(refuse)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        // The address may carry a secret, so it is taken out of what is shown.
        let mut response = request.send().await.map_err(|e| Failure::passing(told(&e.without_url())))?;
        let status = response.status();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|text| retry_wait(text, now));
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

/// Draws the expression of the first alarm that fires, else of the first; on the pool, because it asks the store.
async fn chart(notice: &Notice, tools: &Tools, now: Timestamp) -> Option<Picture> {
    let alarm = notice.alarms.iter().find(|a| a.ends_at.is_none()).or(notice.alarms.first())?;
    let (expression, draw) = (alarm.expression.clone(), tools.draw.clone());
    if expression.is_empty() {
        return None;
    }
    tools.tasks.pool().run(move || draw.draw(&expression, now)).await.ok().flatten()
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

/// Reads `Retry-After`: seconds, or a date.
fn retry_wait(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Timestamp::from_millis(date.as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_names_a_wait_or_a_date() {
        let now = Timestamp::parse("2015-10-21T07:28:00Z").unwrap();
        let wait = |text| retry_wait(text, now).map(|d| d.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Wed, 21 Oct 2015 07:29:00 GMT"), Some(60));
        assert_eq!(wait("Wed, 21 Oct 2015 07:20:00 GMT"), Some(0));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn an_answer_that_says_no_is_no() {
        assert!(says_no(br#"{"ok": false, "error": "channel_not_found"}"#));
        assert!(!says_no(br#"{"ok": true}"#) && !says_no(b"ok") && !says_no(b""));
    }
}
