//! The keys that events on a route have, in their order, and the values that were last seen to have nothing that is looked for.
//!
//! The next event mostly has the same keys in the same order, and many of the same values. Comparing a few bytes with what is
//! expected is cheaper than looking them up.

/// What is expected of the next event.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    items: Vec<Item>,
}

#[derive(Debug)]
pub(crate) struct Item {
    name: Box<str>,
    /// The key's number, if it leads to fields.
    pub(crate) key: Option<u32>,
    /// A value in which nothing was found.
    void: Vec<u8>,
    void_kind: Kind,
    /// How often in a row its value was a new one.
    novel: u8,
}

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// That nothing is found in it.
    Void,
    /// What is found in it.
    Found,
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

/// How many keys are kept: an event of more has them looked up.
const MOST: usize = 96;

/// How many keys may be missing that are expected.
const AHEAD: usize = 4;

/// Longer keys and values are not kept.
const LONGEST: usize = 64;

impl Usual {
    /// What is known of the key; it is expected at `at` or soon behind, which becomes the place behind it. `look_up` finds the
    /// number of one that is not known.
    pub(crate) fn key(
        &mut self,
        at: &mut usize,
        name: &str,
        look_up: impl FnOnce() -> Option<u32>,
    ) -> Result<&mut Item, Option<u32>> {
        let expected = self.items.get(*at..).unwrap_or_default();
        if let Some(ahead) = expected.iter().take(AHEAD).position(|item| *item.name == *name) {
            let found = *at + ahead;
            *at = found + 1;
            return Ok(&mut self.items[found]);
        }
        let key = look_up();
        if name.len() > LONGEST {
            return Err(key);
        }
        if self.items.len() >= MOST {
            self.items.clear();
        }
        let found = (*at).min(self.items.len());
        self.items.insert(found, Item { name: name.into(), key, void: Vec::new(), void_kind: Kind::None, novel: 0 });
        *at = found + 1;
        Ok(&mut self.items[found])
    }
}

impl Item {
    /// Whether nothing is found in the value.
    pub(crate) fn is_void(&self, kind: Kind, value: &[u8]) -> bool {
        self.void_kind == kind && self.void == value
    }

    /// Whether a value that is not void is taken to be a new one.
    pub(crate) fn is_novel(&self) -> bool {
        self.novel >= NOVEL
    }

    /// Learns what was known of a value.
    pub(crate) fn learn(&mut self, kind: Kind, value: &[u8], known: Known) {
        self.novel = match known {
            Known::Nothing if self.novel < TRIED_AGAIN => self.novel + 1,
            _ => 0,
        };
        if known == Known::Void && value.len() <= LONGEST {
            self.void_kind = kind;
            self.void.clear();
            self.void.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_their_order_with_some_missing_or_new() {
        let mut usual = Usual::default();
        let mut looked_up = Vec::new();
        let keys = ["a", "b", "c", "d"];
        for (event, expected) in [
            (&["a", "b", "d"][..], &["a", "b", "d"][..]),
            (&["a", "c", "d"], &["c"]),
            (&["b", "d"], &[]),
            (&keys, &["c"]),
        ] {
            let mut at = 0;
            looked_up.clear();
            for name in event {
                let number = keys.iter().zip(0..).find(|(key, _)| *key == name).map(|(_, number)| number);
                let item = usual.key(&mut at, name, || {
                    looked_up.push(*name);
                    number
                });
                assert_eq!(item.unwrap().key, number);
            }
            assert_eq!(looked_up, expected, "{event:?}");
        }
    }

    #[test]
    fn a_value_is_void_for_its_kind_alone() {
        let mut usual = Usual::default();
        let item = usual.key(&mut 0, "a", || None).unwrap();
        item.learn(Kind::Text, b"x", Known::Void);
        assert!(item.is_void(Kind::Text, b"x") && !item.is_void(Kind::Number, b"x") && !item.is_void(Kind::Text, b"y"));
        assert!(usual.key(&mut 0, &"k".repeat(LONGEST + 1), || Some(5)).is_err());
    }
}
