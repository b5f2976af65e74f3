//! JSON read once, into memory that is used again for the next event.
//!
//! A [`Reader`] owns the buffers; [`Reader::read`] fills them from one value's bytes and lends a [`Document`] over them.
//! Nothing is allocated once the buffers have grown to the size of the usual event.

#[cfg_attr(not(target_arch = "x86_64"), path = "json/no_avx512.rs")]
mod avx512;
mod element;
mod forms;
mod plain;
mod surrogates;
mod text;

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use serde::de::IgnoredAny;
use simd_json::{Buffers, ErrorType, Tape};
pub use simd_json::{Node, StaticNode};

use self::forms::Forms;
pub use self::{element::Element, forms::Recurring, surrogates::without_half_pairs, text::Line};

/// How much of one value is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one value.
    pub max_bytes: usize,
    /// Objects and arrays inside each other.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1024 * 1024, max_depth: 64 }
    }
}

/// Why bytes are no JSON document that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// More bytes than the limit.
    #[error("{bytes} bytes are more than the {limit} that one event may have")]
    TooLarge {
        /// What came.
        bytes: usize,
        /// What is taken.
        limit: usize,
    },
    /// Objects or arrays nested deeper than the limit.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// What is taken.
        limit: usize,
    },
    /// Bytes that are no UTF-8.
    #[error("not UTF-8")]
    InvalidUtf8,
    /// Not JSON.
    #[error("not JSON: {reason} at byte {at}")]
    NotJson {
        /// What the parser says.
        reason: String,
        /// Where.
        at: usize,
    },
    /// The parser panicked, which is a bug, but nobody else's problem.
    #[error("the JSON parser panicked")]
    Panicked,
    /// JSON, but no object.
    #[error("a JSON {0}, where an object is expected")]
    NotObject(&'static str),
}

impl ReadError {
    fn from_parser(error: &simd_json::Error, bytes: &[u8], limits: Limits) -> Self {
        if std::str::from_utf8(bytes).is_err() {
            return Self::InvalidUtf8;
        }
        match error.error() {
            ErrorType::DepthLimitExceeded => Self::TooDeep { limit: limits.max_depth },
            kind => explained(bytes)
                .unwrap_or_else(|| Self::NotJson { reason: format!("{kind:?}"), at: error.index().min(bytes.len()) }),
        }
    }
}

/// What is wrong with bytes that are no JSON, in the words of a parser that has better ones than the fast one.
fn explained(bytes: &[u8]) -> Option<ReadError> {
    let error = serde_json::from_slice::<IgnoredAny>(bytes).err()?;
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(&*text, |(reason, _)| reason).to_owned();
    let before: usize =
        bytes.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    Some(ReadError::NotJson { reason, at: (before + error.column().saturating_sub(1)).min(bytes.len()) })
}

/// Reads one JSON object after the other into the same buffers.
pub struct Reader {
    limits: Limits,
    input: Vec<u8>,
    /// The same of a value that is not to be read as it came.
    mended: Vec<u8>,
    buffers: Buffers,
    nodes: Tape<'static>,
    forms: Forms,
}

impl Reader {
    /// A reader that takes what `limits` allow.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            input: Vec::new(),
            mended: Vec::new(),
            buffers: Buffers::with_max_depth(4096, limits.max_depth),
            nodes: Tape(Vec::new()),
            forms: Forms::default(),
        }
    }

    /// The same that keeps nothing from one value to the next: the parser alone.
    #[must_use]
    pub fn forgetful(self) -> Self {
        Self { forms: Forms::off(), ..self }
    }

    /// Reads `bytes`, which must be one JSON object. Half a surrogate pair is read as U+FFFD, and counted:
    /// [`Document::replaced_characters`].
    ///
    /// # Errors
    /// When `bytes` are too large, too deep, not UTF-8, not JSON or no object.
    pub fn read<'r>(&'r mut self, bytes: &[u8]) -> Result<Document<'r>, ReadError> {
        if bytes.len() > self.limits.max_bytes {
            return Err(ReadError::TooLarge { bytes: bytes.len(), limit: self.limits.max_bytes });
        }
        if let Some(like) = self.forms.follow(bytes) {
            return Ok(Document { nodes: Nodes::Kept(self.forms.lend(like)), replaced_characters: 0 });
        }
        // The parser unescapes strings in place; the caller's bytes stay untouched.
        self.input.clear();
        self.input.extend_from_slice(bytes);
        let nodes = mem::replace(&mut self.nodes, Tape(Vec::new())).reset::<'r>();
        let (mut filled, mut replaced_characters) = (fill(&mut self.input, &mut self.buffers, nodes), 0);
        // Nothing that was followed has such halves in it: only what the parser refuses has to be looked at.
        if let Ok(Err(_)) = filled
            && let Some((mended, count)) = without_half_pairs(bytes)
        {
            self.buffers = Buffers::with_max_depth(4096, self.limits.max_depth);
            (self.mended, replaced_characters) = (mended, count);
            filled = fill(&mut self.mended, &mut self.buffers, Tape(Vec::new()));
        }
        let nodes = match filled {
            Ok(Ok(nodes)) => nodes,
            failed => {
                self.buffers = Buffers::with_max_depth(4096, self.limits.max_depth);
                return Err(match failed {
                    Ok(Err(error)) => {
                        let mended = without_half_pairs(bytes).map(|(mended, _)| mended);
                        ReadError::from_parser(&error, mended.as_deref().unwrap_or(bytes), self.limits)
                    }
                    _ => ReadError::Panicked,
                });
            }
        };
        let found = match nodes.0.first() {
            Some(Node::Object { .. }) => None,
            Some(Node::Array { .. }) => Some("array"),
            Some(Node::String(_)) => Some("string"),
            Some(Node::Static(StaticNode::Null)) => Some("null"),
            Some(Node::Static(StaticNode::Bool(_))) => Some("boolean"),
            _ => Some("number"),
        };
        // A form says what such bytes are; what was mended is not these bytes.
        if found.is_none() && replaced_characters == 0 {
            self.forms.learn(bytes, &nodes.0);
        }
        let document = Document { nodes: Nodes::Made(nodes, &mut self.nodes), replaced_characters };
        match found {
            None => Ok(document),
            Some(kind) => Err(ReadError::NotObject(kind)),
        }
    }
}

