//! Texts that are looked for anywhere in a value.

use std::{fmt, ops::Range};

use aho_corasick::{
    Anchored, MatchKind,
    automaton::Automaton,
    nfa::{contiguous::Builder, contiguous::NFA, noncontiguous},
};

use crate::grams::Grams;

/// Texts, each with a number.
pub(crate) struct Substrings {
    /// Those of ASCII alone, …
    ascii: ByLength,
    /// … and those for which a value of ASCII alone need not be looked at.
    beyond: ByLength,
    /// All of them, for values on which the others give up: slower, but the same for every value.
    steady: NFA,
    numbers: Box<[u32]>,
}

impl Substrings {
    /// `None` where there are no texts. None of them is empty.
    pub(crate) fn new(texts: &[(&str, u32)]) -> Option<Self> {
        if texts.is_empty() {
            return None;
        }
        let patterns = texts.iter().map(|(text, _)| text);
        // Fails beyond 2³¹ states only, which no rules in memory reach.
        let states =
            noncontiguous::Builder::new().match_kind(MatchKind::Standard).prefilter(false).build(patterns).ok()?;
        Some(Self {
            ascii: ByLength::new(texts.iter().copied().filter(|(text, _)| text.is_ascii())),
            beyond: ByLength::new(texts.iter().copied().filter(|(text, _)| !text.is_ascii())),
            steady: Builder::new().build_from_noncontiguous(&states).ok()?,
            numbers: texts.iter().map(|(_, number)| *number).collect(),
        })
    }

    /// Calls `found` with the number of every text in `value`; more than once for some.
    pub(crate) fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) {
        let finished = self.ascii.scan(value, found) && (value.is_ascii() || self.beyond.scan(value, found));
        if !finished {
            self.scan_steadily(value, found);
        }
    }

    fn scan_steadily(&self, value: &[u8], found: &mut impl FnMut(u32)) {
        let Ok(mut state) = self.steady.start_state(Anchored::No) else { return };
        for byte in value {
            state = self.steady.next_state(Anchored::No, state, *byte);
            if self.steady.is_match(state) {
                for index in 0..self.steady.match_len(state) {
                    found(self.numbers[self.steady.match_pattern(state, index).as_usize()]);
                }
            }
        }
    }

    /// Bytes that the tables take.
    pub(crate) fn memory(&self) -> usize {
        self.ascii.memory() + self.beyond.memory() + self.steady.memory_usage()
    }
}

/// The longer texts are, the less of a value has to be looked at, so they are sorted by length.
struct ByLength {
    bytes: Vec<(u8, u32)>,
    pairs: Option<Grams<2>>,
    short: Option<Grams<4>>,
    middle: Option<Grams<4>>,
    long: Option<Grams<4>>,
}

impl ByLength {
    fn new<'t>(texts: impl Iterator<Item = (&'t str, u32)>) -> Self {
        let texts: Vec<_> = texts.collect();
        let of = |lengths: Range<usize>| -> Vec<(&str, u32)> {
            texts.iter().copied().filter(|(text, _)| lengths.contains(&text.len())).collect()
        };
        Self {
            bytes: of(1..2).into_iter().map(|(text, number)| (text.as_bytes()[0], number)).collect(),
            pairs: Grams::new(of(2..4)),
            short: Grams::new(of(4..6)),
            middle: Grams::new(of(6..8)),
            long: Grams::new(of(8..usize::MAX)),
        }
    }

    /// As [`Substrings::scan`]; false where the value is made to hurt.
    fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) -> bool {
        for (byte, number) in &self.bytes {
            if memchr::memchr(*byte, value).is_some() {
                found(*number);
            }
        }
        self.long.as_ref().is_none_or(|grams| grams.scan(value, found))
            && self.middle.as_ref().is_none_or(|grams| grams.scan(value, found))
            && self.short.as_ref().is_none_or(|grams| grams.scan(value, found))
            && self.pairs.as_ref().is_none_or(|grams| grams.scan(value, found))
    }

    fn memory(&self) -> usize {
        let grams = [&self.short, &self.middle, &self.long].into_iter().flatten().map(Grams::memory).sum::<usize>();
        grams + self.pairs.as_ref().map_or(0, Grams::memory)
    }
}

impl fmt::Debug for Substrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substrings").field("texts", &self.numbers.len()).field("bytes", &self.memory()).finish()
    }
}
