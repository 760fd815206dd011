//! Questions: PromQL over metrics, LogQL over lines. The two are strangers to each other; `limits` is the step below
//! both.

pub mod limits;
pub mod logql;
pub mod promql;
