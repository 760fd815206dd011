//! An answer as a file for a spreadsheet: a row per point in time, a column per series.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::{matrix, over_time};
use super::{Step, expressions};
use crate::http::AppState;
use crate::http::pages::ask::ask;
use crate::http::pages::visit::Visit;
use crate::http::pages::window::Window;
use crate::model::{LABEL_NAME, Labels};
use crate::query::promql::{RangeSeries, format_value};

/// Columns at most: with the most points of a window the file stays below 20 MB.
const COLUMNS_MAX: usize = 400;

/// Answers `GET /explore/table.csv`: the first expression of the address over its window.
pub(super) async fn csv(State(state): State<AppState>, visit: Visit) -> Response {
    let Some(expression) = expressions(&visit.params).into_iter().next() else {
        return (StatusCode::BAD_REQUEST, "q is missing\n").into_response();
    };
    let window = Window::read(&visit.params, Duration::from_secs(3600), visit.now);
    let step = Step::read(&visit.params, &window).used;
    let found = ask(&state, visit.now, move |asker| {
        over_time(asker, &expression, &window, step, asker.options()).map(|result| matrix(result.value))
    })
    .await;
    match found {
        Ok(Ok(series)) if series.len() > COLUMNS_MAX => {
            let told = format!("{} series are more than {COLUMNS_MAX} columns: narrow the question\n", series.len());
            (StatusCode::UNPROCESSABLE_ENTITY, told).into_response()
        }
        Ok(Ok(series)) => {
            let headers = [
                (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"andon.csv\""),
            ];
            (headers, write(&series)).into_response()
        }
        Ok(Err(error)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}\n")).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the question broke off; the log says why\n").into_response(),
    }
}

/// Writes series in the form of RFC 4180. Times are RFC 3339, UTC; where a series has no value its cell is empty.
fn write(series: &[RangeSeries]) -> String {
    let mut rows: BTreeMap<_, Vec<(usize, f64)>> = BTreeMap::new();
    for (column, one) in series.iter().enumerate() {
        for point in &one.points {
            rows.entry(point.timestamp).or_default().push((column, point.value));
        }
    }
    let mut text = "time".to_owned();
    for one in series {
        text.push(',');
        text.push_str(&cell(&name_of(&one.labels)));
    }
    text.push_str("\r\n");
    for (time, values) in rows {
        text.push_str(&time.to_rfc3339());
        let mut at = 0;
        for (column, value) in values {
            text.extend(std::iter::repeat_n(',', column + 1 - at));
            text.push_str(&format_value(value));
            at = column + 1;
        }
        text.extend(std::iter::repeat_n(',', series.len() - at));
        text.push_str("\r\n");
    }
    text
}

/// Returns a series' name as PromQL has it, which no spreadsheet takes for a formula.
fn name_of(labels: &Labels) -> String {
    let pairs = labels.iter().filter(|(name, _)| *name != LABEL_NAME);
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={value:?}")).collect();
    let name = labels.metric_name();
    let name = if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') { name } else { "" };
    if pairs.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(",")) }
}

fn cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Sample, Timestamp};

    #[test]
    fn series_stand_beside_each_other() {
        let series = |pairs: &[(&str, &str)], points: &[(i64, f64)]| RangeSeries {
            labels: Labels::from_pairs(pairs.iter().copied()),
            points: points.iter().map(|(t, v)| Sample::new(Timestamp::from_millis(*t), *v)).collect(),
        };
        let text = write(&[
            series(&[("__name__", "up")], &[(0, 1.0), (1000, 0.5)]),
            series(&[("a", "=1,\"2\"")], &[(1000, f64::NAN)]),
            series(&[("__name__", "=cmd")], &[(2000, 3.0)]),
        ]);
        let expected = "time,up,\"{a=\"\"=1,\\\"\"2\\\"\"\"\"}\",{}\r\n1970-01-01T00:00:00Z,1,,\r\n\
                        1970-01-01T00:00:01Z,0.5,NaN,\r\n1970-01-01T00:00:02Z,,,3\r\n";
        assert_eq!(text.replace(".000Z", "Z"), expected);
        assert_eq!(write(&[]), "time\r\n");
    }
}
