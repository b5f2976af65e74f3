//! What is known of a document that is like earlier ones.

use simd_json::Node;

use super::{Form, Held, Slot};
use crate::json::{Element, Line};

/// A document with the gaps of earlier ones: of each value it is told since when it is what it is.
#[derive(Clone, Copy, Debug)]
pub struct Recurring<'r>(&'r Form);

impl<'r> Recurring<'r> {
    pub(super) fn new(form: &'r Form) -> Self {
        Self(form)
    }

    /// The number of its form, which is not 0. All with the same one have the same keys, each with the same node, and lists of the
    /// same length.
    pub(crate) fn form(self) -> u64 {
        self.0.number
    }

    /// The number of its form, and where in it the object is.
    pub fn object(self, object: Element<'_>) -> (u64, usize) {
        (self.form(), object.number())
    }

    /// Which of the document's values the element is; `None` for an object or a list.
    pub fn place(self, element: Element<'_>) -> Option<usize> {
        match self.0.slots.get(element.number())? {
            Slot::Value(place) => Some(*place as usize),
            _ => None,
        }
    }

    /// In which order keys stand, if not in that of their nodes: behind each object's node the node of its first key, behind each key's
    /// that of the next one.
    pub(crate) fn order(self) -> Option<&'r [u32]> {
        Some(&*self.0.order).filter(|order| !order.is_empty())
    }

    /// One of the document's nodes.
    pub(crate) fn node(self, at: usize) -> Option<Node<'r>> {
        let Form { slots, keys, values, .. } = self.0;
        Some(match *slots.get(at)? {
            Slot::Object { len, count } => Node::Object { len: len as usize, count: count as usize },
            Slot::Array { len, count } => Node::Array { len: len as usize, count: count as usize },
            Slot::Key(at) => Node::String(&keys[at as usize]),
            Slot::Value(at) => values[at as usize].node(),
        })
    }

    /// A value by its place.
    pub fn value(self, at: usize) -> Node<'r> {
        self.0.values[at].node()
    }

    /// Since which document of the form the value is what it is.
    pub fn since(self, at: usize) -> u64 {
        self.0.since[at]
    }

    /// The same of all values, by their places.
    pub fn sinces(self) -> &'r [u64] {
        &self.0.since
    }

    /// How many documents were compared with its form, up to this one.
    pub fn clock(self) -> u64 {
        self.0.clock
    }

    /// Calls `found` with the document's texts, or lines of such, that came after another one of its form had that clock; lines
    /// that stand together are given together.
    pub fn each_new_since(self, clock: u64, mut found: impl FnMut(&'r str)) {
        let Form { since, changed, .. } = self.0;
        // Most ask for no more than what the last one changed.
        if clock + 1 == self.clock() {
            changed.iter().for_each(|at| self.new_in(*at as usize, clock, &mut found));
        } else {
            let new = since.iter().enumerate().filter(|(_, since)| **since > clock);
            new.for_each(|(at, _)| self.new_in(at, clock, &mut found));
        }
    }

    fn new_in(self, value: usize, clock: u64, found: &mut impl FnMut(&'r str)) {
        let Form { values, lines, .. } = self.0;
        let (Held::Text(text), lines) = (&values[value], &lines[value]) else { return };
        if lines.is_empty() {
            return found(text);
        }
        let (mut start, mut end) = (0, 0);
        for line in lines {
            if line.since() <= clock {
                if start < end {
                    found(&text[start..end]);
                }
                start = end + line.length();
            }
            end += line.length();
        }
        if start < end {
            found(&text[start..end]);
        }
    }

    /// The lines of a text in this document, if they are told apart, with the number of its form and its place.
    pub fn lines(self, text: &str) -> Option<((u64, usize), &'r [Line])> {
        let Form { values, lines, .. } = self.0;
        let is_it = |held: &Held| matches!(held, Held::Text(known) if std::ptr::eq(known.as_str(), text));
        let at = lines.iter().zip(values).position(|(lines, held)| !lines.is_empty() && is_it(held))?;
        Some(((self.form(), at), &lines[at]))
    }
}

#[cfg(test)]
mod tests {
    use simd_json::{Node, StaticNode};

    use crate::json::{Limits, Reader};

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
            let (_, at, _) = read.entries(0).nth(1).unwrap();
            let elements: Vec<_> = read.top().other(at).entries().map(|(_, element)| element).collect();
            let places: Vec<_> = elements.iter().map(|element| recurring.place(*element)).collect();
            let [None, Some(pid_at), Some(message), None] = places[..] else { panic!("{places:?}") };
            assert_eq!(elements[3].elements().last().unwrap().node(), Node::String("b"));
            assert_eq!(recurring.value(pid_at), Node::Static(StaticNode::U64(pid.into())));
            let Node::String(message) = recurring.value(message) else { panic!("no text") };
            let (_, lines) = recurring.lines(message).unwrap();
            assert_eq!(lines.iter().map(|line| line.length()).collect::<Vec<_>>(), [4, line.len() + 1, 5]);
            let since = lines.iter().map(|line| line.since()).collect::<Vec<_>>();
            let (first, pid_since) = (since[0], recurring.since(pid_at));
            assert_eq!((pid_since > first, since[1] > first, since[2]), (pid == 23, line == "2", first));
            let mut new = Vec::new();
            recurring.each_new_since(recurring.clock() - 1, |text| new.push(text));
            assert_eq!(new, if line == "2" { vec!["2\n"] } else { vec![] });
        }
        assert!(reader.read(document(4, "Four").as_bytes()).unwrap().recurring().is_some());
        // What was a text of several lines may become a number, which has nothing new to be searched.
        let number = document(4, "").replace(r#""One\n\nThree""#, "7");
        let read = reader.read(number.as_bytes()).unwrap();
        let recurring = read.recurring().unwrap();
        let mut new = Vec::new();
        recurring.each_new_since(0, |text| new.push(text));
        assert_eq!(new, ["x", "a", "b"]);
    }

    #[test]
    fn a_form_that_comes_again_is_known_however_many_began_otherwise_before() {
        let mut reader = Reader::new(Limits::default());
        for other in 0..1000 {
            let document = format!(r#"{{"key {other}":1,"id":"a"}}"#);
            let known = (0..4).filter(|_| reader.read(document.as_bytes()).unwrap().recurring().is_some()).count();
            assert!(known > 0, "{document}");
        }
    }
}
