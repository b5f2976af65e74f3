//! Texts of several lines by which others at the same place are told to be mostly the same.
//!
//! Of a message most lines are like an earlier one's, and most of these have nothing that is looked for. Comparing them with the
//! earlier text's, line after line, is cheaper than recalling what was found in each.

use memchr::memchr_iter;

use crate::{guard::LINE_END, memo::Place};

/// A text that stood at a place before.
#[derive(Debug, Default)]
pub(crate) struct Base {
    pub(crate) place: Place,
    text: Vec<u8>,
    pub(crate) lines: Vec<BaseLine>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BaseLine {
    start: u32,
    /// Behind the line's end, if it has one.
    end: u32,
    /// Whether nothing is found in it.
    pub(crate) is_void: bool,
}

impl Base {
    /// Longer texts are not kept, …
    const LONGEST: usize = 16 * 1024;

    /// … nor are such of more lines.
    const MOST_LINES: usize = 512;

    /// Makes this the base of its place.
    pub(crate) fn fill(&mut self, place: Place, text: &str) {
        if text.len() > Self::LONGEST {
            return;
        }
        self.place = place;
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        self.lines.clear();
        let mut start = 0;
        for end in memchr_iter(LINE_END as u8, text.as_bytes()).map(|at| at + 1).chain([text.len()]) {
            if self.lines.len() == Self::MOST_LINES {
                self.place = Place::default();
                return;
            }
            self.lines.push(BaseLine { start: number(start), end: number(end), is_void: false });
            start = end;
        }
    }

    /// Behind the line in `text`, if `text` begins with the same one.
    pub(crate) fn end_of_same(&self, line: BaseLine, text: &[u8]) -> Option<usize> {
        let known = &self.text[line.start as usize..line.end as usize];
        let has_end = known.last() == Some(&(LINE_END as u8));
        (text.starts_with(known) && (has_end || text.len() == known.len())).then_some(known.len())
    }
}

/// The bases of some places; of those that fall together, the last.
#[derive(Debug)]
pub(crate) struct Bases(Box<[Base]>);

impl Bases {
    const MOST: usize = 64;

    pub(crate) fn new() -> Self {
        Self((0..Self::MOST).map(|_| Base::default()).collect())
    }

    /// Takes the base that is, or makes room, for the place; to be put back.
    pub(crate) fn at(&mut self, place: Place) -> &mut Base {
        &mut self.0[place.spread(Self::MOST)]
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
        assert_eq!(base.end_of_same(one, b"one\nmore"), Some(4));
        assert_eq!(base.end_of_same(one, b"one more"), None);
        assert_eq!(base.end_of_same(two, b"tw"), None);
        assert_eq!(base.end_of_same(last, b"last"), Some(4));
        assert_eq!(base.end_of_same(last, b"last and more"), None);
    }
}
