//! What was found in texts, remembered: telemetry says most things again and again.
//!
//! A remembered text is compared whole, so what is recalled is what would be found again. Rows are of fixed size and there are
//! as many from the beginning as there will ever be; a text that comes once puts out another such, not one that came twice.

use std::{
    hash::{BuildHasher, Hasher},
    mem,
};

use foldhash::fast::FixedState;

use crate::base::Bases;

/// Where a text stands, for which it was looked at, and in what way: what was found holds for this alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(u64);

/// How a value was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum As {
    Whole = 1,
    Line = 2,
    Number = 3,
    /// Whole or a line, for the texts that are looked for once a rule asks.
    Later = 4,
    /// Whole, for one predicate.
    Alone = 5,
}

impl Place {
    /// `route` is not 0.
    pub(crate) fn new(route: u32, key: u32, way: As) -> Self {
        Self(u64::from(route) << 35 | (way as u64) << 32 | u64::from(key))
    }

    /// One of `count` numbers, a power of two; with another `salt` another one.
    pub(crate) fn spread(self, salt: u64, count: usize) -> usize {
        // The multiplier is the golden ratio's, as in Knuth's multiplicative hash.
        let hash = (self.0 ^ salt.rotate_left(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash & (count as u64 - 1)).unwrap_or_default()
    }
}

/// Texts with the numbers of what was found in each.
pub(crate) struct Memo {
    /// By the size of what they hold, the smallest first: a megabyte each.
    shelves: [Shelf; 3],
    pub(crate) bases: Bases,
    pace: Pace,
}

/// Whether remembering pays: events of which nothing comes again would only be slowed down by it.
#[derive(Default)]
struct Pace {
    events: u32,
    recalled: u32,
    missed: u32,
    rests: bool,
}

/// Of so many events the first some are tried; if less than a third of their texts is recalled, the others go without.
const PERIOD: u32 = 1024;
const TRIED: u32 = 64;

impl Pace {
    fn next_event(&mut self) {
        self.events = (self.events + 1) % PERIOD;
        match self.events {
            0 => *self = Self::default(),
            TRIED => self.rests = self.recalled < self.missed / 2,
            _ => {}
        }
    }
}

impl Memo {
    pub(crate) fn new() -> Self {
        Self {
            shelves: [Shelf::new(128, 2048), Shelf::new(1024, 256), Shelf::new(8192, 32)],
            bases: Bases::new(),
            pace: Pace::default(),
        }
    }

    /// Another event begins.
    pub(crate) fn next_event(&mut self) {
        self.pace.next_event();
    }

    /// So many texts needed no recalling, because what is kept elsewhere told of them.
    pub(crate) fn spared(&mut self, count: u32) {
        self.pace.recalled = self.pace.recalled.saturating_add(count);
    }

    /// Whether this event is better looked at without.
    pub(crate) fn rests(&self) -> bool {
        self.pace.rests
    }

    /// What was found in the text, if it is remembered.
    pub(crate) fn recall(&mut self, place: Place, text: &[u8]) -> Option<impl Iterator<Item = u32>> {
        let hash = hash(place, text);
        // Together with what was found it may have gone on a larger one.
        let shelf = self.shelves.iter().position(|shelf| text.len() <= shelf.width)?;
        for shelf in self.shelves[shelf..].iter_mut().take(2) {
            if let Some(found) = shelf.find(hash, place, text) {
                let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
                self.pace.recalled += 1;
                return Some(found.chunks_exact(4).map(number));
            }
        }
        self.pace.missed += 1;
        None
    }

    /// Remembers what was found in a text that was not recalled.
    pub(crate) fn keep(&mut self, place: Place, text: &[u8], found: &[u32]) {
        let bytes = text.len() + size_of_val(found);
        if let Some(shelf) = self.shelves.iter_mut().find(|shelf| bytes <= shelf.width) {
            shelf.keep(hash(place, text), place, text, found);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.shelves.iter_mut().for_each(|shelf| shelf.sets.fill(Set::default()));
        self.bases = Bases::new();
    }
}

/// How much of a long text is hashed, in so many parts.
const HASHED: usize = 256;
const PARTS: usize = 8;

/// Texts that differ in what is not hashed put each other out, no more.
fn hash(place: Place, text: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u64(place.0);
    if text.len() <= HASHED {
        hasher.write(text);
    } else {
        hasher.write_usize(text.len());
        let part = HASHED / PARTS;
        let step = (text.len() - part) / (PARTS - 1);
        (0..PARTS).for_each(|at| hasher.write(&text[at * step..][..part]));
    }
    hasher.finish()
}

/// Rows of one size, some for each hash.
struct Shelf {
    width: usize,
    sets: Box<[Set]>,
    rows: Box<[u8]>,
    /// Where the first row begins: what is read together lies together in memory.
    first: usize,
    /// Which row of a set makes room next.
    hand: usize,
}

const WAYS: usize = 4;

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set([Head; WAYS]);

/// What a row holds: a text, and behind it the numbers found in it.
#[derive(Clone, Copy, Default)]
struct Head {
    place: Place,
    /// Some of the hash.
    tag: u16,
    text: u16,
    found: u16,
    /// Whether it was recalled since the hand came by: it is passed over once then.
    is_recalled: bool,
}

impl Shelf {
    /// `sets` is a power of two.
    fn new(width: usize, sets: usize) -> Self {
        let rows: Box<[u8]> = vec![0; width * sets * WAYS + align_of::<Set>()].into();
        let first = rows.as_ptr().align_offset(align_of::<Set>()).min(align_of::<Set>());
        Self { width, sets: vec![Set::default(); sets].into(), rows, first, hand: 0 }
    }

