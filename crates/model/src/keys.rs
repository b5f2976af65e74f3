//! A few keys, looked for among very many.

/// Says of most keys at once that they are none of these: by length and first byte.
#[derive(Debug)]
pub(crate) struct FewKeys([u64; Self::LONGEST + 1]);

impl FewKeys {
    const LONGEST: usize = 31;

    /// Those of `lists`, none of them empty or longer than 31 bytes.
    pub(crate) const fn of(lists: &[&[&str]]) -> Self {
        let mut bits = [0; Self::LONGEST + 1];
        let mut list = 0;
        while list < lists.len() {
            let mut key = 0;
            while key < lists[list].len() {
                let bytes = lists[list][key].as_bytes();
                bits[bytes.len()] |= Self::bit(bytes[0]);
                key += 1;
            }
            list += 1;
        }
        Self(bits)
    }

    /// Letters have a bit each.
    const fn bit(first: u8) -> u64 {
        1 << (first % 64)
    }

    /// False where `key` is none of them.
    pub(crate) fn may_have(&self, key: &str) -> bool {
        let first = key.as_bytes().first().copied().unwrap_or_default();
        self.0.get(key.len()).is_some_and(|bits| bits & Self::bit(first) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_keys_are_never_denied_and_most_others_are() {
        const KEYS: FewKeys = FewKeys::of(&[&["_raw", "hits"], &["AuditData"]]);
        for (key, expected) in [
            ("_raw", true),
            ("hits", true),
            ("AuditData", true),
            ("hint", true),
            ("Hits", false),
            ("raw", false),
            ("", false),
            ("h123456789012345678901234567890123456789", false),
        ] {
            assert_eq!(KEYS.may_have(key), expected, "{key}");
        }
    }
}
