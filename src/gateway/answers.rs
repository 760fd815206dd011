//! The frames that a session answers with.

use serde_json::json;

use super::identity::Identity;
use super::protocol::{self, Claim, ClientFrame, Code, FrameType, Refusal, ServerFrame};
use super::session::{Effect, Now};
use crate::bus::SubjectPattern;

/// How much of a refused subject is said back.
const ECHO_BYTES_MAX: usize = 256;

/// Returns the answer to a frame that is refused.
pub(super) fn refused(refusal: &Refusal, subject: &str, correlation_id: Option<&str>, now: Now) -> Effect {
    let subject = subject.get(..subject.floor_char_boundary(ECHO_BYTES_MAX)).unwrap_or_default();
    let mut body = json!({ "error": refusal.message, "message": refusal.message, "code": refusal.code.as_str() });
    if let (false, Some(members)) = (subject.is_empty(), body.as_object_mut()) {
        members.insert("subject".to_owned(), subject.into());
    }
    if let (Some(id), Some(members)) = (correlation_id, body.as_object_mut()) {
        members.insert("correlationId".to_owned(), id.into());
    }
    let frame = ServerFrame {
        subject,
        correlation_id,
        payload: protocol::payload(&body),
        ..ServerFrame::new(FrameType::Error, now.wall)
    };
    send(&frame)
}

/// Answers the auth frame of a device that is let in already: welcome where a certificate did that and the frame says
/// the same, since devices say who they are whether or not they have been asked.
pub(super) fn authenticated_again(
    identity: &Identity,
    frame: &ClientFrame<'_>,
    now: Now,
) -> Result<Vec<Effect>, Refusal> {
    let claimed = Claim::parse(frame.payload).and_then(|claim| claim.device_id);
    if identity.is_certified && claimed.is_none_or(|id| *id == *identity.device_id) {
        return Ok(vec![welcome(identity, now)]);
    }
    Err(Refusal::new(Code::InvalidMessage, "Already authenticated"))
}

/// Returns the effect of sending a frame.
pub(super) fn send(frame: &ServerFrame<'_>) -> Effect {
    Effect::Send { kind: frame.kind, json: frame.to_json() }
}

/// Returns the answer to a frame that was done.
pub(super) fn acknowledge(frame: &ClientFrame<'_>, message: &str, now: Now) -> Effect {
    send(&ServerFrame {
        subject: &frame.subject,
        correlation_id: frame.correlation_id.as_deref(),
        payload: protocol::payload(&json!({ "success": true, "message": message })),
        ..ServerFrame::new(FrameType::Ack, now.wall)
    })
}

/// Tells a device that it is in, in the shapes of both branches of nats-websocket-bridge.
pub(super) fn welcome(identity: &Identity, now: Now) -> Effect {
    let texts = |list: &[SubjectPattern]| list.iter().map(SubjectPattern::to_string).collect::<Vec<_>>();
    let role = if identity.role.is_empty() { "device" } else { &*identity.role };
    let time = now.wall.to_rfc3339();
    let body = json!({
        "success": true,
        "clientId": &*identity.device_id,
        "role": role,
        "device": {
            "deviceId": &*identity.device_id,
            "deviceType": &*identity.device_type,
            "isConnected": true,
            "connectedAt": time,
            "lastActivityAt": time,
            "allowedPublishTopics": texts(&identity.permissions.publish),
            "allowedSubscribeTopics": texts(&identity.permissions.subscribe),
        },
    });
    send(&ServerFrame { payload: protocol::payload(&body), ..ServerFrame::new(FrameType::Auth, now.wall) })
}
