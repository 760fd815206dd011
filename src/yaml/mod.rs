//! YAML with places: text to a tree whose nodes know line and column, and a reader that collects mistakes.
//!
//! Settings and rule files are written by people, who want to hear of all their mistakes at once. So the
//! text becomes a tree of [`Node`]s, and [`Item`] and [`Fields`] read it with types: what does not fit
//! goes to a [`Report`] with its line, column, key path and a suggestion, and reading goes on.
//!
//! In: text. Out: values, [`Mistakes`] sorted by line, and notes (what was understood but has no effect).
//! Anchors, aliases, merge keys and flow style are understood; size, depth and the number of nodes after
//! aliases are bounded. Not for: writing YAML, several documents in one text, other tags than the core ones.
//!
//! ```
//! use andon::yaml::{self, Report};
//!
//! let report = Report::new("rules.yml");
//! let root = yaml::parse("groups:\n  - name: line1\n    intervall: 5s\n    limit: many\n", &report);
//! let root = yaml::Item::root(&root, &report);
//! if let Some(file) = root.fields(&["groups"]) {
//!     for group in file.items("groups") {
//!         let Some(group) = group.fields(&["name", "interval", "limit", "rules"]) else { continue };
//!         assert_eq!(group.required_string("name").as_deref(), Some("line1"));
//!         assert_eq!(group.duration("interval"), None);
//!         assert_eq!(group.integer("limit"), None);
//!     }
//! }
//! let mistakes = report.finish().unwrap_err();
//! assert_eq!(
//!     mistakes.to_string(),
//!     "rules.yml:3:5: groups[0].intervall: unknown key; did you mean \"interval\"?\n\
//!      rules.yml:4:12: groups[0].limit: expected a whole number, found \"many\""
//! );
//! ```

mod mistake;
mod node;
mod parse;
mod read;
mod scalar;
mod suggest;

pub use mistake::{Mistake, Mistakes, Notes, Report};
pub use node::{Entry, Kind, Node};
pub use parse::parse;
pub use read::{Fields, Item};
pub use scalar::parse_byte_size;
pub use suggest::closest;

#[cfg(test)]
mod yaml_test;
