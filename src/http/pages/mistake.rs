//! A mistake in an expression, underlined where it is.

/// A mistake in an expression: what is before it, the word at it, what follows.
#[derive(Debug, Default)]
pub(super) struct Mistake {
    pub(super) before: String,
    pub(super) at: String,
    pub(super) after: String,
    /// Where it is, in words; empty if that is not known.
    pub(super) place: String,
    pub(super) message: String,
}

/// Splits an expression at a mistake: what is before, the word at it, what follows.
pub(super) fn underline(expression: &str, line: usize, column: usize, message: &str) -> Mistake {
    if line == 0 || column == 0 {
        return Mistake { before: expression.to_owned(), message: message.to_owned(), ..Mistake::default() };
    }
    let line_start: usize = expression.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = expression.get(line_start..).unwrap_or("");
    let start = line_start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(i, _)| i);
    let tail = expression.get(start..).unwrap_or("");
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let word: usize = tail.chars().take_while(|c| is_word(*c)).map(char::len_utf8).sum();
    let length = if word > 0 { word } else { tail.chars().next().map_or(0, char::len_utf8) };
    let (at, after) = tail.split_at(length);
    Mistake {
        before: expression.get(..start).unwrap_or("").to_owned(),
        at: if at.is_empty() { "\u{a0}".to_owned() } else { at.to_owned() },
        after: after.to_owned(),
        place: if expression.contains('\n') {
            format!("Line {line}, column {column}")
        } else {
            format!("Column {column}")
        },
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, line: usize, column: usize, expected: (&str, &str, &str)) {
        let mistake = underline(expression, line, column, "m");
        assert_eq!((mistake.before.as_str(), mistake.at.as_str(), mistake.after.as_str()), expected);
    }

    #[test]
    fn the_word_at_a_mistake_is_underlined() {
        check("sum(foo bar)", 1, 9, ("sum(foo ", "bar", ")"));
        check("sum(foo", 1, 8, ("sum(foo", "\u{a0}", ""));
        check("a +\n  b ] c", 2, 5, ("a +\n  b ", "]", " c"));
        check("ü ]", 1, 3, ("ü ", "]", ""));
        check("x", 0, 0, ("x", "", ""));
    }
}
