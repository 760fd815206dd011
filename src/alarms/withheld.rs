//! Which active alarms nobody is told of, and why: shelved, silenced, or muted by another alarm. Pure.

use std::collections::BTreeMap;

use super::snapshot::{Event, Transition};
use crate::model::{Alarm, Labels, Silence, Timestamp};

/// Fingerprints of active alarms that another one mutes, each with one that does.
pub type Inhibited = BTreeMap<u64, u64>;

/// What the journal has of alarms that nobody is told of.
#[derive(Debug, Clone, Default)]
pub(super) struct Withheld(BTreeMap<u64, Why>);

/// Why nobody is told: the event that said so, and until when it was to be.
#[derive(Debug, Clone, Copy)]
struct Why {
    event: Event,
    until: Option<Timestamp>,
}

/// What decides over what is told now.
pub(super) struct Deciders<'a> {
    pub(super) silences: &'a [Silence],
    /// `None` as long as it is not known: what was muted stays so.
    pub(super) inhibited: Option<&'a Inhibited>,
    /// Labels that silences may ask for beside the alarm's own.
    pub(super) external: &'a Labels,
    pub(super) now: Timestamp,
}

impl Withheld {
    /// Takes a transition of before.
    pub(super) fn replay(&mut self, transition: &Transition) {
        let fingerprint = transition.alarm.fingerprint;
        match transition.event {
            Event::Shelved | Event::Silenced | Event::Inhibited => {
                self.0.insert(fingerprint, Why { event: transition.event, until: transition.until });
            }
            Event::Raised | Event::Cleared | Event::Back => {
                self.0.remove(&fingerprint);
            }
            Event::Acknowledged => {}
        }
    }

    /// Takes how things are now and returns what is new. `active` are all active alarms.
    pub(super) fn compare<'a>(
        &mut self,
        active: impl Iterator<Item = &'a Alarm> + Clone,
        deciders: &Deciders<'_>,
    ) -> Vec<Transition> {
        let alarms: BTreeMap<u64, &Alarm> = active.map(|a| (a.fingerprint, a)).collect();
        self.0.retain(|fingerprint, _| alarms.contains_key(fingerprint));
        let mut transitions = Vec::new();
        for (fingerprint, alarm) in &alarms {
            let before = self.0.get(fingerprint).copied();
            let Some(fresh) = deciders.reason(alarm, before, &alarms) else {
                if let Some(before) = before {
                    self.0.remove(fingerprint);
                    let at = deciders.ended_at(alarm, before).max(alarm.raised_at);
                    transitions.push(Transition::of(Event::Back, at, (*alarm).clone()));
                }
                continue;
            };
            if before.is_none_or(|why| why.event != fresh.event) {
                self.0.insert(*fingerprint, Why { event: fresh.event, until: fresh.until });
                transitions.push(fresh);
            }
        }
        transitions
    }
}

