//! An event gone over: where it has the fields of a table, and its texts.

use cybervault_model::json::{Element, Node};

use crate::{
    fields::{FieldId, FieldTable, Otherwise},
    keys::Naming,
    scalar::Scalar,
};

/// How deep lists and objects are followed; the reader's own limit is below.
const MAX_DEPTH: usize = 128;

/// The place of values that are no field's. No key has this number.
pub(crate) const NO_FIELD: u32 = u32::MAX;

/// Takes what a [`FieldTable`] finds.
pub(crate) trait Sink<'e> {
    /// A value at the place of these targets, which `place` numbers. One that is no field's is at [`NO_FIELD`] and no object or list.
    fn value(&mut self, place: u32, targets: &[u32], value: Element<'e>);
    /// Whether values that are no field's are of use.
    fn wants_others(&self) -> bool;
    /// Whether a value of the field would be of use, and none has come.
    fn misses(&self, field: FieldId) -> bool;
}

impl FieldTable {
    /// Goes over the event once and hands every value of a field to `sink`, and every other if it wants them.
    pub(crate) fn walk<'e>(&self, event: Element<'e>, sink: &mut impl Sink<'e>) {
        self.object(Some(0), event, 0, sink);
        for Otherwise { path, target, waits } in &self.otherwise {
            let misses = sink.misses(self.targets[*target as usize].field);
            // No key has this number: it is one of a target.
            let place = u32::MAX - 1 - target;
            let (place, targets) = match waits.map(|at| (at, &self.keys[at as usize])) {
                Some((_, key)) if misses => (place, &*key.joined),
                Some((at, key)) => (at, &*key.targets),
                None if misses => (place, &[*target][..]),
                None => continue,
            };
            follow(event, self.naming, path, 0, &mut |value| sink.value(place, targets, value));
        }
    }

    /// `at` is the key that led here, if it is one that leads to fields.
    fn object<'e>(&self, at: Option<u32>, object: Element<'e>, depth: usize, sink: &mut impl Sink<'e>) {
        for (name, value) in object.entries() {
            let next = at.and_then(|at| self.step(at, name));
            let key = next.map(|next| &self.keys[next as usize]);
            let is_field = key.is_some_and(|key| !key.targets.is_empty());
            if let (Some(next), Some(key)) = (next, key)
                && is_field
                && (at != Some(0) || key.joined.is_empty())
            {
                each_value(value, depth, &mut |value| sink.value(next, &key.targets, value));
            }
            let next = next.filter(|next| !self.keys[*next as usize].keys.is_empty());
            if next.is_some() || sink.wants_others() {
                self.inside(next, is_field, value, depth + 1, sink);
            }
        }
    }

    /// Goes on in an object, or in every object of a list; `is_field` if the value, or those in the list, are a field's.
    fn inside<'e>(&self, at: Option<u32>, is_field: bool, value: Element<'e>, depth: usize, sink: &mut impl Sink<'e>) {
        match value.node() {
            Node::Object { .. } | Node::Array { .. } if depth > MAX_DEPTH => {}
            Node::Object { .. } => self.object(at, value, depth, sink),
            Node::Array { .. } => {
                value.elements().for_each(|element| self.inside(at, is_field, element, depth + 1, sink));
            }
            _ if is_field => {}
            _ => sink.value(NO_FIELD, &[], value),
        }
    }
}

/// The values at `path` in `value`, lists gone through.
pub(crate) fn follow<'e, K: AsRef<str>>(
    value: Element<'e>,
    naming: Naming,
    path: &[K],
    depth: usize,
    found: &mut impl FnMut(Element<'e>),
) {
    if path.is_empty() {
        return each_value(value, depth, found);
    }
    if depth > MAX_DEPTH {
        return;
    }
    for (name, inner) in value.entries() {
        if let Some(rest) = naming.behind(path, name) {
            follow(inner, naming, rest, depth + 1, found);
        }
    }
    value.elements().for_each(|element| follow(element, naming, path, depth + 1, found));
}

/// A value, or every element of a list.
pub(crate) fn each_value<'e>(value: Element<'e>, depth: usize, found: &mut impl FnMut(Element<'e>)) {
    match value.node() {
        Node::Array { len, .. } if len > 0 && depth <= MAX_DEPTH => {
            value.elements().for_each(|element| each_value(element, depth + 1, found));
        }
        _ => found(value),
    }
}

/// Every text in the event.
pub(crate) fn each_text<'e>(value: Element<'e>, depth: usize, found: &mut impl FnMut(&'e str)) {
    if let Node::String(text) = value.node() {
        found(text);
    } else if depth <= MAX_DEPTH {
        value.entries().for_each(|(_, inner)| each_text(inner, depth + 1, found));
        value.elements().for_each(|element| each_text(element, depth + 1, found));
    }
}

/// Every text, number and truth value in the event.
pub(crate) fn each_scalar<'e>(value: Element<'e>, depth: usize, found: &mut impl FnMut(Scalar<'e>)) {
    match value.node() {
        Node::Object { .. } | Node::Array { .. } if depth > MAX_DEPTH => {}
        Node::Object { .. } => value.entries().for_each(|(_, inner)| each_scalar(inner, depth + 1, found)),
        Node::Array { .. } => value.elements().for_each(|element| each_scalar(element, depth + 1, found)),
        node => found(node.into()),
    }
}

/// The first text, number or truth value that `wanted` takes; `path` becomes the keys that lead to it.
pub(crate) fn find_scalar<'e>(
    value: Element<'e>,
    depth: usize,
    path: &mut String,
    wanted: &mut impl FnMut(Scalar<'e>) -> bool,
) -> Option<Scalar<'e>> {
    match value.node() {
        Node::Object { .. } | Node::Array { .. } if depth > MAX_DEPTH => return None,
        Node::Object { .. } | Node::Array { .. } => {}
        node => return Some(node.into()).filter(|value| wanted(*value)),
    }
    let in_keys = value.entries().find_map(|(key, inner)| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        let found = find_scalar(inner, depth + 1, path, wanted);
        if found.is_none() {
            path.truncate(length);
        }
        found
    });
    in_keys.or_else(|| value.elements().find_map(|element| find_scalar(element, depth + 1, path, wanted)))
}

impl<'e> From<Element<'e>> for Scalar<'e> {
    fn from(element: Element<'e>) -> Self {
        element.node().into()
    }
}
