//! Consumers that come and go, folded into one each stream, so that they do not fill the store with series.
//!
//! A consumer without a durable name gets a name of chance at each start of its program, and a place of a device
//! (`bus/replay.rs`) is one of thousands. What matters of them is their sum.

use super::answer::{Consumer, Stream};

/// Stands for all consumers without a durable name.
const EPHEMERAL: &str = "ephemeral";
/// Stands for all places of devices.
const PLACES: &str = "devices";
/// How this program describes the consumer of a device's place.
const PLACE: &str = "a device's place";

/// Replaces the consumers of a stream that come and go by their sums.
pub(super) fn fold(stream: &mut Stream) {
    for (name, belongs) in [(EPHEMERAL, is_ephemeral as fn(&Consumer) -> bool), (PLACES, is_place)] {
        let all: Vec<Consumer> = stream.consumer_detail.extract_if(.., |consumer| belongs(consumer)).collect();
        if !all.is_empty() {
            stream.consumer_detail.push(sum(name, &all));
        }
    }
}

fn is_ephemeral(consumer: &Consumer) -> bool {
    consumer.folded == 0 && consumer.config.durable_name.is_empty()
}

fn is_place(consumer: &Consumer) -> bool {
    consumer.config.description == PLACE
}

fn sum(name: &str, all: &[Consumer]) -> Consumer {
    let mut folded = Consumer { name: name.to_owned(), folded: all.len(), ..Consumer::default() };
    for consumer in all {
        folded.num_pending += consumer.num_pending;
        folded.num_ack_pending += consumer.num_ack_pending;
        folded.num_redelivered += consumer.num_redelivered;
        folded.num_waiting += consumer.num_waiting;
    }
    folded
}
