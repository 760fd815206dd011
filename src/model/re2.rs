//! Go's regular expressions (RE2 syntax) written for Rust's engine, or refused where Go refuses them.
//!
//! The two engines agree on most patterns but not on all: `\w`, `\d`, `\s` and `\b` are ASCII in Go; set arithmetic in
//! classes, flags such as `(?x)`, `a**` and repeats over 1000 exist only in Rust; `\Q...\E`, octal escapes and a
//! literal `{` exist only in Go. Source: Go, `regexp/syntax`; what differs was measured.

use std::iter::Peekable;
use std::str::Chars;

/// Upper bound of a repeat, also of repeats within repeats multiplied.
const REPEAT_MAX: u32 = 1000;

/// Upper bound of groups within groups: the reader calls itself for none, but the engine does.
const NESTING_MAX: usize = 100;

/// POSIX classes that Go knows.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Returns the pattern for Rust's engine.
///
/// # Errors
/// Why Go would refuse it.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut reader =
        Reader { rest: pattern.chars().peekable(), out: String::new(), groups: Vec::new(), names: Vec::new() };
    let mut last = Last::Nothing;
    while let Some(c) = reader.rest.next() {
        last = reader.piece(c, last)?;
    }
    if !reader.groups.is_empty() {
        return Err("missing closing ): unclosed group".to_owned());
    }
    Ok(reader.out)
}

/// What stands before the place that is read.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    /// Nothing that can be repeated.
    Nothing,
    /// Something that can be repeated; how often it already repeats inside.
    Item(u32),
    /// A repeat, which can not be repeated again.
    Repeat(u32),
}

impl Last {
    /// Returns how often the item repeats inside.
    fn repeats(self) -> u32 {
        match self {
            Last::Nothing => 1,
            Last::Item(n) | Last::Repeat(n) => n,
        }
    }
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// For each open group the most that anything in it repeats.
    groups: Vec<u32>,
    names: Vec<String>,
}

