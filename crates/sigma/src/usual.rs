//! What was found in the values that events with the same keys have.

use cybervault_model::json::Recurring;

use crate::{compile::PredicateId, scalar::Scalar};

/// The values of an event that are looked at.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// What most need no more than, close together.
    pub(crate) seen: Vec<Seen>,
    pub(crate) list: Vec<Item>,
    /// The clock of the last event in which there was no keyword, if there was none.
    pub(crate) without_keywords: Option<u64>,
}

/// A value, as it was when all was known that is found in it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its place. An object or an empty list has none.
    place: u32,
    pub(crate) has_found: bool,
    /// Since when it was what it was. No value is since [`NEVER`].
    since: u64,
}

const NEVER: u64 = 0;

const NOWHERE: u32 = u32::MAX;

/// Objects and empty lists are the same in all events with the same keys.
const ALWAYS: u64 = 1;

/// How a value is looked at, and what was found in it.
#[derive(Debug)]
pub(crate) struct Item {
    /// What numbers its place for what is remembered.
    pub(crate) key: u32,
    /// The targets that it has in fields about which something is asked, …
    pub(crate) targets: Box<[u32]>,
    /// … and whether it counts as it is for all of them.
    pub(crate) is_plain: bool,
    pub(crate) learnt: Learnt<MOST_FOUND>,
}

/// What was answered about fields, as long as their values stay what they were.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// A predicate, since when its field's values were what they were, and whether it was true of them.
    list: Vec<(PredicateId, u64, bool)>,
    /// What makes room next.
    hand: usize,
}

/// How many answers are kept.
const MOST_ANSWERS: usize = 32;

impl Answers {
    /// The answer, where values are what they are since then.
    pub(crate) fn of(&self, predicate: PredicateId, since: u64) -> Option<bool> {
        self.list.iter().find(|(known, at, _)| (*known, *at) == (predicate, since)).map(|(.., holds)| *holds)
    }

    pub(crate) fn learn(&mut self, predicate: PredicateId, since: u64, holds: bool) {
        let at = self.list.iter().position(|(known, ..)| *known == predicate).unwrap_or_else(|| {
            if self.list.len() < MOST_ANSWERS {
                self.list.push(Default::default());
                return self.list.len() - 1;
            }
            self.hand = (self.hand + 1) % MOST_ANSWERS;
            self.hand
        });
        self.list[at] = (predicate, since, holds);
    }
}

/// What was found in the last value, or line, of which all is known that is found in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learnt<const MOST: usize> {
    /// How often in a row it was a new one.
    novel: u8,
    count: u8,
    found: [u32; MOST],
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

impl Items {
    /// Adds a value of which none has come.
    pub(crate) fn add(&mut self, item: Item, place: Option<usize>) {
        let place = place.and_then(|place| u32::try_from(place).ok()).unwrap_or(NOWHERE);
        self.seen.push(Seen { place, has_found: false, since: NEVER });
        self.list.push(item);
    }
}

impl Seen {
    /// The value, in an event with the same keys.
    pub(crate) fn value<'e>(&self, recurring: Recurring<'e>) -> Scalar<'e> {
        if self.place == NOWHERE { Scalar::Other } else { recurring.value(self.place as usize).into() }
    }

    fn since(&self, sinces: &[u64]) -> u64 {
        sinces.get(self.place as usize).copied().unwrap_or(ALWAYS)
    }

    /// Whether the value is what it was.
    pub(crate) fn is_known(&self, sinces: &[u64]) -> bool {
        self.since(sinces) == self.since
    }
}

impl Item {
    pub(crate) fn new(key: u32, targets: Box<[u32]>, is_plain: bool) -> Self {
        Self { key, targets, is_plain, learnt: Learnt::default() }
    }

    /// Learns what was known of the value that is there now; `found` is what is found in it, if that is.
    pub(crate) fn learn(&mut self, seen: &mut Seen, recurring: Recurring<'_>, known: Known, found: &[u32]) {
        if self.learnt.learn(known, found) {
            (seen.since, seen.has_found) = (seen.since(recurring.sinces()), !found.is_empty());
        }
    }
}

impl<const MOST: usize> Default for Learnt<MOST> {
    fn default() -> Self {
        Self { novel: 0, count: 0, found: [0; MOST] }
    }
}

impl<const MOST: usize> Learnt<MOST> {
    pub(crate) fn found(&self) -> &[u32] {
        &self.found[..usize::from(self.count)]
    }

    /// Whether what is not as the last one is taken to be new.
    pub(crate) fn is_novel(&self) -> bool {
        self.novel >= NOVEL
    }

    /// Learns what was known of the one at hand; `found` is what is found in it, if that is. True where it is kept.
    pub(crate) fn learn(&mut self, known: Known, found: &[u32]) -> bool {
        self.novel = match known {
            Known::Nothing if self.novel < TRIED_AGAIN => self.novel + 1,
            _ => 0,
        };
        if known == Known::Found
            && let Some(kept) = self.found.get_mut(..found.len())
            && let Ok(count) = u8::try_from(found.len())
        {
            kept.copy_from_slice(found);
            self.count = count;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_so_of_what_was_learnt_last() {
        let mut learnt = Learnt::<2>::default();
        assert!(learnt.learn(Known::Found, &[7]));
        assert!(!learnt.learn(Known::Nothing, &[]));
        assert!(!learnt.learn(Known::Found, &[0; 3]));
        assert_eq!(learnt.found(), [7]);
    }
}
