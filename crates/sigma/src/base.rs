//! Texts of several lines by which others at the same place are told to be mostly the same.
//!
//! Of a message most lines are like an earlier one's. Comparing them with the earlier text's is cheaper than recalling what was
//! found in each.

use memchr::memchr_iter;

use crate::{guard::LINE_END, memo::Place};

/// A text that stood at a place before.
#[derive(Debug, Default)]
pub(crate) struct Base {
    pub(crate) place: Place,
    text: Vec<u8>,
    pub(crate) lines: Vec<BaseLine>,
    /// What was found in the lines of which that is known, one line's behind the other's.
    found: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BaseLine {
    start: u32,
    /// Behind the line's end, if it has one.
    end: u32,
    /// Where in `found` stands what is found in it, if that is known.
    found: Option<(u32, u32)>,
}

impl Base {
    /// Longer texts are not kept, …
    const LONGEST: usize = 16 * 1024;

    /// … nor are such of more lines.
    const MOST_LINES: usize = 512;

    /// Nor is it kept what was found in a line, if it was more.
    const MOST_FOUND: usize = 8;

    /// Makes this the base of its place.
    pub(crate) fn fill(&mut self, place: Place, text: &str) {
        if text.len() > Self::LONGEST {
            return;
        }
        self.place = place;
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        self.lines.clear();
        self.found.clear();
        let mut start = 0;
        for end in memchr_iter(LINE_END as u8, text.as_bytes()).map(|at| at + 1).chain([text.len()]) {
            if self.lines.len() == Self::MOST_LINES {
                self.place = Place::default();
                return;
            }
            self.lines.push(BaseLine { start: number(start), end: number(end), found: None });
            start = end;
        }
    }

    /// What is found in the line, if that is known.
    pub(crate) fn found_in(&self, line: BaseLine) -> Option<&[u32]> {
        line.found.map(|(from, to)| &self.found[from as usize..to as usize])
    }

    /// Learns what is found in the line at `at`.
    pub(crate) fn learn(&mut self, at: usize, found: &[u32]) {
        if found.len() <= Self::MOST_FOUND && self.lines[at].found.is_none() {
            let from = number(self.found.len());
            self.found.extend_from_slice(found);
            self.lines[at].found = Some((from, number(self.found.len())));
        }
    }

    /// How many bytes of `text` are as those from the line on.
    pub(crate) fn same_from(&self, line: BaseLine, text: &[u8]) -> usize {
        same(&self.text[line.start as usize..], text)
    }

    /// Behind the line in `text`, if `text` begins with the same one; `same` bytes of it are as those from the line on.
    pub(crate) fn end_of_same(&self, line: BaseLine, text: &[u8], same: usize) -> Option<usize> {
        let known = &self.text[line.start as usize..line.end as usize];
        let has_end = known.last() == Some(&(LINE_END as u8));
        (known.len() <= same && (has_end || text.len() == known.len())).then_some(known.len())
    }
}

/// How many bytes both begin with.
fn same(one: &[u8], other: &[u8]) -> usize {
    let at = same_parts::<32>(one, other);
    let at = at + same_parts::<8>(&one[at..], &other[at..]);
    at + same_parts::<1>(&one[at..], &other[at..])
}

/// The same, rounded down to a multiple of `N`.
fn same_parts<const N: usize>(one: &[u8], other: &[u8]) -> usize {
    let (one, other) = (one.as_chunks::<N>().0, other.as_chunks::<N>().0);
    one.iter().zip(other).take_while(|(one, other)| one == other).count() * N
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

    /// Where the base of the place is, or is to be.
    pub(crate) fn find(&mut self, place: Place) -> usize {
        let set = place.spread(Self::MOST / Self::WAYS) * Self::WAYS;
        let known = (set..set + Self::WAYS).find(|at| self.list[*at].place == place);
        known.unwrap_or_else(|| {
            self.hand = (self.hand + 1) % Self::WAYS;
            set + self.hand
        })
    }

    pub(crate) fn at(&mut self, at: usize) -> &mut Base {
        &mut self.list[at]
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memo::As;

    #[test]
    fn a_line_is_the_same_only_to_its_end() {
        let mut base = Base::default();
        base.fill(Place::new(1, 2, As::Line), "one\ntwo\nlast");
        let [one, two, last] = base.lines[..] else { panic!("three lines") };
        let end_of_same = |line, text: &[u8]| base.end_of_same(line, text, base.same_from(line, text));
        assert_eq!(end_of_same(one, b"one\nmore"), Some(4));
        assert_eq!(end_of_same(one, b"one more"), None);
        assert_eq!(end_of_same(two, b"tw"), None);
        assert_eq!(end_of_same(last, b"last"), Some(4));
        assert_eq!(end_of_same(last, b"last and more"), None);
    }

    #[test]
    fn as_many_bytes_are_the_same_as_come_before_the_first_other_one() {
        let text = [b'a'; 150];
        for at in 0..150 {
            let mut other = text;
            other[at] = b'b';
            assert_eq!((same(&text, &other), same(&text[..at], &text)), (at, at));
        }
    }
}
