//! What happens to a client, for programs that want their own metrics or log of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The gateway let the device in, so long after the attempt began.
    Connected {
        /// Connecting and being let in.
        took: Duration,
    },
    /// The connection ended.
    Disconnected {
        /// How long it was there.
        lasted: Duration,
    },
    /// The gateway did not let the device in, or refused a frame.
    Refused {
        /// For programs: `AUTH_FAILED`, `RATE_LIMIT`, ...
        code: String,
        /// For people.
        message: String,
    },
    /// It is tried again after a wait.
    Reconnecting {
        /// How many attempts after the first there were before this one.
        attempt: u64,
        /// How long it is waited.
        wait: Duration,
    },
    /// A publish was written to the gateway.
    Published {
        /// Where to.
        subject: String,
        /// Bytes of its frame.
        bytes: usize,
    },
    /// A message was taken from it.
    Received {
        /// Where it was published.
        subject: String,
        /// Bytes of its frame.
        bytes: usize,
    },
    /// A subscription was made, for the first time or after a reconnect.
    Subscribed {
        /// Its pattern.
        pattern: String,
    },
    /// A subscription was ended.
    Unsubscribed {
        /// Its pattern.
        pattern: String,
    },
    /// A publish waits because the device is away.
    Buffered {
        /// How many wait.
        size: usize,
    },
    /// Publishes were lost because too many waited.
    BufferOverflow {
        /// How many.
        lost: u64,
    },
    /// The gateway was asked whether it is there.
    Ping,
    /// It is, and it took so long to say so.
    Pong {
        /// The latency.
        took: Duration,
    },
}

/// Who hears of events: called on the client's task or the caller's thread, so it must be quick.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&Event) + Send + Sync>);

impl Listener {
    /// Returns a listener that calls a function.
    #[must_use]
    pub fn new(hear: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Listener(Arc::new(hear))
    }

    pub(super) fn tell(&self, event: &Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
