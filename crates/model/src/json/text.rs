//! Texts as JSON has them, unescaped; of one with several lines only those that are not as in the text before.

use wide::u8x16;

use super::avx512;

/// Of texts of more lines these are not kept.
const MOST_LINES: usize = 512;

/// A line of a text.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Bytes that it has in JSON, with its line feed, or with the quote behind the last one.
    raw: u32,
    length: u32,
    since: u64,
}

impl Line {
    /// Bytes that it has, with its line feed if it has one.
    pub fn length(self) -> usize {
        self.length as usize
    }

    /// Since which document of its form there is this line, with the same number among the text's lines.
    pub fn since(self) -> u64 {
        self.since
    }
}

/// A text as JSON has it and unescaped, and its lines; none where it is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'t> {
    pub(super) raw: &'t [u8],
    pub(super) text: &'t str,
    pub(super) lines: &'t [Line],
    /// How many bytes the text to be read has alike from its beginning on.
    pub(super) alike: usize,
}

/// How far a text was unescaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unescaped {
    /// Bytes of JSON that were read.
    pub(super) read: usize,
    /// Whether it ended with a line feed or, `true`, with the quote behind the last one, which are read. Without, the rest is to be read.
    pub(super) is_last: Option<bool>,
}

/// Behind the quote that ends the text, if it has one.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    avx512::end(bytes).unwrap_or_else(|| end_anywhere(bytes))
}

/// The same on any processor.
fn end_anywhere(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let mut stops = stops(block(bytes.get(at..)?, &mut [0; 2 * BLOCK]));
        let mut next = BLOCK;
        while stops != 0 {
            let stop = stops.trailing_zeros() as usize;
            match bytes.get(at + stop)? {
                b'"' => return Some(at + stop + 1),
                // What is escaped is no stop.
                b'\\' => {
                    stops &= !(3 << stop);
                    next = next.max(stop + 2);
                }
                _ => stops &= stops - 1,
            }
        }
        at += next;
    }
}

/// How many bytes a text has that `raw`, behind its quote, begins with, if it is short and has nothing to unescape.
pub(super) fn short(raw: &[u8]) -> Option<usize> {
    let block: &[u8; 2 * BLOCK] = raw.first_chunk()?;
    let end = stops(block).trailing_zeros() as usize;
    (end < BLOCK && block[end] == b'"').then_some(end)
}

/// Reads texts into its memory.
#[derive(Debug, Default)]
pub(super) struct Unescape {
    pub(super) text: String,
    pub(super) lines: Vec<Line>,
    plain: Vec<u8>,
}

impl Unescape {
    /// The text that `raw` begins with, quotes around it, and how many bytes of `raw` that has, if it is short and has nothing to unescape.
    pub(super) fn short(&mut self, raw: &[u8]) -> Option<(&str, usize)> {
        let raw = raw.get(1..)?;
        let length = short(raw)?;
        if self.plain.len() < 2 * BLOCK {
            self.plain.resize(2 * BLOCK, 0);
        }
        let block: &mut [u8; BLOCK] = self.plain.first_chunk_mut()?;
        block.copy_from_slice(&raw[..BLOCK]);
        Some((checked(&mut self.plain, length)?, length + 2))
    }

    /// Unescapes the text that `raw` begins with, quotes around it: how many bytes of `raw` it has. What is not as before is so since
    /// `now`. `None` where the parser is to decide.
    pub(super) fn read(&mut self, raw: &[u8], before: Known<'_>, now: u64) -> Option<usize> {
        self.text.clear();
        self.lines.clear();
        // Behind the quote, and as far in the text before.
        let (mut at, mut raw_before, mut text_before) = (1, 1, 0);
        let mut rest = before.lines;
        loop {
            if !rest.is_empty() {
                let alike = match raw_before {
                    1 => before.alike.saturating_sub(1),
                    _ => same(&before.raw[raw_before..], &raw[at..]),
                };
                let (mut raw_length, mut length) = (0, 0);
                let mut is_alike = |line: &&Line| {
                    let is_alike = raw_length + line.raw as usize <= alike;
                    if is_alike {
                        (raw_length, length) = (raw_length + line.raw as usize, length + line.length());
                    }
                    is_alike
                };
                let count = rest.iter().take_while(&mut is_alike).count();
                self.lines.extend_from_slice(&rest[..count]);
                self.text.push_str(&before.text[text_before..text_before + length]);
                (at, raw_before, text_before) = (at + raw_length, raw_before + raw_length, text_before + length);
                rest = &rest[count..];
                match rest.split_first() {
                    Some((changed, behind)) => {
                        raw_before += changed.raw as usize;
                        text_before += changed.length();
                        rest = behind;
                    }
                    None => return Some(at),
                }
            }
            let start = self.text.len();
            let (read, is_last) = self.read_line(&raw[at..])?;
            at += read;
            if !is_last || !self.lines.is_empty() {
                self.lines.push(Line { raw: position(read), length: position(self.text.len() - start), since: now });
            }
            if is_last {
                if self.lines.len() > MOST_LINES {
                    self.lines.clear();
                }
                return Some(at);
            }
        }
    }

