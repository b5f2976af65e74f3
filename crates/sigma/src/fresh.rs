//! Texts of the event at hand in which nothing was looked for before, as far as is remembered.

use std::ops::Range;

use crate::{guard::SEPARATOR, memo::Place};

/// The texts, joined to one, since most are so short that looking at each would cost more than looking into it.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    pub(crate) text: String,
    pub(crate) pieces: Vec<Piece>,
    /// What was found in them at once, piece by piece.
    pub(crate) found: Vec<u32>,
    /// What was found in several joined: the piece's place in `pieces`, and what.
    pub(crate) in_joined: Vec<(usize, u32)>,
    /// What is remembered of the text asked for last.
    pub(crate) recalled: Vec<u32>,
    /// The texts in which keywords are looked for.
    pub(crate) joined: Vec<u8>,
    /// Memory for what was found in all pieces, or in one.
    pub(crate) buffer: Vec<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Where to remember it; nowhere if it is not to be.
    pub(crate) place: Option<Place>,
    pub(crate) text: Range<usize>,
    pub(crate) found: Range<usize>,
}

impl Fresh {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.pieces.clear();
        self.found.clear();
        self.in_joined.clear();
    }

    /// Adds a text of which what was found is in `found` from `found_from` on.
    pub(crate) fn add(&mut self, place: Option<Place>, text: &str, found_from: usize) {
        let start = self.text.len();
        self.text.push_str(text);
        self.pieces.push(Piece { place, text: start..self.text.len(), found: found_from..self.found.len() });
        self.text.push(SEPARATOR);
    }

    /// The piece that has the byte at `at`.
    pub(crate) fn piece_at(&self, at: usize) -> usize {
        self.pieces.partition_point(|piece| piece.text.end <= at)
    }
}
