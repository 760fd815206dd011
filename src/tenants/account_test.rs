//! Tests of one tenant's account: traffic and heartbeats in, presence and anomalies out.

use std::time::Duration;

use super::Config;
use super::account::{Account, Learnt};
use super::anomaly::Kind;
use super::heartbeat;
use super::instruments::Instruments;
use super::subject::Event;
use super::view::TenantView;
use crate::instrument::Registry;
use crate::model::{AlertState, Timestamp};

pub(super) fn config() -> Config {
    Config {
        tenants: Vec::new(),
        check_interval: Duration::from_secs(30),
        offline_after: Duration::from_secs(90),
        learn_for: Duration::from_secs(300),
        anomaly_hold: Duration::from_secs(900),
        clients_max: 3,
        monitoring: Vec::new(),
    }
}

/// An account with a clock of its own.
struct Life {
    account: Account,
    config: Config,
    now: Timestamp,
}

impl Life {
    fn begin(learnt: Learnt) -> Life {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let account = Account::new("acme", learnt, now, &Instruments::new(&Registry::default()));
        Life { account, config: config(), now }
    }

    fn say(&mut self, subject: &str, client: &str, times: u32) {
        let body = format!(r#"{{"client_id":"{client}"}}"#);
        for _ in 0..times {
            self.account.heard(subject, body.as_bytes(), None, self.now, &self.config);
        }
    }

    /// A heartbeat with what the client says it sent and its errors.
    fn beat(&mut self, client: &str, status: &str, sent: u64, errors: u64) -> bool {
        let body = format!(
            r#"{{"tenant_id":"acme","client_id":"{client}","timestamp":{},"status":"{status}",
            "metrics":{{"messages_sent":{sent},"errors":{errors}}}}}"#,
            self.now.as_millis()
        );
        let subject = format!("_HEARTBEAT.tenant.acme.client.{client}");
        let beat = heartbeat::read(&subject, "acme", client, body.as_bytes(), self.now).unwrap();
        self.account.beat(client, beat, self.now, &self.config)
    }

    /// Half a minute passes, then the account is looked at.
    fn check(&mut self) -> Vec<String> {
        let passed = Duration::from_secs(30);
        self.now = self.now + passed;
        self.account.look(self.now, passed, &self.config);
        let alerts = self.account.alerts(self.now, &self.config);
        let firing = alerts.iter().filter(|a| a.state == AlertState::Firing);
        let about = |a: &crate::model::Alert| {
            let label = |name| a.labels.get(name).unwrap_or("").to_owned();
            format!("{} {}{}", label("anomaly"), label("client_id"), label("subject")).trim_end().to_owned()
        };
        firing.map(about).collect()
    }

    fn settled() -> Life {
        let patterns = ["tenant.acme.orders".to_owned()].into();
        Life::begin(Learnt { per_second: Some(1.0), patterns })
    }

    fn view(&mut self) -> TenantView {
        self.account.view(self.now, &self.config)
    }
}

#[test]
fn nothing_is_unusual_before_enough_was_learnt() {
    let mut life = Life::begin(Learnt::default());
    for n in 0_u32..9 {
        life.say(&format!("tenant.acme.s{n}"), "c", if n == 5 { 5000 } else { 10 });
        assert_eq!(life.check(), Vec::<String>::new(), "check {n}");
    }
    assert_eq!(life.view().normal_per_second, None);
    life.check();
    assert!(life.view().normal_per_second.is_some());
    life.say("tenant.acme.new", "c", 1);
    assert_eq!(life.check(), ["unusual_subject tenant.acme.new"]);
}

#[test]
fn ten_times_the_normal_rate_is_raised_and_ends_after_its_hold() {
    let mut life = Life::settled();
    life.say("tenant.acme.orders", "c", 300);
    assert_eq!(life.check(), Vec::<String>::new(), "exactly ten times");
    life.say("tenant.acme.orders", "c", 500);
    assert_eq!(life.check(), ["message_rate"]);
    for _ in 0..29 {
        assert_eq!(life.check(), ["message_rate"]);
    }
    assert_eq!(life.check(), Vec::<String>::new());
}

#[test]
fn errors_above_a_tenth_are_raised_however_they_are_told() {
    let mut life = Life::settled();
    let errors =
        |life: &mut Life, n: u32| (0..n).for_each(|_| life.account.told(Event::Error, b"{}", life.now, &config()));
    life.say("tenant.acme.orders", "c", 20);
    errors(&mut life, 2);
    assert_eq!(life.check(), Vec::<String>::new());
    life.say("tenant.acme.orders", "c", 20);
    errors(&mut life, 3);
    assert_eq!(life.check(), ["error_rate"]);

    let mut life = Life::settled();
    life.beat("c", "healthy", 0, 0);
    life.say("tenant.acme.orders", "c", 100);
    life.beat("c", "healthy", 100, 11);
    assert_eq!(life.check(), ["error_rate", "error_rate c"]);
}

