//! Whether messages flow: published on the box's connection, heard on another one, through each server that is named.
//!
//! A connection that stands may carry nothing: a leaf that lost its hub, an account without exports, a server that hangs.
//! So every ten seconds a number is published and awaited at the other end.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use tracing::{info, warn};

use super::uplink::Uplink;
use crate::clock::Clock;
use crate::instrument::{Counter, Gauge, Registry};
use crate::task::{Phase, Tasks};

/// How often a number is sent, and how long it may take.
const INTERVAL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
const WITHIN: Duration = Duration::from_secs(5);

/// One end of a probe.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) uplink: Arc<Uplink>,
    /// The servers of the other end; nothing for those of the box itself.
    pub(super) server: Option<String>,
    pub(super) clock: Clock,
    is_well: Gauge,
    latency: Gauge,
    failures: Counter,
}

impl Probe {
    pub(super) fn new(uplink: Arc<Uplink>, server: Option<String>, clock: Clock, r: &Registry) -> Self {
        let via = server.as_deref().map_or("server", |server| server.rsplit('@').next().unwrap_or(server));
        let gauges = |name, help| r.gauges(name, help, &["via"]).with(&[via]);
        let failures =
            r.counters("andon_bus_probe_failures_total", "Probes that did not come through while connected.", &["via"]);
        Probe {
            is_well: gauges("andon_bus_probe_success", "1 if the last message sent through NATS came back, else 0."),
            latency: gauges("andon_bus_probe_latency_seconds", "How long the last one took that came back."),
            failures: failures.with(&[via]),
            uplink,
            server,
            clock,
        }
    }

    /// Probes until the work phase ends.
    pub(super) async fn run(self, tasks: Tasks) {
        let end = tasks.token(Phase::Work);
        tokio::select! {
            () = end.cancelled() => {}
            () = self.probe_for_ever() => {}
        }
    }

    async fn probe_for_ever(&self) {
        let subject = format!("_INBOX.{:032x}.probe", rand::random::<u128>());
        let mut ear: Option<Subscriber> = None;
        let mut was_well = true;
        for number in 0_u64.. {
            let mouth = self.uplink.connected().await;
            let heard = async {
                if ear.is_none() {
                    let client = self.uplink.second_connection(self.server.as_deref()).await?;
                    ear = Some(client.subscribe(subject.clone()).await.map_err(|error| error.to_string())?);
                    client.flush().await.map_err(|error| error.to_string())?;
                    // Interest has to reach the other servers.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                let Some(listener) = &mut ear else { return Err("nobody listens".to_owned()) };
                let began = self.clock.elapsed();
                let sent = mouth.publish(subject.clone(), number.to_string().into()).await;
                sent.map_err(|error| error.to_string())?;
                while let Some(message) = listener.next().await {
                    if message.payload == number.to_string() {
                        return Ok(self.clock.elapsed().saturating_sub(began));
                    }
                }
                Err("the other end was closed".to_owned())
            };
            let heard = tokio::time::timeout(WITHIN, heard).await.unwrap_or(Err(format!("nothing within {WITHIN:?}")));
            match &heard {
                Ok(took) => self.latency.set(took.as_secs_f64()),
                Err(_) => ear = None,
            }
            // A connection that breaks is told elsewhere.
            let is_well = heard.is_ok() || !self.uplink.is_connected();
            if let (Err(reason), true) = (&heard, was_well && !is_well) {
                warn!(via = self.server.as_deref().unwrap_or("server"), %reason, "connected to NATS, but nothing flows");
            } else if is_well && !was_well {
                info!(via = self.server.as_deref().unwrap_or("server"), "messages flow through NATS again");
            }
            if !is_well {
                self.failures.inc();
            }
            was_well = is_well;
            self.is_well.set(if heard.is_ok() { 1.0 } else { 0.0 });
            self.uplink.probed(is_well);
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
