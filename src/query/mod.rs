//! Questions: PromQL over metrics, LogQL over lines. The two are strangers to each other.

pub mod logql;
pub mod promql;
