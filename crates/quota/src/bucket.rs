//! How far ahead of its rate a tenant is in a partition.

use cybervault_model::Timestamp;

use crate::share::Amounts;

/// GCRA's theoretical arrival time of each limit, kept as the distance from the latest record.
///
/// The distance rather than the time itself, because it stays small and exact wherever a sender's clock stands. It is counted in
/// nanoseconds of the tenant's whole rate, and is paid off at the speed of the partition's share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The latest record time seen.
    pub(crate) latest: Timestamp,
    /// What was admitted and is not paid for.
    pub(crate) ahead: Amounts,
}

impl Default for Bucket {
    /// An empty bucket, as of a tenant of whom nothing has come.
    fn default() -> Self {
        Self { latest: Timestamp::from_millis(i64::MIN), ahead: Amounts::default() }
    }
}

impl Bucket {
    /// The bucket at `now`, paid off by `share` millionths of the rate since the latest record. A time before that one counts
    /// as that one.
    pub(crate) fn at(self, now: Timestamp, share: Amounts) -> Self {
        if now <= self.latest {
            return self;
        }
        // A millisecond of a millionth is a nanosecond.
        let elapsed_ms = now.as_millis().abs_diff(self.latest.as_millis());
        let paid = share.map2(share, |share, _| elapsed_ms.saturating_mul(share));
        Self { latest: now, ahead: self.ahead.minus(paid) }
    }

    /// The bucket with an event of `cost` put in.
    pub(crate) fn charged(self, cost: Amounts) -> Self {
        Self { ahead: self.ahead.plus(cost), ..self }
    }

    /// How many nanoseconds each limit has to be paid off until an event of `cost` fits into `capacity`; 0 where it fits. What
    /// costs more than the capacity fits into the empty bucket.
    pub(crate) fn wait(&self, cost: Amounts, capacity: Amounts) -> Amounts {
        self.ahead.minus(capacity.minus(cost))
    }
}
