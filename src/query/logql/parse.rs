//! The text of a query to a [`Filter`].

use regex::Regex;

use super::filter::{Comparison, LabelFilter, LineFilter, LineText, Unit};
use super::lex::Cursor;
use super::plan::{Filter, Parser, Stage};
use super::{Result, unit};
use crate::model::{MatchOp, Matcher, search_regex};

/// Upper bound of a query's text, bytes.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// How deep parentheses may nest.
const DEPTH_MAX: usize = 64;
/// How many filters and stages a query may have.
const STAGES_MAX: usize = 128;

/// Signs of a matcher of texts; a sign that begins another comes after it.
const MATCH_SIGNS: [(&str, MatchOp); 4] =
    [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];

/// Signs of a line filter: whether the text is wanted, and whether it is an expression.
const LINE_SIGNS: [(&str, (bool, bool)); 4] =
    [("|=", (true, false)), ("|~", (true, true)), ("!=", (false, false)), ("!~", (false, true))];

/// Signs of a label filter.
const LABEL_SIGNS: [(&str, Sign); 9] = [
    ("=~", Sign::Text(MatchOp::Regex)),
    ("!~", Sign::Text(MatchOp::NotRegex)),
    ("!=", Sign::Either(MatchOp::NotEqual, Comparison::NotEqual)),
    ("==", Sign::Either(MatchOp::Equal, Comparison::Equal)),
    ("=", Sign::Either(MatchOp::Equal, Comparison::Equal)),
    (">=", Sign::Number(Comparison::GreaterOrEqual)),
    (">", Sign::Number(Comparison::Greater)),
    ("<=", Sign::Number(Comparison::LessOrEqual)),
    ("<", Sign::Number(Comparison::Less)),
];

#[derive(Clone, Copy)]
enum Sign {
    Text(MatchOp),
    Number(Comparison),
    Either(MatchOp, Comparison),
}

/// Stages that LogQL has and this room has not.
const UNSUPPORTED_STAGES: [&str; 9] =
    ["line_format", "label_format", "unwrap", "regexp", "pattern", "unpack", "decolorize", "drop", "keep"];

/// Reads a query.
///
/// # Errors
/// [`super::Error::Parse`] at the first place that is not understood.
pub(super) fn parse(query: &str) -> Result<Filter> {
    let mut cursor = Cursor::new(query);
    if query.len() > QUERY_BYTES_MAX {
        return cursor.error_at(0, format!("the query is longer than {QUERY_BYTES_MAX} bytes"));
    }
    let matchers = selector(&mut cursor)?;
    let mut filter = Filter { matchers, line_filters: Vec::new(), stages: Vec::new() };
    while !cursor.is_at_end() {
        let mark = cursor.mark();
        if filter.line_filters.len() + filter.stages.len() >= STAGES_MAX {
            return cursor.error_at(mark, format!("more than {STAGES_MAX} filters"));
        }
        if let Some((is_wanted, is_regex)) = cursor.eat_one_of(&LINE_SIGNS) {
            filter.line_filters.push(line_filter(&mut cursor, is_wanted, is_regex)?);
        } else if cursor.eat("|") {
            filter.stages.push(stage(&mut cursor)?);
        } else {
            return cursor.expected("a filter such as |= \"text\" or | json");
        }
    }
    Ok(filter)
}

fn selector(cursor: &mut Cursor<'_>) -> Result<Vec<Matcher>> {
    let mark = cursor.mark();
    if let Some(name) = cursor.peek_word() {
        return cursor.error_at(
            mark,
            format!("{name}: queries over lines only for now; expected a stream selector such as {{job=\"devices\"}}"),
        );
    }
    if !cursor.eat("{") {
        return cursor.expected("a stream selector such as {job=\"devices\"}");
    }
    let mut matchers = Vec::new();
    while !cursor.eat("}") {
        if !matchers.is_empty() && !cursor.eat(",") {
            return cursor.expected("\",\" or \"}\"");
        }
        if !matchers.is_empty() && cursor.eat("}") {
            break;
        }
        let Some(name) = cursor.word() else { return cursor.expected("a label name") };
        let Some(op) = cursor.eat_one_of(&MATCH_SIGNS) else { return cursor.expected("one of = != =~ !~") };
        matchers.push(matcher(cursor, name, op)?);
    }
    Ok(matchers)
}

