//! Mistakes in a text, with their places, and the report that collects them.

use std::cell::RefCell;
use std::fmt;

/// Mistakes kept of one text; more are only counted, so that a wrong file cannot flood a screen.
const MISTAKES_MAX: usize = 200;

/// Something in a text that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, counted from 1; 0 if the mistake has no place in the text.
    pub line: usize,
    /// Column in characters, counted from 1; 0 if the mistake has no place in the text.
    pub column: usize,
    /// The way to the value: `scrape_configs[0].job_name`; empty for the whole text.
    pub key_path: String,
    /// What is wrong, without a final stop.
    pub message: String,
    /// What would be right, if that can be guessed.
    pub suggestion: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.key_path.is_empty() {
            write!(f, "{}: ", self.key_path)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

/// All mistakes of one text, sorted by line; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// Name of the text: a file's path.
    pub source: String,
    /// The mistakes, at most 200.
    pub list: Vec<Mistake>,
    /// How many more there were.
    pub left_out: usize,
}

impl fmt::Display for Mistakes {
    /// Writes one mistake a line, as compilers do: `file:line:column: key: message; suggestion`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}{mistake}", self.source, if mistake.line > 0 { "" } else { " " })?;
        }
        if self.left_out > 0 {
            write!(f, "\n{}: and {} more mistakes", self.source, self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// What was understood but has no effect, or is worth knowing; sorted by line, may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Name of the text: a file's path.
    pub source: String,
    /// The notes, at most 200.
    pub list: Vec<Mistake>,
}

impl Notes {
    /// Returns the notes as text, one each: `file:line:column: key: note`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let gap = |note: &Mistake| if note.line > 0 { "" } else { " " };
        self.list.iter().map(|note| format!("{}:{}{note}", self.source, gap(note))).collect()
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

/// Collects mistakes and notes while a text is read; shared by all [`super::Item`]s of it.
#[derive(Debug)]
pub struct Report {
    source: String,
    mistakes: RefCell<Vec<Mistake>>,
    left_out: RefCell<usize>,
    notes: RefCell<Vec<Mistake>>,
}

impl Report {
    /// Returns an empty report on the text that is named so.
    #[must_use]
    pub fn new(source: impl Into<String>) -> Self {
        Report {
            source: source.into(),
            mistakes: RefCell::default(),
            left_out: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// Returns the name of the text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Adds a mistake.
    pub fn add(&self, mistake: Mistake) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MISTAKES_MAX {
            mistakes.push(mistake);
        } else {
            *self.left_out.borrow_mut() += 1;
        }
    }

    /// Adds a note.
    pub fn note(&self, note: Mistake) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MISTAKES_MAX {
            notes.push(note);
        }
    }

    /// Tells whether there is no mistake so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }

    /// Returns how many mistakes there are so far; a reader compares it to know whether a part was good.
    #[must_use]
    pub fn count(&self) -> usize {
        self.mistakes.borrow().len() + *self.left_out.borrow()
    }

    /// Returns the notes, sorted by line, if there is no mistake.
    ///
    /// # Errors
    /// All mistakes, sorted by line.
    pub fn finish(self) -> Result<Notes, Mistakes> {
        let (mistakes, notes) = self.into_parts();
        mistakes.map_or(Ok(notes), Err)
    }

    /// Returns the mistakes, if any, and the notes, both sorted by line; for readers that keep what is good.
    #[must_use]
    pub fn into_parts(self) -> (Option<Mistakes>, Notes) {
        let place = |m: &Mistake| (m.line, m.column);
        let (mut list, mut notes) = (self.mistakes.into_inner(), self.notes.into_inner());
        list.sort_by_key(place);
        notes.sort_by_key(place);
        let notes = Notes { source: self.source.clone(), list: notes };
        let left_out = self.left_out.into_inner();
        ((!list.is_empty()).then_some(Mistakes { source: self.source, list, left_out }), notes)
    }
}
