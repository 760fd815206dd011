//! What the room needs to know: how long it remembers and how much.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::calendar::Calendar;
use super::delays::Delay;
use crate::model::Labels;

/// Settings of the room.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the journal lies: `alarms/journal` of the data folder. Restart to change.
    pub folder: PathBuf,
    /// How long transitions are kept; 90 days by default. A reload is enough.
    pub history_age: Duration,
    /// The most alarms on the board; 10 000 by default. More are refused and counted. A reload is enough.
    pub active_max: usize,
    /// `global.resolve_timeout`: how long an alarm of before a restart stays up without being heard of
    /// again; 5 minutes by default. A reload is enough.
    pub resolve_timeout: Duration,
    /// `global.external_labels`: silences may ask for them. A reload is enough.
    pub external_labels: Labels,
    /// De-bounce by class of alarms; the first class counts. A reload is enough.
    pub delays: Vec<Delay>,
    /// When shifts end, and the holidays. A reload is enough.
    pub calendar: Arc<Calendar>,
    /// The site's time zone, in which maintenance is planned. Restart to change.
    pub time_zone: jiff::tz::TimeZone,
}
