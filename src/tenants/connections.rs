//! Clients that talk to NATS directly, as the servers' monitoring port tells of them (`/connz`).
//!
//! A connection is a tenant's if it showed itself by one of the NKeys, user names or accounts that the settings name
//! for it. Its client is the name it gave, else the NKey or user.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::Config;
use super::view::ConnectionView;
use crate::model::HttpClient;
use crate::outbound::Outbound;

/// Connections of one server that are looked at.
const CONNECTIONS_MAX: usize = 10_000;
/// Largest answer: ten thousand connections are about 6 MB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Open connections by tenant and client.
pub(super) type Open = BTreeMap<String, BTreeMap<String, ConnectionView>>;

#[derive(Deserialize)]
struct Connz {
    #[serde(default)]
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Connection {
    ip: String,
    port: u16,
    name: String,
    rtt: String,
    authorized_user: String,
    account: String,
    nkey: String,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    pending_bytes: u64,
}

/// Asks all servers for their connections. A server that does not answer is an error: nothing is known then, which is
/// not the same as that nobody is there.
pub(super) async fn read(config: &Config) -> Result<Open, String> {
    let client = Outbound::new(&HttpClient::plain(), TIMEOUT).map_err(|e| e.to_string())?;
    let mut open = Open::new();
    for server in &config.monitoring {
        let url = format!("{}/connz?auth=true&limit={CONNECTIONS_MAX}", server.trim_end_matches('/'));
        let answer = fetch(&client, &url).await.map_err(|why| format!("{server}: {why}"))?;
        sort(&answer, config, &mut open).map_err(|why| format!("{server}: {why}"))?;
    }
    Ok(open)
}

async fn fetch(client: &Outbound, url: &str) -> Result<Vec<u8>, String> {
    let request = client.request(Method::GET, url).map_err(|e| e.to_string())?;
    let mut response = request.send().await.map_err(|e| e.to_string())?;
    if !response.status().is_success() {
        return Err(format!("answers with status {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| e.to_string())? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Gives each connection to the tenant it belongs to.
fn sort(answer: &[u8], config: &Config, open: &mut Open) -> Result<(), String> {
    let answer: Connz = serde_json::from_slice(answer).map_err(|e| e.to_string())?;
    for c in answer.connections {
        let shown = [&c.nkey, &c.authorized_user, &c.account];
        let is_of = |identity: &str| shown.iter().any(|s| !s.is_empty() && **s == identity);
        let found = config.tenants.iter().find_map(|tenant| {
            tenant.connections.iter().find(|identity| is_of(identity)).map(|identity| (tenant, identity))
        });
        let Some((tenant, identity)) = found else { continue };
        let who = if c.nkey.is_empty() { &c.authorized_user } else { &c.nkey };
        let name = [&c.name, who, identity].into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_default();
        let view = ConnectionView {
            address: format!("{}:{}", c.ip, c.port),
            identity: identity.clone(),
            rtt: c.rtt,
            in_messages: c.in_msgs,
            out_messages: c.out_msgs,
            in_bytes: c.in_bytes,
            out_bytes: c.out_bytes,
            pending_bytes: c.pending_bytes,
        };
        let of_tenant = open.entry(tenant.id.clone()).or_default();
        if of_tenant.len() < config.clients_max || of_tenant.contains_key(&name) {
            of_tenant.insert(name, view);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::{Tenant, Tier};

    #[test]
    fn a_connection_goes_to_the_tenant_whose_identity_it_shows() {
        let tenant = |id: &str, identity: &str| Tenant {
            id: id.to_owned(),
            tier: Tier::Basic,
            key: None,
            connections: vec![identity.to_owned()],
        };
        let config = Config {
            tenants: vec![tenant("a", "UAAA"), tenant("b", "ACCB")],
            clients_max: 10,
            ..super::super::account_test::config()
        };
        let answer = r#"{"connections": [
            {"name": "press", "nkey": "UAAA", "ip": "10.0.0.7", "port": 4711, "in_msgs": 5, "account": "$G"},
            {"authorized_user": "UAAA"},
            {"name": "x", "account": "ACCB"},
            {"name": "press", "account": "$G"}, {"name": "nobody"}]}"#;
        let mut open = Open::new();
        sort(answer.as_bytes(), &config, &mut open).unwrap();
        let names: Vec<(&str, Vec<&str>)> =
            open.iter().map(|(t, c)| (t.as_str(), c.keys().map(String::as_str).collect())).collect();
        assert_eq!(names, [("a", vec!["UAAA", "press"]), ("b", vec!["x"])]);
        assert_eq!((open["a"]["press"].address.as_str(), open["a"]["press"].in_messages), ("10.0.0.7:4711", 5));
    }
}
