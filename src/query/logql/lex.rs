//! Walks through the text of a query.

use super::{Error, Result};

/// A place in the text of a query.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// Returns where the next token begins, in bytes.
    pub(super) fn mark(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Returns an error at a place that [`Cursor::mark`] returned.
    pub(super) fn error_at<T>(&self, mark: usize, message: impl Into<String>) -> Result<T> {
        let column = self.text.get(..mark).unwrap_or(self.text).chars().count() + 1;
        Err(Error::Parse { column, message: message.into() })
    }

    /// Returns an error at the next token: what was expected, and what stands there.
    pub(super) fn expected<T>(&mut self, what: &str) -> Result<T> {
        let mark = self.mark();
        let found: String = self.rest().chars().take_while(|c| !c.is_whitespace()).take(20).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        self.error_at(mark, format!("expected {what}, found {found}"))
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest().is_empty()
    }

    /// Takes a sign if it stands next.
    pub(super) fn eat(&mut self, sign: &str) -> bool {
        self.skip_space();
        let is_next = self.rest().starts_with(sign);
        if is_next {
            self.at += sign.len();
        }
        is_next
    }

    /// Takes the first of several signs that stands next; a sign that begins another comes after it.
    pub(super) fn eat_one_of<T: Copy>(&mut self, signs: &[(&str, T)]) -> Option<T> {
        signs.iter().find(|(sign, _)| self.eat(sign)).map(|(_, meaning)| *meaning)
    }

    /// Takes a word if it stands next, as a whole.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let is_next = self.peek_word() == Some(word);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    /// Returns the name that stands next.
    pub(super) fn peek_word(&mut self) -> Option<&'a str> {
        self.skip_space();
        let rest = self.rest();
        let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !rest.starts_with(is_first) {
            return None;
        }
        let end = rest.find(|c: char| !is_first(c) && !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)
    }

    /// Takes the name that stands next.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let word = self.peek_word()?;
        self.at += word.len();
        Some(word)
    }

    /// Takes a number with or without a unit: `5`, `-1.5e-3`, `250ms`, `10KB`.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        self.skip_space();
        let rest = self.rest();
        let mut end = usize::from(rest.starts_with('-'));
        if !rest.get(end..)?.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let mut previous = ' ';
        for c in rest.get(end..)?.chars() {
            let is_exponent_sign = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E');
            if !c.is_ascii_alphanumeric() && c != '.' && c != 'µ' && !is_exponent_sign {
                break;
            }
            end += c.len_utf8();
            previous = c;
        }
        self.at += end;
        rest.get(..end)
    }

    /// Takes a string in double quotes with Go's escapes, or in backquotes as it stands.
    ///
    /// # Errors
    /// If no string stands next, it does not end, or has an unknown escape.
    pub(super) fn string(&mut self) -> Result<String> {
        let start = self.mark();
        if self.eat("`") {
            let Some((text, _)) = self.rest().split_once('`') else {
                return self.error_at(start, "the string does not end");
            };
            self.at += text.len() + 1;
            return Ok(text.to_owned());
        }
        if !self.eat("\"") {
            return self.expected("a string in double quotes or backquotes");
        }
        let mut text = String::new();
        loop {
            match self.next_char() {
                None | Some('\n') => return self.error_at(start, "the string does not end"),
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
    }

    /// Takes what follows a backslash.
    fn escape(&mut self) -> Result<char> {
        let start = self.at - 1;
        let hex = |cursor: &mut Self, len: usize| {
            let digits = cursor.rest().get(..len)?;
            cursor.at += len;
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)
        };
        let c = match self.next_char() {
            Some('n') => Some('\n'),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some(c @ ('\\' | '"' | '\'')) => Some(c),
            Some('x') => hex(self, 2),
            Some('u') => hex(self, 4),
            Some('U') => hex(self, 8),
            _ => None,
        };
        match c {
            Some(c) => Ok(c),
            None => self.error_at(start, "unknown escape in a string; in backquotes a backslash is just that"),
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Skips white space and comments (`#` to the end of the line).
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }
}
