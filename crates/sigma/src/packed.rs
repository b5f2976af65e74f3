//! A few texts searched for in one value, many bytes at a time.

use aho_corasick::{
    Span,
    packed::{Config, MatchKind, Searcher},
};

/// Texts, some tens at most, each with a number, found with vector instructions.
///
/// Faster than sampling where texts are so short that nearly every byte would have to be sampled. What it finds are places
/// where some text starts; which texts do is compared, so a value made of nothing but such places is slow, and given up.
#[derive(Debug)]
pub(crate) struct Packed {
    searcher: Searcher,
    texts: Box<[(Box<[u8]>, u32)]>,
}

/// How many places a value may have for each of its bytes before it is left to something that can't be slow.
const BYTES_PER_PLACE: usize = 16;

impl Packed {
    /// `None` where there are none or too many, or the processor lacks the instructions.
    pub(crate) fn new(texts: &[(&str, u32)]) -> Option<Self> {
        let mut builder = Config::new().match_kind(MatchKind::LeftmostFirst).builder();
        builder.extend(texts.iter().map(|(text, _)| text));
        let texts = texts.iter().map(|(text, number)| (text.as_bytes().into(), *number)).collect();
        Some(Self { searcher: builder.build()?, texts })
    }

    /// Calls `found` with the number of every text in `value`; false where it gave up on the way.
    pub(crate) fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) -> bool {
        let mut places = value.len() / BYTES_PER_PLACE + 16;
        let mut at = 0;
        while let Some(place) = self.searcher.find_in(value, Span { start: at, end: value.len() }) {
            let rest = &value[place.start()..];
            self.texts.iter().filter(|(text, _)| rest.starts_with(text)).for_each(|(_, number)| found(*number));
            at = place.start() + 1;
            match places.checked_sub(1) {
                Some(left) => places = left,
                None => return false,
            }
        }
        true
    }

    /// The texts, with their numbers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.texts.iter().map(|(text, number)| (&**text, *number))
    }

    /// Bytes that the tables take.
    pub(crate) fn memory(&self) -> usize {
        let texts: usize = self.texts.iter().map(|(text, _)| text.len() + size_of::<(Box<[u8]>, u32)>()).sum();
        self.searcher.memory_usage() + texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_overlap_or_begin_alike_are_all_found() {
        let texts = ["user", "use", "sera", "era ", "absent"];
        let numbered: Vec<_> = texts.iter().zip(0..).map(|(text, number)| (*text, number)).collect();
        let Some(packed) = Packed::new(&numbered) else { return };
        let mut found = Vec::new();
        assert!(packed.scan(b"the user of this usera was seen", &mut |number| found.push(number)));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [0, 1, 2, 3]);
    }

    #[test]
    fn a_value_full_of_places_is_given_up() {
        let Some(packed) = Packed::new(&[("aaaa", 0), ("aaab", 1)]) else { return };
        assert!(!packed.scan(&b"a".repeat(10_000), &mut |_| ()));
    }
}
