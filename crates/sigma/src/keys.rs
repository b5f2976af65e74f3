//! Which keys an object may have, and when two keys are the same.

use cybervault_model::json::Element;

/// A set of keys as bits, which some share: most questions about an event's keys end here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyBits(u64);

impl KeyBits {
    /// Any keys.
    pub(crate) const ANY: Self = Self(u64::MAX);

    /// The keys of an object; none of anything else.
    pub(crate) fn of(object: Element<'_>) -> Self {
        object.entries().map(|(key, _)| key).collect()
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, key: &str) {
        self.0 |= Self::bit(key);
    }

    /// False where no key is in both sets.
    pub(crate) fn may_share(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn bit(key: &str) -> u64 {
        let ends = [key.bytes().next(), key.bytes().next_back()].map(|byte| usize::from(byte.unwrap_or_default()));
        1 << ((key.len() * 8 + ends[0] + ends[1] * 5) % 64)
    }

    /// False where the key is not in the set.
    pub(crate) fn may_have(self, key: &str) -> bool {
        self.0 & Self::bit(key) != 0
    }
}

impl<'k> FromIterator<&'k str> for KeyBits {
    fn from_iter<I: IntoIterator<Item = &'k str>>(keys: I) -> Self {
        keys.into_iter().fold(Self::default(), |mut bits, key| {
            bits.add(key);
            bits
        })
    }
}

/// Parts of events' keys with blanks in them, or of any case, are looked up if they have no more bytes without them.
const LONGEST_PART: usize = 256;

/// How the keys of events are compared with the names that rules and mappings have.
///
/// Blanks don't count: Defender has `Source Name` where rules have `SourceName`. A key with dots in it is as good as objects inside
/// each other, wherever the dots are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Whether upper and lower case are the same.
    pub(crate) any_case: bool,
}

impl Naming {
    /// The keys that lead to a name, as they are kept.
    pub(crate) fn path(self, name: &str) -> impl Iterator<Item = Box<str>> {
        name.split('.').map(move |part| {
            let letters = part.chars().filter(|letter| *letter != ' ');
            letters.map(|letter| if self.any_case { letter.to_ascii_lowercase() } else { letter }).collect()
        })
    }

    /// Calls `with` for a part of an event's key as it is kept; longer ones than any that is kept are left out.
    pub(crate) fn kept<T>(self, part: &str, with: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if self.is_plain(part) {
            return with(part);
        }
        let mut buffer = [0; LONGEST_PART];
        let mut length = 0;
        for byte in part.bytes().filter(|byte| *byte != b' ') {
            *buffer.get_mut(length)? = if self.any_case { byte.to_ascii_lowercase() } else { byte };
            length += 1;
        }
        with(std::str::from_utf8(&buffer[..length]).ok()?)
    }

    /// Whether a key of an event is compared as it is.
    pub(crate) fn is_plain(self, key: &str) -> bool {
        !self.any_case && !key.bytes().any(|byte| matches!(byte, b'.' | b' '))
    }

    /// The keys of `path` that are left behind those that `key` of an event stands for; `None` where it leads elsewhere.
    pub(crate) fn behind<'p, K: AsRef<str>>(self, path: &'p [K], key: &str) -> Option<&'p [K]> {
        let (first, rest) = path.split_first()?;
        if first.as_ref() == key {
            return Some(rest);
        }
        if self.is_plain(key) {
            return None;
        }
        key.split('.').try_fold(path, |path, part| {
            let (first, rest) = path.split_first()?;
            self.is_same(first.as_ref(), part).then_some(rest)
        })
    }

    /// Whether a part of an event's key is this one of those that are kept.
    fn is_same(self, kept: &str, part: &str) -> bool {
        let bytes = part.bytes().filter(|byte| *byte != b' ');
        bytes.map(|byte| if self.any_case { byte.to_ascii_lowercase() } else { byte }).eq(kept.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_lead_inside_and_blanks_do_not_count() {
        let (exact, any_case) = (Naming::default(), Naming { any_case: true });
        for (naming, path, key, left) in [
            (exact, "a.b.c", "a", Some(2)),
            (exact, "a.b.c", "a.b", Some(1)),
            (exact, "a.b.c", "a.b.c", Some(0)),
            (exact, "a.b.c", "a.b.c.d", None),
            (exact, "a.b.c", "a.", None),
            (exact, "a.b.c", "", None),
            (exact, "SourceName", "Source Name", Some(0)),
            (exact, "Source Name", "SourceName", Some(0)),
            (exact, "SourceName", "sourcename", None),
            (any_case, "actor.alternateId", "ACTOR.alternateid", Some(0)),
        ] {
            let kept: Vec<_> = naming.path(path).collect();
            assert_eq!(naming.behind(&kept, key).map(<[_]>::len), left, "{path} {key}");
        }
    }
}
