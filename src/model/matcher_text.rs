//! Matchers as Alertmanager writes them: `severity="critical"`, `team=~"a|b"`, `{a=b, "c d"!="e"}`.

use super::{Error, MatchOp, Matcher, Result};

/// Parses matchers separated by commas, with or without braces around all.
///
/// # Errors
/// [`Error::Matcher`] says what was expected; [`Error::Regex`] if an expression does not compile.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>> {
    let refuse = |why: String| Error::Matcher { text: text.to_owned(), why };
    let mut rest = text.trim();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner.strip_suffix('}').ok_or_else(|| refuse("a brace is not closed".to_owned()))?.trim();
    }
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (name, after) = word(rest, true).map_err(&refuse)?;
        let (op, after) = operator(after.trim_start()).map_err(&refuse)?;
        let (value, after) = word(after.trim_start(), false).map_err(&refuse)?;
        matchers.push(Matcher::new(&name, op, &value)?);
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(refuse(format!("expected a comma before {rest:?}"))),
        };
    }
    Ok(matchers)
}

fn operator(text: &str) -> std::result::Result<(MatchOp, &str), String> {
    let known = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let found = known.into_iter().find_map(|(word, op)| Some((op, text.strip_prefix(word)?)));
    found.ok_or_else(|| "expected one of =, !=, =~, !~ after the label's name".to_owned())
}

/// Reads a quoted text, or a bare one that ends at an operator (for names), a comma or the end. A bare name
/// must not be empty; a bare value may be, as upstream has it.
fn word(text: &str, is_name: bool) -> std::result::Result<(String, &str), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => return Ok((value, &quoted[i + 1..])),
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    // Upstream keeps other escapes as they stand: regular expressions have them.
                    Some((_, c)) => value.extend(['\\', c]),
                    None => break,
                },
                c => value.push(c),
            }
        }
        return Err("a quote is not closed".to_owned());
    }
    let ends = |c: char| if is_name { matches!(c, '=' | '!' | '~' | ',' | ' ' | '"') } else { matches!(c, ',') };
    let end = text.find(ends).unwrap_or(text.len());
    let (bare, rest) = text.split_at(end);
    let bare = bare.trim();
    if is_name && bare.is_empty() {
        return Err("the label's name is missing".to_owned());
    }
    if bare.contains('"') {
        return Err("a quote stands inside a bare value".to_owned());
    }
    Ok((bare.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, &str)]) {
        let parsed = parse_matchers(text).unwrap();
        let found: Vec<_> = parsed.iter().map(|m| (m.name(), m.op().as_str(), m.value())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn matchers_are_read_in_all_their_spellings() {
        check("severity=critical", &[("severity", "=", "critical")]);
        check(" severity = \"critical\" ", &[("severity", "=", "critical")]);
        check("team=~\"a|b\"", &[("team", "=~", "a|b")]);
        check("team!~a.*", &[("team", "!~", "a.*")]);
        check("{a=\"b\",c!=\"d, e\"}", &[("a", "=", "b"), ("c", "!=", "d, e")]);
        check("\"odd name\"=\"x \\\"y\\\" \\d\"", &[("odd name", "=", "x \"y\" \\d")]);
        check("a=", &[("a", "=", "")]);
        check("{}", &[]);
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for bad in ["severity", "=x", "a=\"b", "{a=b", "a=\"b\" c=d", "a=~\"(\"", "a==b\"c"] {
            assert!(parse_matchers(bad).is_err(), "{bad}");
        }
    }
}
