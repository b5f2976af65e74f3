//! What was found in the value that a key has in events with the same keys.

/// A key at an event's top that is looked at.
#[derive(Debug)]
pub(crate) struct Item {
    /// The key's number, if it leads to fields.
    pub(crate) key: Option<u32>,
    /// Where it stands among the event's.
    pub(crate) name: usize,
    /// Its value's place; none where it has a list or an object.
    pub(crate) place: Option<usize>,
    /// Whether something is asked about a field that it leads to, …
    pub(crate) is_asked: bool,
    /// … and if so, whether the value counts as it is for all of them.
    pub(crate) is_plain: bool,
    /// How often in a row its value was a new one.
    novel: u8,
    found_count: u8,
    /// Since when its value was what it was when all was known that is found in it, and that. No value is since 0.
    since: u64,
    found: [u32; MOST_FOUND],
}

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// All that is found in it.
    Found,
    /// What is found in its lines, which are looked at one by one.
    InLines,
    /// Nothing: it was not seen before.
    Nothing,
}

/// Where values were new so often in a row they are times or numbers that never come again, …
const NOVEL: u8 = 8;

/// … as is found out again after so many.
const TRIED_AGAIN: u8 = 64;

/// Values in which more was found are not kept.
const MOST_FOUND: usize = 8;

impl Item {
    /// A key's, of which no value has come.
    pub(crate) fn new(key: Option<u32>, name: usize, place: Option<usize>) -> Self {
        let (is_asked, is_plain) = (false, true);
        Self { key, name, place, is_asked, is_plain, novel: 0, found_count: 0, since: 0, found: [0; MOST_FOUND] }
    }

    /// What is found in a value that is what it is since then.
    pub(crate) fn found_since(&self, since: u64) -> Option<&[u32]> {
        (self.since == since).then(|| &self.found[..usize::from(self.found_count)])
    }

    /// Whether a value that is not as the last one is taken to be a new one.
    pub(crate) fn is_novel(&self) -> bool {
        is_novel(self.novel)
    }

    /// Learns what was known of a value that is what it is since then; `found` is what is found in it, if that is.
    pub(crate) fn learn(&mut self, since: u64, known: Known, found: &[u32]) {
        self.novel = novel_after(self.novel, known);
        if known == Known::Found
            && let Some(kept) = self.found.get_mut(..found.len())
            && let Ok(count) = u8::try_from(found.len())
        {
            kept.copy_from_slice(found);
            (self.since, self.found_count) = (since, count);
        }
    }
}

/// Whether that many new values in a row make the next one be taken for one.
pub(crate) fn is_novel(novel: u8) -> bool {
    novel >= NOVEL
}

/// How many were new in a row, one of which so much was known included.
pub(crate) fn novel_after(novel: u8, known: Known) -> u8 {
    match known {
        Known::Nothing if novel < TRIED_AGAIN => novel + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_so_of_the_value_that_was_learnt_last() {
        let mut item = Item::new(None, 0, None);
        item.learn(3, Known::Found, &[7]);
        item.learn(4, Known::Nothing, &[]);
        item.learn(5, Known::Found, &[0; MOST_FOUND + 1]);
        assert_eq!((item.found_since(3), item.found_since(4), item.found_since(5)), (Some(&[7][..]), None, None));
    }
}
