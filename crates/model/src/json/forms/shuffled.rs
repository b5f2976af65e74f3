//! Documents that have the keys of earlier ones in another order, as a writer has them that keeps its fields in a hash map.
//!
//! Such a document is taken apart without the parser, so far as to know where each value is. If an earlier one had the same keys,
//! each value is compared with that one's, wherever it stands, and only what differs is read. Nodes are numbered as in the first
//! document that had these keys; in which order they stand is kept beside them.

use std::{collections::HashMap, mem};

use foldhash::fast::FixedState;

use super::{Form, GOLDEN, LONGEST, MOST_ONCE, Novel, Slot, Span, came_before, gaps::value_end, hash_of, number};
use crate::json::text::{self, Unescape};

/// How many kinds of such documents are kept: 4 MiB of JSON at most, and unescaped as much again.
const MOST: usize = 64;

/// Of how many orders of keys is known that they came.
const MOST_ORDERS: usize = 4096;

/// Objects and lists are not followed deeper.
const MOST_DEPTH: usize = 32;

/// What documents are like whose keys come in any order.
#[derive(Debug)]
pub(super) struct Shuffled {
    /// By a mark of their keys.
    kinds: HashMap<u64, Kind, FixedState>,
    /// Marks that came once: only what comes again is kept.
    once: Box<[u64]>,
    /// Orders of keys that came.
    orders: Box<[u64]>,
    /// The document at hand, and its marks if it could be taken apart.
    parts: Parts,
    marks: Option<Marks>,
    /// Whether its keys' order came before.
    is_ordered: bool,
    /// Of documents that were not known.
    novel: Novel,
    place: Place,
}

/// What tells documents by their keys.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// The same whatever their order is.
    keys: u64,
    /// The same where their order is, too.
    order: u64,
}

/// Documents with the same keys.
#[derive(Debug)]
struct Kind {
    form: Form,
    /// The node of each key, by the keys that lead to it and itself, …
    nodes: HashMap<u64, u32, FixedState>,
    /// … and the node of the object that each is in.
    parents: Vec<u32>,
}

impl Default for Shuffled {
    fn default() -> Self {
        Self {
            kinds: HashMap::default(),
            once: [0; MOST_ONCE].into(),
            orders: [0; MOST_ORDERS].into(),
            parts: Parts::default(),
            marks: None,
            is_ordered: false,
            novel: Novel::default(),
            place: Place::default(),
        }
    }
}

impl Shuffled {
    /// Looks at a document: whether its keys came before in the same order.
    pub(super) fn look(&mut self, bytes: &[u8]) -> bool {
        let rests = self.novel.rests();
        self.novel.came(false);
        self.marks = if rests || bytes.len() > LONGEST { None } else { self.parts.take_apart(bytes) };
        self.is_ordered = self.marks.is_some_and(|Marks { order, .. }| came_before(&mut self.orders, order));
        self.is_ordered
    }

    /// Takes the values of the document at hand into what is known of its kind, if that is known: which it is. Not where its keys'
    /// order comes again, which can be followed at less cost.
    pub(super) fn follow(&mut self, bytes: &[u8], clock: u64, unescape: &mut Unescape) -> Option<u64> {
        let mark = self.marks.filter(|_| !self.is_ordered)?.keys;
        let kind = self.kinds.get_mut(&mark)?;
        self.place.each(&self.parts, kind, bytes)?;
        kind.form.take(bytes, &mut self.place.spans, &mut self.place.order, unescape)?;
        kind.form.came = clock;
        self.novel.came(true);
        Some(mark)
    }

    /// What [`Self::follow`] found the document to be like.
    pub(super) fn form(&self, mark: u64) -> &Form {
        &self.kinds[&mark].form
    }

    /// Whether the keys of the document at hand came before in the same order.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Whether they came before, in whatever order.
    pub(super) fn came_before(&mut self) -> bool {
        self.marks.is_some_and(|Marks { keys, .. }| came_before(&mut self.once, keys))
    }

    /// Keeps the document at hand as the first of its kind; `form` has its nodes and no values yet.
    pub(super) fn learn(&mut self, bytes: &[u8], form: Form, unescape: &mut Unescape) {
        let Some(Marks { keys: mark, .. }) = self.marks else { return };
        if self.kinds.len() >= MOST {
            let oldest = self.kinds.iter().min_by_key(|(_, kind)| kind.form.came).map(|(mark, _)| *mark);
            self.kinds.remove(&oldest.unwrap_or_default());
        }
        if let Some(kind) = Kind::new(&self.parts, bytes, form, unescape) {
            self.kinds.insert(mark, kind);
        }
    }
}

