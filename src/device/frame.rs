//! Types of frames by their numbers on the wire, see `docs/device-protocol.md`.

pub(super) const PUBLISH: u64 = 0;
pub(super) const SUBSCRIBE: u64 = 1;
pub(super) const UNSUBSCRIBE: u64 = 2;
pub(super) const MESSAGE: u64 = 3;
pub(super) const REQUEST: u64 = 4;
pub(super) const REPLY: u64 = 5;
pub(super) const ACK: u64 = 6;
pub(super) const ERROR: u64 = 7;
pub(super) const AUTH: u64 = 8;
pub(super) const PING: u64 = 9;
pub(super) const PONG: u64 = 10;
