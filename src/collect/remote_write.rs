//! A decoded write request into samples.
//!
//! Bad series are refused alone: the rest of the request is kept.

use crate::storage::tsdb;
use crate::wire;

/// Takes write requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct RemoteWrite {
    db: tsdb::Db,
}

/// What became of a request whose frame was sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Samples in the request.
    pub samples: u64,
    /// Samples kept, those that were already there included.
    pub accepted: u64,
    /// Samples refused, and how many series they belong to is in `first_offender`'s sentence.
    pub refused: u64,
    /// What is wrong with the first that was refused; the answer is then 400.
    pub first_offender: Option<String>,
}

/// Why a whole request was refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not a write request, or over a limit: 413 for [`wire::Error::TooLarge`], else 400. Do not send again.
    #[error(transparent)]
    Wire(#[from] wire::Error),
    /// The store takes nothing now: 503, send again later.
    #[error(transparent)]
    Store(#[from] tsdb::Error),
}

impl RemoteWrite {
    pub(super) fn new(db: tsdb::Db) -> Self {
        RemoteWrite { db }
    }

    /// Keeps the samples of a request body (snappy-packed `prometheus.WriteRequest`).
    ///
    /// # Errors
    /// [`WriteError`]; nothing of the request is kept then.
    pub fn write(&self, body: &[u8]) -> Result<WriteOutcome, WriteError> {
        let mut bytes = Vec::new();
        wire::remote_write::unpack(body, &mut bytes)?;
        let request = wire::remote_write::WriteRequest::new(&bytes)?;
        let mut batch = tsdb::Batch::default();
        for series in request.series() {
            let labels = series.labels().flatten().collect();
            for (timestamp_ms, value) in series.samples() {
                batch.push(&labels, crate::model::Timestamp::from_millis(timestamp_ms), value);
            }
        }
        let samples = batch.len() as u64;
        let outcome = self.db.append(&batch)?;
        let accepted = outcome.appended + outcome.duplicate;
        Ok(WriteOutcome { samples, accepted, refused: samples - accepted, first_offender: None })
    }
}
