//! A tenant's past, out of the store.

use std::time::Duration;

use super::Refusal;
use crate::http::AppState;
use crate::http::api::format::ApiError;
use crate::http::api::query::on_pool;
use crate::model::Timestamp;
use crate::query::promql::{Options, Value};
use crate::tenants::{Course, Tier};

/// A time up to now, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    /// The word of the parameter.
    pub(super) name: &'static str,
    /// How many steps.
    pub(super) steps: u64,
    /// How long one is, in seconds.
    pub(super) step_s: u64,
    /// Who may ask for it.
    pub(super) tier: Tier,
}

/// The periods that may be asked for; the first is the usual one.
pub(super) const PERIODS: [Period; 4] = [
    Period { name: "1h", steps: 60, step_s: 60, tier: Tier::Professional },
    Period { name: "24h", steps: 24, step_s: 3600, tier: Tier::Professional },
    Period { name: "7d", steps: 7, step_s: 86_400, tier: Tier::Professional },
    Period { name: "30d", steps: 30, step_s: 86_400, tier: Tier::Enterprise },
];

/// What one step brought.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Step {
    /// Its end.
    pub(super) end: Timestamp,
    pub(super) messages: f64,
    pub(super) bytes: f64,
    pub(super) errors: f64,
    /// Clients that were online, at most; nothing if it is not known.
    pub(super) clients: f64,
    /// Whether the box counted in it at all.
    pub(super) is_known: bool,
}

/// The steps of a period, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History {
    pub(super) steps: Vec<Step>,
    /// Messages of the period before; nothing if the box did not count then.
    pub(super) before: Option<f64>,
    /// Questions with the tenant's key.
    pub(super) asked: f64,
    pub(super) channels: f64,
    pub(super) clients: f64,
}

impl History {
    /// Asks the store.
    pub(super) async fn read(state: &AppState, tenant: &str, period: Period) -> Result<History, Refusal> {
        let (engine, tenant, now) = (state.engine.clone(), tenant.to_owned(), state.clock.now());
        let read = on_pool(state, move |gone| {
            let options = Options { cancelled: Some(gone), ..Options::default() };
            let step = Duration::from_secs(period.step_s);
            let whole = Duration::from_secs(period.step_s * period.steps);
            let start = now - whole + step;
            let mut steps: Vec<Step> = (0..period.steps)
                .map(|i| Step { end: start + step * u32::try_from(i).unwrap_or(0), ..Step::default() })
                .collect();
            let mut fill = |expression: String, put: fn(&mut Step, f64)| -> Result<(), ApiError> {
                let found = engine.range(&expression, start, now, step, &options)?.value;
                let Value::Matrix(series) = found else { return Ok(()) };
                for point in series.iter().flat_map(|s| &s.points) {
                    if let Some(step) = steps.iter_mut().find(|s| s.end == point.timestamp) {
                        put(step, point.value);
                    }
                }
                Ok(())
            };
            let s = period.step_s;
            let of = |metric: &str| format!("andon_tenants_{metric}{{tenant=\"{tenant}\"}}");
            let increase = |metric: &str| format!("sum(increase({}[{s}s]))", of(metric));
            fill(increase("messages_total"), |step, value| {
                (step.messages, step.is_known) = (value, true);
            })?;
            fill(increase("bytes_total"), |step, value| step.bytes = value)?;
            fill(increase("errors_total"), |step, value| step.errors = value)?;
            let online = format!("andon_tenants_clients{{tenant=\"{tenant}\",state=\"online\"}}");
            fill(format!("max(max_over_time({online}[{s}s]))"), |step, value| step.clients = value)?;
            let number = |expression: String| -> Result<Option<f64>, ApiError> {
                Ok(match engine.instant(&expression, now, &options)?.value {
                    Value::Vector(series) => series.first().map(|s| s.sample.value),
                    _ => None,
                })
            };
            let whole_s = whole.as_secs();
            let before = number(format!("sum(increase({}[{whole_s}s] offset {whole_s}s))", of("messages_total")))?;
            let asked = number(format!("sum(increase({}[{whole_s}s]))", of("api_calls_total")))?.unwrap_or(0.0);
            let channels = number(format!("max(max_over_time({}[{whole_s}s]))", of("channels")))?.unwrap_or(0.0);
            let all = format!("sum(max_over_time({}[{whole_s}s]))", of("clients"));
            let clients = number(all)?.unwrap_or(0.0);
            Ok(History { steps, before, asked, channels, clients })
        });
        read.await.map_err(Refusal::from)
    }

    /// Returns messages by step from the first that is known.
    pub(super) fn whole_steps(&self) -> Course {
        Course(self.steps.iter().filter(|step| step.is_known).map(|step| step.messages).collect())
    }
}
