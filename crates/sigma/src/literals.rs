//! All the literal texts that rules compare a field with, tried together.

use crate::{fields::FixedMap, predicate::TextOp, substrings::Substrings, trie::Trie};

/// Literal texts, folded, each with the number of its predicate.
#[derive(Debug, Default)]
pub(crate) struct Literals {
    exact: FixedMap<Box<[u8]>, u32>,
    longest_exact: usize,
    prefixes: Trie,
    suffixes: Trie,
    substrings: Option<Substrings>,
}

impl Literals {
    /// From predicates' comparisons; no two are equal, and none is with an empty text but exact.
    pub(crate) fn new(literals: &[(TextOp, &str, u32)]) -> Self {
        let with = |wanted: TextOp| literals.iter().filter(move |(op, _, _)| *op == wanted);
        let forward = |(_, text, number): &(TextOp, &str, u32)| (text.bytes().collect(), *number);
        let backward = |(_, text, number): &(TextOp, &str, u32)| (text.bytes().rev().collect(), *number);
        let substrings: Vec<_> = with(TextOp::Contains).map(|(_, text, number)| (*text, *number)).collect();
        Self {
            exact: with(TextOp::Exact).map(|(_, text, number)| (text.as_bytes().into(), *number)).collect(),
            longest_exact: with(TextOp::Exact).map(|(_, text, _)| text.len()).max().unwrap_or(0),
            prefixes: Trie::new(with(TextOp::Prefix).map(forward).collect()),
            suffixes: Trie::new(with(TextOp::Suffix).map(backward).collect()),
            substrings: Substrings::new(&substrings),
        }
    }

    /// Calls `found` with the number of every comparison that the folded text passes; more than once for some.
    pub(crate) fn scan(&self, text: &str, mut found: impl FnMut(u32)) {
        let bytes = text.as_bytes();
        if bytes.len() <= self.longest_exact
            && let Some(number) = self.exact.get(bytes)
        {
            found(*number);
        }
        self.prefixes.walk(bytes.iter().copied(), &mut found);
        self.suffixes.walk(bytes.iter().rev().copied(), &mut found);
        if let Some(substrings) = &self.substrings {
            substrings.scan(bytes, &mut found);
        }
    }

    /// Bytes that the tables take.
    pub(crate) fn memory(&self) -> usize {
        self.substrings.as_ref().map_or(0, Substrings::memory)
    }
}
