//! A subscriber's queue: bounded in messages and bytes, and without memory of its own while nothing waits.
//!
//! There may be ten thousand of them, and most are empty most of the time. So a queue is no channel, which keeps room
//! for its next messages, and what is for many is shared.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Message;

/// Places that an empty queue may keep.
const KEPT_PLACES_MAX: usize = 16;

/// What a subscription and the router both hold.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    messages_max: usize,
    bytes_max: usize,
    dropped: AtomicU64,
    arrived: Notify,
    overflow: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl Queue {
    /// Returns an empty queue.
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Queue {
            waiting: Mutex::default(),
            messages_max,
            bytes_max,
            dropped: AtomicU64::new(0),
            arrived: Notify::new(),
            overflow: Notify::new(),
        }
    }

    /// Adds a message. Full: it is lost for this subscriber, counted, and [`Queue::overflow`] tells it.
    pub(super) fn offer(&self, message: &Arc<Message>) -> bool {
        let size = message.size_bytes();
        let mut waiting = self.lock();
        let has_room = waiting.messages.len() < self.messages_max && waiting.bytes + size <= self.bytes_max;
        // One message always fits, however large.
        if !has_room && !waiting.messages.is_empty() {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.overflow.notify_one();
            return false;
        }
        waiting.messages.push_back(message.clone());
        waiting.bytes += size;
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Takes the oldest message, if one waits.
    pub(super) fn take(&self) -> Option<Message> {
        let mut waiting = self.lock();
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.size_bytes();
        if waiting.messages.is_empty() && waiting.messages.capacity() > KEPT_PLACES_MAX {
            waiting.messages = VecDeque::new();
        }
        drop(waiting);
        Some(Arc::unwrap_or_clone(message))
    }

    /// Waits for the next message; safe to cancel.
    pub(super) async fn next(&self) -> Message {
        loop {
            match self.take() {
                Some(message) => return message,
                None => self.arrived.notified().await,
            }
        }
    }

    /// Waits for the next loss; remembers one that has happened.
    pub(super) async fn overflow(&self) {
        self.overflow.notified().await;
    }

    /// Returns how many messages were lost.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Arc<Message> {
        Arc::new(Message::new("a".parse().unwrap(), vec![b' '; bytes]))
    }

    #[test]
    fn a_full_queue_loses_the_newest_and_counts_it() {
        let queue = Queue::new(2, 10_000);
        assert_eq!([1, 2, 3].map(|bytes| queue.offer(&message(bytes))), [true, true, false]);
        assert_eq!(queue.dropped(), 1);
        let left: Vec<_> = std::iter::from_fn(|| queue.take()).map(|message| message.payload.len()).collect();
        assert_eq!(left, [1, 2]);
    }

    #[test]
    fn a_queue_is_bounded_by_bytes_too_but_one_message_fits() {
        let queue = Queue::new(100, 1000);
        assert!(queue.offer(&message(5000)));
        assert!(!queue.offer(&message(0)));
        assert!(queue.take().is_some());
        assert!(queue.offer(&message(0)));
    }

    #[test]
    fn an_empty_queue_gives_back_the_memory_of_a_full_one() {
        let queue = Queue::new(1000, 1 << 20);
        while queue.offer(&message(0)) {}
        while queue.take().is_some() {}
        let waiting = queue.lock();
        assert!(waiting.messages.capacity() <= KEPT_PLACES_MAX);
        assert_eq!(waiting.bytes, 0);
    }

    #[tokio::test]
    async fn who_waits_hears_of_what_comes_and_of_what_is_lost() {
        let queue = Arc::new(Queue::new(1, 10_000));
        let (next, overflow) = (queue.next(), queue.overflow());
        let offers = async {
            queue.offer(&message(7));
            queue.offer(&message(8));
            queue.offer(&message(9));
        };
        let (heard, (), ()) = tokio::join!(next, overflow, offers);
        assert_eq!(heard.payload.len(), 7);
        assert!(queue.dropped() >= 1);
    }
}
