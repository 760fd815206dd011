//! Merging blocks: two hours become a day, late data is folded in, what stands twice falls away.

mod plan;
mod run;

pub(crate) use plan::{DAY_MS, Plan, WINDOW_MS, plan};
