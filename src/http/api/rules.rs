//! `rules` and `alerts`: groups, rules and their alerts in the shapes of Prometheus 3. Beyond upstream the
//! answer of `rules` has `mistakes`: what is wrong in the files, with line and rule.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::alerts::AlertObject;
use super::format::{ApiError, LabelsObject, success};
use super::parameters::Parameters;
use crate::http::AppState;
use crate::model::{AlertState, Matcher, Timestamp};
use crate::rules::{GroupSnapshot, Mistake, RuleKind, RuleSnapshot};

/// What upstream writes for a time that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns the paths of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/v1/rules", get(rules))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rules<'a> {
    groups: Vec<Group<'a>>,
    /// What asks for the groups that follow; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
    mistakes: Vec<MistakeObject<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'a> {
    name: &'a str,
    file: &'a str,
    rules: Vec<Rule<'a>>,
    interval: f64,
    limit: usize,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rule<'a> {
    Alerting(Box<Alerting<'a>>),
    Recording(Recording<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alerting<'a> {
    state: &'static str,
    name: &'a str,
    query: &'a str,
    duration: f64,
    keep_firing_for: f64,
    labels: LabelsObject<'a>,
    annotations: LabelsObject<'a>,
    alerts: Vec<AlertObject<'a>>,
    health: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_error: &'a str,
    evaluation_time: f64,
    last_evaluation: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recording<'a> {
    name: &'a str,
    query: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<LabelsObject<'a>>,
    health: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_error: &'a str,
    evaluation_time: f64,
    last_evaluation: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct MistakeObject<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    group: &'a str,
    rule: &'a str,
    message: &'a str,
}

/// Which rules are asked for.
struct Filter<'a> {
    with_alerting: bool,
    with_recording: bool,
    with_alerts: bool,
    names: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    /// A rule's labels, as they stand in the file, must pass one of these sets; none: all pass.
    selectors: Vec<Vec<Matcher>>,
}

/// Which part of the groups is asked for.
struct Part<'a> {
    groups_max: usize,
    /// The first one, as the answer before this one named it.
    from: Option<&'a str>,
}

impl<'a> Filter<'a> {
    fn read(parameters: &'a Parameters) -> Result<Self, ApiError> {
        let kind = parameters.get("type").unwrap_or("").to_lowercase();
        let (with_alerting, with_recording) = match kind.as_str() {
            "" => (true, true),
            "alert" => (true, false),
            "record" => (false, true),
            other => return Err(ApiError::parameter("type", format_args!("not supported value {other:?}"))),
        };
        let exclude = parameters.get("exclude_alerts").unwrap_or("").to_lowercase();
        let with_alerts = match exclude.as_str() {
            "" | "false" | "f" | "0" => true,
            "true" | "t" | "1" => false,
            other => {
                let reason = format_args!("error converting exclude_alerts: {other:?} is not a boolean");
                return Err(ApiError::parameter("exclude_alerts", reason));
            }
        };
        Ok(Filter {
            with_alerting,
            with_recording,
            with_alerts,
            names: parameters.all("rule_name[]").collect(),
            groups: parameters.all("rule_group[]").collect(),
            files: parameters.all("file[]").collect(),
            selectors: parameters.selectors("match[]")?,
        })
    }

    fn takes_group(&self, group: &GroupSnapshot) -> bool {
        let among = |wanted: &[&str], one: &str| wanted.is_empty() || wanted.contains(&one);
        among(&self.groups, &group.name) && among(&self.files, &group.file)
    }

    fn takes_rule(&self, rule: &RuleSnapshot) -> bool {
        let by_kind = match rule.kind {
            RuleKind::Alerting(_) => self.with_alerting,
            RuleKind::Recording => self.with_recording,
        };
        let passes = |set: &Vec<Matcher>| set.iter().all(|m| m.matches(rule.labels.get(m.name()).unwrap_or("")));
        by_kind
            && (self.names.is_empty() || self.names.contains(&rule.name.as_str()))
            && (self.selectors.is_empty() || self.selectors.iter().any(passes))
    }
}

