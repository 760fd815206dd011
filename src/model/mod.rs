//! The ground floor: the words that every other room speaks.
//!
//! Plain values without input or output: time, labels, matchers, samples, log entries, alerts, alarms and
//! device messages. Nothing here is ever serialised; the disk, the wire, the API and the pages each have
//! shapes of their own.

mod alarm;
mod alert;
mod device_message;
mod device_presence;
mod duration;
mod error;
mod escape;
mod holiday;
mod http_client;
mod labels;
mod log_entry;
mod matcher;
mod matcher_text;
mod md5;
mod metric;
mod name;
mod re2;
mod regex;
mod relabel;
mod sample;
mod secret;
mod silence;
mod time;

pub use alarm::{Acknowledgement, Alarm, AlarmState, priority_of};
pub use alert::{Alert, AlertState};
pub use device_message::{DeviceMessage, Origin};
pub use device_presence::DevicePresence;
pub use duration::{format_duration, parse_duration};
pub use error::{Error, Result};
pub use escape::{encode_path, encode_query, escape_html};
pub use holiday::{Holiday, HolidayDays};
pub use http_client::{Authorization, HttpClient, Tls};
pub use labels::{LABEL_NAME, Labels, LabelsBuilder};
pub use log_entry::LogEntry;
pub use matcher::{MatchOp, Matcher};
pub use matcher_text::parse_matchers;
pub(crate) use md5::md5;
pub use metric::{FamilySample, Metadata, MetricFamily, MetricKind};
pub use name::{is_label_name, is_metric_name};
pub use regex::{AnchoredRegex, search_regex};
pub use relabel::{RelabelAction, RelabelRule, RelabelStep, relabel, relabel_steps};
pub use sample::{STALE_NAN_BITS, Sample, is_stale, stale_nan};
pub use secret::Secret;
pub use silence::{Silence, SilenceState};
pub use time::{TimeRange, Timestamp};