impl Deciders<'_> {
    /// Returns why nobody is told of an alarm; of several silences the one that says most: meant for this alarm alone,
    /// then the longest.
    fn reason(&self, alarm: &Alarm, before: Option<Why>, alarms: &BTreeMap<u64, &Alarm>) -> Option<Transition> {
        let told = |event| Transition::of(event, self.now, alarm.clone());
        let labels = alarm.labels_for_others(self.external);
        let mutes = self.silences.iter().filter(|s| s.mutes(&labels, self.now));
        if let Some(silence) = mutes.max_by_key(|s| (s.is_shelving(&alarm.labels), s.ends_at)) {
            let is_shelving = silence.is_shelving(&alarm.labels);
            return Some(Transition {
                by: silence.created_by.clone(),
                note: silence.comment.clone(),
                until: Some(silence.ends_at),
                ..told(if is_shelving { Event::Shelved } else { Event::Silenced })
            });
        }
        let by = match self.inhibited {
            Some(inhibited) => *inhibited.get(&alarm.fingerprint)?,
            None => return before.filter(|why| why.event == Event::Inhibited).map(|_| told(Event::Inhibited)),
        };
        let by = alarms.get(&by).map_or_else(|| format!("{by:016x}"), |a| a.name().to_owned());
        Some(Transition { by, ..told(Event::Inhibited) })
    }

    /// Returns when what kept an alarm back ended: of silences that may have been while the box was off.
    fn ended_at(&self, alarm: &Alarm, before: Why) -> Timestamp {
        if before.event == Event::Inhibited {
            return self.now;
        }
        let labels = alarm.labels_for_others(self.external);
        let over = self.silences.iter().filter(|s| s.ends_at <= self.now && s.matches(&labels));
        let known = over.map(|s| s.ends_at).max();
        known.or(before.until.filter(|until| *until <= self.now)).unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AlarmState, parse_matchers};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn alarm(name: &str) -> Alarm {
        let labels = Labels::from_pairs([("alertname", name), ("line", "7")]);
        Alarm {
            fingerprint: labels.stable_hash(),
            labels,
            annotations: Labels::empty(),
            state: AlarmState::Active,
            raised_at: at(0),
            cleared_at: None,
            acknowledgement: None,
            value: 1.0,
            expression: String::new(),
            source_url: String::new(),
            rule_version: 1,
            changed_at: at(0),
        }
    }

    fn silence(matchers: &str, from_s: i64, until_s: i64) -> Silence {
        Silence {
            id: "a".to_owned(),
            matchers: parse_matchers(matchers).unwrap(),
            starts_at: at(from_s),
            ends_at: at(until_s),
            updated_at: at(from_s),
            created_by: "Eva".to_owned(),
            comment: "jam".to_owned(),
        }
    }

    /// Event, time and by whom of what is new.
    #[track_caller]
    fn check(
        withheld: &mut Withheld,
        (silences, inhibited, now_s): (&[Silence], Option<&Inhibited>, i64),
        expected: &[(Event, i64, &str)],
    ) {
        let alarms = [alarm("Hot"), alarm("LineDown")];
        let external = Labels::from_pairs([("site", "north")]);
        let deciders = Deciders { silences, inhibited, external: &external, now: at(now_s) };
        let found = withheld.compare(alarms.iter(), &deciders);
        let told: Vec<_> =
            found.iter().map(|t| (t.event, (t.at.as_millis() - at(0).as_millis()) / 1000, t.by.as_str())).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_mutes_an_alarm_is_told_and_each_change_of_it() {
        let inhibited: Inhibited = [(alarm("Hot").fingerprint, alarm("LineDown").fingerprint)].into();
        let nothing = Inhibited::new();
        let silence = [silence("alertname=\"Hot\"", 20, 30)];
        let mut withheld = Withheld::default();
        check(&mut withheld, (&silence, Some(&inhibited), 10), &[(Event::Inhibited, 10, "LineDown")]);
        check(&mut withheld, (&silence, Some(&inhibited), 15), &[]);
        check(&mut withheld, (&silence, Some(&inhibited), 20), &[(Event::Silenced, 20, "Eva")]);
        check(&mut withheld, (&silence, Some(&inhibited), 31), &[(Event::Inhibited, 31, "LineDown")]);
        check(&mut withheld, (&silence, None, 32), &[]);
        check(&mut withheld, (&silence, Some(&nothing), 40), &[(Event::Back, 40, "")]);
    }

    #[test]
    fn a_silence_that_ended_while_the_box_was_off_ended_then() {
        let one = [silence("alertname=\"Hot\"", 10, 20)];
        let mut withheld = Withheld::default();
        check(&mut withheld, (&one, Some(&Inhibited::new()), 10), &[(Event::Silenced, 10, "Eva")]);
        let mut restarted = withheld.clone();
        check(&mut withheld, (&one, Some(&Inhibited::new()), 3600), &[(Event::Back, 20, "")]);
        // After five days the silence itself is forgotten; the journal knows until when it was to be.
        check(&mut restarted, (&[], Some(&Inhibited::new()), 9 * 86_400), &[(Event::Back, 20, "")]);
    }

    #[test]
    fn a_silence_may_ask_for_the_labels_that_others_see() {
        let one = [silence("alertname=\"Hot\", site=\"north\"", 10, 20)];
        let mut withheld = Withheld::default();
        check(&mut withheld, (&one, None, 10), &[(Event::Silenced, 10, "Eva")]);
        check(&mut withheld, (&one, None, 25), &[(Event::Back, 20, "")]);
    }

    #[test]
    fn a_silence_that_was_made_longer_ends_when_it_ended() {
        let mut withheld = Withheld::default();
        let one = [silence("alertname=\"Hot\"", 10, 20)];
        check(&mut withheld, (&one, None, 10), &[(Event::Silenced, 10, "Eva")]);
        let longer = [silence("alertname=\"Hot\"", 10, 60)];
        check(&mut withheld, (&longer, None, 30), &[]);
        check(&mut withheld, (&longer, None, 65), &[(Event::Back, 60, "")]);
    }
}
