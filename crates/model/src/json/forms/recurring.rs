//! What is known of a document that is like earlier ones.

use simd_json::Node;

use super::{Form, Held, Slot};
use crate::json::Line;

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

    /// Which value each key of the object has; none where it has an object or a list.
    pub fn places(self) -> Vec<Option<usize>> {
        let slots = &self.form.slots;
        let top = self.children(0);
        let object = self.inside.and_then(|inside| top.get(inside).copied());
        self.children(object.unwrap_or_default())
            .into_iter()
            .map(|at| match slots[at] {
                Slot::Value(value) => Some(value as usize),
                _ => None,
            })
            .collect()
    }

    /// Where the values of an object's keys are among the slots.
    fn children(self, object: usize) -> Vec<usize> {
        let slots = &self.form.slots;
        let Some(Slot::Object { len, .. }) = slots.get(object) else { return Vec::new() };
        let mut children = Vec::new();
        // Behind the first key.
        let mut at = object + 2;
        for _ in 0..*len {
            children.push(at);
            at += match slots.get(at) {
                Some(Slot::Object { count, .. } | Slot::Array { count, .. }) => *count as usize + 2,
                _ => 2,
            };
        }
        children
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
