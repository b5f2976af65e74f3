//! Texts compared and unescaped 64 bytes at once, by instructions that not every processor has.
#![allow(unsafe_code)] // to call what only some processors can do, and to have memory read and written by it

use std::{arch::x86_64::*, mem, sync::LazyLock};

use super::text::{ESCAPED, Unescaped};

/// Whether the processor has what is asked for here.
static IS_HERE: LazyLock<bool> = LazyLock::new(|| {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
});

/// Appends to `text` what `raw` is unescaped, up to a line feed or a quote, as far as it is done here. `None` if that is no UTF-8.
pub(super) fn unescape(raw: &[u8], text: &mut String) -> Option<Unescaped> {
    if !*IS_HERE {
        return Some(Unescaped::default());
    }
    // SAFETY: the processor has it.
    unsafe { unescape_blocks(raw, text) }
}

const BLOCK: usize = 64;

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt")]
fn unescape_blocks(raw: &[u8], text: &mut String) -> Option<Unescaped> {
    let all = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
    let (low, high) = (load(&ESCAPED), load(&ESCAPED[BLOCK..]));
    let mut plain = mem::take(text).into_bytes();
    let start = plain.len();
    let (mut at, mut not_ascii) = (0, 0);
    // Whether the block's first byte is escaped.
    let mut carried = 0;
    let unescaped = loop {
        plain.reserve(BLOCK);
        let block = load(&raw[at..]);
        // What its bytes are where they are escaped.
        let meant = _mm512_permutex2var_epi8(low, block, high);
        let starts = starts(_mm512_cmpeq_epi8_mask(block, all(b'\\')) & !carried);
        let escaped = starts << 1 | carried;
        let quotes = _mm512_cmpeq_epi8_mask(block, all(b'"')) & !escaped;
        let line_ends = _mm512_cmpeq_epi8_mask(meant, all(b'\n')) & escaped;
        let foreign = _mm512_movepi8_mask(block);
        // Behind the end there are zeros, which are controls, too.
        let controls = _mm512_cmplt_epu8_mask(block, all(b' '));
        let others = controls | (_mm512_testn_epi8_mask(meant, meant) | foreign) & escaped;
        let ends = quotes | line_ends | others;
        let end = ends.trailing_zeros();
        // A line feed stays, a quote does not.
        let kept = (_bzhi_u64(!0, end) | line_ends & _blsi_u64(ends)) & !starts;
        let block = _mm512_maskz_compress_epi8(kept, _mm512_mask_mov_epi8(block, escaped, meant));
        not_ascii |= foreign & kept;
        let length = plain.len();
        // SAFETY: there is room for all of the block, of which that many bytes have been made.
        unsafe {
            _mm512_storeu_si512(plain.as_mut_ptr().add(length).cast(), block);
            plain.set_len(length + kept.count_ones() as usize);
        }
        if ends != 0 {
            let is_end = |bits: u64| bits >> end & 1 != 0;
            let end_at = at + end as usize;
            break if is_end(others) {
                // From its backslash on.
                Unescaped { read: end_at - usize::from(is_end(escaped)), is_last: None }
            } else {
                Unescaped { read: end_at + 1, is_last: Some(is_end(quotes)) }
            };
        }
        carried = starts >> (BLOCK - 1);
        at += BLOCK;
    };
    if not_ascii != 0 && str::from_utf8(&plain[start..]).is_err() {
        return None;
    }
    // SAFETY: it was a text, and what was appended is one.
    *text = unsafe { String::from_utf8_unchecked(plain) };
    Some(unescaped)
}

/// What `bytes` begin with, or all of them with zeros behind.
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn load(bytes: &[u8]) -> __m512i {
    // SAFETY: only bytes that are there are read.
    unsafe {
        if bytes.len() >= BLOCK {
            _mm512_loadu_si512(bytes.as_ptr().cast())
        } else {
            _mm512_maskz_loadu_epi8((1 << bytes.len()) - 1, bytes.as_ptr().cast())
        }
    }
}

/// Of backslashes those that escape what is behind them: the first, third, … of each that stand together.
fn starts(backslashes: u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let first = backslashes & !(backslashes << 1);
    // A bit added to the first of some carries through all of them.
    let from_even = backslashes & !backslashes.wrapping_add(first & EVEN);
    from_even & EVEN | backslashes & !from_even & !EVEN
}

/// How many bytes both begin with, if that is found out here.
pub(super) fn same(one: &[u8], other: &[u8]) -> Option<usize> {
    // SAFETY: the processor has it.
    IS_HERE.then(|| unsafe { same_blocks(one, other) })
}

#[target_feature(enable = "avx512f,avx512bw,bmi1,bmi2")]
fn same_blocks(one: &[u8], other: &[u8]) -> usize {
    let length = one.len().min(other.len());
    let (one, other) = (&one[..length], &other[..length]);
    let mut at = 0;
    while at < length {
        let differ = _mm512_cmpneq_epi8_mask(load(&one[at..]), load(&other[at..]));
        if differ != 0 {
            return at + differ.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    length
}

/// Behind the quote that ends the text, if it has one; `None` where that is not found out here.
pub(super) fn end(bytes: &[u8]) -> Option<Option<usize>> {
    // SAFETY: the processor has it.
    IS_HERE.then(|| unsafe { end_in_blocks(bytes) })
}

#[target_feature(enable = "avx512f,avx512bw,bmi1,bmi2")]
fn end_in_blocks(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut carried) = (0, 0);
    while at < bytes.len() {
        let block = load(&bytes[at..]);
        let are = |byte: u8| _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte.cast_signed()));
        let starts = starts(are(b'\\') & !carried);
        let quotes = are(b'"') & !(starts << 1 | carried);
        if quotes != 0 {
            return Some(at + quotes.trailing_zeros() as usize + 1);
        }
        carried = starts >> (BLOCK - 1);
        at += BLOCK;
    }
    None
}
