//! What a connection waits for: futures of one kind, without memory of their own while there are none.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

/// Futures that run beside each other. As many as the session lets in.
#[derive(Debug)]
pub(super) struct Underway<T>(Option<FuturesUnordered<BoxFuture<'static, T>>>);

impl<T> Default for Underway<T> {
    fn default() -> Self {
        Underway(None)
    }
}

impl<T> Underway<T> {
    /// Adds one more.
    pub(super) fn push(&mut self, future: BoxFuture<'static, T>) {
        self.0.get_or_insert_default().push(future);
    }

    /// Waits for the next that is done, for ever if there is none; safe to cancel.
    pub(super) async fn next(&mut self) -> T {
        if let Some(running) = &mut self.0
            && let Some(done) = running.next().await
        {
            if running.is_empty() {
                self.0 = None;
            }
            return done;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn what_is_done_comes_and_nothing_is_left_of_it() {
        let mut underway = Underway::default();
        assert!(underway.next().now_or_never().is_none());
        underway.push(std::future::pending().boxed());
        underway.push(std::future::ready(1).boxed());
        assert_eq!(underway.next().now_or_never(), Some(1));
        assert!(underway.next().now_or_never().is_none());
        let mut underway = Underway::default();
        underway.push(std::future::ready(2).boxed());
        assert_eq!(underway.next().now_or_never(), Some(2));
        assert!(underway.0.is_none());
    }
}
