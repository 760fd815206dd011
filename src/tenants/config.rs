//! Who the tenants are.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::Secret;

/// Settings of the room, resolved. A reload is enough for every field.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The tenants; none switches the room off.
    pub tenants: Vec<Tenant>,
    /// How often presence and anomalies are looked at; default 30 s, at least 1 s.
    pub check_interval: Duration,
    /// After how long without a sign a client is offline; default 90 s.
    pub offline_after: Duration,
    /// How long a tenant is watched before anything about it is called unusual; default 1 h.
    pub learn_for: Duration,
    /// How long an anomaly stands after it was last seen; default 15 min.
    pub anomaly_hold: Duration,
    /// Most clients of one tenant that are told apart; default 1000.
    pub clients_max: usize,
    /// Monitoring ports of the NATS servers, as `http://127.0.0.1:8222`: where direct connections are seen.
    pub monitoring: Vec<String>,
}

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name: one token of a subject.
    pub id: String,
    /// What it is shown.
    pub tier: Tier,
    /// What its questions are asked with; nothing if nobody asks.
    pub key: Option<Secret>,
    /// NKeys, user names and accounts of its direct connections to NATS.
    pub connections: Vec<String>,
}

/// How much a tenant is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Counts and presence of now.
    Basic,
    /// And distribution, rates, seven days of history.
    Professional,
    /// And anomalies, clients, thirty days, predictions.
    Enterprise,
}

impl Tier {
    /// Returns the word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Basic => "basic",
            Tier::Professional => "professional",
            Tier::Enterprise => "enterprise",
        }
    }

    /// Reads the word; `free` and `starter` are basic.
    #[must_use]
    pub fn parse(word: &str) -> Option<Tier> {
        match word {
            "basic" | "free" | "starter" => Some(Tier::Basic),
            "professional" => Some(Tier::Professional),
            "enterprise" => Some(Tier::Enterprise),
            _ => None,
        }
    }
}

impl Config {
    /// Returns the tenant that a key belongs to. Digests are compared, so that the time it takes tells nothing.
    #[must_use]
    pub fn of_key(&self, key: &str) -> Option<&Tenant> {
        let digest = Sha256::digest(key.as_bytes());
        self.tenants
            .iter()
            .find(|tenant| tenant.key.as_ref().is_some_and(|own| Sha256::digest(own.expose().as_bytes()) == digest))
    }
}