    fn set(&self, hash: u64) -> usize {
        usize::try_from(hash & (self.sets.len() as u64 - 1)).unwrap_or_default()
    }

    /// A row's first byte.
    fn row(&self, set: usize, way: usize) -> usize {
        self.first + (set * WAYS + way) * self.width
    }

    /// What was found in the text, as bytes.
    fn find(&mut self, hash: u64, place: Place, text: &[u8]) -> Option<&[u8]> {
        let at = self.set(hash);
        let is_text = |way: usize, head: &Head| {
            head.tag == tag(hash)
                && head.place == place
                && usize::from(head.text) == text.len()
                && self.rows[self.row(at, way)..][..text.len()] == *text
        };
        let way = self.sets[at].0.iter().enumerate().position(|(way, head)| is_text(way, head))?;
        let end = self.row(at, way) + text.len();
        let head = &mut self.sets[at].0[way];
        head.is_recalled = true;
        Some(&self.rows[end..][..usize::from(head.found) * 4])
    }

    fn keep(&mut self, hash: u64, place: Place, text: &[u8], found: &[u32]) {
        let (Ok(length), Ok(count)) = (u16::try_from(text.len()), u16::try_from(found.len())) else { return };
        let at = self.set(hash);
        let way = self.make_room(at);
        self.sets[at].0[way] = Head { place, tag: tag(hash), text: length, found: count, is_recalled: false };
        let row = self.row(at, way);
        let row = &mut self.rows[row..][..self.width];
        let (text_row, found_row) = row.split_at_mut(text.len());
        text_row.copy_from_slice(text);
        for (bytes, number) in found_row.chunks_exact_mut(4).zip(found) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
    }

    /// The row of the set whose text goes: the next that was not recalled.
    fn make_room(&mut self, set: usize) -> usize {
        loop {
            let way = self.hand;
            self.hand = (self.hand + 1) % WAYS;
            if !mem::take(&mut self.sets[set].0[way].is_recalled) {
                return way;
            }
        }
    }
}

fn tag(hash: u64) -> u16 {
    u16::try_from(hash >> 48).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recall(memo: &mut Memo, place: Place, text: &str) -> Option<Vec<u32>> {
        memo.recall(place, text.as_bytes()).map(Iterator::collect)
    }

    #[test]
    fn what_is_recalled_is_what_was_found_in_this_text_at_this_place() {
        let (mut memo, place) = (Memo::new(), Place::new(1, 7, As::Whole));
        let texts = ["", "a", &"b".repeat(127), &"b".repeat(128), &"c".repeat(1024), &"d".repeat(8000)];
        for (text, number) in texts.iter().zip(1..) {
            assert_eq!(recall(&mut memo, place, text), None);
            memo.keep(place, text.as_bytes(), &[number, 70_000]);
            assert_eq!(recall(&mut memo, place, text), Some(vec![number, 70_000]));
            assert_eq!(recall(&mut memo, Place::new(2, 7, As::Whole), text), None);
            assert_eq!(recall(&mut memo, Place::new(1, 7, As::Line), text), None);
        }
        memo.clear();
        assert!(texts.iter().all(|text| recall(&mut memo, place, text).is_none()));
    }

    #[test]
    fn what_comes_again_outlives_what_comes_once_and_what_is_too_long_is_left() {
        let (mut memo, place) = (Memo::new(), Place::new(1, 7, As::Line));
        memo.keep(place, b"again", &[1]);
        for once in 0..50_000 {
            assert_eq!(recall(&mut memo, place, "again"), Some(vec![1]));
            memo.keep(place, format!("once {once}").as_bytes(), &[]);
        }
        memo.keep(place, &[b'x'; 8200], &[]);
        assert!(memo.recall(place, &[b'x'; 8200]).is_none());
    }
}
