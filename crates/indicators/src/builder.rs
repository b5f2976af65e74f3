//! Feeds gathered into one set.

use std::{collections::HashMap, io::BufRead, sync::Arc};

use cybervault_model::{Level, Timestamp, hex};
use foldhash::fast::FixedState;
use sha2::{Digest, Sha256};

use crate::{
    Feed, FeedError, Indicators, Kind,
    about::{About, level_of},
    feed::{self, Listed},
    table::Table,
    value::{Value, top},
};

/// Indicators that are taken at most.
const MAX_INDICATORS: u64 = 20_000_000;
/// Of so many entries that can't be used it is told what is wrong; the others are counted.
const MAX_PROBLEMS: usize = 20;

/// What was found in a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedReport {
    /// The indicators that were taken, by kind.
    pub taken: [u64; Kind::ALL.len()],
    /// The entries that can't be used.
    pub failed: u64,
    /// What is wrong with the first of these.
    pub problems: Vec<String>,
}

impl FeedReport {
    /// All that were taken.
    pub fn total(&self) -> u64 {
        self.taken.iter().sum()
    }

    pub(crate) fn fail(&mut self, problem: String) {
        self.failed += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// Gathers feeds.
#[derive(Debug, Default)]
pub struct Builder {
    set: Indicators,
    networks: HashMap<u8, Table<u128>, FixedState>,
    numbers: HashMap<About, u32, FixedState>,
    count: u64,
    hash: Sha256,
}

impl Builder {
    /// Reads a feed. Single entries that can't be used are left out and told of.
    ///
    /// # Errors
    /// When it can't be read, has another form than it should, or there are too many indicators.
    pub fn read(&mut self, feed: &Feed, mut from: impl BufRead) -> Result<FeedReport, FeedError> {
        let mut report = FeedReport::default();
        let name: Arc<str> = feed.name.as_str().into();
        feed::read(feed, &mut from, &mut |listed| {
            match listed {
                Ok(_) if self.count >= MAX_INDICATORS => return Err(FeedError::TooMany(MAX_INDICATORS)),
                Ok(listed) => {
                    report.taken[listed.value.kind() as usize] += 1;
                    self.add(feed, &name, listed);
                }
                Err(problem) => report.fail(problem),
            }
            Ok(())
        })?;
        Ok(report)
    }

    fn add(&mut self, feed: &Feed, name: &Arc<str>, listed: Listed<'_>) {
        let said = listed.confidence.or(feed.confidence).map(level_of).or(listed.level);
        let about = About {
            feed: name.clone(),
            title: listed.title.map(|title| title.chars().take(200).collect::<String>().into()),
            level: feed.level.or(said).unwrap_or(Level::High),
            valid_until: listed.valid_until,
        };
        self.note(&listed.value, &about);
        let number = self.number(about);
        let set = &mut self.set;
        match listed.value {
            Value::Sha256(digest) => set.sha256.push(digest, number),
            Value::Sha1(digest) => set.sha1.push(digest, number),
            Value::Md5(digest) => set.md5.push(digest, number),
            Value::Imphash(digest) => set.imphash.push(digest, number),
            Value::Ip(network) => self.networks.entry(network.prefix).or_default().push(network.bits, number),
            Value::Domain(name) => set.domains.push(name, number),
            Value::Url(url) => set.urls.push(url, number),
        }
        self.count += 1;
    }

    /// Lets the version depend on it.
    fn note(&mut self, value: &Value, about: &About) {
        self.hash.update([value.kind() as u8, about.level as u8]);
        self.hash.update(about.valid_until.map_or(i64::MAX, Timestamp::as_millis).to_le_bytes());
        match value {
            Value::Sha256(digest) => self.hash.update(digest),
            Value::Sha1(digest) => self.hash.update(digest),
            Value::Md5(digest) | Value::Imphash(digest) => self.hash.update(digest),
            Value::Ip(network) => {
                self.hash.update(network.bits.to_le_bytes());
                self.hash.update([network.prefix]);
            }
            Value::Domain(text) | Value::Url(text) => self.hash.update(text),
        }
        for text in [&*about.feed, about.title.as_deref().unwrap_or_default()] {
            self.hash.update(text);
            self.hash.update([0]);
        }
    }

    fn number(&mut self, about: About) -> u32 {
        let next = u32::try_from(self.set.abouts.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(about).or_insert_with_key(|about| {
            self.set.abouts.push(about.clone());
            next
        })
    }

    /// The set.
    pub fn finish(self) -> Indicators {
        let Self { mut set, networks, hash, .. } = self;
        set.sha256.finish();
        set.sha1.finish();
        set.md5.finish();
        set.imphash.finish();
        set.networks = networks.into_iter().collect();
        set.networks.sort_unstable_by_key(|(prefix, _)| std::cmp::Reverse(*prefix));
        set.networks.iter_mut().for_each(|(_, table)| table.finish());
        set.domains.finish();
        set.tops = set.domains.names().map(|name| top(name).into()).collect();
        set.urls.finish();
        if !set.is_empty() {
            set.version = format!("i{}", &hex(&hash.finalize())[..12]);
        }
        set
    }
}