impl Reader<'_> {
    /// Reads one piece that begins with `c`.
    fn piece(&mut self, c: char, last: Last) -> Result<Last, String> {
        match c {
            '\\' => self.escape(),
            '[' => {
                self.class()?;
                Ok(Last::Item(1))
            }
            '(' => {
                self.open_group()?;
                Ok(Last::Nothing)
            }
            ')' => {
                let inside = self.groups.pop().ok_or("unexpected ): unopened group")?;
                self.note(inside);
                self.out.push(')');
                Ok(Last::Item(inside))
            }
            '|' => {
                self.out.push('|');
                Ok(Last::Nothing)
            }
            '*' | '+' | '?' => self.repeat(&c.to_string(), 1, last),
            '{' => match self.counts()? {
                Some((text, most)) => self.repeat(&text, most, last),
                None => {
                    self.out.push_str("\\{");
                    Ok(Last::Item(1))
                }
            },
            '^' | '$' | '.' => {
                self.out.push(c);
                Ok(Last::Item(1))
            }
            literal => {
                self.literal(literal);
                Ok(Last::Item(1))
            }
        }
    }

    fn literal(&mut self, c: char) {
        let mut bytes = [0; 4];
        self.out.push_str(&regex_syntax::escape(c.encode_utf8(&mut bytes)));
    }

    /// Remembers how often something repeats for the group around it.
    fn note(&mut self, repeats: u32) {
        if let Some(group) = self.groups.last_mut() {
            *group = (*group).max(repeats);
        }
    }

    fn repeat(&mut self, text: &str, most: u32, last: Last) -> Result<Last, String> {
        match last {
            Last::Nothing => return Err(format!("missing argument to repetition operator: {text}")),
            Last::Repeat(_) => return Err(format!("invalid nested repetition operator: {text}")),
            Last::Item(_) => {}
        }
        let all = last.repeats().saturating_mul(most.max(1));
        if all > REPEAT_MAX {
            return Err(format!("invalid repeat count: {text}"));
        }
        self.note(all);
        self.out.push_str(text);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(Last::Repeat(all))
    }

    /// Reads `n}`, `n,}` or `n,m}`; `None`, with nothing read, if it is none of them and the brace is a literal.
    fn counts(&mut self) -> Result<Option<(String, u32)>, String> {
        let mut ahead = self.rest.clone();
        let mut text = String::from("{");
        loop {
            match ahead.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_digit() || (c == ',' && !text.contains(',')) => text.push(c),
                _ => return Ok(None),
            }
        }
        let (low, high) = text[1..].split_once(',').unwrap_or((&text[1..], &text[1..]));
        if low.is_empty() {
            return Ok(None);
        }
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n <= REPEAT_MAX);
        let low = number(low);
        let high = if high.is_empty() { low } else { number(high) };
        text.push('}');
        match (low, high) {
            (Some(low), Some(high)) if low <= high => {
                self.rest = ahead;
                Ok(Some((text, high)))
            }
            _ => Err(format!("invalid repeat count: {text}")),
        }
    }

    fn open_group(&mut self) -> Result<(), String> {
        if self.groups.len() >= NESTING_MAX {
            return Err("expression nests too deeply".to_owned());
        }
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            self.groups.push(1);
            return Ok(());
        }
        let _ = self.rest.next_if_eq(&'P');
        if self.rest.next_if_eq(&'<').is_some() {
            let mut name = String::new();
            loop {
                match self.rest.next() {
                    Some('>') => break,
                    Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                    _ => return Err("invalid named capture".to_owned()),
                }
            }
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                // Names that begin with a digit are Go's but not Rust's; they can be referred to by number.
                if name.is_empty() {
                    return Err("invalid named capture".to_owned());
                }
            } else if !self.names.contains(&name) {
                self.out.push_str(&format!("?P<{name}>"));
                self.names.push(name);
            }
            self.groups.push(1);
            return Ok(());
        }
        self.out.push('?');
        loop {
            match self.rest.next() {
                Some(c @ ('i' | 'm' | 's' | 'U' | '-')) => self.out.push(c),
                Some(':') => {
                    self.out.push(':');
                    self.groups.push(1);
                    return Ok(());
                }
                Some(')') => {
                    self.out.push(')');
                    return Ok(());
                }
                _ => return Err("invalid or unsupported Perl syntax".to_owned()),
            }
        }
    }

    /// Reads what follows a backslash outside of a class.
    fn escape(&mut self) -> Result<Last, String> {
        let c = self.rest.next().ok_or("trailing backslash at end of expression")?;
        match c {
            'Q' => {
                let mut is_any = false;
                while let Some(c) = self.rest.next() {
                    if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                        break;
                    }
                    self.literal(c);
                    is_any = true;
                }
                return Ok(if is_any { Last::Item(1) } else { Last::Nothing });
            }
            'A' | 'z' => self.out.push_str(&format!("\\{c}")),
            'b' | 'B' => self.out.push_str(&format!("(?-u:\\{c})")),
            'p' | 'P' => {
                let class = self.property(c == 'P')?;
                self.out.push_str(&class);
            }
            _ => match perl_class(c) {
                Some((class, is_negated)) => {
                    let not = if is_negated { "^" } else { "" };
                    self.out.push_str(&format!("[{not}{class}]"));
                }
                None => {
                    let literal = self.escaped_char(c)?;
                    self.literal(literal);
                }
            },
        }
        Ok(Last::Item(1))
    }

    /// Returns the character that a backslash and `c` stand for.
    fn escaped_char(&mut self, c: char) -> Result<char, String> {
        let invalid = || format!("invalid escape sequence: \\{c}");
        match c {
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            'x' => {
                let digits: String = if self.rest.next_if_eq(&'{').is_some() {
                    let digits = std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).collect();
                    if self.rest.next() != Some('}') {
                        return Err(invalid());
                    }
                    digits
                } else {
                    let two: String =
                        std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).take(2).collect();
                    if two.len() == 2 { two } else { return Err(invalid()) }
                };
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(invalid)
            }
            // One digit alone would be a reference to a group, which there is not; with more it is octal.
            '0'..='7' => {
                let mut code = c.to_digit(8).unwrap_or(0);
                let next = std::iter::from_fn(|| self.rest.next_if(|d| ('0'..='7').contains(d)));
                let more: Vec<char> = next.take(2).collect();
                if c != '0' && more.is_empty() {
                    return Err(invalid());
                }
                more.iter().for_each(|d| code = code * 8 + d.to_digit(8).unwrap_or(0));
                char::from_u32(code).ok_or_else(invalid)
            }
            _ if c.is_ascii_punctuation() => Ok(c),
            _ => Err(invalid()),
        }
    }

    /// Reads the name of a Unicode property after `\p` or `\P`.
    fn property(&mut self, is_negated: bool) -> Result<String, String> {
        let first = self.rest.next().ok_or("invalid character class range: \\p")?;
        let mut name = first.to_string();
        let mut is_negated = is_negated;
        if first == '{' {
            name.clear();
            if self.rest.next_if_eq(&'^').is_some() {
                is_negated = !is_negated;
            }
            loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                    _ => return Err("invalid character class range: \\p{".to_owned()),
                }
            }
        }
        let letter = if is_negated { 'P' } else { 'p' };
        // Longer names are scripts only; Rust would also take `Letter` and the like.
        let key = if name.len() > 2 && name != "Any" { "Script=" } else { "" };
        Ok(format!("\\{letter}{{{key}{name}}}"))
    }

    /// Reads a class after its bracket.
    fn class(&mut self) -> Result<(), String> {
        let unclosed = "missing closing ]: unclosed character class";
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.rest.next().ok_or(unclosed)?;
            if c == ']' && !is_first {
                self.out.push(']');
                return Ok(());
            }
            is_first = false;
            if c == '[' && self.rest.peek() == Some(&':') && self.posix()? {
                continue;
            }
            if c == '\\' {
                match self.rest.peek().copied() {
                    Some(p @ ('p' | 'P')) => {
                        self.rest.next();
                        let class = self.property(p == 'P')?;
                        self.out.push_str(&class);
                        continue;
                    }
                    Some(p) if perl_class(p).is_some() => {
                        self.rest.next();
                        if let Some((class, is_negated)) = perl_class(p) {
                            self.out.push_str(&if is_negated { format!("[^{class}]") } else { class.to_owned() });
                        }
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.class_char(c)?;
            self.literal(low);
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
                self.rest.next();
                let c = self.rest.next().ok_or(unclosed)?;
                let high = self.class_char(c)?;
                if high < low {
                    return Err(format!("invalid character class range: {low}-{high}"));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
    }

    /// Returns the character of a class that begins with `c`.
    fn class_char(&mut self, c: char) -> Result<char, String> {
        if c != '\\' {
            return Ok(c);
        }
        let escaped = self.rest.next().ok_or("trailing backslash at end of expression")?;
        self.escaped_char(escaped)
    }

    /// Reads `:name:]` after a bracket. Returns false, with nothing read, if it is not closed.
    fn posix(&mut self) -> Result<bool, String> {
        let ahead: String = self.rest.clone().collect();
        let Some((name, _)) = ahead[1..].split_once(":]") else { return Ok(false) };
        let plain = name.strip_prefix('^').unwrap_or(name);
        if !POSIX.contains(&plain) {
            return Err(format!("invalid character class range: [:{name}:]"));
        }
        for _ in 0..name.chars().count() + 3 {
            self.rest.next();
        }
        self.out.push_str(&format!("[:{name}:]"));
        Ok(true)
    }
}

/// Returns the ASCII members of `\d`, `\s`, `\w`, and whether all others are meant.
fn perl_class(c: char) -> Option<(&'static str, bool)> {
    let members = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\x0c\\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((members, c.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use crate::model::AnchoredRegex;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let regex = AnchoredRegex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        for text in matching {
            assert!(regex.is_match(text), "{pattern} on {text:?}");
        }
        for text in others {
            assert!(!regex.is_match(text), "{pattern} not on {text:?}");
        }
    }

    #[test]
    fn classes_are_ascii() {
        check(r"Pr\w+stand", &["Prxstand"], &["Prüfstand"]);
        check(r"\d+", &["12"], &["٣"]);
        check(r"[\w.-]+", &["a.b-c"], &["ü"]);
        check(r"[^\W]", &["a"], &["-"]);
        check(r"a\sb", &["a b", "a\nb"], &["a\u{a0}b", "a\u{b}b"]);
        check(r"\bPr.*\b", &["Pr"], &["xPr"]);
        check(r"a\Bb", &["ab"], &[]);
        check(r"\pL+\p{Lu}\p{Greek}", &["üÜα"], &["1Üα"]);
        check(r"\p{^Greek}", &["a"], &["α"]);
        check(r"[[:alpha:]]", &["a"], &[":", "["]);
    }

    #[test]
    fn what_is_special_in_rust_only_is_literal() {
        check(r"[a-z&&[^b]]", &["&]", "b]", "[]"], &["b", "c"]);
        check(r"[a~~b]", &["~"], &["c"]);
        check(r"\<a\>", &["<a>"], &["a"]);
        check(r"a{,5}", &["a{,5}"], &["aaa"]);
        check(r"x{a}", &["x{a}"], &[]);
        check(r"[]a]+", &["]a"], &[]);
        check(r"[a-]", &["-", "a"], &["b"]);
    }

    #[test]
    fn what_is_special_in_go_only_is_taken() {
        check(r"\Qa.b\E.*", &["a.bc"], &["axbc"]);
        check(r"\103\x41\x{42}", &["CAB"], &[]);
        check(r"(?P<n>a)(?P<n>b)", &["ab"], &[]);
        check(r"(?i)straße|(?-s).", &["STRAßE", "x"], &["\n"]);
        check("a.c", &["a\nc"], &[]);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "a**",
            "a++",
            "a{2}{3}",
            "*a",
            "a|*",
            "x{1001}",
            "(x{500}){3}",
            "x{3,2}",
            "(?x)a",
            "(?R)a",
            "(?u)a",
            "(?=a)",
            r"\u6e29",
            r"\p{Letter}",
            r"\p{Script=Han}",
            "[a--b]",
            "[[:nosuch:]]",
            r"\1",
            r"\8",
            r"\",
            "(a",
            "a)",
            "[a",
            r"\Z",
            r"\C",
            r"\pX",
            "(?P<>a)",
            "(?P<a",
            "b-a]{2}[b-a]",
        ] {
            assert!(AnchoredRegex::new(pattern).is_err(), "{pattern}");
        }
        assert!(AnchoredRegex::new(&"(".repeat(50_000)).is_err());
        assert!(AnchoredRegex::new("x{1000}").is_ok());
        assert!(AnchoredRegex::new("(x{100}){10}").is_ok());
    }
}
