//! The bus inside the process: who listens to what, and the hand-over of a message to them.
//!
//! A tree of tokens finds the listeners of a subject in time that depends on the subject's length, not on
//! the number of listeners. Nobody waits: a subscriber whose queue is full loses the message, which is
//! counted and told to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::queue::Queue;
use super::{Message, Subject, SubjectPattern};

/// Whose messages a subscriber wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// Only those that came over NATS from somebody else than this box.
    Remote,
}

/// How a message came to the router.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrival<'a> {
    /// Published on this box.
    Local,
    /// Over the NATS subscription of this pattern.
    Nats(&'a SubjectPattern),
}

/// What a request gets: the answer, or nothing if NATS says that nobody listens.
type Answer = Option<Message>;

#[derive(Debug, Default)]
pub(super) struct Router(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tree: Node,
    subscribers: HashMap<u64, Subscriber>,
    next_id: u64,
    /// How many subscribers hold each pattern.
    holders: BTreeMap<SubjectPattern, usize>,
    inboxes: HashMap<Subject, Inbox>,
}

#[derive(Debug)]
struct Subscriber {
    scope: Scope,
    /// In the order they were added.
    patterns: Vec<SubjectPattern>,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Inbox {
    sender: oneshot::Sender<Answer>,
    has_local_listener: bool,
}

/// One token of the tree.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Subscribers whose pattern ends here.
    here: Vec<u64>,
    /// Subscribers whose pattern ends with `>` after this token.
    rest: Vec<u64>,
    children: BTreeMap<Box<str>, Node>,
}

/// How many took a message and how many lost it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) delivered: u64,
    pub(super) dropped: u64,
}

impl Router {
    /// Adds a subscriber without patterns; returns its id.
    pub(super) fn join(&self, scope: Scope, queue: Arc<Queue>) -> u64 {
        let mut inner = self.lock();
        inner.next_id += 1;
        let id = inner.next_id;
        inner.subscribers.insert(id, Subscriber { scope, patterns: Vec::new(), queue });
        id
    }

    /// Gives a subscriber one more pattern. Returns whether it is the first holder of that pattern.
    pub(super) fn add(&self, id: u64, pattern: &SubjectPattern) -> bool {
        let inner = &mut *self.lock();
        let Some(subscriber) = inner.subscribers.get_mut(&id) else { return false };
        if subscriber.patterns.contains(pattern) {
            return false;
        }
        subscriber.patterns.push(pattern.clone());
        inner.tree.insert(pattern, id);
        let holders = inner.holders.entry(pattern.clone()).or_default();
        *holders += 1;
        *holders == 1
    }

    /// Takes a pattern from a subscriber. Returns whether it had it, and whether nobody holds it any more.
    pub(super) fn remove(&self, id: u64, pattern: &SubjectPattern) -> (bool, bool) {
        let inner = &mut *self.lock();
        let Some(subscriber) = inner.subscribers.get_mut(&id) else { return (false, false) };
        let before = subscriber.patterns.len();
        subscriber.patterns.retain(|p| p != pattern);
        if subscriber.patterns.len() == before {
            return (false, false);
        }
        (true, inner.forget(id, pattern))
    }

    /// Removes a subscriber. Returns the patterns that nobody holds any more.
    pub(super) fn leave(&self, id: u64) -> Vec<SubjectPattern> {
        let inner = &mut *self.lock();
        let patterns = inner.subscribers.remove(&id).map(|s| s.patterns).unwrap_or_default();
        patterns.into_iter().filter(|pattern| inner.forget(id, pattern)).collect()
    }

    /// Returns how many distinct patterns are held.
    pub(super) fn pattern_count(&self) -> usize {
        self.lock().holders.len()
    }

    /// Returns the patterns that somebody holds.
    pub(super) fn held(&self) -> Vec<SubjectPattern> {
        self.lock().holders.keys().cloned().collect()
    }

    /// Tells whether anybody holds this pattern.
    pub(super) fn is_held(&self, pattern: &SubjectPattern) -> bool {
        self.lock().holders.contains_key(pattern)
    }

