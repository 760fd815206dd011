//! The routing tree: which receivers hear of an alarm, and which alarms are told together. Pure.
//!
//! Source: Alertmanager, `dispatch/route.go`: the root takes everything; of the children the first that
//! matches, and those after it while they say `continue`; if none does, the node itself.

use super::config::{GroupBy, Route};
use crate::model::{Labels, Matcher};

/// A route that takes an alarm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'r> {
    pub(super) route: &'r Route,
    /// Its place in the tree, with matchers, for people and other programs: `{}/{severity="critical"}`.
    pub(super) path: &'r str,
    /// Its place in the tree as positions: tells routes with the same matchers apart.
    pub(super) index: usize,
}

/// The tree with each node's path, depth first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    root: Route,
    paths: Vec<String>,
}

impl Tree {
    pub(super) fn new(root: Route) -> Self {
        let mut paths = Vec::new();
        name(&root, "", &mut paths);
        Tree { root, paths }
    }

    /// Returns the routes that take an alarm with these labels, in order; at least one.
    pub(super) fn routes(&self, labels: &Labels) -> Vec<Taken<'_>> {
        let mut taken = Vec::new();
        self.visit(&self.root, 0, labels, &mut taken);
        taken
    }

    fn visit<'r>(&'r self, route: &'r Route, index: usize, labels: &Labels, taken: &mut Vec<Taken<'r>>) {
        let before = taken.len();
        let mut child_index = index + 1;
        for child in &route.routes {
            if child.matchers.iter().all(|m| m.matches_labels(labels)) {
                self.visit(child, child_index, labels, taken);
                if !child.continues {
                    break;
                }
            }
            child_index += size(child);
        }
        if taken.len() == before {
            let path = self.paths.get(index).map_or("", String::as_str);
            taken.push(Taken { route, path, index });
        }
    }
}

/// Returns how many nodes a route and all below it are.
fn size(route: &Route) -> usize {
    1 + route.routes.iter().map(size).sum::<usize>()
}

fn name(route: &Route, parent: &str, paths: &mut Vec<String>) {
    // In upstream's order, whatever that of the settings.
    let mut matchers: Vec<&Matcher> = route.matchers.iter().collect();
    matchers.sort_by(|a, b| (a.name(), a.value(), a.op().as_str()).cmp(&(b.name(), b.value(), b.op().as_str())));
    let matchers: Vec<String> = matchers.into_iter().map(Matcher::to_string).collect();
    let own = format!("{{{}}}", matchers.join(","));
    let path = if parent.is_empty() { own } else { format!("{parent}/{own}") };
    paths.push(path.clone());
    for child in &route.routes {
        name(child, &path, paths);
    }
}

/// Returns the labels that an alarm's group has on this route.
pub(super) fn group_labels(route: &Route, labels: &Labels) -> Labels {
    match &route.group_by {
        GroupBy::All => labels.clone(),
        GroupBy::Labels(names) => labels.keep(names),
    }
}
