//! All indicators, ready to be looked up.

use std::collections::HashSet;

use cybervault_model::Timestamp;
use foldhash::fast::FixedState;

use crate::{
    Kind,
    about::About,
    table::{Names, Table},
};

/// All indicators: immutable, to be shared by threads.
#[derive(Debug, Default)]
pub struct Indicators {
    pub(crate) sha256: Table<[u8; 32]>,
    pub(crate) sha1: Table<[u8; 20]>,
    pub(crate) md5: Table<[u8; 16]>,
    pub(crate) imphash: Table<[u8; 16]>,
    /// By the length of their prefixes, the smallest networks first.
    pub(crate) networks: Vec<(u8, Table<u128>)>,
    pub(crate) domains: Names,
    /// What they end with: files have dots in their names, too, but hardly these ends.
    pub(crate) tops: HashSet<Box<str>, FixedState>,
    pub(crate) urls: Names,
    pub(crate) abouts: Vec<About>,
    pub(crate) version: String,
}

impl Indicators {
    /// How many there are of a kind; what several feeds list differently counts as often.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Sha256 => self.sha256.len(),
            Kind::Sha1 => self.sha1.len(),
            Kind::Md5 => self.md5.len(),
            Kind::Imphash => self.imphash.len(),
            Kind::Ip => self.networks.iter().map(|(_, table)| table.len()).sum(),
            Kind::Domain => self.domains.len(),
            Kind::Url => self.urls.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.abouts.is_empty()
    }

    /// Changes whenever what is listed does; empty where nothing is.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The heaviest of what is said of one value about an event of `at`, if anything still is.
    pub(crate) fn heaviest(
        &self,
        abouts: impl Iterator<Item = u32>,
        at: impl Fn() -> Option<Timestamp>,
    ) -> Option<&About> {
        let valid = abouts.map(|about| &self.abouts[about as usize]).filter(|about| about.is_valid(&at));
        // Of equals the one that has been read first, so that the order of the feeds decides.
        valid.reduce(|best, other| if other.level > best.level { other } else { best })
    }
}
