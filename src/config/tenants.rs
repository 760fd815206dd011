//! `tenants`: customers on one NATS system.

use std::collections::BTreeSet;
use std::time::Duration;

use super::folder::Folder;
use crate::collect;
use crate::tenants::{Config, Tenant, Tier};
use crate::yaml::{Fields, Item};

/// Shorter keys could be guessed.
const KEY_CHARS_MIN: usize = 16;

/// Reads `tenants`; direct connections are looked for at the servers of `nats_monitoring`.
pub(super) fn tenants(root: &Fields<'_>, folder: &Folder, nats: Option<&collect::NatsConfig>) -> Config {
    const KEYS: &[&str] = &["check_interval", "offline_after", "learn_for", "anomaly_hold", "clients_limit", "list"];
    let fields = root.fields("tenants", KEYS);
    let fields = fields.as_ref();
    let seconds = Duration::from_secs;
    let duration = |key, default| fields.and_then(|f| f.positive_duration(key)).unwrap_or(default);
    let check_interval = match fields.and_then(|f| f.get("check_interval")) {
        Some(item) => match item.duration() {
            Some(short) if short < seconds(1) => item.mistake("must be at least 1s"),
            read => read,
        },
        None => None,
    };
    let mut read = Config {
        tenants: Vec::new(),
        check_interval: check_interval.unwrap_or(seconds(30)),
        offline_after: duration("offline_after", seconds(90)),
        learn_for: duration("learn_for", seconds(3600)),
        anomaly_hold: duration("anomaly_hold", seconds(900)),
        clients_max: fields.and_then(|f| f.count("clients_limit", 1, 100_000)).unwrap_or(1000),
        monitoring: nats.map(|n| n.servers.iter().map(|s| s.url.clone()).collect()).unwrap_or_default(),
    };
    let (mut ids, mut identities) = (BTreeSet::new(), BTreeSet::new());
    for item in fields.map(|f| f.items("list")).unwrap_or_default() {
        let Some(tenant) = tenant(&item, folder) else { continue };
        if !ids.insert(tenant.id.clone()) {
            let _: Option<()> = item.mistake(format!("a second tenant has the id {:?}", tenant.id));
        } else if tenant.key.as_ref().is_some_and(|key| read.of_key(key.expose()).is_some()) {
            let _: Option<()> = item.mistake("another tenant has the same key");
        } else if let Some(twice) = tenant.connections.iter().find(|c| !identities.insert((*c).clone())) {
            let _: Option<()> = item.mistake(format!("{twice} stands for another tenant's connections already"));
        } else {
            read.tenants.push(tenant);
        }
    }
    if read.monitoring.is_empty()
        && read.tenants.iter().any(|t| !t.connections.is_empty())
        && let Some(fields) = fields
    {
        fields.item().note("connections are seen only with nats_monitoring, which names no server");
    }
    read
}

fn tenant(item: &Item<'_>, folder: &Folder) -> Option<Tenant> {
    let fields = item.fields(&["id", "plan", "key", "key_file", "connections"])?;
    let key = folder.secret(&fields, "key", "key_file");
    if key.as_ref().is_some_and(|key| key.expose().chars().count() < KEY_CHARS_MIN) {
        let _: Option<()> = item.mistake(format!("a key has at least {KEY_CHARS_MIN} characters"));
    }
    let tier = match fields.get("plan") {
        None => Tier::Basic,
        Some(plan) => {
            let word = plan.one_of(&["basic", "free", "starter", "professional", "enterprise"])?;
            Tier::parse(word)?
        }
    };
    let id = fields.required("id")?;
    let text = id.string()?;
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return id.mistake("the id of a tenant is made of letters, digits, '-' and '_'");
    }
    Some(Tenant {
        id: text,
        tier,
        key,
        connections: fields.items("connections").iter().filter_map(Item::string).collect(),
    })
}
