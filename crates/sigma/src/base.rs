//! What was found in the lines of texts, as long as these stay what they are.
//!
//! Of a message most lines are like those of the one before, which the reader tells.

use cybervault_model::json::Line;

use crate::{
    memo::Place,
    usual::{Known, Learnt},
};

/// What was found in the lines of the text that stood at a place before.
#[derive(Debug, Default)]
pub(crate) struct Base {
    place: Place,
    /// Of which form the events are, and which of their values it is.
    of: (u64, usize),
    lines: Vec<BaseLine>,
}

#[derive(Clone, Copy, Debug, Default)]
struct BaseLine {
    /// Since when it was what it was when all was known that is found in it. No line is since 0.
    since: u64,
    learnt: Learnt<{ Base::MOST_FOUND }>,
}

impl Base {
    /// Of further lines nothing is kept, …
    const MOST_LINES: usize = 512;

    /// … nor of those in which more was found.
    const MOST_FOUND: usize = 7;

    /// What is found in the line at `at`, if that is known.
    pub(crate) fn found_in(&self, at: usize, line: Line) -> Option<&[u32]> {
        let known = self.lines.get(at).filter(|known| known.since == line.since())?;
        Some(known.learnt.found())
    }

    /// Whether the line at `at` is taken to be a new one.
    pub(crate) fn is_novel(&self, at: usize) -> bool {
        self.lines.get(at).is_some_and(|known| known.learnt.is_novel())
    }

    /// Learns what was known of the line at `at`; `found` is what is found in it, if that is.
    pub(crate) fn learn(&mut self, at: usize, line: Line, known: Known, found: &[u32]) {
        if at >= Self::MOST_LINES {
            return;
        }
        if self.lines.len() <= at {
            self.lines.resize(at + 1, BaseLine::default());
        }
        let of = &mut self.lines[at];
        if of.learnt.learn(known, found) {
            of.since = line.since();
        }
    }
}

/// The bases of the places that came last.
#[derive(Debug)]
pub(crate) struct Bases {
    list: Box<[Base]>,
    /// Which of those that fall together makes room next.
    hand: usize,
}

impl Bases {
    /// A multiple of [`Self::WAYS`].
    const MOST: usize = 128;

    /// How many places may fall together.
    const WAYS: usize = 4;

    pub(crate) fn new() -> Self {
        Self { list: (0..Self::MOST).map(|_| Base::default()).collect(), hand: 0 }
    }

    /// Where the base is of the place in events of this form, for this one of their values.
    pub(crate) fn find(&mut self, place: Place, of: (u64, usize)) -> usize {
        let set = place.spread(of.0 ^ (of.1 as u64) << 32, Self::MOST / Self::WAYS) * Self::WAYS;
        let is_it = |base: &Base| base.place == place && base.of == of;
        (set..set + Self::WAYS).find(|at| is_it(&self.list[*at])).unwrap_or_else(|| {
            self.hand = (self.hand + 1) % Self::WAYS;
            let base = &mut self.list[set + self.hand];
            (base.place, base.of) = (place, of);
            base.lines.clear();
            set + self.hand
        })
    }

    pub(crate) fn at(&mut self, at: usize) -> &mut Base {
        &mut self.list[at]
    }
}
