//! What NATS answers, as far as we read it. Every member may be missing: versions differ.
//!
//! Source: nats-server 2.9 to 2.12, `server/monitor.go`.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connz {
    pub(super) num_connections: f64,
    pub(super) total: f64,
    pub(super) offset: f64,
    pub(super) limit: f64,
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
    pub(super) stream_detail: Vec<Stream>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) cluster: Option<Leader>,
    pub(super) config: StreamConfig,
    pub(super) state: StreamState,
    pub(super) mirror: Option<Lag>,
    pub(super) sources: Vec<Lag>,
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
    pub(super) outbound_gateways: BTreeMap<String, Gateway>,
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
