//! Which keys an object may have.

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