#[test]
fn unseen_subjects_are_raised_once_and_those_of_before_are_not() {
    let mut life = Life::settled();
    life.say("tenant.acme.orders", "c", 1);
    life.say("tenant.acme.invoices.17", "c", 1);
    life.say("tenant.acme.invoices.18", "c", 1);
    assert_eq!(life.check(), ["unusual_subject tenant.acme.invoices.*"]);
    for n in 0..300 {
        life.say(&format!("tenant.acme.flood.a{n}"), "c", 1);
    }
    let raised = life.check();
    assert_eq!(raised.len(), 64, "what stands is bounded");
    assert_eq!(life.view().subjects.len(), 201, "and so is what is told apart");
    let other = life.view().subjects.iter().find(|(name, _)| name == "other").map(|(_, n)| *n);
    assert_eq!(other, Some(102));
}

#[test]
fn a_client_that_says_it_sent_more_than_came_is_raised() {
    let mut life = Life::settled();
    life.beat("c", "healthy", 5000, 0);
    life.say("tenant.acme.orders", "c", 50);
    life.beat("c", "healthy", 5150, 0);
    assert_eq!(life.check(), Vec::<String>::new(), "what the last heartbeat says may still be on its way");
    life.beat("c", "healthy", 5151, 0);
    assert_eq!(life.check(), Vec::<String>::new(), "100 missing are too few");
    life.beat("c", "healthy", 5152, 0);
    assert_eq!(life.check(), ["count_mismatch c"]);
    // A client that begins anew counts anew.
    let mut life = Life::settled();
    life.beat("c", "healthy", 5000, 0);
    life.say("tenant.acme.orders", "c", 50);
    for sent in [3, 53, 53] {
        life.beat("c", "healthy", sent, 0);
    }
    assert_eq!(life.check(), Vec::<String>::new());
}

#[test]
fn a_client_that_sends_more_than_it_says_is_raised() {
    let mut life = Life::settled();
    life.beat("c", "healthy", 0, 0);
    life.say("tenant.acme.orders", "c", 101);
    life.beat("c", "healthy", 0, 0);
    assert_eq!(life.check(), Vec::<String>::new());
    life.beat("c", "healthy", 0, 0);
    assert_eq!(life.check(), ["count_mismatch c"]);
}

#[test]
fn losses_of_clients_that_no_message_names_are_found_by_the_sum() {
    let mut life = Life::settled();
    life.beat("c", "healthy", 0, 0);
    (0..50).for_each(|_| life.account.heard("tenant.acme.orders", b"plain", None, life.now, &config()));
    life.beat("c", "healthy", 150, 0);
    assert_eq!(life.check(), Vec::<String>::new());
    life.beat("c", "healthy", 151, 0);
    assert_eq!(life.check(), Vec::<String>::new(), "100 missing are too few");
    assert_eq!(life.check(), ["count_mismatch"]);
}

#[test]
fn what_this_box_missed_is_no_mismatch() {
    let mut life = Life::settled();
    life.beat("c", "healthy", 0, 0);
    life.say("tenant.acme.orders", "c", 1);
    life.account.missed();
    for _ in 0..2 {
        life.beat("c", "healthy", 5000, 0);
    }
    assert_eq!(life.check(), Vec::<String>::new());
}

#[test]
fn a_client_is_online_while_it_is_heard_and_no_longer() {
    let mut life = Life::begin(Learnt::default());
    life.beat("c", "healthy", 0, 0);
    life.beat("gone", "disconnecting", 0, 0);
    life.say("tenant.acme.channel.news.x", "silent", 1);
    let online = |life: &mut Life| -> Vec<String> {
        life.view().clients.into_iter().filter(|c| c.is_online).map(|c| c.id).collect()
    };
    assert_eq!(online(&mut life), ["c", "silent"], "heartbeats alone are enough");
    life.now = life.now + Duration::from_secs(90);
    assert_eq!(online(&mut life), ["c", "silent"]);
    life.now = life.now + Duration::from_millis(1);
    assert_eq!(online(&mut life), Vec::<String>::new());
    assert_eq!(life.view().channels, 1);
    assert!(life.beat("new", "unhealthy", 0, 0), "one that is offline makes room");
    life.beat("new2", "healthy", 0, 0);
    life.beat("new3", "healthy", 0, 0);
    assert!(!life.beat("new4", "healthy", 0, 0), "nobody is offline");
    assert_eq!(life.check(), ["unhealthy_client new"]);
    assert_eq!(life.account.alerts(life.now, &life.config).len(), 1);
    assert_eq!(Kind::UnhealthyClient.as_str(), "unhealthy_client");
}