impl Kind {
    /// `None` for a document that is not plain: with a key that stands there twice, has something to unescape, or dots, which may
    /// make it the same as others inside each other.
    fn new(parts: &Parts, bytes: &[u8], form: Form, unescape: &mut Unescape) -> Option<Self> {
        let mut kind = Self { nodes: HashMap::default(), parents: vec![0; form.slots.len()], form };
        let mut around: Vec<(u32, u32, bool)> = Vec::new();
        let mut next = 0;
        for part in &parts.list {
            while around.last().is_some_and(|(_, left, _)| *left == 0) {
                around.pop();
            }
            if let Some((parent, left, has_keys)) = around.last_mut() {
                *left -= 1;
                if *has_keys {
                    let Slot::Key(key) = *kind.form.slots.get(next)? else { return None };
                    let key = &*kind.form.keys[key as usize];
                    let is_plain = *key.as_bytes() == bytes[part.key.range()] && !key.contains('.');
                    if !is_plain || kind.nodes.insert(part.hash, number(next)).is_some() {
                        return None;
                    }
                    kind.parents[next] = *parent;
                    next += 1;
                }
            }
            if let What::Object(len) | What::List(len) = part.what {
                around.push((number(next), len, matches!(part.what, What::Object(_))));
            }
            next += 1;
        }
        let mut place = Place::default();
        place.each(parts, &kind, bytes)?;
        kind.form.take(bytes, &mut place.spans, &mut place.order, unescape)?;
        Some(kind)
    }
}

/// Where a document of a kind has what.
#[derive(Debug, Default)]
struct Place {
    /// Where each value is.
    spans: Vec<Span>,
    /// Behind each object's node the node of its first key, behind each key's that of the next one.
    order: Vec<u32>,
    /// Which keys there are.
    found: Vec<bool>,
    around: Vec<Around>,
}

/// An object or a list around what is looked at.
#[derive(Clone, Copy, Debug)]
struct Around {
    node: u32,
    has_keys: bool,
    left: u32,
    /// The last key or, before the first, the object.
    last: u32,
    /// A list's next element.
    next: u32,
}

impl Place {
    /// `None` where the document only seems to be of this kind.
    fn each(&mut self, parts: &Parts, kind: &Kind, bytes: &[u8]) -> Option<()> {
        let form = &kind.form;
        let Self { spans, order, found, around } = self;
        spans.clear();
        spans.resize(form.values.len(), Span::default());
        order.clear();
        order.resize(form.slots.len(), 0);
        found.clear();
        found.resize(form.slots.len(), false);
        around.clear();
        for part in &parts.list {
            while around.last().is_some_and(|around| around.left == 0) {
                around.pop();
            }
            let node = match around.last_mut() {
                None => 0,
                Some(around) => {
                    around.left -= 1;
                    if around.has_keys {
                        let node = *kind.nodes.get(&part.hash)?;
                        let Slot::Key(key) = form.slots[node as usize] else { return None };
                        let is_it = kind.parents[node as usize] == around.node
                            && *form.keys[key as usize].as_bytes() == bytes[part.key.range()];
                        if !is_it || mem::replace(&mut found[node as usize], true) {
                            return None;
                        }
                        order[around.last as usize] = node;
                        around.last = node;
                        node + 1
                    } else {
                        let node = around.next;
                        around.next += 1 + form.slots.get(node as usize)?.count();
                        node
                    }
                }
            };
            let inside = |has_keys, left| Around { node, has_keys, left, last: node, next: node + 1 };
            match (part.what, form.slots[node as usize]) {
                (What::Object(len), Slot::Object { len: same, .. }) if len == same => around.push(inside(true, len)),
                (What::List(len), Slot::Array { len: same, .. }) if len == same => around.push(inside(false, len)),
                (What::Value(span), Slot::Value(value)) => spans[value as usize] = span,
                _ => return None,
            }
        }
        Some(())
    }
}

/// What stands in a document one after the other, from the object around all on.
#[derive(Debug, Default)]
struct Parts {
    list: Vec<Part>,
    /// The objects and lists around what is read, by their place in `list`, and whether each has keys.
    around: Vec<(usize, bool)>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    /// Of the keys, and of the places in lists, that lead here.
    hash: u64,
    /// The key without its quotes; empty in a list.
    key: Span,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Object(u32),
    List(u32),
    Value(Span),
}

