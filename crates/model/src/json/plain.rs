//! Values that are no texts, as far as they are plain.

use simd_json::StaticNode;

/// Fractions of more bytes are the parser's.
const LONGEST_FRACTION: usize = 18;

/// Whether a number may have this byte in it.
pub(super) fn may_have(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// The number, truth value or null that `bytes` begin with, and its length; `None` where the parser is to decide.
pub(super) fn read(bytes: &[u8]) -> Option<(StaticNode, usize)> {
    if let Some(found) = whole(bytes) {
        return Some(found);
    }
    for (word, value) in
        [(&b"true"[..], StaticNode::Bool(true)), (b"false", StaticNode::Bool(false)), (b"null", StaticNode::Null)]
    {
        if bytes.starts_with(word) {
            return Some((value, word.len()));
        }
    }
    let length = bytes.iter().take_while(|byte| may_have(**byte)).count();
    let text = str::from_utf8(&bytes[..length]).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let are_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = are_digits(whole) && part.is_none_or(are_digits) && (whole == "0" || !whole.starts_with('0'));
    let number = match part {
        _ if !is_plain => return None,
        Some(_) if length > LONGEST_FRACTION => return None,
        Some(_) => StaticNode::F64(text.parse().ok()?),
        None if digits.len() < length => StaticNode::I64(text.parse().ok().filter(|number| *number != 0)?),
        None => StaticNode::U64(text.parse().ok()?),
    };
    Some((number, length))
}

/// As [`read`], for the most usual ones: some digits.
fn whole(bytes: &[u8]) -> Option<(StaticNode, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(LONGEST_FRACTION) {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            _ if at == 0 || may_have(*byte) || at > 1 && bytes[0] == b'0' => return None,
            _ => return Some((StaticNode::U64(number), at)),
        }
    }
    None
}
