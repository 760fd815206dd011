//! The heartbeat protocol: what a client says of itself.
//!
//! Published every 30 s on `_HEARTBEAT.tenant.{tenant_id}.client.{client_id}`. The body is JSON with `client_id`,
//! `tenant_id`, `timestamp` and `status` (`healthy`, `degraded`, `unhealthy`, last `disconnecting`), and may have
//! `version`, `metrics` (`messages_sent`, `messages_received`, `errors`, `uptime_seconds`) and `metadata` (`name`,
//! `type`, `capabilities`). Names must be those of the subject, the time within a minute of the box's. The older forms
//! `_heartbeat.{tenant}.{agent}` and `_PRESENCE.tenant.{t}.client.{c}` (with `type` heartbeat, connect, disconnect) may
//! leave out names, time and status.

use serde::Deserialize;
use serde_json::Value;

use super::client::Health;
use crate::model::Timestamp;

/// Largest body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// By how much a client's clock may be off.
const SKEW_MS_MAX: i64 = 60_000;
/// Longest text that is kept.
const TEXT_CHARS_MAX: usize = 200;
/// Most capabilities that are kept.
const CAPABILITIES_MAX: usize = 32;

/// What a client says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Heartbeat {
    pub(super) health: Health,
    /// Whether it takes its leave.
    pub(super) leaves: bool,
    /// Its own time.
    pub(super) at: Option<Timestamp>,
    pub(super) version: String,
    pub(super) figures: Option<Figures>,
    pub(super) metadata: Option<Metadata>,
}

/// Counts since the client began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(super) struct Figures {
    #[serde(default)]
    pub(super) messages_sent: u64,
    #[serde(default)]
    pub(super) messages_received: u64,
    #[serde(default)]
    pub(super) errors: u64,
    #[serde(default)]
    pub(super) uptime_seconds: f64,
}

/// What the client is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) capabilities: Vec<String>,
}

/// Why a heartbeat does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The body is not as it should be.
    Malformed,
    /// The names in the body are not those of the subject: nobody speaks for another tenant or client.
    Names,
    /// Its time is not within a minute of the box's.
    Time,
}

impl Refusal {
    /// Returns the word for counters.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Names => "names_differ",
            Refusal::Time => "time_differs",
        }
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(alias = "agent_id")]
    client_id: Option<String>,
    tenant_id: Option<String>,
    timestamp: Option<Value>,
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    version: Option<String>,
    metrics: Option<Figures>,
    metadata: Option<Metadata>,
}

/// Reads a heartbeat that came on a subject of this tenant and client.
///
/// # Errors
/// [`Refusal`]; nothing of it counts then.
pub(super) fn read(
    subject: &str,
    tenant: &str,
    client: &str,
    payload: &[u8],
    now: Timestamp,
) -> Result<Heartbeat, Refusal> {
    if payload.len() > BODY_BYTES_MAX {
        return Err(Refusal::Malformed);
    }
    let body: Body = serde_json::from_slice(payload).map_err(|_| Refusal::Malformed)?;
    let is_strict = subject.starts_with("_HEARTBEAT.");
    let named = [(&body.client_id, client), (&body.tenant_id, tenant)];
    if named.iter().any(|(told, own)| told.as_deref().map_or(is_strict, |told| told != *own)) {
        return Err(Refusal::Names);
    }
    let at = match &body.timestamp {
        Some(value) => Some(time(value).ok_or(Refusal::Malformed)?),
        None if is_strict => return Err(Refusal::Malformed),
        None => None,
    };
    if at.is_some_and(|at| at.as_millis().abs_diff(now.as_millis()) > SKEW_MS_MAX.unsigned_abs()) {
        return Err(Refusal::Time);
    }
    let (health, leaves) = match (body.status.as_deref(), body.kind.as_deref()) {
        (Some("disconnecting"), _) | (None, Some("disconnect")) => (Health::Unknown, true),
        (Some("healthy" | "online"), _) | (None, Some("heartbeat" | "connect")) => (Health::Healthy, false),
        (Some("degraded"), _) => (Health::Degraded, false),
        (Some("unhealthy"), _) => (Health::Unhealthy, false),
        (None, None) if !is_strict => (Health::Healthy, false),
        _ => return Err(Refusal::Malformed),
    };
    let metadata = body.metadata.map(|m| Metadata {
        name: shorten(m.name),
        kind: shorten(m.kind),
        capabilities: m.capabilities.into_iter().take(CAPABILITIES_MAX).map(shorten).collect(),
    });
    Ok(Heartbeat {
        health,
        leaves,
        at,
        version: shorten(body.version.unwrap_or_default()),
        figures: body.metrics,
        metadata,
    })
}

