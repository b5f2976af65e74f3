//! Sets of small numbers as bits in words.

/// A set; as many words as its numbers need.
pub(crate) type Words = Box<[u64]>;

/// The empty set of numbers below `count`.
pub(crate) fn none(count: usize) -> Words {
    vec![0; count.div_ceil(64)].into()
}

/// Whether `number` is in the set.
pub(crate) fn has(words: &[u64], number: usize) -> bool {
    words[number / 64] & 1 << (number % 64) != 0
}

/// Adds `number`; false where it was in the set already.
pub(crate) fn set(words: &mut [u64], number: usize) -> bool {
    let (word, bit) = (&mut words[number / 64], 1 << (number % 64));
    let new = *word & bit == 0;
    *word |= bit;
    new
}

/// Takes `number` out, and possibly its neighbours in the same word: for emptying a set number by number.
pub(crate) fn clear_around(words: &mut [u64], number: usize) {
    words[number / 64] = 0;
}

/// Adds all of `other`.
pub(crate) fn add(words: &mut [u64], other: &[u64]) {
    for (word, other) in words.iter_mut().zip(other) {
        *word |= other;
    }
}

/// Whether the sets have a number in common.
pub(crate) fn meet(words: &[u64], other: &[u64]) -> bool {
    words.iter().zip(other).any(|(word, other)| word & other != 0)
}
