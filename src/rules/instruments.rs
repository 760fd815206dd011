//! What the room counts about itself.

use crate::instrument::{Counter, CounterFamily, Gauge, GaugeFamily, Registry};

/// The room's instruments; `rule_group` is `file;group`, as in Prometheus.
#[derive(Debug, Clone)]
pub(super) struct Instruments {
    pub(super) evaluations: CounterFamily,
    pub(super) failures: CounterFamily,
    pub(super) iterations: CounterFamily,
    pub(super) missed: CounterFamily,
    pub(super) last_duration: GaugeFamily,
    pub(super) last_evaluation: GaugeFamily,
    pub(super) group_rules: GaugeFamily,
    pub(super) refused_samples: CounterFamily,
    pub(super) dropped_batches: Counter,
    pub(super) mistakes: Gauge,
}

impl Instruments {
    pub(super) fn new(registry: &Registry) -> Self {
        let group = &["rule_group"];
        Instruments {
            evaluations: registry.counters("andon_rule_evaluations_total", "Rules evaluated.", group),
            failures: registry.counters(
                "andon_rule_evaluation_failures_total",
                "Rules whose evaluation failed.",
                group,
            ),
            iterations: registry.counters("andon_rule_group_iterations_total", "Evaluations of whole groups.", group),
            missed: registry.counters(
                "andon_rule_group_iterations_missed_total",
                "Evaluations left out because the one before took too long.",
                group,
            ),
            last_duration: registry.gauges(
                "andon_rule_group_last_duration_seconds",
                "How long the group's last evaluation took.",
                group,
            ),
            last_evaluation: registry.gauges(
                "andon_rule_group_last_evaluation_timestamp_seconds",
                "When the group was last evaluated.",
                group,
            ),
            group_rules: registry.gauges("andon_rule_group_rules", "Rules in the group.", group),
            refused_samples: registry.counters(
                "andon_rule_samples_refused_total",
                "Samples of rules that the store did not take.",
                &["reason"],
            ),
            dropped_batches: registry.counter(
                "andon_rule_alert_batches_dropped_total",
                "Batches of alerts the alarms room was too busy for; they come again with the next evaluation.",
            ),
            mistakes: registry.gauge("andon_rule_file_mistakes", "Mistakes in the rule files as they are now."),
        }
    }

    /// Forgets what was counted about a group that does not run any more.
    pub(super) fn forget(&self, group: &str) {
        for family in [&self.evaluations, &self.failures, &self.iterations, &self.missed] {
            family.remove(&[group]);
        }
        for family in [&self.last_duration, &self.last_evaluation, &self.group_rules] {
            family.remove(&[group]);
        }
    }
}