/// Reads RFC 3339 text, seconds or milliseconds since the epoch.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    /// Larger numbers are milliseconds.
    const SECONDS_MAX: f64 = 1e11;
    match value {
        Value::String(text) => Timestamp::parse(text).ok(),
        Value::Number(number) => {
            let number = number.as_f64()?;
            Some(Timestamp::from_seconds(if number < SECONDS_MAX { number } else { number / 1000.0 }))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn shorten(text: String) -> String {
    if text.len() <= TEXT_CHARS_MAX { text } else { text.chars().take(TEXT_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn beat(body: &str) -> Result<Heartbeat, Refusal> {
        read("_HEARTBEAT.tenant.a.client.c", "a", "c", body.as_bytes(), NOW)
    }

    #[test]
    fn a_client_speaks_only_for_itself_and_now() {
        let body = |tenant, client, time, status| {
            format!(r#"{{"tenant_id":"{tenant}","client_id":"{client}","timestamp":"{time}","status":"{status}"}}"#)
        };
        let now = "2023-11-14T22:13:20Z";
        assert_eq!(beat(&body("a", "c", now, "degraded")).map(|b| b.health), Ok(Health::Degraded));
        assert_eq!(beat(&body("a", "c", now, "disconnecting")).map(|b| b.leaves), Ok(true));
        assert_eq!(beat(&body("b", "c", now, "healthy")), Err(Refusal::Names));
        assert_eq!(beat(&body("a", "d", now, "healthy")), Err(Refusal::Names));
        assert_eq!(beat(&body("a", "c", "2023-11-14T22:14:20Z", "healthy")).map(|b| b.leaves), Ok(false));
        assert_eq!(beat(&body("a", "c", "2023-11-14T22:14:20.001Z", "healthy")), Err(Refusal::Time));
        assert_eq!(beat(&body("a", "c", "2023-11-14T22:12:19.999Z", "healthy")), Err(Refusal::Time));
        assert_eq!(beat(&body("a", "c", now, "fine")), Err(Refusal::Malformed));
        assert_eq!(beat(&body("a", "c", "soon", "healthy")), Err(Refusal::Malformed));
        for bad in [r#"{"tenant_id":"a","client_id":"c","status":"healthy"}"#, "{", "[]", r#"{"client_id":7}"#] {
            assert_eq!(beat(bad), Err(Refusal::Malformed), "{bad}");
        }
        assert_eq!(beat("{}"), Err(Refusal::Names), "the names are required");
    }

    #[test]
    fn the_older_forms_may_leave_things_out() {
        let old = |subject, body: &str| read(subject, "a", "c", body.as_bytes(), NOW).map(|b| (b.health, b.leaves));
        assert_eq!(old("_heartbeat.a.c", "{}"), Ok((Health::Healthy, false)));
        assert_eq!(old("_heartbeat.a.c", r#"{"agent_id":"other"}"#), Err(Refusal::Names));
        assert_eq!(old("_PRESENCE.tenant.a.client.c", r#"{"type":"disconnect"}"#), Ok((Health::Unknown, true)));
    }

    #[test]
    fn figures_and_metadata_are_optional_and_bounded() {
        let text = format!(
            r#"{{"tenant_id":"a","client_id":"c","timestamp":1700000000,"status":"healthy","version":"{}",
            "metrics":{{"messages_sent":5,"errors":1,"uptime_seconds":2.5}},"metadata":{{"type":"agent"}},"new":[1]}}"#,
            "v".repeat(500)
        );
        let beat = beat(&text).unwrap();
        assert_eq!((beat.version.len(), beat.figures.unwrap().messages_sent), (200, 5));
        assert_eq!(beat.metadata.unwrap().kind, "agent");
    }
}
