//! A value inside a document, whether the document's nodes are made or not.

use super::{Node, Recurring, StaticNode, entries};

/// A value in a document, by its node.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    nodes: Nodes<'a>,
    at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Nodes<'a> {
    Made(&'a [Node<'a>]),
    Kept(Recurring<'a>),
}

impl<'a> Element<'a> {
    /// The value at node number `at`.
    pub(super) fn made(nodes: &'a [Node<'a>], at: usize) -> Self {
        Self { nodes: Nodes::Made(nodes), at }
    }

    /// The same in a document that is like earlier ones.
    pub(super) fn kept(recurring: Recurring<'a>, at: usize) -> Self {
        Self { nodes: Nodes::Kept(recurring), at }
    }

    /// Its node's number.
    pub fn number(self) -> usize {
        self.at
    }

    /// Its node; of an object or a list what is inside comes behind it.
    pub fn node(self) -> Node<'a> {
        // There is none only behind the document's last one.
        self.nodes.get(self.at).unwrap_or(Node::Static(StaticNode::Null))
    }

    /// The value that has the node of that number in the same document.
    #[must_use]
    pub fn other(self, number: usize) -> Self {
        Self { at: number, ..self }
    }

    /// What is known of its document from earlier ones.
    pub fn recurring(self) -> Option<Recurring<'a>> {
        match self.nodes {
            Nodes::Made(_) => None,
            Nodes::Kept(recurring) => Some(recurring),
        }
    }

    /// What an object has under a key; the first of several.
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The keys of an object, with their values.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, Self)> {
        entries(self.at, move |at| self.nodes.get(at)).map(move |(key, at, _)| (key, self.other(at)))
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

impl<'a> Nodes<'a> {
    fn get(self, at: usize) -> Option<Node<'a>> {
        match self {
            Self::Made(nodes) => nodes.get(at).copied(),
            Self::Kept(recurring) => recurring.node(at),
        }
    }
}

/// How many nodes are inside of the value that this one begins.
pub(super) fn count(node: Node<'_>) -> usize {
    match node {
        Node::Object { count, .. } | Node::Array { count, .. } => count,
        _ => 0,
    }
}
