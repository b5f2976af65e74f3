//! Where a page ended, so that only we could have said so.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How much of the signature is kept: 128 bits.
const SIGNATURE: usize = 16;
/// The longest cursor that is looked at.
const LONGEST: usize = 1_024;

/// Where a page ended. Ordered as ascending lists are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The value that the list is sorted by.
    pub(crate) value: i64,
    /// The id, which decides among equals.
    pub(crate) id: String,
}

impl Position {
    /// As text, good for `context` only.
    pub(super) fn seal(&self, context: &str, key: &[u8; 32]) -> String {
        let mut bytes = self.value.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.as_bytes());
        let signature = mac(&bytes, context, key).finalize().into_bytes();
        bytes.extend_from_slice(&signature[..SIGNATURE]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Position::seal`] wrote for the same `context`.
    pub(super) fn open(text: &str, context: &str, key: &[u8; 32]) -> Option<Self> {
        let bytes = if text.len() <= LONGEST { URL_SAFE_NO_PAD.decode(text).ok()? } else { return None };
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE)?)?;
        mac(signed, context, key).verify_truncated_left(signature).ok()?;
        let (value, id) = signed.split_first_chunk()?;
        Some(Self { value: i64::from_be_bytes(*value), id: std::str::from_utf8(id).ok()?.to_owned() })
    }
}

fn mac(signed: &[u8], context: &str, key: &[u8; 32]) -> Hmac<Sha256> {
    // Never fails: an HMAC takes a key of any length.
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.chain_update((context.len() as u64).to_be_bytes()).chain_update(context).chain_update(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_list_alone_and_cannot_be_made() {
        let (position, key) = (Position { value: -7, id: "ta_1".to_owned() }, [7; 32]);
        let text = position.seal("acme\nassessments", &key);
        assert_eq!(Position::open(&text, "acme\nassessments", &key), Some(position));
        assert_eq!(Position::open(&text, "globex\nassessments", &key), None);
        assert_eq!(Position::open(&text, "acme\nassessments", &[8; 32]), None);
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let forged = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            // Some last characters carry bits that no byte has.
            assert!(Position::open(&forged, "acme\nassessments", &key).is_none_or(|_| at + 1 == text.len()));
        }
        for text in ["", "AAAA", "!", &"A".repeat(5_000)] {
            assert_eq!(Position::open(text, "", &key), None);
        }
    }
}
