//! What every page shares: the frame around it.

use super::number::{local, span};
use super::visit::{Theme, Visit};
use crate::bus::{self, Link};
use crate::http::AppState;
use crate::http::assets::{ASSETS, Assets};
use crate::model::{AlarmState, Timestamp};

/// The frame of a page.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The page's title.
    pub(super) title: String,
    /// Which entry of the menu it belongs to.
    pub(super) here: &'static str,
    /// The box's name.
    pub(super) box_name: String,
    /// Light or dark.
    pub(super) theme: Theme,
    /// The page's own address, to come back to.
    pub(super) path: String,
    /// When the page was made: for people, machines and scripts.
    pub(super) now_text: String,
    /// The same in RFC 3339.
    pub(super) now_iso: String,
    /// The same in milliseconds.
    pub(super) now_ms: i64,
    /// Seconds after which a script may fetch it again; 0 for never.
    pub(super) refresh_s: u32,
    /// Where a script is told that the page is to be fetched again; empty for nowhere.
    pub(super) events: &'static str,
    /// Whether the settings name tenants.
    pub(super) has_tenants: bool,
    /// Active alarms by priority, 1 first.
    pub(super) alarms: [usize; 4],
    /// Active alarms that nobody has taken note of.
    pub(super) unacknowledged: usize,
    /// Whether NATS is connected, and in words; `None` where none is configured.
    pub(super) nats: Option<(bool, String)>,
    /// What is not as it should be with the box itself, in plain words.
    pub(super) notices: Vec<Notice>,
    /// Where style and script are.
    pub(super) assets: &'static Assets,
}

/// One strip on top of a page.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    /// Priority class: `p1`, `p2`, or `note`.
    pub(super) class: &'static str,
    /// Its shape.
    pub(super) shape: &'static str,
    /// What is the matter.
    pub(super) text: String,
    /// Where it is told in more detail; may be empty.
    pub(super) href: &'static str,
    /// Text of that link.
    pub(super) link: &'static str,
}

/// An entry of the menu.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// Where it leads.
    pub(super) href: &'static str,
    /// What it is called.
    pub(super) name: &'static str,
    /// Its picture.
    pub(super) icon: &'static str,
}

/// Only where there are any.
const TENANTS: &str = "/tenants";

const MENU: [Item; 11] = [
    Item { href: "/", name: "Overview", icon: "home" },
    Item { href: "/devices", name: "Devices", icon: "devices" },
    Item { href: TENANTS, name: "Tenants", icon: "tenants" },
    Item { href: "/alarms", name: "Alarms", icon: "alarms" },
    Item { href: "/logs", name: "Logs", icon: "logs" },
    Item { href: "/explore", name: "Explore", icon: "explore" },
    Item { href: "/targets", name: "Targets", icon: "targets" },
    Item { href: "/rules", name: "Rules", icon: "rules" },
    Item { href: "/forwarding", name: "Forwarding", icon: "forwarding" },
    Item { href: "/storage", name: "Storage", icon: "storage" },
    Item { href: "/about", name: "About", icon: "about" },
];

impl Frame {
    /// Makes the frame of a page; `refresh_s` is how often a script may fetch it again.
    pub(super) fn new(state: &AppState, visit: &Visit, here: &'static str, title: &str, refresh_s: u32) -> Frame {
        let snapshot = state.alarms.snapshot();
        let active = snapshot.alarms.iter().filter(|a| a.state == AlarmState::Active);
        let mut alarms = [0; 4];
        let mut unacknowledged = 0;
        for alarm in active {
            if let Some(count) = alarms.get_mut(usize::from(alarm.priority().clamp(1, 4)) - 1) {
                *count += 1;
            }
            unacknowledged += usize::from(alarm.acknowledgement.is_none());
        }
        let mut notices: Vec<Notice> =
            super::clock::notice(state).into_iter().chain(super::storage::notice(state)).collect();
        if let Some(error) = &snapshot.journal_error {
            notices.push(Notice {
                class: "p2",
                shape: "p2",
                text: format!(
                    "The alarm journal cannot be written: {error}. Alarms are shown, but would not survive a restart."
                ),
                href: "/storage",
                link: "Storage",
            });
        }
        Frame {
            title: title.to_owned(),
            here,
            box_name: state.info.box_name.clone(),
            theme: visit.theme,
            path: visit.path.clone(),
            now_text: local(visit.now, &state.info.time_zone, "%H:%M:%S"),
            now_iso: visit.now.to_rfc3339(),
            now_ms: visit.now.as_millis(),
            refresh_s,
            events: "",
            has_tenants: state.tenants.are_any(),
            alarms,
            unacknowledged,
            nats: nats(&state.bus.state().borrow(), visit.now),
            notices,
            assets: &ASSETS,
        }
    }

    /// Returns the menu.
    pub(super) fn nav(&self) -> impl Iterator<Item = Item> {
        let has_tenants = self.has_tenants;
        MENU.into_iter().filter(move |item| has_tenants || item.href != TENANTS)
    }

    /// Returns priorities with active alarms, and how many.
    pub(super) fn tally(&self) -> Vec<(usize, usize)> {
        self.alarms.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| (i + 1, *n)).collect()
    }

    /// Says in words what the tally shows.
    pub(super) fn tally_words(&self) -> String {
        let parts: Vec<String> = self.tally().iter().map(|(p, n)| format!("{n} of priority {p}")).collect();
        if parts.is_empty() { "No alarms".to_owned() } else { format!("Active alarms: {}", parts.join(", ")) }
    }
}

/// Says how things stand with NATS, where it is configured.
fn nats(state: &bus::State, now: Timestamp) -> Option<(bool, String)> {
    match state.link {
        Link::Embedded => None,
        Link::Connected => Some((true, "NATS connected".to_owned())),
        Link::Connecting => Some((false, "Connecting to NATS".to_owned())),
        Link::Disconnected | Link::Closed => Some((false, format!("NATS away for {}", span(now.since(state.since))))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_of_nats_only_where_it_is_configured() {
        let since = Timestamp::from_millis(0);
        let said = |link| {
            let state = bus::State { link, since, server: None, error: None };
            nats(&state, Timestamp::from_millis(90_000))
        };
        assert_eq!(said(Link::Embedded), None);
        assert_eq!(said(Link::Connected), Some((true, "NATS connected".to_owned())));
        let away = said(Link::Disconnected).unwrap();
        assert!(!away.0 && away.1.starts_with("NATS away for 90"), "{away:?}");
    }
}
