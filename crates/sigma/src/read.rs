//! Rule files read: a file's documents into rules, correlations and filters, with what is wrong with each at its place.
//!
//! What can be told from a document alone is told here, before pipelines change it, as pySigma does. Whether its values can be
//! compared as they say is found out when it is lowered (`condition`, `modifier`), whose errors name steps into the document that
//! [`Places`] leads to.

mod condition;
mod correlation;
mod detection;
mod filter;
mod item;
mod metadata;

use rsigma_parser::{Detection, FilterRule, SigmaRule};

pub(crate) use self::{condition::selects, correlation::Correlation, item::modifier_name};
use crate::{
    finding::{Issue, Meant, Place, nearest},
    modifier::{LowerError, Step},
    yaml::{self, Data, Node},
};

/// What was found in a document.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) errors: Vec<Issue>,
    pub(crate) warnings: Vec<Issue>,
}

impl Notes {
    fn error(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.errors.push(Issue::new(at, code, message));
    }

    fn warn(&mut self, at: Place, code: &'static str, message: impl Into<String>) {
        self.warnings.push(Issue::new(at, code, message));
    }
}

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Its title, if it has one.
    pub(crate) title: Option<String>,
    pub(crate) warnings: Vec<Issue>,
    /// What it is, or the first of what is wrong with it.
    pub(crate) document: Result<Document, Issue>,
}

#[derive(Debug)]
pub(crate) enum Document {
    Rule(Box<SigmaRule>, Places),
    Correlation(Box<Correlation>),
    Filter(Box<FilterRule>, Places),
}

/// Where the parts of a rule or filter are written.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The document itself.
    pub(crate) at: Place,
    /// Its log source.
    pub(crate) source: Place,
    /// The references of a filter to rules.
    pub(crate) references: Vec<(String, Place)>,
    /// What has the selections and the condition.
    detection: Node,
}

impl Places {
    /// Where the error is.
    pub(crate) fn issue(&self, error: &LowerError) -> Issue {
        let mut at = self.detection.at;
        let mut node = &self.detection;
        for step in &error.steps {
            let (next, place) = match *step {
                Step::Selection(ref name) => match node.entry(name) {
                    Some((key, value)) => (value, key.at),
                    None => break,
                },
                Step::Part(part) | Step::Value(part) => match &node.data {
                    Data::Map(entries) => match entries.get(part) {
                        Some((key, value)) => (value, key.at),
                        None => break,
                    },
                    Data::List(list) => match list.get(part) {
                        Some(node) => (node, node.at),
                        None => break,
                    },
                    Data::Scalar(_) => (node, node.at),
                },
            };
            (node, at) = (next, place);
        }
        Issue::new(at, error.code, error.message.clone())
    }
}

/// Reads a file's documents, one after the other.
pub(crate) fn read(text: &str, mut take: impl FnMut(Read)) {
    let documents = yaml::documents(text);
    let is_alone = documents.len() <= 1;
    let is_replaced = text.find('\u{fffd}').map(|at| place_of(text, at));
    let mut reader = Reader { text, is_alone, global: None, previous: None };
    if documents.is_empty() {
        take(Read::failed(Issue::new(Place::START, "no-rule", "there is no rule in this file")));
    }
    for document in documents {
        match document {
            // An empty document at the end of a file (`---`) is nobody's mistake.
            Ok(node) if node.is_null() && !is_alone => {}
            Ok(node) => reader.document(node).into_iter().for_each(|mut read| {
                if let Some(at) = is_replaced {
                    let message = "here is a byte that is no UTF-8, and nothing is equal to what stands for it; save the file as UTF-8";
                    read.warnings.push(Issue::new(at, "encoding", message));
                }
                take(read);
            }),
            Err(issue) => take(Read::failed(issue)),
        }
    }
}

fn place_of(text: &str, at: usize) -> Place {
    let (before, number) = (&text[..at], |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX));
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    Place { line: number(before.matches('\n').count()), column: number(before[line..].chars().count()) }
}

/// Reads a text that is one selection.
///
/// # Errors
/// When it is none.
pub(crate) fn selection(text: &str) -> Result<Detection, Issue> {
    let mut notes = Notes::default();
    let node = yaml::documents(text)
        .into_iter()
        .next()
        .unwrap_or_else(|| Err(Issue::new(Place::START, "no-rule", "it is empty")))?;
    let selection = detection::selection(text, (&node, &node), false, &mut notes);
    let first = notes.errors.into_iter().next();
    selection.ok_or_else(|| first.unwrap_or_else(|| Issue::new(Place::START, "no-rule", "it is empty")))
}

impl Read {
    fn failed(issue: Issue) -> Self {
        Self { title: None, warnings: Vec::new(), document: Err(issue) }
    }
}

/// The documents of a file so far.
struct Reader<'f> {
    text: &'f str,
    is_alone: bool,
    /// What all documents share, until it is reset.
    global: Option<Node>,
    /// What `action: repeat` repeats.
    previous: Option<Node>,
}

impl Reader<'_> {
    fn document(&mut self, mut node: Node) -> Option<Read> {
        let Data::Map(entries) = &mut node.data else {
            let message = match node.is_null() {
                true => "there is no rule in this file".to_owned(),
                false => format!("this document is {}; a rule is a map that begins with `title: …`", node.kind()),
            };
            return Some(Read::failed(Issue::new(node.at, "no-rule", message)));
        };
        let action = entries.iter().position(|(key, _)| key.text() == Some("action"));
        let action = action.map(|at| entries.remove(at).1);
        match action.as_ref().map(|action| (action.text(), action)) {
            None => {}
            Some((Some("global"), _)) => {
                self.global = Some(node);
                return None;
            }
            Some((Some("reset"), _)) => {
                self.global = None;
                return None;
            }
            Some((Some("repeat"), action)) => {
                let Some(previous) = self.previous.clone() else {
                    let message = "`action: repeat` repeats the document before it, and there is none";
                    return Some(Read::failed(Issue::new(action.at, "action", message)));
                };
                node = node.over(previous);
            }
            Some((name, action)) => {
                let meant = Meant(name.and_then(|name| nearest(name, ["global", "reset", "repeat"])));
                let message = format!("`action` is `global`, `reset` or `repeat`{meant}");
                return Some(Read::failed(Issue::new(action.at, "action", message)));
            }
        }
        if let Some(global) = &self.global {
            node = node.over(global.clone());
        }
        if !self.is_alone {
            self.previous = Some(node.clone());
        }
        Some(self.rule(node))
    }

    fn rule(&self, mut node: Node) -> Read {
        let mut notes = Notes::default();
        let title = node.get("title").and_then(Node::scalar).map(|title| title.text.clone());
        let document = if node.get("correlation").is_some() {
            correlation::read(self.text, &node, &mut notes).map(|read| Document::Correlation(Box::new(read)))
        } else if node.get("filter").is_some() {
            filter::read(self.text, &mut node, &mut notes)
                .map(|(filter, places)| Document::Filter(Box::new(filter), places))
        } else {
            detection::read(self.text, &mut node, &mut notes)
                .map(|(rule, places)| Document::Rule(Box::new(rule), places))
        };
        let Notes { errors, warnings } = notes;
        let first = errors.into_iter().min_by_key(|issue| issue.at);
        let document = match (first, document) {
            (Some(issue), _) => Err(issue),
            (None, Some(document)) => Ok(document),
            (None, None) => Err(Issue::new(node.at, "no-rule", "this document can't be read as a rule")),
        };
        Read { title, warnings, document }
    }
}
