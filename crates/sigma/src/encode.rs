//! The modifiers that rewrite a rule's value before it is compared: UTF-16, Base64, dashes.

use rsigma_parser::{SpecialChar, StringPart};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What `windash` takes for a dash, each for any other (Sigma 2.1, modifiers appendix).
pub(crate) const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Base64 with padding (RFC 4648 §4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (group >> (18 - 6 * index)) & 63;
            text.push(if index <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

/// How `bytes` look inside the Base64 of a longer value, for each of the three offsets they can have there; without the
/// characters that depend on what stands before and after.
pub(crate) fn base64_offsets(bytes: &[u8]) -> Vec<String> {
    (0..3)
        .filter_map(|offset| {
            let mut padded = vec![0; offset];
            padded.extend_from_slice(bytes);
            // Sextets that hold bits of `bytes` alone: from the first that starts at or after it to the last that ends in it.
            let (first, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
            (first < end).then(|| base64(&padded)[first..end].to_owned())
        })
        .collect()
}

/// UTF-16 bytes of `text`, little-endian or big-endian.
pub(crate) fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

/// The pattern with each dash written in all five ways, in all combinations; `None` where these are more than `limit`.
pub(crate) fn dash_variants(parts: &[StringPart], limit: usize) -> Option<Vec<Vec<StringPart>>> {
    let mut variants: Vec<Vec<StringPart>> = vec![Vec::new()];
    for part in parts {
        let StringPart::Plain(text) = part else {
            variants.iter_mut().for_each(|variant| variant.push(part.clone()));
            continue;
        };
        let mut texts = vec![String::new()];
        for character in text.chars() {
            if DASHES.contains(&character) {
                texts = texts.iter().flat_map(|text| DASHES.map(|dash| format!("{text}{dash}"))).collect();
                if texts.len() * variants.len() > limit {
                    return None;
                }
            } else {
                texts.iter_mut().for_each(|text| text.push(character));
            }
        }
        variants = variants
            .iter()
            .flat_map(|variant| {
                texts.iter().map(move |text| {
                    let mut longer = variant.clone();
                    longer.push(StringPart::Plain(text.clone()));
                    longer
                })
            })
            .collect();
    }
    Some(variants)
}

/// The parts of a plain text.
pub(crate) fn plain_parts(text: String) -> Vec<StringPart> {
    if text.is_empty() { Vec::new() } else { vec![StringPart::Plain(text)] }
}

/// Whether any part is a wildcard.
pub(crate) fn has_wildcards(parts: &[StringPart]) -> bool {
    parts
        .iter()
        .any(|part| matches!(part, StringPart::Special(SpecialChar::WildcardMulti | SpecialChar::WildcardSingle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_rfc_4648_shows() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_value_is_found_in_base64_wherever_it_lies() {
        for before in 0..7 {
            for after in 0..7 {
                let whole = base64(format!("{}http://{}", "~".repeat(before), "~".repeat(after)).as_bytes());
                assert!(base64_offsets(b"http://").iter().any(|form| whole.contains(form)), "{before} {after}");
            }
        }
        assert_eq!(base64_offsets(b"foo"), ["Zm9v", "Zvb", "mb2"]);
    }

    #[test]
    fn every_dash_is_written_in_five_ways() {
        let variants = dash_variants(&plain_parts("-a -b".into()), 100).unwrap();
        assert_eq!(variants.len(), 25);
        assert!(variants.contains(&plain_parts("/a \u{2014}b".into())));
        assert_eq!(dash_variants(&plain_parts("\u{2015}a /b".into()), 100).unwrap(), variants);
        assert_eq!(dash_variants(&plain_parts("----".into()), 100), None);
    }
}
