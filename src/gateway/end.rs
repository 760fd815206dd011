//! Why and how a connection ends.

/// Close codes of RFC 6455 that the gateway uses.
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// Why and how a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Close code.
    pub(super) code: u16,
    /// What the close frame says.
    pub(super) text: &'static str,
    /// What `gateway_websocket_disconnections_total` counts.
    pub(super) reason: &'static str,
}

impl End {
    pub(super) const NORMAL: End = End { code: NORMAL, text: "", reason: "normal" };
    pub(super) const SOCKET: End = End { code: NORMAL, text: "", reason: "websocket_error" };
    pub(super) const TOO_BIG: End = End { code: TOO_BIG, text: "Message too big", reason: "too_big" };
    pub(super) const SLOW: End = End { code: POLICY, text: "Slow consumer", reason: "slow_consumer" };
    pub(super) const STOPPING: End = End { code: GOING_AWAY, text: "Going away", reason: "shutdown" };
    pub(super) const REPLACED: End = End { code: POLICY, text: "Replaced by a newer connection", reason: "replaced" };
    pub(super) const REMOVED: End = End { code: POLICY, text: "Device removed", reason: "revoked" };
    pub(super) const REVOKED: End = End { code: POLICY, text: "Device revoked", reason: "revoked" };
    pub(super) const CERTIFICATE: End =
        End { code: POLICY, text: "Certificate no longer accepted", reason: "certificate" };
    pub(super) const KEY: End = End { code: POLICY, text: "Key of the token no longer accepted", reason: "key" };
    pub(super) const EXPIRED: End = End { code: POLICY, text: "Token expired", reason: "expired" };
    pub(super) const IDLE: End = End { code: GOING_AWAY, text: "Idle", reason: "idle" };
    pub(super) const AUTH_FAILED: End = End { code: POLICY, text: "Authentication failed", reason: "auth_failed" };
    pub(super) const AUTH_TIMEOUT: End = End { code: POLICY, text: "Authentication timeout", reason: "auth_timeout" };
    pub(super) const FLOOD: End = End { code: POLICY, text: "Rate limit exceeded", reason: "rate_limit" };
    pub(super) const DEAD: End = End { code: GOING_AWAY, text: "No sign of life", reason: "timeout" };
}
