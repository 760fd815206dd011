//! `andon query`: asks a running box and prints the answer as a table, JSON or CSV.
//!
//! `andon query series` and `andon query labels` ask what there is; a metric of that name is asked for behind `--`.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::Value;

use super::ask::{Place, ask};
use crate::clock::Clock;
use crate::model::{Timestamp, encode_path};

/// Steps of a range query that names no step.
const STEPS: f64 = 60.0;

/// Arguments of `andon query`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct QueryArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// What to ask, in PromQL
    #[arg(value_name = "EXPR", required = true)]
    expression: Option<String>,
    #[command(flatten)]
    place: Place,
    /// At which time: RFC 3339, or seconds since 1970; now if not given
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// From which time on; a duration such as 1h counts back from the end
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Up to which time; now if not given
    #[arg(long, value_name = "TIME", requires = "start")]
    end: Option<String>,
    /// How far the steps are apart, such as 30s; a sixtieth of the range if not given
    #[arg(long, value_name = "DURATION", requires = "start")]
    step: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What there is, instead of a question in PromQL.
#[derive(Debug, Subcommand)]
enum What {
    /// List the series that pass one of the selectors
    Series {
        /// Selectors, such as 'up{job="a"}'
        #[arg(value_name = "SELECTOR", required = true)]
        selectors: Vec<String>,
        #[command(flatten)]
        scope: Scope,
    },
    /// List the names of labels, or the values of one
    Labels {
        /// The label whose values are wanted
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Only of series that pass this selector; may be given several times
        #[arg(long = "match", value_name = "SELECTOR")]
        selectors: Vec<String>,
        #[command(flatten)]
        scope: Scope,
    },
}

/// For which time it is asked what there is, and how the answer is printed.
#[derive(Debug, Args)]
struct Scope {
    /// From which time on: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Up to which time
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people
    Table,
    /// The answer of the API as it is
    Json,
    /// A line of names, then one line for each value
    Csv,
}

