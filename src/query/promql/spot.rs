//! Where somebody is writing in an expression that is not finished: what may stand at the cursor.
//!
//! No parser: half an expression does not parse. One pass over the text with a stack of open brackets is enough to
//! tell a label from its value, a list of labels from arguments, a duration from a name.

use super::syntax::aggregation_names;

/// What may stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A metric, a function, an aggregation, a keyword.
    Expression,
    /// The name of a label in braces, of the series that this selector finds (may be empty).
    LabelName(Selection),
    /// The value of this label.
    LabelValue(Selection, String),
    /// The name of a label in `by (...)` and the like.
    Grouping,
    /// A length of time.
    Duration,
    /// Nothing that could be offered: within a text, a comment, a number.
    Nothing,
}

/// What a selector says already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    /// The metric name before the braces; may be empty.
    pub(crate) name: String,
    /// The matchers that are finished, as written.
    pub(crate) matchers: String,
}

/// The cursor's place and the word at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// What may stand here.
    pub(crate) place: Place,
    /// What was written of the word before the cursor.
    pub(crate) word: String,
    /// The stretch that another word would replace, in bytes.
    pub(crate) start: usize,
    /// Its end.
    pub(crate) end: usize,
    /// Names in the whole text that may be metrics, in order, each once.
    pub(crate) metrics: Vec<String>,
}

