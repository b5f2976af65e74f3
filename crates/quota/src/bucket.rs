//! What is remembered of a tenant: how far ahead of its rates it is.

use cybervault_model::Timestamp;

const VERSION: u8 = 1;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A tenant's standing: GCRA's theoretical arrival time of each limit, kept as the distance from the latest record.
///
/// The distance rather than the time itself, because it stays small and exact wherever a sender's clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The latest record time seen.
    latest: Timestamp,
    /// How long after `latest` what was admitted would be paid for at the plan's rate.
    ahead: Costs,
}

/// Nanoseconds of each limit's rate: what an event costs, what a bucket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Costs {
    fn map2(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self { events: f(self.events, other.events), bytes: f(self.bytes, other.bytes) }
    }
}

impl Default for Bucket {
    /// An empty bucket, as of a tenant of whom nothing has come.
    fn default() -> Self {
        Self { latest: Timestamp::from_millis(i64::MIN), ahead: Costs::default() }
    }
}

impl Bucket {
    /// The length of [`Bucket::encode`]'s bytes.
    pub const ENCODED_LEN: usize = 25;

    /// The bucket as state: a version byte, then the latest record time in milliseconds and the two distances in
    /// nanoseconds, all big-endian.
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let mut bytes = [VERSION; Self::ENCODED_LEN];
        bytes[1..9].copy_from_slice(&self.latest.as_millis().to_be_bytes());
        bytes[9..17].copy_from_slice(&self.ahead.events.to_be_bytes());
        bytes[17..25].copy_from_slice(&self.ahead.bytes.to_be_bytes());
        bytes
    }

    /// Reads what [`Bucket::encode`] wrote; `None` where it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let &[latest, events, bytes] = words else { return None };
        Some(Self {
            latest: Timestamp::from_millis(i64::from_be_bytes(latest)),
            ahead: Costs { events: u64::from_be_bytes(events), bytes: u64::from_be_bytes(bytes) },
        })
    }

    /// When it will have drained: from then on it is as good as [`Bucket::default`], and need not be kept.
    pub fn empty_at(&self) -> Timestamp {
        let ahead_ms = self.ahead.events.max(self.ahead.bytes).div_ceil(NANOS_PER_MILLI);
        self.latest.plus_millis(i64::try_from(ahead_ms).unwrap_or(i64::MAX))
    }

    /// The bucket at `now`, drained by the time since the latest record. A time before that one counts as that one.
    pub(crate) fn at(self, now: Timestamp) -> Self {
        if now <= self.latest {
            return self;
        }
        let elapsed = now.as_millis().abs_diff(self.latest.as_millis()).saturating_mul(NANOS_PER_MILLI);
        let elapsed = Costs { events: elapsed, bytes: elapsed };
        Self { latest: now, ahead: self.ahead.map2(elapsed, u64::saturating_sub) }
    }

    /// The bucket with an event of `cost` put in.
    pub(crate) fn charged(self, cost: Costs) -> Self {
        Self { ahead: self.ahead.map2(cost, u64::saturating_add), ..self }
    }

    /// How many nanoseconds each limit has to drain until an event of `cost` fits into `capacity`; 0 where it fits. What
    /// costs more than the capacity fits into the empty bucket.
    pub(crate) fn wait(&self, cost: Costs, capacity: u64) -> Costs {
        self.ahead.map2(cost, |ahead, cost| ahead.saturating_sub(capacity.saturating_sub(cost)))
    }

    /// How many milliseconds after `now` a wait of `nanos` from the latest record time is over.
    pub(crate) fn millis_until(&self, now: Timestamp, nanos: u64) -> u64 {
        let behind = self.latest.as_millis().abs_diff(now.as_millis());
        behind.saturating_add(nanos.div_ceil(NANOS_PER_MILLI))
    }

    /// The fuller limit's share of `capacity`, 0 to 1.
    pub(crate) fn level(&self, capacity: u64) -> f64 {
        #[expect(clippy::cast_precision_loss)]
        let share = self.ahead.events.max(self.ahead.bytes) as f64 / capacity as f64;
        share.min(1.0)
    }
}
