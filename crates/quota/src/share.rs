//! How a tenant's quota is split over the partitions: in what units, and what a partition has of which nobody need tell it.

use std::num::NonZeroU32;

use cybervault_model::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tenant's whole rate. A share of it is counted in millionths, so that one millisecond of a share of `n` pays for `n`
/// nanoseconds of the whole rate.
pub const WHOLE: u64 = 1_000_000;
/// What all partitions together have for good, each its part of it: no partition is ever at nothing.
pub(crate) const FLOORS: u64 = WHOLE / 50;
/// What is lent and moved.
pub(crate) const LENT: u64 = WHOLE - FLOORS;

/// An amount of each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Of events.
    pub events: u64,
    /// Of bytes.
    pub bytes: u64,
}

impl Amounts {
    pub(crate) const fn both(amount: u64) -> Self {
        Self { events: amount, bytes: amount }
    }

    pub(crate) fn map2(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self { events: f(self.events, other.events), bytes: f(self.bytes, other.bytes) }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.map2(other, u64::saturating_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.map2(other, u64::saturating_sub)
    }

    pub(crate) fn max(self, other: Self) -> Self {
        self.map2(other, u64::max)
    }

    pub(crate) fn min(self, other: Self) -> Self {
        self.map2(other, u64::min)
    }

    /// The larger of the two.
    pub(crate) fn most(self) -> u64 {
        self.events.max(self.bytes)
    }

    /// Whether one of them is beyond the other's.
    pub(crate) const fn exceeds(self, other: Self) -> bool {
        self.events > other.events || self.bytes > other.bytes
    }
}

/// Over how many partitions quotas are spread, and how often shares are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    partitions: NonZeroU32,
    interval_ms: u64,
}

impl Spread {
    /// One partition, which has all of every tenant.
    pub const ALONE: Self = Self { partitions: NonZeroU32::MIN, interval_ms: 250 };

    /// So many partitions, of which one in need says so every `interval_ms`.
    pub fn over(partitions: NonZeroU32, interval_ms: u64) -> Self {
        Self { partitions, interval_ms: interval_ms.max(1) }
    }

    /// The partitions.
    pub const fn partitions(&self) -> NonZeroU32 {
        self.partitions
    }

    /// The share interval.
    pub const fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// The share that every partition has for good.
    pub(crate) fn floor(&self) -> u64 {
        FLOORS / u64::from(self.partitions.get())
    }

    /// What a partition's bucket holds beside its share of the burst, in nanoseconds of the whole rate: all partitions
    /// together have one share interval's worth, so that a tenant's first events are taken wherever they land.
    pub(crate) fn credit(&self) -> u64 {
        match self.partitions.get() {
            1 => 0,
            partitions => self.interval_ms * 1_000_000 / u64::from(partitions),
        }
    }

    /// The partition where records keyed by `tenant_id` alone meet: whatever is not lent elsewhere is there.
    pub fn home(&self, tenant_id: &str) -> u32 {
        (murmur2(tenant_id.as_bytes()) & 0x7fff_ffff) % self.partitions
    }
}

/// What a partition tells of a tenant: one value on `quota.usage`. All that is counted only grows within a term, so that of
/// two reports the one that is further is the later one, and a repeated one changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The tenant.
    pub tenant_id: String,
    /// The partition of `telemetry.events`.
    pub partition: u32,
    /// Which of the times this is that the partition has known the tenant; from 1.
    pub term: u64,
    /// The share that was granted in this term, as far as the partition knows, in millionths of the rate.
    pub granted: Amounts,
    /// The share that it has given back in this term.
    pub returned: Amounts,
    /// What was charged to it and not paid for, which goes with it, in nanoseconds of the whole rate.
    pub owed: Amounts,
    /// What was owed on what was granted, as far as the partition knows, likewise.
    pub owed_taken: Amounts,
    /// From when on what was given back may be used elsewhere, in record time.
    pub free_from: Timestamp,
    /// What was admitted in this term.
    pub used: Amounts,
    /// What came lately, admitted or not, in millionths of the rate.
    pub demand: Amounts,
    /// How far ahead of its rate it is, in microseconds of the whole rate.
    pub ahead: Amounts,
    /// Whether it lacks, or is about to.
    pub needs: bool,
    /// The record time up to which this holds.
    pub at: Timestamp,
    /// Whether the partition forgets the tenant with this: the last report of its term.
    pub closed: bool,
}

/// What the owner of a tenant's shares tells a partition: one value on `quota.shares`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The tenant.
    pub tenant_id: String,
    /// The partition of `telemetry.events`.
    pub partition: u32,
    /// The term of which this is; 0 where the owner knows of none, which asks the home partition to give back.
    pub term: u64,
    /// The share that was granted in this term, in millionths of the rate.
    pub granted: Amounts,
    /// The share that is to be given back in this term.
    pub recalled: Amounts,
    /// What is owed on what was granted, and has to be paid off by whom it is granted to, in nanoseconds of the whole rate.
    pub owed: Amounts,
    /// From when on what is granted may be used, in record time.
    pub from: Timestamp,
}

/// MurmurHash2 as Kafka's clients have it, by which they choose partitions.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |word: u32| {
        let word = word.wrapping_mul(M);
        (word ^ (word >> 24)).wrapping_mul(M)
    };
    let (words, rest) = bytes.as_chunks::<4>();
    // Kafka's clients compute with 32 bits, too.
    #[expect(clippy::cast_possible_truncation)]
    let seed = 0x9747_b28c ^ bytes.len() as u32;
    let mut hash = words.iter().fold(seed, |hash, word| hash.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word)));
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_home_is_where_kafkas_clients_put_its_key() {
        // From the tests of Kafka's own clients (UtilsTest.testMurmur2).
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), u32::from_ne_bytes(i32::to_ne_bytes(hash)), "{text}");
        }
    }

    #[test]
    fn floors_and_what_is_lent_are_never_more_than_the_whole() {
        for partitions in [1, 2, 3, 7, 12, 64, 10_000] {
            let spread = Spread::over(NonZeroU32::new(partitions).unwrap(), 250);
            assert!(spread.floor() > 0 && spread.floor() * u64::from(partitions) + LENT <= WHOLE);
            assert!(spread.credit() * u64::from(partitions) <= 250_000_000);
            assert!(spread.home("acme") < partitions);
        }
        assert_eq!(Spread::ALONE.floor() + LENT, WHOLE);
    }
}
