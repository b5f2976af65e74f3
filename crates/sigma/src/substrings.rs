//! Texts that are looked for anywhere in a value.

use std::{fmt, ops::Range, slice, sync::OnceLock};

use aho_corasick::{
    Anchored, MatchKind,
    automaton::Automaton,
    nfa::{contiguous::Builder, contiguous::NFA, noncontiguous},
};

use crate::{grams::Grams, packed::Packed};

/// Texts, each with a number.
pub(crate) struct Substrings {
    /// Those of ASCII alone, …
    ascii: ByLength,
    /// … and those for which a value of ASCII alone need not be looked at.
    beyond: ByLength,
    has_beyond: bool,
    /// All of them, for values on which the others give up. Made when the first such value comes, since it takes as much memory as
    /// all the rest, and most fields never see one.
    steady: OnceLock<Option<Steady>>,
    count: usize,
    shortest: usize,
}

impl Substrings {
    /// `None` where there are no texts. None of them is empty.
    pub(crate) fn new(texts: &[(&str, u32)]) -> Option<Self> {
        let shortest = texts.iter().map(|(text, _)| text.len()).min()?;
        Some(Self {
            ascii: ByLength::new(texts.iter().copied().filter(|(text, _)| text.is_ascii())),
            beyond: ByLength::new(texts.iter().copied().filter(|(text, _)| !text.is_ascii())),
            has_beyond: texts.iter().any(|(text, _)| !text.is_ascii()),
            steady: OnceLock::new(),
            count: texts.len(),
            shortest,
        })
    }

    /// Bytes of the shortest text: in less there is none.
    pub(crate) fn shortest(&self) -> usize {
        self.shortest
    }

    /// Whether any text has more than ASCII.
    pub(crate) fn has_beyond(&self) -> bool {
        self.has_beyond
    }

    /// How many texts there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Calls `found` with the number of every text in `value`; more than once for some.
    pub(crate) fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) {
        let is_beyond = self.has_beyond && !value.is_ascii();
        let finished = self.ascii.scan(value, found) && (!is_beyond || self.beyond.scan(value, found));
        if !finished {
            self.scan_steadily(value, found);
        }
    }

    fn scan_steadily(&self, value: &[u8], found: &mut impl FnMut(u32)) {
        let steady = self.steady.get_or_init(|| Steady::new(self.ascii.texts().chain(self.beyond.texts())));
        if let Some(steady) = steady {
            steady.scan(value, found);
        }
    }

    /// Bytes that the tables take, as far as they are made.
    pub(crate) fn memory(&self) -> usize {
        let steady = self.steady.get().into_iter().flatten().map(|steady| steady.states.memory_usage());
        self.ascii.memory() + self.beyond.memory() + steady.sum::<usize>()
    }
}

/// An automaton: slower, but the same for every value.
struct Steady {
    states: NFA,
    numbers: Box<[u32]>,
}

impl Steady {
    /// `None` beyond 2³¹ states, which no rules in memory reach.
    fn new<'t>(texts: impl Iterator<Item = (&'t [u8], u32)>) -> Option<Self> {
        let (texts, numbers): (Vec<_>, Vec<_>) = texts.unzip();
        let states =
            noncontiguous::Builder::new().match_kind(MatchKind::Standard).prefilter(false).build(texts).ok()?;
        Some(Self { states: Builder::new().build_from_noncontiguous(&states).ok()?, numbers: numbers.into() })
    }

    fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) {
        let Ok(mut state) = self.states.start_state(Anchored::No) else { return };
        for byte in value {
            state = self.states.next_state(Anchored::No, state, *byte);
            if self.states.is_match(state) {
                for index in 0..self.states.match_len(state) {
                    found(self.numbers[self.states.match_pattern(state, index).as_usize()]);
                }
            }
        }
    }
}

/// The longer texts are, the less of a value has to be looked at, so they are sorted by length.
struct ByLength {
    bytes: Vec<(u8, u32)>,
    pairs: Option<Grams<2>>,
    few: Option<Packed>,
    quads: Vec<Grams<4>>,
}

/// Of how many texts vector instructions are quicker than samples of nearly every byte.
pub(crate) const FEW: usize = 32;

impl ByLength {
    fn new<'t>(texts: impl Iterator<Item = (&'t str, u32)>) -> Self {
        let texts: Vec<_> = texts.collect();
        let of = |lengths: Range<usize>| -> Vec<(&str, u32)> {
            texts.iter().copied().filter(|(text, _)| lengths.contains(&text.len())).collect()
        };
        // The widest range that is few, beginning with the shortest: these are the costliest to sample.
        let ends = [usize::MAX, 8, 6];
        let few_below = ends.into_iter().find(|end| of(2..*end).len() <= FEW).unwrap_or(0);
        let few = Packed::new(&of(2..few_below));
        let sampled = if few.is_some() { few_below } else { 2 };
        let from = |lengths: Range<usize>| of(lengths.start.max(sampled)..lengths.end.max(sampled));
        Self {
            bytes: of(1..2).into_iter().map(|(text, number)| (text.as_bytes()[0], number)).collect(),
            pairs: Grams::new(from(2..4)),
            few,
            quads: [8..usize::MAX, 6..8, 4..6].into_iter().filter_map(|lengths| Grams::new(from(lengths))).collect(),
        }
    }

    /// As [`Substrings::scan`]; false where the value is made to hurt.
    fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) -> bool {
        for (byte, number) in &self.bytes {
            if memchr::memchr(*byte, value).is_some() {
                found(*number);
            }
        }
        self.few.as_ref().is_none_or(|few| few.scan(value, found))
            && self.quads.iter().all(|grams| grams.scan(value, found))
            && self.pairs.as_ref().is_none_or(|grams| grams.scan(value, found))
    }

    fn texts(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let bytes = self.bytes.iter().map(|(byte, number)| (slice::from_ref(byte), *number));
        let few = self.few.iter().flat_map(Packed::texts);
        bytes.chain(self.pairs.iter().flat_map(Grams::texts)).chain(few).chain(self.quads.iter().flat_map(Grams::texts))
    }

    fn memory(&self) -> usize {
        self.quads.iter().map(Grams::memory).sum::<usize>()
            + self.pairs.as_ref().map_or(0, Grams::memory)
            + self.few.as_ref().map_or(0, Packed::memory)
    }
}

impl fmt::Debug for Substrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substrings").field("texts", &self.count).field("bytes", &self.memory()).finish()
    }
}
