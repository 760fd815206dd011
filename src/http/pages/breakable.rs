//! Names that break at their underscores where a line is short, not anywhere.

use std::fmt;

use crate::model::escape_html;

/// A name, written as HTML. What is copied from the page has no breaks in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breakable(String);

impl Breakable {
    /// Takes a name.
    pub(super) fn new(name: &str) -> Breakable {
        let pieces: Vec<String> = name.split_inclusive('_').map(escape_html).collect();
        Breakable(pieces.join("<wbr>"))
    }
}

impl fmt::Display for Breakable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Breakable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_after_underscores_and_stays_text() {
        assert_eq!(Breakable::new("a_b_").to_string(), "a_<wbr>b_");
        assert_eq!(Breakable::new("<b>_&").to_string(), "&lt;b&gt;_<wbr>&amp;");
    }
}
