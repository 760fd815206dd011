//! NATS servers watched over their monitoring port.
//!
//! NATS answers in JSON on `/varz`, `/connz`, `/jsz`, `/leafz`, `/routez`, `/gatewayz`, `/healthz` and, where accounts have
//! tokens, `/accountz` (there is no `/metrics`). The figures go out under two families of names: those of the official exporter (`gnatsd_varz_*`, `gnatsd_connz_*`,
//! `jetstream_*`), and those that people's rules use (`nats_core_*`, `nats_jetstream_*`). No connection gets
//! series of its own, so the number of series depends on streams and consumers alone, and that has a cap.

mod answer;
mod fold;
mod names;
mod neighbours;

#[cfg(test)]
mod nats_test;

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;

use self::answer::{Accountz, Connz, Gatewayz, Healthz, Jsz, Leafz, Routez};
use super::families::Families;
use super::source::Reading;
use super::{NatsConfig, NatsServer, describe};
use crate::model::HttpClient;
use crate::outbound::Outbound;

/// Largest answer that is taken: 1000 streams with 10 consumers each are about 10 MB.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Accounts whose tokens are read at most.
const TOKENS_READ_MAX: usize = 32;
/// Tiers of one account that get series.
const TIERS_MAX: usize = 8;

/// Reads one server.
#[derive(Debug)]
pub(super) struct NatsReader {
    client: Result<Outbound, String>,
    server: NatsServer,
    timeout: Duration,
    connections_max: usize,
    streams_max: usize,
}

impl NatsReader {
    pub(super) fn new(config: &NatsConfig, server: &NatsServer) -> Self {
        NatsReader {
            client: Outbound::new(&HttpClient::plain(), config.timeout).map_err(|e| e.to_string()),
            server: server.clone(),
            timeout: config.timeout,
            connections_max: config.connections_max,
            streams_max: config.streams_max,
        }
    }

    /// Reads all pages; the server is up if `/varz` answers. A page that fails is left out and named.
    pub(super) async fn read(&self) -> Reading {
        let varz = match self.get::<serde_json::Value>("varz").await {
            Ok(varz) => varz,
            Err(problem) => return Reading { problems: vec![problem], ..Reading::default() },
        };
        let connz_page = format!("connz?limit={}", self.connections_max);
        let (connz, jsz, healthz, leafz, routez, gatewayz) = tokio::join!(
            self.get::<Connz>(&connz_page),
            self.get::<Jsz>("jsz?accounts=true&streams=true&consumers=true&config=true&raft=true"),
            self.get::<Healthz>("healthz"),
            self.get::<Leafz>("leafz"),
            self.get::<Routez>("routez"),
            self.get::<Gatewayz>("gatewayz"),
        );
        let mut families = Families::default();
        let mut problems = Vec::new();
        let url = self.server.url.as_str();
        names::varz(url, &varz, &mut families);
        neighbours::certificates(url, &varz, &mut families);
        match leafz {
            Ok(leafz) => neighbours::leafz(url, &leafz, &mut families),
            Err(problem) => problems.push(problem),
        }
        match routez {
            Ok(routez) => neighbours::routez(url, &routez, &mut families),
            Err(problem) => problems.push(problem),
        }
        match gatewayz {
            Ok(gatewayz) => neighbours::gatewayz(url, &gatewayz, &mut families),
            Err(problem) => problems.push(problem),
        }
        match connz {
            Ok(connz) => names::connz(url, &connz, &mut families),
            Err(problem) => problems.push(problem),
        }
        match jsz {
            Ok(mut jsz) => {
                let streams = jsz.account_details.iter_mut().flat_map(|account| &mut account.stream_detail);
                streams.for_each(fold::fold);
                problems.extend(self.read_tiers(&mut jsz).await);
                let left_out = names::jsz(url, &varz, &jsz, self.streams_max, &mut families);
                if left_out > 0 {
                    problems
                        .push(format!("{left_out} streams or consumers are over the limit of {}", self.streams_max));
                }
            }
            Err(problem) => problems.push(problem),
        }
        match healthz {
            Ok(healthz) => names::healthz(url, &healthz, &mut families),
            Err(problem) => problems.push(problem),
        }
        Reading { families: families.finish(), is_up: true, problems }
    }

    /// Reads the limits by tiers of accounts that have a token; returns what went wrong.
    async fn read_tiers(&self, jsz: &mut Jsz) -> Option<String> {
        let with_token = jsz.account_details.iter_mut().filter(|account| is_account_key(&account.id));
        for account in with_token.take(TOKENS_READ_MAX) {
            match self.get::<Accountz>(&format!("accountz?acc={}", account.id)).await {
                Ok(answer) => account.tiers = answer.account_detail.decoded_jwt.nats.limits.tiered_limits,
                Err(problem) => return Some(problem),
            }
        }
        None
    }

    async fn get<T: DeserializeOwned>(&self, page: &str) -> Result<T, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let url = format!("{}/{page}", self.server.url.trim_end_matches('/'));
        let name = page.split('?').next().unwrap_or(page);
        let fail = |problem: String| format!("/{name}: {problem}");
        let fetch = async {
            let request = client.request(Method::GET, &url).map_err(|e| e.to_string())?;
            let mut response = request.send().await.map_err(|e| describe(&e))?;
            // An unhealthy server answers /healthz with 503 and says why.
            if !response.status().is_success() && name != "healthz" {
                return Err(format!("server returned HTTP status {}", response.status()));
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| describe(&e))? {
                if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(format!("answer is larger than {ANSWER_BYTES_MAX} bytes"));
                }
                bytes.extend_from_slice(&chunk);
            }
            serde_json::from_slice(&bytes).map_err(|e| e.to_string())
        };
        match tokio::time::timeout(self.timeout, fetch).await {
            Ok(result) => result.map_err(fail),
            Err(_) => Err(fail(format!("no complete answer within {:?}", self.timeout))),
        }
    }
}

/// Tells whether an account is named by a public key, and so made by a token.
fn is_account_key(id: &str) -> bool {
    id.len() == 56 && id.starts_with('A') && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
