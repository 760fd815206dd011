//! Who may knock: bounds on open sockets, on those that have not shown who they are, and on wrong tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::throttle::Throttle;

/// Addresses that are remembered; beyond it those with nothing against them are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// Requests of one address that may stand in line while it has too many failures against it.
const IN_LINE_MAX: usize = 8;

/// Why a socket is turned away before it may authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// As many connections as there may be.
    #[error("too many connections")]
    Full,
    /// As many connections of this address as there may be.
    #[error("too many connections from this address")]
    Address,
    /// Too many sockets of this address, or of all, have not shown who they are.
    #[error("too many connections wait for authentication")]
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
            TurnedAway::Address => "address",
            TurnedAway::Crowd => "crowd",
            TurnedAway::Failures => "failures",
        }
    }
}

/// The bounds; taken from the settings when a socket comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) per_address_max: usize,
    pub(super) waiting_max: usize,
    pub(super) waiting_per_address_max: usize,
    pub(super) failures_max: u32,
}

/// Stands at the door; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Porter(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    connections: usize,
    waiting: usize,
    addresses: HashMap<IpAddr, Address>,
    /// Addresses with nothing against them are forgotten when there are so many.
    sweep_at: usize,
}

#[derive(Debug)]
struct Address {
    connections: usize,
    waiting: usize,
    /// Requests that stand in line until wrong tokens are forgotten.
    in_line: usize,
    failures: Throttle,
}

/// A request's place in the line of an address; given back when dropped.
#[derive(Debug)]
pub(super) struct InLine {
    porter: Porter,
    address: IpAddr,
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
        if inside.addresses.len() >= inside.sweep_at.max(ADDRESSES_MAX) {
            inside.addresses.retain(|_, a| a.connections + a.in_line > 0 || !a.failures.is_full(now));
            inside.sweep_at = inside.addresses.len() * 2;
        }
        let is_crowded = inside.waiting >= bounds.waiting_max;
        let burst = f64::from(bounds.failures_max);
        let entry = inside.addresses.entry(address).or_insert_with(|| Address {
            connections: 0,
            waiting: 0,
            in_line: 0,
            failures: Throttle::new(burst / 10.0, burst, now),
        });
        if entry.connections >= bounds.per_address_max {
            return Err(TurnedAway::Address);
        }
        if is_crowded || entry.waiting >= bounds.waiting_per_address_max {
            return Err(TurnedAway::Crowd);
        }
        // Each stranger inside may be one more failure, so after failures only as many come in as may fail.
        #[expect(clippy::cast_precision_loss, reason = "a count of sockets is far below 2^53")]
        let failures_to_come = entry.waiting as f64 + 1.0;
        if !entry.failures.is_full(now) && entry.failures.remaining(now) < failures_to_come {
            return Err(TurnedAway::Failures);
        }
        entry.waiting += 1;
        entry.connections += 1;
        inside.waiting += 1;
        inside.connections += 1;
        Ok(Place { porter: self.clone(), address, is_waiting: true })
    }

    /// Gives a place in the line of an address that was turned away for failures; nothing if the line is long.
    pub(super) fn stand_in_line(&self, address: IpAddr) -> Option<InLine> {
        let mut inside = self.lock();
        let entry = inside.addresses.get_mut(&address).filter(|entry| entry.in_line < IN_LINE_MAX)?;
        entry.in_line += 1;
        Some(InLine { porter: self.clone(), address })
    }

    /// Returns how many sockets have not shown who they are.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut inside = self.porter.lock();
        inside.connections -= 1;
        if let Some(address) = inside.addresses.get_mut(&self.address) {
            address.connections -= 1;
        }
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if let Some(address) = self.porter.lock().addresses.get_mut(&self.address) {
            address.in_line -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections_max: 3,
        per_address_max: 100,
        waiting_max: 100,
        waiting_per_address_max: 2,
        failures_max: 10,
    };
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
    fn there_are_bounds_for_strangers_in_all_and_for_one_address() {
        let porter = Porter::default();
        let few = Bounds { connections_max: 100, waiting_max: 2, ..BOUNDS };
        let mut both = [1, 2].map(|last| porter.admit(address(last), few, START).unwrap());
        assert_eq!(porter.admit(address(3), few, START).unwrap_err(), TurnedAway::Crowd);
        both[0].authenticated();
        let mut third = porter.admit(address(3), few, START).unwrap();
        third.authenticated();
        let narrow = Bounds { per_address_max: 1, ..few };
        assert_eq!(porter.admit(address(3), narrow, START).unwrap_err(), TurnedAway::Address);
        drop(third);
        assert!(porter.admit(address(3), narrow, START).is_ok());
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
    fn after_failures_only_as_many_come_in_as_may_fail() {
        let porter = Porter::default();
        let bounds = Bounds { connections_max: 100, waiting_per_address_max: 100, ..BOUNDS };
        for _ in 0..8 {
            porter.admit(address(1), bounds, START).unwrap().failed(START);
        }
        let _inside = [(); 2].map(|()| porter.admit(address(1), bounds, START).unwrap());
        assert_eq!(porter.admit(address(1), bounds, START).unwrap_err(), TurnedAway::Failures);
        let mut line: Vec<_> = std::iter::from_fn(|| porter.stand_in_line(address(1))).collect();
        assert_eq!(line.len(), IN_LINE_MAX);
        line.pop();
        assert!(porter.stand_in_line(address(1)).is_some());
    }

    #[test]
    fn nothing_is_left_behind() {
        let porter = Porter::default();
        drop(porter.admit(address(1), BOUNDS, START).unwrap());
        let inside = porter.lock();
        assert_eq!((inside.connections, inside.waiting), (0, 0));
    }
}
