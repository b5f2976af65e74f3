//! All the literal texts that rules compare a field with, tried together.

use std::fmt;

use aho_corasick::{
    Anchored, MatchKind, StartKind,
    automaton::Automaton,
    dfa::{self, DFA},
    nfa::{contiguous, noncontiguous},
};

use crate::{fields::FixedMap, predicate::TextOp, trie::Trie};

/// The largest table that one field's automaton may take before a slower, smaller form is used.
const MAX_DFA_BYTES: usize = 32 << 20;

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
            substrings.scan(bytes, found);
        }
    }

    /// Bytes that the tables take.
    pub(crate) fn memory(&self) -> usize {
        self.substrings.as_ref().map_or(0, Substrings::memory)
    }
}

/// Texts found anywhere in a value, by one automaton.
struct Substrings {
    machine: Machine,
    /// The predicate of each of the automaton's patterns.
    numbers: Box<[u32]>,
    shortest: usize,
}

enum Machine {
    /// One table look-up a byte.
    Table(Box<DFA>),
    /// A few steps a byte, a tenth of the memory.
    Compact(Box<contiguous::NFA>),
}

impl Substrings {
    fn new(texts: &[(&str, u32)]) -> Option<Self> {
        let shortest = texts.iter().map(|(text, _)| text.len()).min()?;
        let patterns = texts.iter().map(|(text, _)| text);
        // Fails beyond 2³¹ states only, which no rules in memory reach; the field would then find nothing.
        let states =
            noncontiguous::Builder::new().match_kind(MatchKind::Standard).prefilter(false).build(patterns).ok()?;
        let bytes_in_rules: usize = texts.iter().map(|(text, _)| text.len()).sum();
        // A state has at most 256 transitions of four bytes; classes of equal bytes make it about a quarter.
        let table = if bytes_in_rules * 256 <= MAX_DFA_BYTES {
            dfa::Builder::new().start_kind(StartKind::Unanchored).build_from_noncontiguous(&states).ok()
        } else {
            None
        };
        let machine = match table {
            Some(table) => Machine::Table(Box::new(table)),
            None => Machine::Compact(Box::new(contiguous::Builder::new().build_from_noncontiguous(&states).ok()?)),
        };
        Some(Self { machine, numbers: texts.iter().map(|(_, number)| *number).collect(), shortest })
    }

    fn scan(&self, bytes: &[u8], found: impl FnMut(u32)) {
        if bytes.len() < self.shortest {
            return;
        }
        match &self.machine {
            Machine::Table(machine) => self.run(&**machine, bytes, found),
            Machine::Compact(machine) => self.run(&**machine, bytes, found),
        }
    }

    fn run(&self, machine: &impl Automaton, bytes: &[u8], mut found: impl FnMut(u32)) {
        let Ok(mut state) = machine.start_state(Anchored::No) else { return };
        for byte in bytes {
            state = machine.next_state(Anchored::No, state, *byte);
            if machine.is_special(state) && machine.is_match(state) {
                for index in 0..machine.match_len(state) {
                    found(self.numbers[machine.match_pattern(state, index).as_usize()]);
                }
            }
        }
    }

    fn memory(&self) -> usize {
        match &self.machine {
            Machine::Table(machine) => machine.memory_usage(),
            Machine::Compact(machine) => machine.memory_usage(),
        }
    }
}

impl fmt::Debug for Substrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substrings").field("texts", &self.numbers.len()).field("bytes", &self.memory()).finish()
    }
}