fn matcher(cursor: &mut Cursor<'_>, name: &str, op: MatchOp) -> Result<Matcher> {
    let mark = cursor.mark();
    let value = cursor.string()?;
    match Matcher::new(name, op, &value) {
        Ok(matcher) => Ok(matcher),
        Err(error) => cursor.error_at(mark, error.to_string()),
    }
}

fn line_filter(cursor: &mut Cursor<'_>, is_wanted: bool, is_regex: bool) -> Result<LineFilter> {
    let mut texts = Vec::new();
    loop {
        let mark = cursor.mark();
        let text = cursor.string()?;
        texts.push(if is_regex { LineText::Regex(regex(cursor, mark, &text)?) } else { LineText::Plain(text) });
        if !cursor.eat_word("or") {
            return Ok(LineFilter { is_wanted, texts });
        }
    }
}

fn regex(cursor: &Cursor<'_>, mark: usize, pattern: &str) -> Result<Regex> {
    search_regex(pattern).or_else(|error| cursor.error_at(mark, error.to_string()))
}

fn stage(cursor: &mut Cursor<'_>) -> Result<Stage> {
    let mark = cursor.mark();
    for (name, parser) in [("json", Parser::Json), ("logfmt", Parser::Logfmt)] {
        if !cursor.eat_word(name) {
            continue;
        }
        let mark = cursor.mark();
        if cursor.peek_word().is_some() {
            return cursor.error_at(mark, format!("parameters of {name} are not supported; it takes out all fields"));
        }
        return Ok(Stage::Parse(parser));
    }
    if let Some(name) = cursor.peek_word().filter(|name| UNSUPPORTED_STAGES.contains(name)) {
        return cursor.error_at(mark, format!("{name} is not supported"));
    }
    any_of(cursor, 0).map(Stage::Filter)
}

fn any_of(cursor: &mut Cursor<'_>, depth: usize) -> Result<LabelFilter> {
    let mut filter = all_of(cursor, depth)?;
    while cursor.eat_word("or") {
        filter = LabelFilter::Or(Box::new(filter), Box::new(all_of(cursor, depth)?));
    }
    Ok(filter)
}

fn all_of(cursor: &mut Cursor<'_>, depth: usize) -> Result<LabelFilter> {
    let mut filter = comparison(cursor, depth)?;
    // As in Loki, `a=1, b=2` and `a=1 b=2` mean `a=1 and b=2`.
    while cursor.eat_word("and") || cursor.eat(",") || cursor.peek_word().is_some_and(|word| word != "or") {
        filter = LabelFilter::And(Box::new(filter), Box::new(comparison(cursor, depth)?));
    }
    Ok(filter)
}

fn comparison(cursor: &mut Cursor<'_>, depth: usize) -> Result<LabelFilter> {
    let mark = cursor.mark();
    if depth > DEPTH_MAX {
        return cursor.error_at(mark, format!("parentheses nest deeper than {DEPTH_MAX}"));
    }
    if cursor.eat("(") {
        let filter = any_of(cursor, depth + 1)?;
        if !cursor.eat(")") {
            return cursor.expected("\")\"");
        }
        return Ok(filter);
    }
    let Some(name) = cursor.word() else { return cursor.expected("json, logfmt or a label name") };
    let Some(sign) = cursor.eat_one_of(&LABEL_SIGNS) else {
        return cursor.expected("one of = != =~ !~ > >= < <=");
    };
    let mark = cursor.mark();
    match (sign, cursor.number()) {
        (Sign::Text(op) | Sign::Either(op, _), None) => matcher(cursor, name, op).map(LabelFilter::Text),
        (Sign::Number(comparison) | Sign::Either(_, comparison), Some(text)) => {
            let Some((value, unit)) = number(text) else {
                return cursor.error_at(mark, format!("{text:?} is not a number, a duration or a size"));
            };
            Ok(LabelFilter::Number { name: name.to_owned(), comparison, value, unit })
        }
        (Sign::Number(_), None) => cursor.expected("a number, a duration such as 250ms or a size such as 10KB"),
        (Sign::Text(_), Some(_)) => cursor.error_at(mark, "an expression stands in quotes"),
    }
}

fn number(text: &str) -> Option<(f64, Unit)> {
    let plain = text.parse().ok().map(|value| (value, Unit::Plain));
    plain
        .or_else(|| unit::parse_duration_ns(text).map(|value| (value, Unit::Nanoseconds)))
        .or_else(|| unit::parse_bytes(text).map(|value| (value, Unit::Bytes)))
}
