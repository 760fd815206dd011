//! Relabelling rules as Prometheus writes them.

use crate::model::{AnchoredRegex, RelabelAction, RelabelRule};
use crate::yaml::{self, Fields, Item, Mistake, Report};

const KEYS: &[&str] = &["source_labels", "separator", "regex", "modulus", "target_label", "replacement", "action"];

/// Reads a list of rules that stands alone, as somebody would try it out; the answer to mistakes is all of them.
pub(crate) fn read_text(text: &str) -> Result<Vec<RelabelRule>, String> {
    const KEY: &str = "rules";
    let report = Report::new("line");
    // What stands under a key may be indented or not.
    let node = yaml::parse(&format!("{KEY}:\n{text}"), &report);
    let rules = Item::root(&node, &report).fields(&[KEY]).map(|fields| read(&fields, KEY)).unwrap_or_default();
    let (mistakes, _) = report.into_parts();
    let told = |mut mistake: Mistake| {
        // The key's line is not the asker's.
        mistake.line = mistake.line.saturating_sub(1);
        mistake.to_string()
    };
    match mistakes {
        None => Ok(rules),
        Some(mistakes) => Err(mistakes.list.into_iter().map(told).collect::<Vec<_>>().join("\n")),
    }
}

/// Reads the list of rules under a key.
pub(super) fn read(fields: &Fields<'_>, key: &str) -> Vec<RelabelRule> {
    fields.items(key).iter().filter_map(rule).collect()
}

fn rule(item: &Item<'_>) -> Option<RelabelRule> {
    let fields = item.fields(KEYS)?;
    let action = match fields.get("action") {
        None => RelabelAction::Replace,
        // Upstream takes any case.
        Some(item) => {
            let text = item.string()?.to_lowercase();
            match RelabelAction::ALL.into_iter().find(|action| action.as_str() == text) {
                Some(action) => action,
                None => return item.one_of(&RelabelAction::ALL.map(RelabelAction::as_str)).and(None),
            }
        }
    };
    let regex_text = fields.string("regex").unwrap_or_else(|| "(.*)".to_owned());
    let regex = match AnchoredRegex::new(&regex_text) {
        Ok(regex) => regex,
        Err(error) => return fields.get("regex").and_then(|i| i.mistake(error.to_string())),
    };
    let rule = RelabelRule {
        source_labels: fields.strings("source_labels"),
        separator: fields.string("separator").unwrap_or_else(|| ";".to_owned()),
        regex,
        modulus: fields.get("modulus").and_then(|i| i.integer_within(0, i64::MAX)).map_or(0, i64::unsigned_abs),
        target_label: fields.string("target_label").unwrap_or_default(),
        replacement: fields.string("replacement").unwrap_or_else(|| "$1".to_owned()),
        action,
    };
    check(&fields, &rule)?;
    Some(rule)
}

/// Checks what an action needs and what it must not have. Folder: Prometheus 3, `relabel.Config.Validate`.
fn check(fields: &Fields<'_>, rule: &RelabelRule) -> Option<()> {
    use RelabelAction::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, Lowercase, Replace, Uppercase};

    let word = rule.action.as_str();
    let needs_target = matches!(rule.action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
    if needs_target && rule.target_label.is_empty() {
        return fields.item().mistake(format!("action {word} needs target_label"));
    }
    if rule.action == HashMod && rule.modulus == 0 {
        return fields.item().mistake("action hashmod needs modulus, at least 1");
    }
    let foreign: &[&str] = match rule.action {
        LabelDrop | LabelKeep => &["source_labels", "target_label", "modulus", "separator", "replacement"],
        KeepEqual | DropEqual => &["regex", "modulus", "separator", "replacement"],
        Lowercase | Uppercase => &["replacement"],
        _ => &[],
    };
    let wrong: Vec<&&str> = foreign.iter().filter(|key| fields.get(key).is_some()).collect();
    for key in &wrong {
        let _: Option<()> = fields.get(key).and_then(|i| i.mistake(format!("has no meaning with action {word}")));
    }
    wrong.is_empty().then_some(())
}
