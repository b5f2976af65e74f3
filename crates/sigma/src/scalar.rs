//! A value of the event as tests see it.

use cybervault_model::json::{Node, StaticNode};

use crate::predicate::Number;

/// A single value; lists are taken apart before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar<'e> {
    Text(&'e str),
    Int(i64),
    /// Beyond [`i64::MAX`].
    Uint(u64),
    Float(f64),
    Bool(bool),
    Null,
    /// An object, or a list without elements: there, but nothing to compare.
    Other,
}

impl<'e> Scalar<'e> {
    /// Whether there is something in it: it is not null, and no empty text.
    pub(crate) fn is_something(self) -> bool {
        !matches!(self, Self::Null | Self::Text(""))
    }

    /// The text that this is.
    pub(crate) fn text(self) -> Option<&'e str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number that this is or that the text spells.
    pub(crate) fn as_number(self) -> Option<Number> {
        match self {
            Self::Text(text) => number_in(text),
            Self::Int(number) => Some(Number::Whole(number.into())),
            Self::Uint(number) => Some(Number::Whole(number.into())),
            Self::Float(number) => Some(Number::new(number)),
            _ => None,
        }
    }

    /// The truth value that this is or that the text spells: true, yes, 1; false, no, 0.
    pub(crate) fn as_bool(self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(truth),
            Self::Text(text) => {
                let is = |word: &str| text.eq_ignore_ascii_case(word);
                if is("true") || is("yes") || is("1") {
                    Some(true)
                } else if is("false") || is("no") || is("0") {
                    Some(false)
                } else {
                    None
                }
            }
            _ => None,
        }
    }
}

impl<'e> From<Node<'e>> for Scalar<'e> {
    fn from(node: Node<'e>) -> Self {
        match node {
            Node::String(text) => Self::Text(text),
            Node::Static(StaticNode::Null) => Self::Null,
            Node::Static(StaticNode::Bool(truth)) => Self::Bool(truth),
            Node::Static(StaticNode::I64(number)) => Self::Int(number),
            Node::Static(StaticNode::U64(number)) => i64::try_from(number).map_or(Self::Uint(number), Self::Int),
            Node::Static(StaticNode::F64(number)) => Self::Float(number),
            Node::Object { .. } | Node::Array { .. } => Self::Other,
        }
    }
}

/// The number that a text spells; the first byte rules most texts out without parsing.
pub(crate) fn number_in(text: &str) -> Option<Number> {
    match text.as_bytes().first()? {
        b'0'..=b'9' | b'+' | b'-' | b'.' if text.len() <= 40 => {
            // Most are short and whole.
            if let Ok(number) = text.parse::<i64>() {
                return Some(Number::Whole(number.into()));
            }
            text.parse().map(Number::Whole).ok().or_else(|| text.parse().map(Number::new).ok())
        }
        _ => None,
    }
}
