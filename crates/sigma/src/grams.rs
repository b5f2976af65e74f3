//! Many texts searched for in one value by looking at a few bytes of it.
//!
//! Of every text to be found, a run of neighbouring grams (four bytes each, two for short texts) is entered into a table, as
//! many as the step with which a value is sampled is wide: wherever the text lies, one of them lies on a sampled place.
//! Looking a sample up depends on no other look-up, unlike an automaton's steps, and most samples end at one bit that is not
//! set. A value made of nothing but entered grams makes this slow; [`Grams::scan`] gives up on such.

use crate::fields::FixedMap;

/// Texts of similar length, each with a number.
#[derive(Debug)]
pub(crate) struct Grams<const Q: usize> {
    step: usize,
    /// Which hashes occur, one bit each.
    filter: Box<[u64]>,
    filter_shift: u32,
    /// Where the entries of a hash start in `entries`, by its upper bits.
    starts: Box<[u32]>,
    start_shift: u32,
    entries: Box<[Entry]>,
    texts: Box<[(Box<[u8]>, u32)]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    gram: u32,
    /// Where the gram stands in its text.
    offset: u32,
    text: u32,
}

/// How many comparisons a value may cost for each of its bytes before it is left to something that can't be slow.
const COMPARISONS_PER_BYTE: usize = 1;

impl<const Q: usize> Grams<Q> {
    /// From texts of at least `Q` bytes; `None` where there are none.
    pub(crate) fn new(texts: Vec<(&str, u32)>) -> Option<Self> {
        let step = texts.iter().map(|(text, _)| text.len()).min()? - Q + 1;
        let mut counts: FixedMap<u32, u32> = FixedMap::default();
        for (text, _) in &texts {
            for window in text.as_bytes().windows(Q) {
                *counts.entry(gram::<Q>(window)).or_default() += 1;
            }
        }
        let mut entries = Vec::with_capacity(texts.len() * step);
        for (index, (text, _)) in texts.iter().enumerate() {
            let grams: Vec<_> = text.as_bytes().windows(Q).map(gram::<Q>).collect();
            // What few texts have is taken to be rare in values as well.
            let rarest = (0..=grams.len() - step)
                .min_by_key(|at| grams[*at..*at + step].iter().map(|gram| u64::from(counts[gram])).sum::<u64>());
            let at = rarest.unwrap_or(0);
            for (offset, gram) in grams.iter().enumerate().skip(at).take(step) {
                entries.push(Entry { gram: *gram, offset: number(offset), text: number(index) });
            }
        }
        Some(Self::with_entries(step, entries, texts))
    }

    fn with_entries(step: usize, mut entries: Vec<Entry>, texts: Vec<(&str, u32)>) -> Self {
        let bits_for = |count: usize| count.next_power_of_two().trailing_zeros();
        let filter_bits = (bits_for(entries.len()) + 5).clamp(10, 19);
        let start_bits = (bits_for(entries.len()) + 1).min(filter_bits);
        let (filter_shift, start_shift) = (32 - filter_bits, 32 - start_bits);
        entries.sort_by_key(|entry| (hash(entry.gram), entry.text, entry.offset));
        let mut filter = vec![0u64; 1 << (filter_bits - 6)];
        let mut starts = vec![0u32; (1 << start_bits) + 1];
        for entry in &entries {
            let hash = hash(entry.gram);
            let bit = hash >> filter_shift;
            filter[(bit / 64) as usize] |= 1 << (bit % 64);
            starts[(hash >> start_shift) as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self {
            step,
            filter: filter.into(),
            filter_shift,
            starts: starts.into(),
            start_shift,
            entries: entries.into(),
            texts: texts.into_iter().map(|(text, number)| (text.as_bytes().into(), number)).collect(),
        }
    }

    /// Calls `found` with the number of every text in `value`; false where it gave up on the way.
    pub(crate) fn scan(&self, value: &[u8], found: &mut impl FnMut(u32)) -> bool {
        let mut comparisons = value.len() * COMPARISONS_PER_BYTE + 64;
        let mut at = 0;
        while let Some(window) = value.get(at..at + Q) {
            let gram = gram::<Q>(window);
            let hash = hash(gram);
            let bit = hash >> self.filter_shift;
            if self.filter[(bit / 64) as usize] & 1 << (bit % 64) != 0 {
                let start = (hash >> self.start_shift) as usize;
                for entry in &self.entries[self.starts[start] as usize..self.starts[start + 1] as usize] {
                    if entry.gram == gram {
                        match comparisons.checked_sub(1) {
                            Some(left) => comparisons = left,
                            None => return false,
                        }
                        self.compare(*entry, value, at, found);
                    }
                }
            }
            at += self.step;
        }
        true
    }

    fn compare(&self, entry: Entry, value: &[u8], at: usize, found: &mut impl FnMut(u32)) {
        let (text, number) = &self.texts[entry.text as usize];
        let Some(start) = at.checked_sub(entry.offset as usize) else { return };
        if value[start..].starts_with(text) {
            found(*number);
        }
    }

    /// The texts, with their numbers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.texts.iter().map(|(text, number)| (&**text, *number))
    }

    /// Bytes that the tables take.
    pub(crate) fn memory(&self) -> usize {
        let texts: usize = self.texts.iter().map(|(text, _)| text.len() + size_of::<(Box<[u8]>, u32)>()).sum();
        self.filter.len() * 8 + self.starts.len() * 4 + self.entries.len() * size_of::<Entry>() + texts
    }
}

/// The first bytes as a number; `Q` is 2 or 4.
fn gram<const Q: usize>(window: &[u8]) -> u32 {
    // Written out, so that it is a single load.
    match *window {
        [a, b, c, d, ..] if Q == 4 => u32::from_le_bytes([a, b, c, d]),
        [a, b, ..] => u32::from_le_bytes([a, b, 0, 0]),
        _ => 0,
    }
}

/// Spreads grams over all bits, the upper ones most (Knuth's multiplicative hash).
fn hash(gram: u32) -> u32 {
    (gram ^ gram >> 15).wrapping_mul(0x9e37_79b1)
}

/// Counts of things made from rules in memory, of which there are fewer than 2³².
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_it_lies() {
        let texts = ["powershell", "invoke-expression", "downloadstring", "-encodedcommand", "downloadfile"];
        let grams = Grams::<4>::new(texts.iter().zip(0..).map(|(text, number)| (*text, number)).collect()).unwrap();
        for (text, expected) in texts.iter().zip(0..) {
            for before in 0..20 {
                let mut found = Vec::new();
                let value = format!("{}{text}x", "powersh".repeat(3)[..before].to_owned());
                assert!(grams.scan(value.as_bytes(), &mut |number| found.push(number)));
                assert_eq!(found, [expected], "{value}");
            }
        }
    }

    #[test]
    fn a_value_made_to_hurt_is_given_up() {
        let texts: Vec<_> = (0..100).map(|number| format!("aaaaaaaa{number:03}")).collect();
        let grams =
            Grams::<4>::new(texts.iter().zip(0..).map(|(text, number)| (text.as_str(), number)).collect()).unwrap();
        let hurting = texts.iter().map(|text| &text[4..]).collect::<String>().repeat(100);
        assert!(!grams.scan(hurting.as_bytes(), &mut |_| ()));
    }
}
