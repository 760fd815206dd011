//! What NATS answers, as far as we read it. Every member may be missing: versions differ.
//!
//! Source: nats-server 2.9 to 2.12, `server/monitor.go`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Reads what may be missing or `null`: Go writes an empty list so.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connz {
    pub(super) num_connections: f64,
    pub(super) total: f64,
    pub(super) offset: f64,
    pub(super) limit: f64,
    #[serde(deserialize_with = "or_empty")]
    pub(super) connections: Vec<Connection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connection {
    pub(super) pending_bytes: f64,
    pub(super) subscriptions: f64,
    pub(super) in_msgs: f64,
    pub(super) out_msgs: f64,
    pub(super) in_bytes: f64,
    pub(super) out_bytes: f64,
    pub(super) rtt: String,
    pub(super) uptime: String,
    pub(super) idle: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Jsz {
    pub(super) now: String,
    pub(super) disabled: bool,
    pub(super) config: JetStreamConfig,
    pub(super) streams: f64,
    pub(super) consumers: f64,
    pub(super) messages: f64,
    pub(super) bytes: f64,
    pub(super) meta_cluster: Option<MetaCluster>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) account_details: Vec<Account>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct JetStreamConfig {
    pub(super) max_memory: f64,
    pub(super) max_storage: f64,
    pub(super) domain: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MetaCluster {
    pub(super) name: String,
    pub(super) leader: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) memory: f64,
    pub(super) storage: f64,
    pub(super) reserved_memory: f64,
    pub(super) reserved_storage: f64,
    #[serde(deserialize_with = "or_empty")]
    pub(super) stream_detail: Vec<Stream>,
    /// Limits by number of replicas (`R1`, `R3`), of an account that has them: its token says them, not this page.
    #[serde(skip)]
    pub(super) tiers: BTreeMap<String, Tier>,
}

/// `/accountz?acc=`: an account with its token, where accounts have some.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Accountz {
    pub(super) account_detail: AccountDetail,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccountDetail {
    pub(super) decoded_jwt: AccountToken,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccountToken {
    pub(super) nats: AccountClaims,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccountClaims {
    pub(super) limits: AccountLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccountLimits {
    #[serde(deserialize_with = "or_empty")]
    pub(super) tiered_limits: BTreeMap<String, Tier>,
}

/// What an account may take in streams with one number of replicas; -1 for no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tier {
    pub(super) mem_storage: f64,
    pub(super) disk_storage: f64,
    pub(super) streams: f64,
    pub(super) consumer: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) cluster: Option<Leader>,
    /// Nothing where streams have one replica, or the server does not tell.
    pub(super) stream_raft_group: String,
    pub(super) config: StreamConfig,
    pub(super) state: StreamState,
    pub(super) mirror: Option<Lag>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) sources: Vec<Lag>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) consumer_detail: Vec<Consumer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Leader {
    pub(super) leader: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lag {
    pub(super) name: String,
    pub(super) lag: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamConfig {
    pub(super) max_bytes: f64,
    pub(super) max_msgs: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamState {
    pub(super) messages: f64,
    pub(super) bytes: f64,
    pub(super) first_seq: f64,
    pub(super) last_seq: f64,
    pub(super) consumer_count: f64,
    pub(super) num_subjects: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Consumer {
    pub(super) name: String,
    pub(super) cluster: Option<Leader>,
    pub(super) config: ConsumerConfig,
    pub(super) delivered: Sequences,
    pub(super) ack_floor: Sequences,
    pub(super) num_ack_pending: f64,
    pub(super) num_redelivered: f64,
    pub(super) num_waiting: f64,
    pub(super) num_pending: f64,
    /// How many consumers this stands for, if not one: see `fold.rs`.
    #[serde(skip)]
    pub(super) folded: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsumerConfig {
    pub(super) description: String,
    pub(super) durable_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sequences {
    pub(super) consumer_seq: f64,
    pub(super) stream_seq: f64,
    pub(super) last_active: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Leafz {
    pub(super) leafnodes: f64,
    #[serde(deserialize_with = "or_empty")]
    pub(super) leafs: Vec<Leaf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Leaf {
    pub(super) name: String,
    pub(super) account: String,
    pub(super) ip: String,
    pub(super) rtt: String,
    pub(super) in_msgs: f64,
    pub(super) out_msgs: f64,
    pub(super) in_bytes: f64,
    pub(super) out_bytes: f64,
    pub(super) subscriptions: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Routez {
    pub(super) num_routes: f64,
    #[serde(deserialize_with = "or_empty")]
    pub(super) routes: Vec<Route>,
}

/// A route, or a connection of a gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Route {
    pub(super) pending_size: f64,
    pub(super) pending_bytes: f64,
    pub(super) in_msgs: f64,
    pub(super) out_msgs: f64,
    pub(super) in_bytes: f64,
    pub(super) out_bytes: f64,
    pub(super) subscriptions: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gatewayz {
    #[serde(deserialize_with = "or_empty")]
    pub(super) outbound_gateways: BTreeMap<String, Gateway>,
    #[serde(deserialize_with = "or_empty")]
    pub(super) inbound_gateways: BTreeMap<String, Vec<Gateway>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gateway {
    pub(super) configured: bool,
    pub(super) connection: Route,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Healthz {
    pub(super) status: String,
}