    /// Unescapes up to a line feed, or to the quote at the end: how many bytes of `raw` these are, and whether it is the quote.
    fn read_line(&mut self, raw: &[u8]) -> Option<(usize, bool)> {
        let Unescaped { read, is_last } = avx512::unescape(raw, &mut self.text)?;
        if let Some(is_last) = is_last {
            return Some((read, is_last));
        }
        let (rest, is_last) = self.read_line_anywhere(&raw[read..])?;
        Some((read + rest, is_last))
    }

    /// The same on any processor.
    fn read_line_anywhere(&mut self, raw: &[u8]) -> Option<(usize, bool)> {
        let plain = &mut self.plain;
        let (mut at, mut length) = (0, 0);
        let is_last = 'text: loop {
            let rest = raw.get(at..)?;
            let mut padded = [0; 2 * BLOCK];
            let block = block(rest, &mut padded);
            if plain.len() < length + 2 * BLOCK {
                plain.resize(2 * (length + 2 * BLOCK), 0);
            }
            let plain: &mut [u8; 2 * BLOCK] = plain[length..].first_chunk_mut()?;
            let mut stops = stops(block);
            // How much of the block is done, and what it has become.
            let (mut done, mut read) = (0, 0);
            while stops != 0 {
                let stop = stops.trailing_zeros() as usize % BLOCK;
                move_block(block, done, plain, read);
                read += stop - done;
                let escaped = block[stop + 1];
                let char = ESCAPED[usize::from(escaped)];
                if block[stop] != b'\\' || char == 0 {
                    at += stop + 1;
                    length += read;
                    if block[stop] == b'"' {
                        break 'text true;
                    }
                    let hex = rest.get(stop + 2..stop + 6).filter(|_| block[stop] == b'\\' && escaped == b'u')?;
                    length += char_of(hex)?.encode_utf8(&mut plain[read..]).len();
                    at += 5;
                    continue 'text;
                }
                plain[read % BLOCK] = char;
                read += 1;
                done = stop + 2;
                if char == b'\n' {
                    at += done;
                    length += read;
                    break 'text false;
                }
                // An escaped quote or backslash is no stop.
                stops &= !(3 << stop);
            }
            if done < BLOCK {
                move_block(block, done, plain, read);
                read += BLOCK - done;
                done = BLOCK;
            }
            at += done;
            length += read;
        };
        self.text.push_str(checked(plain, length)?);
        Some((at, is_last))
    }
}

/// The text in the first bytes, of those that there are at least [`WORDS`] more. Whether it is one the standard library finds sooner if it is
/// asked about whole words.
fn checked(plain: &mut [u8], length: usize) -> Option<&str> {
    plain.get_mut(length..length + WORDS)?.fill(b' ');
    str::from_utf8(&plain[..length.next_multiple_of(WORDS)]).ok()?.get(..length)
}

/// So many bytes it looks at together.
const WORDS: usize = 2 * size_of::<usize>();

/// What `rest` begins with; behind its end there are zeros, at which reading stops.
fn block<'r>(rest: &'r [u8], padded: &'r mut [u8; 2 * BLOCK]) -> &'r [u8; 2 * BLOCK] {
    rest.first_chunk().unwrap_or_else(|| {
        padded[..rest.len()].copy_from_slice(rest);
        padded
    })
}

/// Moves a block's bytes from `from` on behind `to` others; what is too much is written over.
fn move_block(block: &[u8; 2 * BLOCK], from: usize, plain: &mut [u8; 2 * BLOCK], to: usize) {
    let (from, to) = (from % BLOCK, to % BLOCK);
    plain[to..to + BLOCK].copy_from_slice(&block[from..from + BLOCK]);
}

/// So many bytes are looked at together; as many behind them are at hand.
const BLOCK: usize = 32;

