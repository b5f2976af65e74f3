//! Values and who lists them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Sorted values, each with the number of an [`crate::About`], as often as it is listed. Takes no more than these need.
#[derive(Debug)]
pub(crate) struct Table<K>(Vec<(K, u32)>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Table<K> {
    pub(crate) fn push(&mut self, key: K, about: u32) {
        self.0.push((key, about));
    }

    /// Once all are in.
    pub(crate) fn finish(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
        self.0.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those who list `key`.
    pub(crate) fn of(&self, key: &K) -> impl Iterator<Item = u32> {
        let start = self.0.partition_point(|(known, _)| known < key);
        self.0[start..].iter().take_while(move |(known, _)| known == key).map(|(_, about)| *about)
    }
}

/// Names, each with the numbers of those who list it. Events have many words that could be names and are not: these are
/// told by a hash.
#[derive(Debug, Default)]
pub(crate) struct Names {
    listed: Vec<(Box<str>, u32)>,
    /// Where in `abouts` each name's begin and end.
    places: HashMap<Box<str>, (u32, u32), FixedState>,
    abouts: Vec<u32>,
}

impl Names {
    pub(crate) fn push(&mut self, name: String, about: u32) {
        self.listed.push((name.into(), about));
    }

    /// Once all are in.
    pub(crate) fn finish(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.sort_unstable();
        listed.dedup();
        self.abouts = listed.iter().map(|(_, about)| *about).collect();
        // So many as can be listed have a number.
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        for (index, (name, _)) in listed.into_iter().enumerate() {
            self.places.entry(name).or_insert((at(index), at(index))).1 = at(index + 1);
        }
        self.places.shrink_to_fit();
    }

    /// The listed names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(|name| &**name)
    }

    pub(crate) fn len(&self) -> usize {
        self.abouts.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.abouts.is_empty()
    }

    /// Those who list `name`.
    pub(crate) fn of(&self, name: &str) -> impl Iterator<Item = u32> {
        let (start, end) = self.places.get(name).copied().unwrap_or_default();
        self.abouts[start as usize..end as usize].iter().copied()
    }
}