impl<'a> Part<'a> {
    fn read(parameters: &'a Parameters) -> Result<Self, ApiError> {
        let from = parameters.get("group_next_token");
        let Some(text) = parameters.get("group_limit") else {
            let reason = "group_limit needs to be present in order to paginate over the groups";
            return if from.is_some() {
                Err(ApiError::parameter("group_next_token", reason))
            } else {
                Ok(Part { groups_max: usize::MAX, from })
            };
        };
        let wrong = |reason: &str| ApiError::parameter("group_limit", reason);
        match text.parse::<i32>() {
            Ok(limit) => match usize::try_from(limit) {
                Ok(groups_max) if groups_max > 0 => Ok(Part { groups_max, from }),
                _ => Err(wrong("group_limit needs to be greater than 0")),
            },
            Err(_) => Err(wrong("group_limit needs to be a valid number")),
        }
    }

    /// Cuts the part out of all groups; the second is what asks for the next.
    fn cut(&self, mut groups: Vec<Group<'a>>) -> Result<(Vec<Group<'a>>, Option<String>), ApiError> {
        if let Some(token) = self.from {
            let first = groups.iter().position(|group| group.token() == token).ok_or_else(|| {
                let reason = format_args!("invalid group_next_token '{token}'. were rule groups changed?");
                ApiError::parameter("group_next_token", reason)
            })?;
            groups.drain(..first);
        }
        let next = groups.get(self.groups_max).map(Group::token);
        groups.truncate(self.groups_max);
        Ok((groups, next))
    }
}

impl Group<'_> {
    /// Returns what names the group to who asks for a part of all.
    fn token(&self) -> String {
        let digest = Sha256::digest(format!("{};{}", self.file, self.name));
        digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }
}

async fn rules(State(app): State<AppState>, parameters: Parameters) -> Result<Response, ApiError> {
    let (filter, part) = (Filter::read(&parameters)?, Part::read(&parameters)?);
    let snapshot = app.rules.snapshot();
    let groups = snapshot.groups.iter().filter(|g| filter.takes_group(g)).map(|g| group(g, &filter));
    let mistakes = snapshot.mistakes.iter().map(mistake).collect();
    let (groups, group_next_token) = part.cut(groups.filter(|g| !g.rules.is_empty()).collect())?;
    Ok(success(Rules { groups, group_next_token, mistakes }))
}

fn group<'a>(group: &'a GroupSnapshot, filter: &Filter<'_>) -> Group<'a> {
    let rules = group.rules.iter().filter(|r| filter.takes_rule(r));
    Group {
        name: &group.name,
        file: &group.file,
        rules: rules.map(|r| rule(r, filter.with_alerts)).collect(),
        interval: group.interval.as_secs_f64(),
        limit: group.limit,
        evaluation_time: group.evaluation_time.as_secs_f64(),
        last_evaluation: time(group.last_evaluation),
    }
}

fn rule(rule: &RuleSnapshot, with_alerts: bool) -> Rule<'_> {
    let evaluation_time = rule.evaluation_time.as_secs_f64();
    match &rule.kind {
        RuleKind::Recording => Rule::Recording(Recording {
            name: &rule.name,
            query: &rule.expression,
            labels: (!rule.labels.is_empty()).then_some(LabelsObject(&rule.labels)),
            health: rule.health.as_str(),
            last_error: &rule.last_error,
            evaluation_time,
            last_evaluation: time(rule.last_evaluation),
            kind: "recording",
        }),
        RuleKind::Alerting(alerting) => {
            let alerts = alerting.alerts.iter().filter(|a| with_alerts && a.state != AlertState::Resolved);
            Rule::Alerting(Box::new(Alerting {
                state: rule.state(),
                name: &rule.name,
                query: &rule.expression,
                duration: alerting.hold.as_secs_f64(),
                keep_firing_for: alerting.keep_firing.as_secs_f64(),
                labels: LabelsObject(&rule.labels),
                annotations: LabelsObject(&alerting.annotations),
                alerts: alerts.map(AlertObject::of).collect(),
                health: rule.health.as_str(),
                last_error: &rule.last_error,
                evaluation_time,
                last_evaluation: time(rule.last_evaluation),
                kind: "alerting",
            }))
        }
    }
}

fn mistake(mistake: &Mistake) -> MistakeObject<'_> {
    let Mistake { file, line, column, group, rule, message } = mistake;
    MistakeObject { file, line: *line, column: *column, group, rule, message }
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NEVER.to_owned(), Timestamp::to_rfc3339)
}
