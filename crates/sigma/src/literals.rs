//! All the literal texts that rules compare a field with, tried together.

use crate::{bits::length_bit, fields::FixedMap, predicate::TextOp, substrings::Substrings, trie::Trie};

/// Literal texts, folded, each with the number of its predicate.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    exact: FixedMap<Box<[u8]>, u32>,
    prefixes: Trie,
    suffixes: Trie,
    substrings: Option<Substrings>,
    shapes: Shapes,
}

/// What can be told of a value at a glance: most values of most fields are not worth folding.
#[derive(Debug, Default)]
struct Shapes {
    /// Lengths of exact texts; the last bit is for all that are longer.
    lengths: u64,
    /// Bytes that prefixes begin with, and that suffixes end with, if they are of ASCII.
    firsts: u128,
    lasts: u128,
    /// Whether there is any such text at all.
    has_any: bool,
}

impl Shapes {
    fn add(&mut self, op: TextOp, text: &str) {
        self.has_any |= op != TextOp::Contains;
        let bit = |byte: Option<&u8>| byte.map_or(0, |byte| ascii_bit(*byte));
        match op {
            TextOp::Exact => self.lengths |= length_bit(text.len()),
            TextOp::Prefix => self.firsts |= bit(text.as_bytes().first()),
            TextOp::Suffix => self.lasts |= bit(text.as_bytes().last()),
            TextOp::Contains => {}
        }
    }

    fn include(&self, bytes: &[u8]) -> bool {
        let among = |bits: u128, byte: Option<&u8>| byte.is_some_and(|byte| bits & ascii_bit(*byte) != 0);
        self.lengths & length_bit(bytes.len()) != 0
            || among(self.firsts, bytes.first())
            || among(self.lasts, bytes.last())
    }
}

/// The byte's bit, the same for both cases of a letter; none beyond ASCII.
fn ascii_bit(byte: u8) -> u128 {
    if byte.is_ascii() { 1 << byte.to_ascii_lowercase() } else { 0 }
}

impl Literals {
    /// From predicates' comparisons; no two are equal, and none is with an empty text but exact.
    pub(crate) fn new(literals: &[(TextOp, &str, u32)]) -> Self {
        let with = |wanted: TextOp| literals.iter().filter(move |(op, _, _)| *op == wanted);
        let forward = |(_, text, number): &(TextOp, &str, u32)| (text.bytes().collect(), *number);
        let backward = |(_, text, number): &(TextOp, &str, u32)| (text.bytes().rev().collect(), *number);
        let substrings: Vec<_> = with(TextOp::Contains).map(|(_, text, number)| (*text, *number)).collect();
        let mut shapes = Shapes::default();
        literals.iter().for_each(|(op, text, _)| shapes.add(*op, text));
        Self {
            shapes,
            exact: with(TextOp::Exact).map(|(_, text, number)| (text.as_bytes().into(), *number)).collect(),
            prefixes: Trie::new(with(TextOp::Prefix).map(forward).collect()),
            suffixes: Trie::new(with(TextOp::Suffix).map(backward).collect()),
            substrings: Substrings::new(&substrings),
        }
    }

    /// Whether a value, not folded, may pass a comparison. False where none of them can.
    pub(crate) fn may_find(&self, value: &str) -> bool {
        self.substrings.as_ref().is_some_and(|substrings| value.len() >= substrings.shortest())
            || self.shapes.include(value.as_bytes())
            || !value.is_ascii()
    }

    /// The same of those comparisons that are about the value's beginning, its end, or all of it.
    pub(crate) fn may_find_at_ends(&self, value: &str) -> bool {
        self.shapes.include(value.as_bytes()) || self.shapes.has_any && !value.is_ascii()
    }

    /// Calls `found` with the number of every comparison that the folded text passes; more than once for some.
    pub(crate) fn scan(&self, text: &str, mut found: impl FnMut(u32)) {
        self.scan_ends(text, text, &mut found);
        if let Some(substrings) = &self.substrings {
            substrings.scan(text.as_bytes(), &mut found);
        }
    }

    /// The same of those comparisons that are about the beginning, the end, or all of a text. Of a long one, parts that are longer
    /// than any comparison's text will do.
    pub(crate) fn scan_ends(&self, beginning: &str, end: &str, mut found: impl FnMut(u32)) {
        let (beginning, end) = (beginning.as_bytes(), end.as_bytes());
        if self.shapes.lengths & length_bit(beginning.len()) != 0
            && let Some(number) = self.exact.get(beginning)
        {
            found(*number);
        }
        self.prefixes.walk(beginning.iter().copied(), &mut found);
        self.suffixes.walk(end.iter().rev().copied(), &mut found);
    }

    /// The texts that may be anywhere in a value.
    pub(crate) fn substrings(&self) -> Option<&Substrings> {
        self.substrings.as_ref()
    }

    /// Bytes that the tables take.
    pub(crate) fn memory(&self) -> usize {
        self.substrings.as_ref().map_or(0, Substrings::memory)
    }
}
