//! What is a legal metric name and label name.

/// Tells whether `name` is a metric name: any UTF-8 text that is not empty, as Prometheus 3 has it.
#[must_use]
pub fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
}

/// Tells whether `name` is a label name: any UTF-8 text that is not empty, as Prometheus 3 has it.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}