    /// Hands a message to everybody who listens, once each however many of its patterns match.
    pub(super) fn deliver(&self, message: &Message, arrival: Arrival<'_>) -> Delivery {
        let inner = &mut *self.lock();
        if let Some(inbox) = inner.inboxes.remove(&message.subject) {
            let _ = inbox.sender.send(Some(message.clone()));
            return Delivery { delivered: 1, dropped: 0 };
        }
        let mut ids = Vec::new();
        match arrival {
            Arrival::Local => inner.tree.find(message.subject.as_str(), &mut ids),
            Arrival::Nats(pattern) => inner.tree.at(pattern, &mut ids),
        }
        ids.sort_unstable();
        ids.dedup();
        let subscribers = ids.iter().filter_map(|id| inner.subscribers.get(id));
        let mut wanting = subscribers.filter(|subscriber| subscriber.wants(message, arrival)).peekable();
        let mut delivery = Delivery::default();
        if wanting.peek().is_some() {
            let message = Arc::new(message.clone());
            for subscriber in wanting {
                if subscriber.queue.offer(&message) { delivery.delivered += 1 } else { delivery.dropped += 1 }
            }
        }
        delivery
    }

    /// Opens a one-time address for the answer to a request.
    pub(super) fn open_inbox(&self, subject: Subject) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.lock().inboxes.insert(subject, Inbox { sender, has_local_listener: false });
        receiver
    }

    /// Notes that somebody on this box got the request, so that NATS knowing nobody means nothing.
    pub(super) fn heard_locally(&self, subject: &Subject) {
        if let Some(inbox) = self.lock().inboxes.get_mut(subject) {
            inbox.has_local_listener = true;
        }
    }

    /// Ends a request that nobody on NATS listens to, unless somebody here does.
    pub(super) fn nobody_on_nats(&self, subject: &Subject) {
        let mut inner = self.lock();
        if inner.inboxes.get(subject).is_some_and(|inbox| !inbox.has_local_listener)
            && let Some(inbox) = inner.inboxes.remove(subject)
        {
            let _ = inbox.sender.send(None);
        }
    }

    /// Closes an address; does nothing if the answer has come.
    pub(super) fn close_inbox(&self, subject: &Subject) {
        self.lock().inboxes.remove(subject);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes one holder off a pattern; returns whether it was the last.
    fn forget(&mut self, id: u64, pattern: &SubjectPattern) -> bool {
        self.tree.remove(pattern.tokens(), id);
        let Some(holders) = self.holders.get_mut(pattern) else { return false };
        *holders -= 1;
        if *holders > 0 {
            return false;
        }
        self.holders.remove(pattern);
        true
    }
}

impl Subscriber {
    /// Tells whether this arrival of the message is the one to take.
    ///
    /// NATS sends a message once per pattern that matches; only the arrival by the subscriber's first
    /// matching pattern counts.
    fn wants(&self, message: &Message, arrival: Arrival<'_>) -> bool {
        match arrival {
            Arrival::Local => self.scope == Scope::All,
            Arrival::Nats(by) => self.patterns.iter().find(|p| p.matches(&message.subject)) == Some(by),
        }
    }
}

impl Node {
    /// Adds an id under a pattern.
    pub(super) fn insert(&mut self, pattern: &SubjectPattern, id: u64) {
        let mut node = self;
        for token in pattern.tokens() {
            if token == ">" {
                node.rest.push(id);
                return;
            }
            node = node.children.entry(token.into()).or_default();
        }
        node.here.push(id);
    }

