//! What is known of a document that is like earlier ones.

use std::ops::Range;

use simd_json::Node;

use super::{Form, Held, Slot};
use crate::json::{KeyBits, Line, entries};

/// A document with the gaps of earlier ones: of each value it is told since when it is what it is.
#[derive(Clone, Copy, Debug)]
pub struct Recurring<'r> {
    form: &'r Form,
    /// Which of the top's keys the object of interest has.
    inside: Option<usize>,
}

impl<'r> Recurring<'r> {
    pub(super) fn new(form: &'r Form) -> Self {
        Self { form, inside: None }
    }

    /// The same with the interest in the object that the top's key number `inside` has.
    #[must_use]
    pub(crate) fn inside(self, inside: Option<usize>) -> Self {
        Self { inside, ..self }
    }

    /// The number of its form, and which of the top's keys the object has, if it is not the top itself. All with the same ones have
    /// the same keys in the same order, and lists of the same length.
    pub fn object(self) -> (u64, Option<usize>) {
        (self.form.number, self.inside)
    }

    /// The keys at the document's top.
    pub(super) fn top_keys(self) -> KeyBits {
        self.entries(0).map(|(key, ..)| key).collect()
    }

    /// False where no key at the document's top is this one.
    pub(crate) fn may_have(self, key: &str) -> bool {
        self.form.top_keys.may_have(key)
    }

    /// Where each key of the object has its values.
    pub fn places(self) -> Vec<Places> {
        let inside = self.inside.and_then(|inside| self.entries(0).nth(inside));
        let object = inside.map_or(0, |(_, at, _)| at);
        self.entries(object).map(|(_, at, _)| Places::of(&self.form.slots[at..])).collect()
    }

    fn entries(self, object: usize) -> impl Iterator<Item = (&'r str, usize, Node<'r>)> {
        entries(object, move |at| self.node(at))
    }

    /// One of the document's nodes.
    pub(crate) fn node(self, at: usize) -> Option<Node<'r>> {
        let Form { slots, keys, values, .. } = self.form;
        Some(match *slots.get(at)? {
            Slot::Object { len, count } => Node::Object { len: len as usize, count: count as usize },
            Slot::Array { len, count } => Node::Array { len: len as usize, count: count as usize },
            Slot::Key(at) => Node::String(&keys[at as usize]),
            Slot::Value(at) => values[at as usize].node(),
        })
    }

    /// Appends the document's nodes.
    pub(crate) fn write(self, nodes: &mut Vec<Node<'r>>) {
        nodes.extend((0..self.form.slots.len()).filter_map(|at| self.node(at)));
    }

    /// A value by its place.
    pub fn value(self, at: usize) -> Node<'r> {
        self.form.values[at].node()
    }

    /// Since which document of the form the value is what it is.
    pub fn since(self, at: usize) -> u64 {
        self.form.since[at]
    }

    /// The lines of a text in this document, if they are told apart.
    pub fn lines(self, text: &str) -> Option<&'r [Line]> {
        let Form { values, lines, .. } = self.form;
        let is_it = |held: &Held| matches!(held, Held::Text(known) if std::ptr::eq(known.as_str(), text));
        lines.iter().zip(values).find(|(lines, held)| !lines.is_empty() && is_it(held)).map(|(lines, _)| &**lines)
    }
}

/// Where a key has its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// One value.
    Single(usize),
    /// A list of values, not empty.
    List(Range<usize>),
    /// An object, or a list that is empty or has others or objects in it.
    Inside,
}

impl Places {
    /// Those of the key whose values begin the slots.
    fn of(slots: &[Slot]) -> Self {
        let is_value = |slot: &Slot| matches!(slot, Slot::Value(_));
        match slots {
            [Slot::Value(value), ..] => Self::Single(*value as usize),
            [Slot::Array { len, .. }, elements @ ..] => match elements.get(..*len as usize) {
                Some(list @ [Slot::Value(first), ..]) if list.iter().all(is_value) => {
                    Self::List(*first as usize..*first as usize + list.len())
                }
                _ => Self::Inside,
            },
            _ => Self::Inside,
        }
    }

    /// The value's place, if it is one.
    pub fn single(&self) -> Option<usize> {
        match self {
            Self::Single(place) => Some(*place),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use simd_json::{Node, StaticNode};

    use crate::json::{Limits, Places, Reader};

    #[test]
    fn each_key_has_its_value_and_since_when_it_is_that() {
        let mut reader = Reader::new(Limits::default());
        let document = |pid: u32, line: &str| {
            format!(
                r#"{{"type":"x","payload":{{"in":[1,[]],"pid":{pid},"message":"One\n{line}\nThree","list":["a","b"]}},"id":null}}"#
            )
        };
        for (pid, line) in [(1, "Two"), (1, "Two"), (1, "Two"), (23, "Two"), (23, "2")] {
            let text = document(pid, line);
            let read = reader.read(text.as_bytes()).unwrap();
            let Some(recurring) = read.recurring() else { continue };
            assert!(recurring.may_have("type") && !recurring.may_have("Channel"));
            let places = recurring.inside(Some(1)).places();
            let [Places::Inside, Places::Single(pid_at), Places::Single(message), Places::List(ref list)] = places[..]
            else {
                panic!("{places:?}")
            };
            assert_eq!(recurring.value(list.end - 1), Node::String("b"));
            assert_eq!(recurring.value(pid_at), Node::Static(StaticNode::U64(pid.into())));
            let Node::String(message) = recurring.value(message) else { panic!("no text") };
            let lines = recurring.lines(message).unwrap();
            assert_eq!(lines.iter().map(|line| line.length()).collect::<Vec<_>>(), [4, line.len() + 1, 5]);
            let since = lines.iter().map(|line| line.since()).collect::<Vec<_>>();
            let (first, pid_since) = (since[0], recurring.since(pid_at));
            assert_eq!((pid_since > first, since[1] > first, since[2]), (pid == 23, line == "2", first));
        }
        assert!(reader.read(document(4, "Four").as_bytes()).unwrap().recurring().is_some());
    }
}
