//! Who a device is, and by what it showed that.

use std::sync::Arc;

use super::certificate::ClientCertificate;
use super::jwt::Claims;
use super::permissions::Permissions;
use super::protocol::Claim;
use super::token::TokenHash;
use crate::model::Timestamp;

/// Who a device is, once it has shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device_id: Arc<str>,
    /// A label's value: registered, or one of few.
    pub(super) device_type: Arc<str>,
    /// What the device is told of itself; may be empty.
    pub(super) role: Arc<str>,
    pub(super) permissions: Permissions,
    /// When what it showed ends; nothing: never.
    pub(super) expires_at: Option<Timestamp>,
    /// Whether a certificate showed it, before the first frame.
    pub(super) is_certified: bool,
}

/// By what a device showed who it is.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// A registered token.
    Token(TokenHash),
    /// A JSON web token.
    Claims(Arc<Claims>),
    /// A certificate.
    Certificate {
        /// By what it is known in the registry; nothing: by the device's own id.
        mark: Option<String>,
        /// When it ends.
        not_after: Timestamp,
    },
}

/// What somebody shows to be let in; with both, both must be the same device's.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) claim: Option<Claim>,
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// A device that may come in.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub(super) identity: Arc<Identity>,
    pub(super) proof: Proof,
}
