//! Template text to pieces of text and actions, and an action to tokens.

use super::error::Mistake;

/// A token of an action with the byte offset it begins at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// Whether white space stands before it: `a .b` is two operands, `a.b` is one.
    pub(super) is_spaced: bool,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A keyword or function.
    Word(String),
    /// `$name`; `$` alone is the empty name.
    Variable(String),
    /// `.name`
    Field(String),
    /// `.`
    Dot,
    /// A text in quotes, escapes resolved.
    Text(String),
    /// A whole number or a character.
    Int(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Text as it is, trimming done.
    Text(String),
    /// What stands between `{{` and `}}`, and where it begins.
    Action { at: usize, tokens: Vec<Token> },
}

/// Returns the mistake at a byte offset of a template.
pub(super) fn mistake(template: &str, at: usize, message: impl Into<String>) -> Mistake {
    let before = template.get(..at).unwrap_or(template);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Mistake {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        message: message.into(),
    }
}

/// Cuts a template into pieces. Comments fall away.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, Mistake> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trims_next = false;
    while let Some(open) = template.get(at..).and_then(|rest| rest.find("{{")).map(|i| at + i) {
        let inside = open + 2;
        let trims_before = template.get(inside..).is_some_and(|r| r.starts_with("- ") || starts_trim(r));
        push_text(&mut pieces, template.get(at..open).unwrap_or(""), trims_next, trims_before);
        let start = if trims_before { inside + 1 } else { inside };
        let (tokens, end) = match comment_end(template, start)? {
            Some(end) => (None, end),
            None => {
                let mut lexer = Lexer { template, at: start, tokens: Vec::new() };
                lexer.action(open)?;
                (Some(lexer.tokens), lexer.at)
            }
        };
        trims_next = template.get(end..).is_some_and(|r| r.starts_with('-'));
        at = if trims_next { end + 3 } else { end + 2 };
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { at: open, tokens });
        }
    }
    push_text(&mut pieces, template.get(at..).unwrap_or(""), trims_next, false);
    Ok(pieces)
}