    /// Removes an id and the nodes that are empty then.
    pub(super) fn remove<'a>(&mut self, mut tokens: impl Iterator<Item = &'a str>, id: u64) {
        match tokens.next() {
            None => self.here.retain(|i| *i != id),
            Some(">") => self.rest.retain(|i| *i != id),
            Some(token) => {
                if let Some(child) = self.children.get_mut(token) {
                    child.remove(tokens, id);
                    if child.here.is_empty() && child.rest.is_empty() && child.children.is_empty() {
                        self.children.remove(token);
                    }
                }
            }
        }
    }

    /// Collects the ids whose patterns match a subject; an id may come more than once.
    pub(super) fn find(&self, subject: &str, ids: &mut Vec<u64>) {
        ids.extend(&self.rest);
        let (token, tail) = match subject.split_once('.') {
            Some((token, tail)) => (token, Some(tail)),
            None => (subject, None),
        };
        for child in [token, "*"].iter().filter_map(|t| self.children.get(*t)) {
            match tail {
                Some(tail) => child.find(tail, ids),
                None => ids.extend(&child.here),
            }
        }
    }

    /// Collects the ids that hold exactly this pattern.
    fn at(&self, pattern: &SubjectPattern, ids: &mut Vec<u64>) {
        let mut node = self;
        for token in pattern.tokens() {
            if token == ">" {
                ids.extend(&node.rest);
                return;
            }
            let Some(child) = node.children.get(token) else { return };
            node = child;
        }
        ids.extend(&node.here);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    fn message(subject: &str) -> Message {
        Message::new(subject.parse().unwrap(), "{}")
    }

    /// Joins with these patterns; the queue is given back.
    fn listener(router: &Router, scope: Scope, patterns: &[&str]) -> (u64, Arc<Queue>) {
        let queue = Arc::new(Queue::new(8, 10_000));
        let id = router.join(scope, queue.clone());
        for p in patterns {
            router.add(id, &pattern(p));
        }
        (id, queue)
    }

    fn heard(queue: &Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.take()).map(|m| m.subject.to_string()).collect()
    }

    #[test]
    fn the_tree_finds_what_matching_one_by_one_finds() {
        let patterns = ["a", "a.b", "a.*", "a.>", "*.b", ">", "*", "*.*", "a.b.>", "a.*.c", "*.>"];
        let subjects = ["a", "b", "a.b", "b.b", "a.c", "a.b.c", "a.b.c.d", "x.y.z"];
        let router = Router::default();
        let listeners: Vec<_> = patterns.iter().map(|p| (pattern(p), listener(&router, Scope::All, &[p]).1)).collect();
        for subject in subjects {
            router.deliver(&message(subject), Arrival::Local);
            for (p, queue) in &listeners {
                assert_eq!(!heard(queue).is_empty(), p.matches(&subject.parse().unwrap()), "{p} on {subject}");
            }
        }
    }

    #[test]
    fn overlapping_patterns_bring_a_message_once() {
        let router = Router::default();
        let (_, queue) = listener(&router, Scope::All, &["a.>", "a.b", "*.b"]);
        router.deliver(&message("a.b"), Arrival::Local);
        assert_eq!(heard(&queue), ["a.b"]);
        // NATS brings it once for each pattern.
        for by in ["a.b", "a.>", "*.b"] {
            router.deliver(&message("a.b"), Arrival::Nats(&pattern(by)));
        }
        assert_eq!(heard(&queue), ["a.b"]);
    }

    #[test]
    fn a_remote_listener_does_not_hear_this_box() {
        let router = Router::default();
        let (_, queue) = listener(&router, Scope::Remote, &["a.>"]);
        assert_eq!(router.deliver(&message("a.b"), Arrival::Local).delivered, 0);
        router.deliver(&message("a.c"), Arrival::Nats(&pattern("a.>")));
        assert_eq!(heard(&queue), ["a.c"]);
    }

    #[test]
    fn what_was_taken_and_what_was_lost_is_counted() {
        let router = Router::default();
        let (_, _queue) = listener(&router, Scope::All, &["a.>"]);
        let (_, other) = listener(&router, Scope::All, &["a.>"]);
        for _ in 0..8 {
            assert_eq!(router.deliver(&message("a.b"), Arrival::Local), Delivery { delivered: 2, dropped: 0 });
        }
        heard(&other);
        assert_eq!(router.deliver(&message("a.b"), Arrival::Local), Delivery { delivered: 1, dropped: 1 });
    }

    #[test]
    fn the_last_holder_of_a_pattern_is_known_and_nothing_is_left() {
        let router = Router::default();
        let (one, _) = listener(&router, Scope::All, &["a.>", "b"]);
        let (two, _) = listener(&router, Scope::All, &["a.>"]);
        assert_eq!(router.remove(two, &pattern("a.>")), (true, false));
        assert_eq!(router.remove(two, &pattern("a.>")), (false, false));
        assert_eq!(router.leave(one), [pattern("a.>"), pattern("b")]);
        let inner = router.lock();
        assert!(inner.holders.is_empty() && inner.tree.children.is_empty() && inner.tree.rest.is_empty());
    }
}