/// What a byte means behind a backslash, unless it is `u`; 0 for what means nothing.
pub(super) const ESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    let known = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let mut at = 0;
    while at < known.len() {
        table[known[at] as usize] = known[at + 1];
        at += 2;
    }
    table
};

/// A bit for each byte of a block that is a quote, a backslash or below a space.
fn stops(block: &[u8; 2 * BLOCK]) -> u64 {
    let bits = |half: [u8; 16]| {
        let bytes = u8x16::new(half);
        let are = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
        let are_below = bytes.simd_eq(bytes.min(u8x16::splat(b' ' - 1)));
        u64::from((are(b'"') | are(b'\\') | are_below).to_bitmask())
    };
    let halves = block.as_chunks().0;
    bits(halves[0]) | bits(halves[1]) << 16
}

/// The character of an escape; half a surrogate pair is none.
fn char_of(hex: &[u8]) -> Option<char> {
    let hex = str::from_utf8(hex).ok()?;
    // A sign would be taken, too.
    let code = u32::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'))?;
    char::from_u32(code)
}

/// Texts are of documents that are short enough to have a form.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// How many bytes both begin with.
pub(super) fn same(one: &[u8], other: &[u8]) -> usize {
    avx512::same(one, other).unwrap_or_else(|| same_anywhere(one, other))
}

/// The same on any processor.
fn same_anywhere(one: &[u8], other: &[u8]) -> usize {
    // Most differ soon or late.
    const NEAR: usize = 64;
    let at = same_words(&one[..one.len().min(NEAR)], &other[..other.len().min(NEAR)]);
    if at < NEAR {
        return at;
    }
    let at = at + same_parts::<256>(&one[at..], &other[at..]);
    let at = at + same_parts::<32>(&one[at..], &other[at..]);
    at + same_words(&one[at..], &other[at..])
}

fn same_words(one: &[u8], other: &[u8]) -> usize {
    let (words, rest) = one.as_chunks();
    let mut at = 0;
    for (word, others) in words.iter().zip(other.as_chunks().0) {
        let differ = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*others);
        if differ != 0 {
            return at + differ.trailing_zeros() as usize / 8;
        }
        at += size_of::<u64>();
    }
    let rest = if at == words.len() * size_of::<u64>() { rest } else { &one[at..] };
    at + rest.iter().zip(&other[at..]).take_while(|(one, other)| one == other).count()
}

/// The same, rounded down to a multiple of `N`.
fn same_parts<const N: usize>(one: &[u8], other: &[u8]) -> usize {
    let (one, other) = (one.as_chunks::<N>().0, other.as_chunks::<N>().0);
    one.iter().zip(other).take_while(|(one, other)| one == other).count() * N
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// What texts in JSON consist of, and what they must not have.
    fn raw() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 18] = [
            b"C:\\\\Windows",
            b"plain text of some length, ",
            b"n",
            b"t",
            b"/",
            b"\\\\",
            b"\\\\\\\\",
            b"\\\"",
            b"\\n",
            b"\\r\\n",
            b"\\t",
            b"\\/",
            b"\\u00e4",
            "ä".as_bytes(),
            "€".as_bytes(),
            b"\"",
            b"\n",
            b"\\",
        ];
        let rare: [&[u8]; 4] = [b"\\x", b"\xff", b"\\\xe2", b"\0"];
        let piece = prop_oneof![20 => select(pieces.to_vec()), 1 => select(rare.to_vec())];
        vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn every_processor_reads_the_same(raw in raw(), before in "ä?[a-z]{0,3}", cut in 0..200usize) {
            let mut texts = [0; 2].map(|_| Unescape { text: before.clone(), ..Unescape::default() });
            let [here, anywhere] = &mut texts;
            let found = here.read_line(&raw);
            prop_assert_eq!(found, anywhere.read_line_anywhere(&raw));
            if found.is_some() {
                prop_assert_eq!(&here.text, &anywhere.text);
            }
            prop_assert_eq!(end(&raw), end_anywhere(&raw));
            let other = [&raw[..cut.min(raw.len())], b"?"].concat();
            prop_assert_eq!(same(&raw, &other), same_anywhere(&raw, &other));
        }
    }

    #[test]
    fn as_many_bytes_are_the_same_as_come_before_the_first_other_one() {
        let text = [b'a'; 700];
        for same in [same, same_anywhere] {
            for at in 0..700 {
                let mut other = text;
                other[at] = b'b';
                assert_eq!((same(&text, &other), same(&text[..at], &text)), (at, at));
            }
        }
    }
}