/// Asks and prints.
#[expect(clippy::print_stdout, reason = "printing the answer is what this command is for")]
pub(super) fn run(args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let (format, path, parameters) = match &args.what {
        None => {
            let (path, parameters) = question(args, Clock::system().now())?;
            (args.format, path.to_owned(), parameters)
        }
        Some(what) => catalogue(what),
    };
    let url = args.place.address(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask(Method::GET, &url, &parameters))?;
    match (format, &args.what) {
        (Format::Json, _) => println!("{answer}"),
        (Format::Table, None) => print!("{}", table(&rows(&answer))),
        (Format::Csv, None) => print!("{}", csv(&rows(&answer))),
        (Format::Table, Some(_)) => print!("{}", lines(&names(&answer))),
        (Format::Csv, Some(what)) => {
            let head = if matches!(what, What::Series { .. }) { "series" } else { "label" };
            let quoted: Vec<String> = names(&answer).iter().map(|name| quoted(name)).collect();
            print!("{head}\n{}", lines(&quoted));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns how what there is is printed, and the path and parameters of the API for it.
fn catalogue(what: &What) -> (Format, String, Vec<(&'static str, String)>) {
    let (path, selectors, scope) = match what {
        What::Series { selectors, scope } => ("/api/v1/series".to_owned(), selectors, scope),
        What::Labels { name: None, selectors, scope } => ("/api/v1/labels".to_owned(), selectors, scope),
        What::Labels { name: Some(name), selectors, scope } => {
            (format!("/api/v1/label/{}/values", encode_path(name)), selectors, scope)
        }
    };
    let mut parameters: Vec<(&str, String)> = selectors.iter().map(|s| ("match[]", s.clone())).collect();
    parameters.extend(scope.start.iter().map(|start| ("start", start.clone())));
    parameters.extend(scope.end.iter().map(|end| ("end", end.clone())));
    (scope.format, path, parameters)
}

/// Returns the names that an answer lists: of labels, of their values, or of series.
fn names(answer: &Value) -> Vec<String> {
    let name = |item: &Value| item.as_str().map_or_else(|| series_name(item), str::to_owned);
    answer["data"].as_array().into_iter().flatten().map(name).collect()
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Reads the end of a span: now if none was given.
pub(super) fn end(end: Option<&str>, now: Timestamp) -> anyhow::Result<Timestamp> {
    Ok(end.map_or(Ok(now), Timestamp::parse)?)
}

/// Reads the beginning of a span; a duration counts back from the end.
pub(super) fn beginning(start: &str, end: Timestamp) -> anyhow::Result<Timestamp> {
    let start = match crate::model::parse_duration(start) {
        Ok(ago) => Timestamp::from_millis(end.as_millis() - i64::try_from(ago.as_millis())?),
        Err(_) => Timestamp::parse(start)?,
    };
    if start >= end {
        bail!("the range must begin before it ends");
    }
    Ok(start)
}

/// Returns the path and parameters of the API for what was asked.
fn question(args: &QueryArgs, now: Timestamp) -> anyhow::Result<(&'static str, Vec<(&'static str, String)>)> {
    let query = ("query", args.expression.clone().unwrap_or_default());
    let Some(start) = &args.start else {
        let time = args.time.as_deref().map_or(Ok(now), Timestamp::parse)?;
        return Ok(("/api/v1/query", vec![query, ("time", time.as_seconds().to_string())]));
    };
    let end = end(args.end.as_deref(), now)?;
    let start = beginning(start, end)?;
    let step_s = match &args.step {
        Some(step) => crate::model::parse_duration(step)?.as_secs_f64(),
        None => (end.since(start).as_secs_f64() / STEPS).max(1.0).round(),
    };
    let times = [("start", start.as_seconds()), ("end", end.as_seconds()), ("step", step_s)];
    let times = times.map(|(name, seconds)| (name, seconds.to_string()));
    Ok(("/api/v1/query_range", std::iter::once(query).chain(times).collect()))
}

/// One value of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    time: String,
    series: String,
    value: String,
}

/// Returns the values of an answer in its order.
fn rows(answer: &Value) -> Vec<Row> {
    let data = &answer["data"];
    let row = |series: &str, point: &Value| Row {
        time: point[0].as_f64().map(|s| Timestamp::from_seconds(s).to_rfc3339()).unwrap_or_default(),
        series: series.to_owned(),
        value: point[1].as_str().unwrap_or_default().to_owned(),
    };
    let Some(kind) = data["resultType"].as_str() else { return Vec::new() };
    if matches!(kind, "scalar" | "string") {
        return vec![row("", &data["result"])];
    }
    let mut rows = Vec::new();
    for series in data["result"].as_array().into_iter().flatten() {
        let name = series_name(&series["metric"]);
        match series.get("value") {
            Some(point) => rows.push(row(&name, point)),
            None => rows.extend(series["values"].as_array().into_iter().flatten().map(|point| row(&name, point))),
        }
    }
    rows
}

/// Returns a series as PromQL writes it.
fn series_name(metric: &Value) -> String {
    let labels = metric.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        labels.filter(|(name, _)| *name != "__name__").map(|(name, value)| format!("{name}={value}")).collect();
    let name = metric["__name__"].as_str().unwrap_or_default();
    if pairs.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(", ")) }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no series\n".to_owned();
    }
    let width = |column: fn(&Row) -> &str| rows.iter().map(|r| column(r).chars().count()).max().unwrap_or(0);
    let (times, series) = (width(|r| &r.time), width(|r| &r.series));
    let line = |r: &Row| {
        let line = format!("{:times$}  {:series$}  {}", r.time, r.series, r.value);
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

fn csv(rows: &[Row]) -> String {
    let line = |r: &Row| format!("{},{},{}\n", r.time, quoted(&r.series), quoted(&r.value));
    std::iter::once("time,series,value\n".to_owned()).chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(start: Option<&str>, step: Option<&str>) -> QueryArgs {
        QueryArgs {
            what: None,
            expression: Some("up".to_owned()),
            place: Place::default(),
            time: None,
            start: start.map(str::to_owned),
            end: None,
            step: step.map(str::to_owned),
            format: Format::Table,
        }
    }

    #[track_caller]
    fn check(start: Option<&str>, step: Option<&str>, expected: &str) {
        let (path, parameters) = question(&args(start, step), Timestamp::from_millis(7_200_000)).unwrap();
        let text: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(format!("{path} {}", text.join(" ")), expected);
    }

    #[test]
    fn a_question_becomes_the_parameters_of_the_api() {
        check(None, None, "/api/v1/query query=up time=7200");
        check(Some("1h"), None, "/api/v1/query_range query=up start=3600 end=7200 step=60");
        check(Some("60"), Some("1m"), "/api/v1/query_range query=up start=60 end=7200 step=60");
        assert!(question(&args(Some("9000"), None), Timestamp::from_millis(7_200_000)).is_err());
    }

    #[test]
    fn answers_are_printed_in_columns_or_as_csv() {
        let vector = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\"b"}, "value": [1.5, "1"]},
            {"metric": {}, "value": [1.5, "NaN"]},
        ]}});
        assert_eq!(
            table(&rows(&vector)),
            "1970-01-01T00:00:01.500Z  up{job=\"a\\\"b\"}  1\n1970-01-01T00:00:01.500Z  {}              NaN\n"
        );
        assert_eq!(
            csv(&rows(&vector)),
            "time,series,value\n1970-01-01T00:00:01.500Z,\"up{job=\"\"a\\\"\"b\"\"}\",\"1\"\n1970-01-01T00:00:01.500Z,\"{}\",\"NaN\"\n"
        );
        let scalar = serde_json::json!({"data": {"resultType": "scalar", "result": [1, "2"]}});
        assert_eq!(rows(&scalar)[0].value, "2");
        let matrix = serde_json::json!({"data": {"resultType": "matrix", "result": [
            {"metric": {"__name__": "up"}, "values": [[1, "0"], [2, "1"]]},
        ]}});
        assert_eq!(rows(&matrix).len(), 2);
        assert_eq!(table(&[]), "no series\n");
    }
}
