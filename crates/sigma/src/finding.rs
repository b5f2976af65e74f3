//! What is to be said of a rule file, and of which place in it.

use std::fmt;

/// A place in a file, as editors count: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    /// Where a file begins.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// The kinds of findings: each one's [code](RuleFinding::code), and what it means.
pub const FINDING_KINDS: [(&str, &str); 44] = [
    ("action", "`action` is none of global, reset and repeat, or repeats nothing"),
    ("array-selector", "A field has a selector of Sigma 3, which is not supported"),
    ("cidr", "A value of `cidr` is no network"),
    ("condition", "A condition can't be read, or there is none"),
    ("correlation", "A correlation lacks something, or has what means nothing"),
    ("detection", "The detection section is no map"),
    ("duplicate-key", "A key stands in a map twice"),
    ("duplicate-name", "Two rules have the same id or name"),
    ("empty-selection", "A selection is empty"),
    ("empty-value", "A value is in every event"),
    ("encoding", "The file is not UTF-8 throughout"),
    ("filter", "A filter does not say which rules it is for"),
    ("group-by", "A correlation counts all users and hosts together"),
    ("hexadecimal", "A hexadecimal number is no text"),
    ("keyword", "A keyword is null"),
    ("level", "The level is none of the five"),
    ("logsource", "The log source can't be used, or is missing"),
    ("merge-key", "`<<` merges what is no map"),
    ("metadata", "What a rule says about itself is of the wrong kind"),
    ("missing-field", "A correlation that counts values names no field"),
    ("modifier-combination", "Modifiers do not go together"),
    ("modifier-order", "Modifiers stand in an order that is taken otherwise"),
    ("modifier-value", "A modifier does not take the value"),
    ("nested-map", "A field has a map instead of a value"),
    ("no-rule", "The document is no rule"),
    ("no-value", "A field has no value"),
    ("null-in-list", "null stands among other values"),
    ("pipeline", "A pipeline refuses the rule"),
    ("placeholder", "No pipeline fills a placeholder"),
    ("regex", "A regular expression is not taken"),
    ("sigma-version", "The rule is for another version of Sigma"),
    ("single-all", "`all` stands at one value"),
    ("status", "The status is none of the five"),
    ("timeframe", "`timeframe` belongs to a way of counting that nothing evaluates"),
    ("timespan", "A correlation's time span can't be read"),
    ("title", "The title is missing, no text or too long"),
    ("unknown-key", "A key means nothing to Sigma, and is near one that does"),
    ("unknown-modifier", "There is no such modifier"),
    ("unknown-reference", "A correlation or filter names a rule that is not there"),
    ("unknown-rule", "There is no such rule"),
    ("unknown-selection", "A condition names a selection that is not there"),
    ("unused-selection", "No condition names the selection"),
    ("value", "A value can't be written as its modifiers say"),
    ("yaml", "The file is no YAML, or more than is taken"),
];

/// Something found in a rule file: why a document or rule can't be used, while the others of its file are; or what of a rule that is
/// used is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}: {message}", self.place())]
pub struct RuleFinding {
    /// The file.
    pub path: String,
    /// The line, from 1; `None` only where nothing of a file is meant.
    pub line: Option<u32>,
    /// The column, from 1, in characters.
    pub column: Option<u32>,
    /// A name for findings of this kind, which stays the same: `unknown-modifier`, …
    pub code: &'static str,
    /// What is wrong, and what to write instead, in one line.
    pub message: String,
}

impl RuleFinding {
    /// Where in the file it is, `:line:column`, as far as that is known.
    pub fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            (Some(line), None) => format!(":{line}"),
            _ => String::new(),
        }
    }
}

/// A finding while its file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) at: Place,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Issue {
    pub(crate) fn new(at: Place, code: &'static str, message: impl Into<String>) -> Self {
        Self { at, code, message: message.into() }
    }

    /// The finding in this file, about the document of this title.
    pub(crate) fn in_file(self, path: &str, title: Option<&str>) -> RuleFinding {
        let Self { at: Place { line, column }, code, message } = self;
        let message = match title {
            Some(title) => format!("{}: {}", one_line(title), one_line(&message)),
            None => one_line(&message),
        };
        RuleFinding { path: path.to_owned(), line: Some(line), column: Some(column), code, message }
    }
}

/// So that a finding is one line, whatever it quotes.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The name that was probably meant: the one that differs least, if it does not differ by much.
pub(crate) fn nearest<'n>(written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |text: &str| text.trim().to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(written);
    let most = match wanted.chars().count() {
        0..=5 => 1,
        _ => 2,
    };
    let near = names.into_iter().map(|name| (strsim::osa_distance(&wanted, &plain(name)), name));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// `, and did you mean …?`, where something is near.
pub(crate) struct Meant<'n>(pub(crate) Option<&'n str>);

impl fmt::Display for Meant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}
