//! Questions: PromQL over metrics, LogQL over lines. The two are strangers to each other; `limits` is the step below
//! both, and `log` remembers what took long.

pub mod limits;
pub mod log;
pub mod logql;
pub mod promql;
