//! Escapes that are half a surrogate pair.
//!
//! JSON's grammar has them, Unicode has no character for them, and who writes UTF-16 without looking sends them: Windows takes any
//! 16 bits for a name. A parser that refuses such a document would let whoever chooses a file's name keep an event from
//! being looked at. So each half is read as U+FFFD, as decoders of UTF-16 do.

/// `json` with U+FFFD for each escape that is half a pair, and how many these are; `None` where there are none.
///
/// It has the same length, and what else stands in it stays where it is.
pub fn without_half_pairs(json: &[u8]) -> Option<(Vec<u8>, u32)> {
    const REPLACEMENT: &[u8; 6] = br"\ufffd";
    let (mut whole, mut count) = (Vec::new(), 0);
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        at += match (unit(json, at), unit(json, at + REPLACEMENT.len())) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 2 * REPLACEMENT.len(),
            (Some(0xd800..0xe000), _) => {
                if whole.is_empty() {
                    whole = json.to_vec();
                }
                whole[at..at + REPLACEMENT.len()].copy_from_slice(REPLACEMENT);
                count += 1;
                REPLACEMENT.len()
            }
            // What is escaped may be a backslash.
            _ => 2,
        };
    }
    (count > 0).then_some((whole, count))
}

/// The 16 bits that an escape at `at` stands for, if there is one with four digits.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(br"\u")?;
    let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_are_replaced() {
        for (json, expected) in [
            (r#"{"a":"\ud83d\ude00\u00e9\\ud800\\\\ud800\u+800"}"#, None),
            (r#"{"a":"\ud83"#, None),
            ("", None),
            (r#"{"a":"\ud800"}"#, Some((r#"{"a":"\ufffd"}"#, 1))),
            (r#"{"\uDfff":"\\\udc00"}"#, Some((r#"{"\ufffd":"\\\ufffd"}"#, 2))),
            (r#""\ud800\ud83d\ude00\ude00""#, Some((r#""\ufffd\ud83d\ude00\ufffd""#, 2))),
            (r#""\ud800\u0041\ud800\ud800""#, Some((r#""\ufffd\u0041\ufffd\ufffd""#, 3))),
        ] {
            let found = without_half_pairs(json.as_bytes());
            let found = found.as_ref().map(|(json, count)| (str::from_utf8(json).unwrap(), *count));
            assert_eq!(found, expected, "{json}");
        }
    }
}
