//! The last value that a key had in events like the one at hand, and what was found in it.

#[derive(Debug)]
pub(crate) struct Item {
    /// The key's number, if it leads to fields.
    pub(crate) key: Option<u32>,
    last_kind: Kind,
    last_length: u8,
    found_count: u8,
    /// How often in a row its value was a new one.
    novel: u8,
    /// The last value of which all is known that is found in it, and that.
    last: [u8; LONGEST],
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

/// A key whose values were new so often in a row is one of times or numbers that never come again, …
const NOVEL: u8 = 8;

/// … as is found out again after so many more.
const TRIED_AGAIN: u8 = 64;

/// What kind of value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    None,
    Text,
    Number,
}

/// Longer values are not kept, …
const LONGEST: usize = 64;

/// … nor are values in which more was found.
const MOST_FOUND: usize = 8;

impl Item {
    /// A key's, of which no value has come.
    pub(crate) fn new(key: Option<u32>) -> Self {
        let (last_kind, last, found) = (Kind::None, [0; LONGEST], [0; MOST_FOUND]);
        Self { key, last_kind, last_length: 0, found_count: 0, novel: 0, last, found }
    }

    /// What is found in the value, if it is as the last one.
    pub(crate) fn found_in(&self, kind: Kind, value: &[u8]) -> Option<&[u32]> {
        let is_last = self.last_kind == kind && self.last[..usize::from(self.last_length)] == *value;
        is_last.then(|| &self.found[..usize::from(self.found_count)])
    }

    /// Whether a value that is not as the last one is taken to be a new one.
    pub(crate) fn is_novel(&self) -> bool {
        self.novel >= NOVEL
    }

    /// Learns what was known of a value; `found` is what is found in it, if that is.
    pub(crate) fn learn(&mut self, kind: Kind, value: &[u8], known: Known, found: &[u32]) {
        self.novel = match known {
            Known::Nothing if self.novel < TRIED_AGAIN => self.novel + 1,
            _ => 0,
        };
        let (Ok(length), Ok(count)) = (u8::try_from(value.len()), u8::try_from(found.len())) else { return };
        if known == Known::Found
            && let Some(last) = self.last.get_mut(..value.len())
            && let Some(kept) = self.found.get_mut(..found.len())
        {
            last.copy_from_slice(value);
            kept.copy_from_slice(found);
            (self.last_kind, self.last_length, self.found_count) = (kind, length, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_known_for_its_kind_alone() {
        let mut item = Item::new(None);
        item.learn(Kind::Text, b"x", Known::Found, &[7]);
        item.learn(Kind::Text, b"new", Known::Nothing, &[]);
        for length in [LONGEST + 1, 300] {
            item.learn(Kind::Text, &vec![b'l'; length], Known::Found, &[]);
        }
        item.learn(Kind::Text, b"m", Known::Found, &[0; MOST_FOUND + 1]);
        assert_eq!(item.found_in(Kind::Text, b"x"), Some(&[7][..]));
        assert_eq!(item.found_in(Kind::Number, b"x"), None);
        assert_eq!(item.found_in(Kind::Text, b"y"), None);
    }
}