fn starts_trim(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|r| r.starts_with(char::is_whitespace))
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trims_start: bool, trims_end: bool) {
    let text = if trims_start { text.trim_start() } else { text };
    let text = if trims_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Returns where the closing marker of a comment begins, if the action is one.
fn comment_end(template: &str, start: usize) -> Result<Option<usize>, Mistake> {
    let rest = template.get(start..).unwrap_or("");
    let skipped = rest.len() - rest.trim_start().len();
    if !rest.trim_start().starts_with("/*") {
        return Ok(None);
    }
    let at = start + skipped;
    let close = template.get(at..).and_then(|r| r.find("*/")).map(|i| at + i + 2);
    let close = close.ok_or_else(|| mistake(template, at, "unclosed comment"))?;
    let rest = template.get(close..).unwrap_or("");
    let end = close + (rest.len() - rest.trim_start().len());
    let after = template.get(end..).unwrap_or("");
    if after.starts_with("}}") || after.starts_with("-}}") {
        return Ok(Some(end));
    }
    Err(mistake(template, at, "a comment must fill its action: {{/* text */}}"))
}

struct Lexer<'t> {
    template: &'t str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.template.get(self.at..).unwrap_or("")
    }

    /// Reads tokens up to the closing marker and stops there.
    fn action(&mut self, open: usize) -> Result<(), Mistake> {
        loop {
            let before = self.at;
            let skipped = self.rest().len() - self.rest().trim_start().len();
            self.at += skipped;
            let is_spaced = self.at > before;
            if self.rest().starts_with("}}") || (is_spaced && self.rest().starts_with("-}}")) {
                return Ok(());
            }
            let at = self.at;
            let Some(first) = self.rest().chars().next() else {
                return Err(mistake(self.template, open, "unclosed action: there is no }} for this {{"));
            };
            let kind = self.token(first)?;
            self.tokens.push(Token { at, kind, is_spaced });
        }
    }

    fn token(&mut self, first: char) -> Result<Kind, Mistake> {
        let simple = match first {
            '|' => Some(Kind::Pipe),
            '(' => Some(Kind::Open),
            ')' => Some(Kind::Close),
            ',' => Some(Kind::Comma),
            '=' => Some(Kind::Assign),
            _ => None,
        };
        if let Some(kind) = simple {
            self.at += 1;
            return Ok(kind);
        }
        let next = self.rest().chars().nth(1);
        match first {
            ':' if next == Some('=') => {
                self.at += 2;
                Ok(Kind::Declare)
            }
            '"' => self.quoted('"').map(Kind::Text),
            '`' => self.raw(),
            '\'' => self.character(),
            '$' => {
                self.at += 1;
                Ok(Kind::Variable(self.word()))
            }
            '.' if !next.is_some_and(|c| c.is_ascii_digit()) => {
                self.at += 1;
                let name = self.word();
                Ok(if name.is_empty() { Kind::Dot } else { Kind::Field(name) })
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            c if c.is_alphabetic() || c == '_' => Ok(Kind::Word(self.word())),
            c => Err(mistake(self.template, self.at, format!("unexpected {c:?} in an action"))),
        }
    }

    fn word(&mut self) -> String {
        let word: String = self.rest().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        self.at += word.len();
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String, Mistake> {
        let start = self.at;
        let unclosed = || mistake(self.template, start, "unterminated quoted string");
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += i + 1;
                    return Ok(text);
                }
                '\n' => return Err(unclosed()),
                '\\' => {
                    let (_, escaped) = chars.next().ok_or_else(unclosed)?;
                    let digits = match escaped {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    if digits > 0 {
                        let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                        text.push(code.ok_or_else(|| mistake(self.template, start, "invalid escape in a string"))?);
                        continue;
                    }
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'a' => '\x07',
                        'b' => '\x08',
                        'f' => '\x0c',
                        'v' => '\x0b',
                        '\\' | '"' | '\'' => escaped,
                        _ => return Err(mistake(self.template, start, format!("unknown escape \\{escaped}"))),
                    });
                }
                c => text.push(c),
            }
        }
        Err(unclosed())
    }

    fn raw(&mut self) -> Result<Kind, Mistake> {
        let inside = self.rest().get(1..).unwrap_or("");
        let end = inside.find('`').ok_or_else(|| mistake(self.template, self.at, "unterminated raw quoted string"))?;
        let text = inside.get(..end).unwrap_or("").to_owned();
        self.at += end + 2;
        Ok(Kind::Text(text))
    }

    fn character(&mut self) -> Result<Kind, Mistake> {
        let start = self.at;
        let text = self.quoted('\'')?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Kind::Int(i64::from(u32::from(c)))),
            _ => Err(mistake(self.template, start, "malformed character constant")),
        }
    }

    fn number(&mut self) -> Result<Kind, Mistake> {
        let text: String = {
            let mut previous = ' ';
            let keeps = |c: &char| {
                let keep = c.is_ascii_alphanumeric()
                    || *c == '.'
                    || *c == '_'
                    || ("+-".contains(*c) && (previous == ' ' || "eE".contains(previous)));
                previous = *c;
                keep
            };
            self.rest().chars().take_while(keeps).collect()
        };
        let plain = text.replace('_', "");
        let unsigned = plain.trim_start_matches(['+', '-']).to_ascii_lowercase();
        let radix = |prefix: &str, radix| {
            unsigned.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok())
        };
        let whole = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8));
        let whole = whole.map(|n| if plain.starts_with('-') { -n } else { n }).or_else(|| plain.parse().ok());
        let number = match whole {
            Some(n) => Some(Kind::Int(n)),
            None if plain.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
                plain.parse().ok().map(Kind::Float)
            }
            None => None,
        };
        let kind = number.ok_or_else(|| mistake(self.template, self.at, format!("bad number syntax: {text:?}")))?;
        self.at += text.len();
        Ok(kind)
    }
}
