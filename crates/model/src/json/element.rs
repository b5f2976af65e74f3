//! A value inside a document.

use super::{Document, Node, Recurring, StaticNode};

/// A value in a document, by its node.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    document: &'a Document<'a>,
    at: usize,
}

impl<'a> Element<'a> {
    /// The value that has the node of that number.
    pub(crate) fn of(document: &'a Document<'a>, number: usize) -> Self {
        Self { document, at: number }
    }

    /// How many halves of surrogate pairs its whole document has, which were read as U+FFFD.
    pub fn replaced_characters(self) -> u32 {
        self.document.replaced_characters()
    }

    /// Its node's number.
    pub fn number(self) -> usize {
        self.at
    }

    /// Its node; of an object or a list what is inside comes behind it.
    pub fn node(self) -> Node<'a> {
        // There is none only behind the document's last one.
        self.document.node(self.at).unwrap_or(Node::Static(StaticNode::Null))
    }

    /// The value that has the node of that number in the same document.
    #[must_use]
    pub fn other(self, number: usize) -> Self {
        Self { at: number, ..self }
    }

    /// What is known of its document from earlier ones.
    pub fn recurring(self) -> Option<Recurring<'a>> {
        self.document.recurring()
    }

    /// What an object has under a key; the first of several.
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The keys of an object, with their values.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, Self)> {
        self.document.entries(self.at).map(move |(key, at, _)| (key, self.other(at)))
    }

    /// The elements of a list.
    pub fn elements(self) -> impl Iterator<Item = Self> {
        let len = match self.node() {
            Node::Array { len, .. } => len,
            _ => 0,
        };
        let mut next = self.at + 1;
        (0..len).map(move |_| {
            let element = self.other(next);
            next += 1 + count(element.node());
            element
        })
    }
}

/// How many nodes are inside of the value that this one begins.
pub(super) fn count(node: Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count,
        _ => 0,
    }
}
