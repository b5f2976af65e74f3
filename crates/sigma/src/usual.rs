//! What was found in the value that a key has in events with the same keys.

use cybervault_model::json::Recurring;

/// The keys at an event's top that are looked at.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// What most need no more than, close together.
    pub(crate) seen: Vec<Seen>,
    pub(crate) list: Vec<Item>,
}

/// A key's value, as it was when all was known that is found in it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its place. Where the key has a list or an object, there is no such place.
    place: u32,
    has_found: bool,
    /// Since when it was what it was. No value is since [`NEVER`].
    since: u64,
}

const NEVER: u64 = 0;

/// A key, and what was found in that value.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The key's number, if it leads to fields.
    pub(crate) key: Option<u32>,
    /// Where it stands among the event's.
    pub(crate) name: usize,
    /// Whether something is asked about a field that it leads to, …
    pub(crate) is_asked: bool,
    /// … and if so, whether the value counts as it is for all of them.
    pub(crate) is_plain: bool,
    pub(crate) learnt: Learnt<MOST_FOUND>,
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
    /// Adds a key of which no value has come.
    pub(crate) fn add(&mut self, item: Item, place: Option<usize>) {
        let place = place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX);
        self.seen.push(Seen { place, has_found: false, since: NEVER });
        self.list.push(item);
    }
}

impl Seen {
    pub(crate) fn place(&self) -> Option<usize> {
        (self.place != u32::MAX).then_some(self.place as usize)
    }

    /// Whether its value is still what it was.
    pub(crate) fn is_same(&self, recurring: Recurring<'_>) -> bool {
        self.since != NEVER && recurring.since(self.place as usize) == self.since
    }

    pub(crate) fn has_found(&self) -> bool {
        self.has_found
    }
}

impl Item {
    pub(crate) fn new(key: Option<u32>, name: usize) -> Self {
        Self { key, name, is_asked: false, is_plain: true, learnt: Learnt::default() }
    }

    /// Learns what was known of a value that is what it is since then; `found` is what is found in it, if that is.
    pub(crate) fn learn(&mut self, seen: &mut Seen, since: u64, known: Known, found: &[u32]) {
        if self.learnt.learn(known, found) {
            (seen.since, seen.has_found) = (since, !found.is_empty());
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
    fn what_is_known_is_so_of_the_value_that_was_learnt_last() {
        let mut items = Items::default();
        items.add(Item::new(None, 0), Some(0));
        let (item, seen) = (&mut items.list[0], &mut items.seen[0]);
        item.learn(seen, 3, Known::Found, &[7]);
        item.learn(seen, 4, Known::Nothing, &[]);
        item.learn(seen, 5, Known::Found, &[0; MOST_FOUND + 1]);
        assert_eq!((seen.since, item.learnt.found()), (3, &[7][..]));
    }
}
