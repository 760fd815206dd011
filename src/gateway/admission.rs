//! Who may knock: bounds on open sockets, on those that have not shown who they are, and on wrong tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::throttle::Throttle;

/// Addresses that are remembered; beyond it those with nothing against them are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// Why a socket is turned away before it may authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// As many connections as there may be.
    #[error("too many connections")]
    Full,
    /// Too many sockets of this address have not shown who they are.
    #[error("too many connections from this address wait for authentication")]
    Crowd,
    /// Too many wrong tokens from this address.
    #[error("too many failed authentications from this address")]
    Failures,
}

impl TurnedAway {
    /// Returns the reason as metrics have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            TurnedAway::Full => "full",
            TurnedAway::Crowd => "crowd",
            TurnedAway::Failures => "failures",
        }
    }
}

/// The bounds; taken from the settings when a socket comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) waiting_per_address_max: usize,
    pub(super) failures_max: u32,
}

/// Stands at the door; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Porter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inside: Mutex<Inside>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    connections: usize,
    waiting: usize,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    waiting: usize,
    failures: Throttle,
}

/// A socket's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    porter: Porter,
    address: IpAddr,
    is_waiting: bool,
}

impl Porter {
    /// Gives a place, or says why not.
    pub(super) fn admit(&self, address: IpAddr, bounds: Bounds, now: Duration) -> Result<Place, TurnedAway> {
        let mut inside = self.lock();
        if inside.connections >= bounds.connections_max {
            return Err(TurnedAway::Full);
        }
        if inside.addresses.len() >= ADDRESSES_MAX {
            inside.addresses.retain(|_, a| a.waiting > 0 || !a.failures.is_full(now));
        }
        let burst = f64::from(bounds.failures_max);
        let entry = inside
            .addresses
            .entry(address)
            .or_insert_with(|| Address { waiting: 0, failures: Throttle::new(burst / 10.0, burst, now) });
        if entry.failures.remaining(now) < 1.0 {
            return Err(TurnedAway::Failures);
        }
        if entry.waiting >= bounds.waiting_per_address_max {
            return Err(TurnedAway::Crowd);
        }
        entry.waiting += 1;
        inside.waiting += 1;
        inside.connections += 1;
        Ok(Place { porter: self.clone(), address, is_waiting: true })
    }

    /// Waits until some socket has shown who it is, or left.
    pub(super) async fn left(&self) {
        self.0.left.notified().await;
    }

    /// Returns how many sockets have not shown who they are.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns where the socket comes from.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Notes that the socket has shown who it is.
    pub(super) fn authenticated(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            let mut inside = self.porter.lock();
            inside.waiting -= 1;
            if let Some(address) = inside.addresses.get_mut(&self.address) {
                address.waiting -= 1;
            }
            drop(inside);
            self.porter.0.left.notify_one();
        }
    }

    /// Notes that the socket showed something wrong.
    pub(super) fn failed(&self, now: Duration) {
        if let Some(address) = self.porter.lock().addresses.get_mut(&self.address) {
            let _ = address.failures.take(now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.authenticated();
        self.porter.lock().connections -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connections_max: 3, waiting_per_address_max: 2, failures_max: 10 };
    const START: Duration = Duration::ZERO;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_has_only_so_many_strangers() {
        let porter = Porter::default();
        let mut first = porter.admit(address(1), BOUNDS, START).unwrap();
        let _second = porter.admit(address(1), BOUNDS, START).unwrap();
        assert_eq!(porter.admit(address(1), BOUNDS, START).unwrap_err(), TurnedAway::Crowd);
        first.authenticated();
        let _third = porter.admit(address(1), BOUNDS, START).unwrap();
        assert_eq!(porter.admit(address(2), BOUNDS, START).unwrap_err(), TurnedAway::Full);
        drop(first);
        assert!(porter.admit(address(2), BOUNDS, START).is_ok());
    }

    #[test]
    fn wrong_tokens_shut_the_door_for_a_while() {
        let porter = Porter::default();
        for _ in 0..10 {
            porter.admit(address(1), BOUNDS, START).unwrap().failed(START);
        }
        assert_eq!(porter.admit(address(1), BOUNDS, START).unwrap_err(), TurnedAway::Failures);
        assert!(porter.admit(address(2), BOUNDS, START).is_ok());
        assert!(porter.admit(address(1), BOUNDS, Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn nothing_is_left_behind() {
        let porter = Porter::default();
        drop(porter.admit(address(1), BOUNDS, START).unwrap());
        let inside = porter.lock();
        assert_eq!((inside.connections, inside.waiting), (0, 0));
    }
}