/// Has the parser fill `nodes`, unescaping in place. A bug in it must not let one event take the worker down: nothing half-done is
/// seen after a panic, as the nodes are dropped and the buffers are to be replaced.
fn fill<'r>(
    input: &'r mut [u8],
    buffers: &mut Buffers,
    mut nodes: Tape<'r>,
) -> thread::Result<simd_json::Result<Tape<'r>>> {
    catch_unwind(AssertUnwindSafe(move || {
        simd_json::fill_tape(input, buffers, &mut nodes)?;
        Ok(nodes)
    }))
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// One JSON object in its reader's buffers.
#[derive(Debug)]
pub struct Document<'r> {
    nodes: Nodes<'r>,
    replaced_characters: u32,
}

#[derive(Debug)]
enum Nodes<'r> {
    /// What the parser has made, and where its memory goes.
    Made(Tape<'r>, &'r mut Tape<'static>),
    /// A document like earlier ones.
    Kept(Recurring<'r>),
}

impl<'r> Document<'r> {
    /// The object.
    pub fn top(&self) -> Element<'_> {
        Element::of(self, 0)
    }

    /// How many halves of surrogate pairs were read as U+FFFD.
    pub fn replaced_characters(&self) -> u32 {
        self.replaced_characters
    }

    /// A node by its number; there are none behind the last one.
    pub fn node(&self, number: usize) -> Option<Node<'r>> {
        match &self.nodes {
            Nodes::Made(nodes, _) => nodes.0.get(number).copied(),
            Nodes::Kept(recurring) => recurring.node(number),
        }
    }

    /// What is known of it from earlier ones.
    pub(crate) fn recurring(&self) -> Option<Recurring<'r>> {
        match &self.nodes {
            Nodes::Made(..) => None,
            Nodes::Kept(recurring) => Some(*recurring),
        }
    }

    /// The keys of the object at this node, each with the number of the first node of what it has, and that.
    pub(crate) fn entries(&self, object: usize) -> impl Iterator<Item = (&'r str, usize, Node<'r>)> + Clone {
        let len = match self.node(object) {
            Some(Node::Object { len, .. }) => len,
            _ => 0,
        };
        let order = self.recurring().and_then(Recurring::order);
        let behind = move |node: usize| order.and_then(|order| order.get(node)).map(|next| *next as usize);
        let mut next = behind(object).unwrap_or(object + 1);
        (0..len).map_while(move |_| {
            let (Node::String(key), at) = (self.node(next)?, next + 1) else { return None };
            let value = self.node(at)?;
            next = behind(next).unwrap_or_else(|| at + 1 + element::count(value));
            Some((key, at, value))
        })
    }
}

impl Drop for Document<'_> {
    fn drop(&mut self) {
        if let Nodes::Made(nodes, home) = &mut self.nodes {
            **home = mem::replace(nodes, Tape(Vec::new())).reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_buffers_serve_one_document_after_the_other() {
        let mut reader = Reader::new(Limits::default());
        for (bytes, expected) in [(r#"{"a":"x\\y"}"#, "x\\y"), (r#"{"b":1,"a":"z"}"#, "z")] {
            let document = reader.read(bytes.as_bytes()).unwrap();
            assert_eq!(document.top().get("a").unwrap().node(), Node::String(expected));
        }
    }

    #[test]
    fn what_is_not_one_object_within_limits_is_refused_and_the_next_is_read() {
        let limits = Limits { max_bytes: 100, max_depth: 4 };
        let mut reader = Reader::new(limits);
        let deep = format!("{}1{}", r#"{"a":"#.repeat(5), "}".repeat(5));
        for (bytes, expected) in [
            (&b"{"[..], "not JSON"),
            (b"", "not JSON"),
            (b"{\"a\":1} {}", "not JSON"),
            (b"[1]", "a JSON array"),
            (b"null", "a JSON null"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (&[b' '; 101], "101 bytes are more than the 100"),
            (deep.as_bytes(), "deeper than 4 levels"),
        ] {
            let error = reader.read(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(reader.read(b"{\"a\":{\"b\":18446744073709551616}}").is_ok());
        }
    }
}