impl Parts {
    /// Takes a document apart: its marks. `None` if it is not JSON without a space between its values; whether these are any, and
    /// whether keys are, is not looked at.
    fn take_apart(&mut self, bytes: &[u8]) -> Option<Marks> {
        let Self { list, around } = self;
        list.clear();
        around.clear();
        let (mut at, mut marks) = (0, Marks::default());
        let (mut hash, mut key) = (0, Span::default());
        loop {
            // A value, …
            let first = *bytes.get(at)?;
            let mut is_open = false;
            let what = match first {
                b'{' | b'[' if around.len() < MOST_DEPTH => {
                    around.push((list.len(), first == b'{'));
                    at += 1;
                    is_open = true;
                    if first == b'{' { What::Object(0) } else { What::List(0) }
                }
                // An object is around all.
                _ if around.is_empty() => return None,
                _ => {
                    let end = value_end(bytes, at)?;
                    marks.add(hash);
                    let span = Span { start: number(at), end: number(end) };
                    at = end;
                    What::Value(span)
                }
            };
            list.push(Part { hash, key, what });
            // … what ends behind it, …
            let (container, has_keys, count) = loop {
                let Some((container, has_keys)) = around.last().copied() else {
                    return (at == bytes.len()).then_some(marks);
                };
                let of = &mut list[container];
                let (What::Object(count) | What::List(count)) = &mut of.what else { return None };
                let next = *bytes.get(at)?;
                if next == if has_keys { b'}' } else { b']' } {
                    marks.add(hash_of((of.hash, *count, has_keys)));
                    around.pop();
                    at += 1;
                    is_open = false;
                    continue;
                }
                if !mem::take(&mut is_open) {
                    if next != b',' {
                        return None;
                    }
                    at += 1;
                }
                *count += 1;
                break (of.hash, has_keys, *count);
            };
            // … and the key of the next one.
            (hash, key) = if has_keys {
                if bytes.get(at) != Some(&b'"') {
                    return None;
                }
                let length = text::short(&bytes[at + 1..]).map(|length| length + 2);
                let length = length.or_else(|| value_end(bytes, at).map(|end| end - at))?;
                let key = at + 1..at + length - 1;
                at += length;
                if bytes.get(at) != Some(&b':') {
                    return None;
                }
                at += 1;
                (hash_of((container, &bytes[key.clone()])), Span { start: number(key.start), end: number(key.end) })
            } else {
                (hash_of((container, count)), Span::default())
            };
        }
    }
}

impl Marks {
    fn add(&mut self, hash: u64) {
        self.keys = self.keys.wrapping_add(hash);
        self.order = (self.order.rotate_left(5) ^ hash).wrapping_mul(GOLDEN);
    }
}

#[cfg(test)]
mod tests {
    use simd_json::{Node, StaticNode};

    use crate::json::{Limits, Reader};

    /// Whether the document is known, and its keys and numbers as they stand there.
    fn read(reader: &mut Reader, text: &str) -> (bool, Vec<(String, u64)>) {
        let document = reader.read(text.as_bytes()).unwrap();
        let mut found = Vec::new();
        for (key, value) in document.top().entries() {
            let inside = value.entries().map(|(key, value)| (key.to_owned(), value));
            for (key, value) in inside.chain(std::iter::once((key.to_owned(), value))) {
                if let Node::Static(StaticNode::U64(number)) = value.node() {
                    found.push((key, number));
                }
            }
        }
        (document.recurring().is_some(), found)
    }

    #[test]
    fn keys_in_any_order_are_known_and_stand_as_they_stand_there() {
        let mut reader = Reader::new(Limits::default());
        let texts = [
            r#"{"a":1,"b":{"c":2,"d":3},"e":4}"#,
            r#"{"e":4,"b":{"d":3,"c":2},"a":1}"#,
            r#"{"b":{"c":7,"d":3},"e":4,"a":1}"#,
            r#"{"e":12345,"a":1,"b":{"d":3,"c":7}}"#,
        ];
        let found = texts.map(|text| read(&mut reader, text));
        let of =
            |pairs: &[(&str, u64)]| pairs.iter().map(|(key, number)| ((*key).to_owned(), *number)).collect::<Vec<_>>();
        assert_eq!(found[1], (false, of(&[("e", 4), ("d", 3), ("c", 2), ("a", 1)])));
        assert_eq!(found[2], (true, of(&[("c", 7), ("d", 3), ("e", 4), ("a", 1)])));
        assert_eq!(found[3], (true, of(&[("e", 12345), ("a", 1), ("d", 3), ("c", 7)])));
    }

    #[test]
    fn what_only_has_the_same_keys_elsewhere_is_another_kind() {
        let mut reader = Reader::new(Limits::default());
        for text in [r#"{"a":{"x":1},"b":{"y":2},"c":0}"#, r#"{"b":{"y":2},"a":{"x":1},"c":0}"#] {
            assert!(!read(&mut reader, text).0);
        }
        for text in [
            r#"{"b":{"x":1},"a":{"y":2},"c":0}"#,
            r#"{"c":0,"a":{"x":1,"y":2},"b":{}}"#,
            r#"{"b":{"y":2},"c":0,"a":{"x":1},"a":1}"#,
            r#"{"c":[],"b":{"y":2},"a":{"x":1}}"#,
        ] {
            assert!(!read(&mut reader, text).0, "{text}");
        }
        assert!(read(&mut reader, r#"{"c":0,"b":{"y":5},"a":{"x":3}}"#).0);
        assert!(reader.read(br#"{"c":0,"a":{"x":3},"b":{"y":5x}}"#).is_err());
        assert_eq!(read(&mut reader, r#"{"b":{"y":6},"c":1,"a":{"x":3}}"#), {
            (true, [("y", 6), ("c", 1), ("x", 3)].map(|(key, number)| (key.to_owned(), number)).to_vec())
        });
    }
}
