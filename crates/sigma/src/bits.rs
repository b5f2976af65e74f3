//! Sets of small numbers as bits in words.

/// A set; as many words as its numbers need.
pub(crate) type Words = Box<[u64]>;

/// A length as one bit; the last bit is for all that are longer.
pub(crate) fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

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

/// The numbers in the set, in ascending order.
pub(crate) fn each(words: &[u64]) -> impl Iterator<Item = usize> + Clone {
    words.iter().enumerate().flat_map(|(at, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (bit < u64::BITS).then_some(at * 64 + bit as usize)
        })
    })
}
