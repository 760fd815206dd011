//! What the registry wants of an open connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::end::End;
use super::identity::Identity;

/// What a connection is to do.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// To end.
    End(End),
    /// To go on as this.
    Be(Arc<Identity>),
}

/// Holds the newest order until the connection takes it; an end stays the newest. Smaller than a channel: there may be
/// ten thousand of them.
#[derive(Debug, Default)]
pub(super) struct Orders {
    newest: Mutex<Option<Order>>,
    given: Notify,
}

impl Orders {
    /// Gives an order instead of one that was not taken yet.
    pub(super) fn give(&self, order: Order) {
        let mut newest = self.lock();
        if !matches!(*newest, Some(Order::End(_))) {
            *newest = Some(order);
        }
        drop(newest);
        self.given.notify_one();
    }

    /// Waits for an order; safe to cancel.
    pub(super) async fn next(&self) -> Order {
        loop {
            let given = self.lock().take();
            match given {
                Some(order) => return order,
                None => self.given.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Order>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::gateway::permissions::Permissions;

    #[test]
    fn the_newest_order_counts_and_an_end_stays_one() {
        let identity = Arc::new(Identity {
            device_id: "a".into(),
            device_type: "sensor".into(),
            role: "".into(),
            permissions: Permissions::default(),
            expires_at: None,
            is_certified: false,
        });
        let orders = Orders::default();
        assert!(orders.next().now_or_never().is_none());
        orders.give(Order::Be(identity.clone()));
        orders.give(Order::End(End::REVOKED));
        orders.give(Order::Be(identity));
        assert!(matches!(orders.next().now_or_never(), Some(Order::End(End::REVOKED))));
        assert!(orders.next().now_or_never().is_none());
    }
}