/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 1000;
/// Metric names that are told.
const METRICS_MAX: usize = 16;
/// Words after which a list of labels stands in parentheses.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that are no metrics although no parenthesis follows.
const NO_METRICS: [&str; 10] = ["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "anchored", "smoothed"];

/// A bracket that is open.
#[derive(Debug, Clone)]
enum Open {
    /// `name{`; where what is not finished begins, and the label before an operator.
    Braces {
        name: String,
        from: usize,
        item: usize,
        label: String,
    },
    Labels,
    Arguments,
    Range,
}

/// Reads a text up to the cursor, which is a place in bytes; what follows counts for metric names only.
pub(crate) fn spot(text: &str, cursor: usize) -> Spot {
    let cursor = (0..=cursor.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let before = text.get(..cursor).unwrap_or("");
    let mut reader = Reader::default();
    reader.read(before);
    let (place, start) = reader.place(before);
    let rest = text.get(cursor..).unwrap_or("");
    let is_value = matches!(place, Place::LabelValue(..));
    let belongs = |c: char| is_word(c) || is_value && matches!(c, '.' | '-' | '/');
    let tail: usize = rest.chars().take_while(|c| belongs(*c)).map(char::len_utf8).sum();
    let mut whole = Reader::default();
    whole.read(text);
    whole.finish(text);
    Spot {
        word: before.get(start..).unwrap_or("").to_owned(),
        place,
        start,
        end: cursor + tail,
        metrics: whole.metrics,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reader {
    open: Vec<Open>,
    /// The quote that is open and where its content begins.
    quote: Option<(char, usize)>,
    is_comment: bool,
    /// Where the word that is being read begins.
    word: Option<usize>,
    /// The last whole word before the place, if only spaces follow it.
    last: String,
    metrics: Vec<String>,
}

impl Reader {
    fn read(&mut self, text: &str) {
        let mut is_escaped = false;
        for (at, c) in text.char_indices() {
            if self.is_comment {
                self.is_comment = c != '\n';
                continue;
            }
            if let Some((quote, _)) = self.quote {
                let is_end = c == quote && !is_escaped;
                is_escaped = c == '\\' && !is_escaped && quote != '`';
                if is_end {
                    self.quote = None;
                }
                continue;
            }
            if is_word(c) {
                self.word.get_or_insert(at);
                continue;
            }
            self.end_word(text, at, c);
            match c {
                '"' | '\'' | '`' => self.quote = Some((c, at + 1)),
                '#' => self.is_comment = true,
                _ if c.is_whitespace() => {}
                _ => self.mark(text, at, c),
            }
        }
    }

    /// Takes in the word that ends before `at`.
    fn end_word(&mut self, text: &str, at: usize, next: char) {
        let Some(start) = self.word.take() else { return };
        let word = text.get(start..at).unwrap_or("");
        let follows = text.get(at..).unwrap_or("").trim_start().chars().next().unwrap_or(next);
        let is_name = !word.starts_with(|c: char| c.is_ascii_digit());
        let is_outside = self.open.last().is_none_or(|open| matches!(open, Open::Arguments));
        let is_keyword =
            GROUPINGS.contains(&word) || NO_METRICS.contains(&word) || aggregation_names().any(|a| a == word);
        let is_metric = is_name && is_outside && follows != '(' && !is_keyword;
        if is_metric && self.metrics.len() < METRICS_MAX && !self.metrics.iter().any(|m| m == word) {
            self.metrics.push(word.to_owned());
        }
        word.clone_into(&mut self.last);
    }

    /// Takes in a word at the very end.
    fn finish(&mut self, text: &str) {
        self.end_word(text, text.len(), ' ');
    }

    fn mark(&mut self, text: &str, at: usize, c: char) {
        let last = std::mem::take(&mut self.last);
        match c {
            '(' | '{' | '[' if self.open.len() < DEPTH_MAX => self.open.push(match c {
                '{' => Open::Braces { name: last, from: at + 1, item: at + 1, label: String::new() },
                '[' => Open::Range,
                _ if GROUPINGS.contains(&last.to_lowercase().as_str()) => Open::Labels,
                _ => Open::Arguments,
            }),
            ')' | '}' | ']' => {
                self.open.pop();
            }
            _ => {
                if let Some(Open::Braces { item, label, .. }) = self.open.last_mut() {
                    match c {
                        ',' => (*item, *label) = (at + 1, String::new()),
                        '=' | '!' if label.is_empty() => {
                            let written = text.get(*item..at).unwrap_or("").trim();
                            *label = written.trim_matches(['"', '\'']).to_owned();
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Returns what may stand at the end of what was read, and where its word begins.
    fn place(&self, text: &str) -> (Place, usize) {
        let start = self.word.unwrap_or(text.len());
        if self.is_comment {
            return (Place::Nothing, start);
        }
        let selection = |name: &str, from: usize, item: usize| Selection {
            name: name.to_owned(),
            matchers: text.get(from..item).unwrap_or("").trim_end_matches(',').trim().to_owned(),
        };
        match (self.open.last(), self.quote) {
            (Some(Open::Braces { name, from, item, label }), Some((_, content))) if !label.is_empty() => {
                (Place::LabelValue(selection(name, *from, *item), label.clone()), content)
            }
            (_, Some(_)) => (Place::Nothing, start),
            (Some(Open::Braces { name, from, item, label }), None) => {
                let is_new = label.is_empty() && text.get(*item..start).unwrap_or("").trim().is_empty();
                let place = if is_new { Place::LabelName(selection(name, *from, *item)) } else { Place::Nothing };
                (place, start)
            }
            (Some(Open::Labels), None) => (Place::Grouping, start),
            (Some(Open::Range), None) => (Place::Duration, start),
            (Some(Open::Arguments) | None, None) if self.last.eq_ignore_ascii_case("offset") => {
                (Place::Duration, start)
            }
            (Some(Open::Arguments) | None, None) => {
                let is_number = text.get(start..).is_some_and(|w| w.starts_with(|c: char| c.is_ascii_digit()));
                (if is_number { Place::Nothing } else { Place::Expression }, start)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the place at `|` and the word before it.
    #[track_caller]
    fn check(text: &str, place: &Place, word: &str) {
        let cursor = text.find('|').unwrap();
        let found = spot(&text.replace('|', ""), cursor);
        assert_eq!((&found.place, found.word.as_str()), (place, word), "{text}");
    }

    fn of(name: &str, matchers: &str) -> Selection {
        Selection { name: name.to_owned(), matchers: matchers.to_owned() }
    }

    #[test]
    fn names_stand_outside_of_braces() {
        check("|", &Place::Expression, "");
        check("sum(ra|", &Place::Expression, "ra");
        check("a + fact|ory", &Place::Expression, "fact");
        check("x{a=\"}\"} + y|", &Place::Expression, "y");
        check("12|", &Place::Nothing, "12");
        check("\"a|", &Place::Nothing, "");
        check("a # b|", &Place::Nothing, "");
    }

    #[test]
    fn labels_and_their_values_stand_in_braces() {
        check("up{|", &Place::LabelName(of("up", "")), "");
        check("sum(up{job=\"a\", ins|})", &Place::LabelName(of("up", "job=\"a\"")), "ins");
        check("up{job=\"a,b|", &Place::LabelValue(of("up", ""), "job".to_owned()), "a,b");
        check("up{x!=\"1\",job =~ 'no|de'}", &Place::LabelValue(of("up", "x!=\"1\""), "job".to_owned()), "no");
        check("{a=\"\\\"|", &Place::LabelValue(of("", ""), "a".to_owned()), "\\\"");
        check("up{job|=\"a\"}", &Place::LabelName(of("up", "")), "job");
        check("up{job=\"a\" |", &Place::Nothing, "");
        check("up{job|", &Place::LabelName(of("up", "")), "job");
    }

    #[test]
    fn lists_of_labels_and_durations_have_their_brackets() {
        check("sum by (li|) (x)", &Place::Grouping, "li");
        check("a * on(b,|", &Place::Grouping, "");
        check("rate(x[5|m])", &Place::Duration, "5");
        check("x offset |", &Place::Duration, "");
    }

    #[test]
    fn metrics_of_the_whole_text_are_known() {
        let found = spot("sum by (a) (rate(b{c=\"d\"}[5m])) / on(e) f and g offset 5m", 9);
        assert_eq!(found.metrics, ["b", "f", "g"]);
    }

    #[test]
    fn the_word_is_replaced_whole() {
        let found = spot("sum(factory)", 7);
        assert_eq!((found.start, found.end), (4, 11));
        let found = spot("x{a=\"node-1\"}", 8);
        assert_eq!((found.start, found.end), (5, 11));
        let found = spot("ü", 1);
        assert_eq!((found.start, found.end), (0, 2), "within a letter counts as before it");
    }

    #[test]
    fn any_text_has_a_place() {
        let text = "sum by(a){b=\"c\\\"',}])[5m# \n`é".repeat(3);
        for cursor in 0..=text.len() + 2 {
            let found = spot(&text, cursor);
            assert!(found.start <= found.end && found.end <= text.len());
            assert!(text.get(found.start..found.end).is_some());
        }
        let deep = spot(&"(".repeat(100_000), 100_000);
        assert_eq!(deep.place, Place::Expression);
    }
}
