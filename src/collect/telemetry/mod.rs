//! Device messages, from the gateway or from the bus, into samples.

mod rule;

pub use rule::{JsonPath, MappingRule, RuleError, SampleRule, SubjectTemplate, Text};
