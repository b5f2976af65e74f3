//! Places in a record, as JSON pointers (RFC 6901), all in one text.

use std::{fmt::Write, ops::Range};

/// The places of one record's parts.
#[derive(Debug, Default)]
pub(super) struct Places(String);

impl Places {
    /// Forgets those of the record before; the place of this one.
    pub(super) fn begin(&mut self, place: &str) -> Range<usize> {
        self.0.clear();
        self.0.push_str(place);
        0..place.len()
    }

    pub(super) fn text(&self, place: &Range<usize>) -> &str {
        &self.0[place.clone()]
    }

    /// That of an element of the list at `place`.
    pub(super) fn at(&mut self, place: &Range<usize>, element: usize) -> Range<usize> {
        let start = self.copy(place);
        // Writing to a text does not fail.
        let _ = write!(self.0, "/{element}");
        start..self.0.len()
    }

    /// That of a member of the object at `place`.
    pub(super) fn below(&mut self, place: &Range<usize>, key: &str) -> Range<usize> {
        let start = self.copy(place);
        self.0.push('/');
        for char in key.chars() {
            match char {
                '~' => self.0.push_str("~0"),
                '/' => self.0.push_str("~1"),
                char => self.0.push(char),
            }
        }
        start..self.0.len()
    }

    fn copy(&mut self, place: &Range<usize>) -> usize {
        let start = self.0.len();
        self.0.extend_from_within(place.clone());
        start
    }
}
