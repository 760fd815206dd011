//! The streams that the settings declare: which subject belongs to which, and that NATS has them as they should be.
//!
//! A stream that is missing is made, one that differs is brought up to date. None is ever removed or purged, and what
//! the settings do not speak of stays as it is.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use super::{Subject, SubjectPattern};

/// One stream, as the settings declare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// Its name: no dots, spaces or wildcards.
    pub name: Arc<str>,
    /// What it keeps.
    pub subjects: Vec<SubjectPattern>,
    /// How long; nothing for as long as there is room.
    pub age_max: Option<Duration>,
    /// How many messages.
    pub messages_max: Option<u64>,
    /// How many bytes.
    pub bytes_max: Option<u64>,
    /// The largest message.
    pub message_bytes_max: Option<u32>,
    /// How many messages of one subject.
    pub messages_per_subject_max: Option<u64>,
    /// How long a repeat is known by its id. NATS's default is 2 minutes.
    pub duplicate_window: Duration,
    /// How many servers keep it. Default 1.
    pub replicas: usize,
    /// Whether it is in memory only.
    pub is_in_memory: bool,
    /// Whether a full stream refuses what is new, instead of dropping what is oldest.
    pub refuses_new: bool,
    /// Whether single messages may not be deleted.
    pub deny_delete: bool,
    /// Whether it may not be emptied.
    pub deny_purge: bool,
}

impl StreamConfig {
    /// Returns a stream with nothing said but name and subjects.
    #[must_use]
    pub fn new(name: &str, subjects: Vec<SubjectPattern>) -> Self {
        StreamConfig {
            name: name.into(),
            subjects,
            age_max: None,
            messages_max: None,
            bytes_max: None,
            message_bytes_max: None,
            messages_per_subject_max: None,
            duplicate_window: Duration::from_secs(120),
            replicas: 1,
            is_in_memory: false,
            refuses_new: false,
            deny_delete: false,
            deny_purge: false,
        }
    }

    /// Tells whether it keeps messages of this subject.
    #[must_use]
    pub fn covers(&self, subject: &Subject) -> bool {
        self.subjects.iter().any(|pattern| pattern.matches(subject))
    }

    /// Writes what is declared over what there is.
    fn apply(&self, config: &mut stream::Config) {
        let signed = |limit: Option<u64>| limit.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        config.name = self.name.to_string();
        config.subjects = self.subjects.iter().map(ToString::to_string).collect();
        config.max_age = self.age_max.unwrap_or_default();
        config.max_messages = signed(self.messages_max);
        config.max_bytes = signed(self.bytes_max);
        config.max_message_size = self.message_bytes_max.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
        config.max_messages_per_subject = signed(self.messages_per_subject_max);
        config.duplicate_window = match self.age_max {
            // NATS refuses a window that is longer than messages are kept.
            Some(age) => self.duplicate_window.min(age),
            None => self.duplicate_window,
        };
        config.num_replicas = self.replicas.max(1);
        config.storage = if self.is_in_memory { StorageType::Memory } else { StorageType::File };
        config.discard = if self.refuses_new { DiscardPolicy::New } else { DiscardPolicy::Old };
        config.deny_delete = self.deny_delete;
        config.deny_purge = self.deny_purge;
        config.allow_direct = true;
    }
}

/// Makes a stream, or brings it up to date.
///
/// # Errors
/// What NATS has against it; a stream that is there is as it was then.
pub(super) async fn declare(jetstream: &Context, declared: &StreamConfig) -> Result<(), String> {
    let there = match jetstream.get_stream(&*declared.name).await {
        Ok(stream) => Some(stream.cached_info().config.clone()),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => None,
            _ => return Err(format!("stream {}: {error}", declared.name)),
        },
    };
    let mut wanted = there.clone().unwrap_or_else(|| stream::Config { max_consumers: -1, ..stream::Config::default() });
    declared.apply(&mut wanted);
    let done = match there {
        None => jetstream.create_stream(wanted).await.map(|_| ()).map_err(|error| error.to_string()),
        Some(there) if there == wanted => return Ok(()),
        Some(_) => jetstream.update_stream(&wanted).await.map(|_| ()).map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(reason) => reason.to_string(),
            _ => error.to_string(),
        }),
    };
    done.map_err(|reason| format!("stream {} cannot be made as declared: {reason}", declared.name))
}
