//! A partition's side: what it holds of a tenant's quota, and what it tells of it.

use cybervault_model::Timestamp;

use crate::{
    Compiled, Decision, Grant, Usage,
    bucket::Bucket,
    share::{Amounts, LENT, WHOLE},
};

const VERSION: u8 = 2;
/// Before shares were moved: the bucket alone.
const VERSION_ALONE: u8 = 1;
const WORDS: usize = 26;

/// How many share intervals pass between two reports of a partition that lacks nothing …
const ROUTINE: u64 = 4;
/// … and of one with little to tell.
const QUIET: u64 = 40;
/// What is little: this part of the rate, in millionths.
const LITTLE: u64 = WHOLE / 20;
/// How long a change of pace takes to be believed, in milliseconds: over a moment a few events are a matter of chance.
const SMOOTH_MS: u64 = 2_000;
/// How many events fail to come where a sender has gone …
const MISSED: u128 = 6;
/// … in how many milliseconds at least, since many send in bursts …
const GONE_MS: u64 = 1_000;
/// … and after how many milliseconds a slow one has.
const QUIET_MS: u64 = 5_000;
/// The most that is told of a demand, in times of the rate.
const MOST_DEMAND: u64 = 8;
/// After how long without an event a partition forgets a tenant.
const IDLE_MS: i64 = 10 * 60 * 1000;

/// What a partition holds of a tenant's quota: its share of the rate and the burst, and how much of that is used.
///
/// A share is never made here: it is what was granted in this term, less what was given back. Both only grow, so a message that
/// is repeated or comes late changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    term: u64,
    bucket: Bucket,
    granted: Amounts,
    returned: Amounts,
    /// Granted, but not to be used before `pending_from`.
    pending: Amounts,
    pending_from: Timestamp,
    free_from: Timestamp,
    /// What was owed on all that was granted; on that and what is pending; and on what was returned.
    owed_granted: Amounts,
    owed_pending: Amounts,
    owed_returned: Amounts,
    used: Amounts,
    /// What came since `since`, admitted or not.
    wanted: Amounts,
    since: Timestamp,
    /// How much of it was rejected.
    refused: u64,
    /// What came before `since`, smoothed, in millionths of the rate.
    pace: Amounts,
}

impl Holding {
    /// The length of [`Holding::encode`]'s bytes.
    pub const ENCODED_LEN: usize = 1 + 8 * WORDS;

    /// What a partition has of a tenant of whom nothing is kept: at its home all that is lent, elsewhere nothing but the floor.
    /// `term` is higher than any before it in this partition.
    pub fn open(tenant: &Compiled, partition: u32, term: u64) -> Self {
        let granted = Amounts::both(if tenant.is_home(partition) { LENT } else { 0 });
        Self {
            term,
            bucket: Bucket::default(),
            granted,
            returned: Amounts::default(),
            pending: granted,
            pending_from: Timestamp::MIN,
            free_from: Timestamp::MIN,
            owed_granted: Amounts::default(),
            owed_pending: Amounts::default(),
            owed_returned: Amounts::default(),
            used: Amounts::default(),
            wanted: Amounts::default(),
            since: Timestamp::MIN,
            refused: 0,
            pace: Amounts::default(),
        }
    }

    /// As state: a version byte, then all numbers, big-endian.
    pub fn encode(&self) -> [u8; Self::ENCODED_LEN] {
        let time = |time: Timestamp| time.as_millis().cast_unsigned();
        let words: [u64; WORDS] = [
            time(self.bucket.latest),
            self.bucket.ahead.events,
            self.bucket.ahead.bytes,
            self.term,
            self.granted.events,
            self.granted.bytes,
            self.returned.events,
            self.returned.bytes,
            self.pending.events,
            self.pending.bytes,
            time(self.pending_from),
            time(self.free_from),
            self.used.events,
            self.used.bytes,
            self.wanted.events,
            self.wanted.bytes,
            time(self.since),
            self.refused,
            self.pace.events,
            self.pace.bytes,
            self.owed_granted.events,
            self.owed_granted.bytes,
            self.owed_pending.events,
            self.owed_pending.bytes,
            self.owed_returned.events,
            self.owed_returned.bytes,
        ];
        let mut bytes = [VERSION; Self::ENCODED_LEN];
        for (place, word) in bytes[1..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_be_bytes();
        }
        bytes
    }

    /// Reads what [`Holding::encode`] wrote, or an older version of it; `None` where it is something else. An older one knew
    /// no terms, and is given what `open` makes.
    pub fn decode(bytes: &[u8], open: impl FnOnce() -> Self) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let number = |at: usize| u64::from_be_bytes(words[at]);
        let time = |at: usize| Timestamp::from_millis(i64::from_be_bytes(words[at]));
        let both = |at: usize| Amounts { events: number(at), bytes: number(at + 1) };
        match (version, words.len()) {
            (VERSION_ALONE, 3) => Some(Self { bucket: Bucket { latest: time(0), ahead: both(1) }, ..open() }),
            (VERSION, WORDS) => Some(Self {
                bucket: Bucket { latest: time(0), ahead: both(1) },
                term: number(3),
                granted: both(4),
                returned: both(6),
                pending: both(8),
                pending_from: time(10),
                free_from: time(11),
                used: both(12),
                wanted: both(14),
                since: time(16),
                refused: number(17),
                pace: both(18),
                owed_granted: both(20),
                owed_pending: both(22),
                owed_returned: both(24),
            }),
            _ => None,
        }
    }

    /// The share that it holds beside the floor.
    pub(crate) fn held(&self) -> Amounts {
        self.granted.minus(self.returned)
    }

    /// The latest record time.
    pub const fn latest(&self) -> Timestamp {
        self.bucket.latest
    }

    /// Which term it is.
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// When it may be forgotten, in record time: [`Compiled::close`] does so. `None` for a home partition that has lent: what
    /// it would hold if it were forgotten is more than it has.
    pub fn expires_at(&self, tenant: &Compiled, partition: u32) -> Option<Timestamp> {
        if tenant.is_home(partition) && self.held() != Amounts::both(LENT) {
            return None;
        }
        let share = tenant.share(self);
        let drained_ms =
            (self.bucket.ahead.events / share.events.max(1)).max(self.bucket.ahead.bytes / share.bytes.max(1));
        Some(self.bucket.latest.plus_millis(IDLE_MS.saturating_add(i64::try_from(drained_ms).unwrap_or(i64::MAX))))
    }

    /// Whether more was given back than `before`.
    pub fn has_given_since(&self, before: &Self) -> bool {
        self.returned != before.returned
    }

    /// Whether `grant` gives what this partition has not taken.
    fn is_given(&self, grant: &Grant) -> bool {
        grant.term == self.term && grant.granted.exceeds(self.pending) && self.pending == self.granted
    }

    /// Whether `grant` asks for what this partition has and has not given back.
    pub fn is_asked(&self, grant: &Grant) -> bool {
        let is_meant = grant.term == self.term || grant.term == 0;
        is_meant && grant.recalled.minus(self.returned).min(self.held()) != Amounts::default()
    }
}

impl Compiled {
    /// Whether what is not lent elsewhere lies in `partition`.
    pub fn is_home(&self, partition: u32) -> bool {
        self.spread.partitions().get() == 1 || self.home == partition
    }

    /// The share of the rate that `holding` gives, in millionths.
    pub(crate) fn share(&self, holding: &Holding) -> Amounts {
        holding.held().plus(Amounts::both(self.spread.floor()))
    }

    /// What a bucket with this share holds, in nanoseconds of the whole rate.
    pub(crate) fn capacity_of(&self, share: Amounts) -> Amounts {
        let credit = self.spread.credit();
        share.map2(share, |share, _| self.capacity * share / WHOLE + credit)
    }

    /// How full `holding` is at `now`, from 0 to 1, for a metric: at 1 the next event is likely to be rejected.
    pub fn level(&self, holding: &Holding, now: Timestamp) -> f64 {
        let share = self.share(holding);
        let (ahead, capacity) = (holding.bucket.at(now, share).ahead, self.capacity_of(share));
        #[expect(clippy::cast_precision_loss)]
        let of = |ahead: u64, capacity: u64| ahead as f64 / capacity.max(1) as f64;
        of(ahead.events, capacity.events).max(of(ahead.bytes, capacity.bytes)).min(1.0)
    }

    /// Whether `grant` is news to `holding` at `now`. What is asked for is given back at most once in a share interval.
    pub fn is_news(&self, holding: &Holding, grant: &Grant, now: Timestamp) -> bool {
        let elapsed = now.as_millis().saturating_sub(holding.since.as_millis());
        holding.is_given(grant) || (holding.is_asked(grant) && elapsed >= self.interval())
    }

    /// Decides on an event of `bytes` bytes at `now`, its record time, and charges it if it is admitted.
    pub fn decide(&self, holding: &mut Holding, now: Timestamp, bytes: u64) -> Decision {
        if let Some(rejected) = self.suspended() {
            return rejected;
        }
        self.advance(holding, now);
        if holding.since == Timestamp::MIN {
            // So the first report need not wait.
            holding.since = now.plus_millis(-self.interval());
        }
        holding.wanted = holding.wanted.plus(Amounts { events: 1, bytes });
        let (share, cost) = (self.share(holding), self.cost_of(bytes));
        let wait = holding.bucket.wait(cost, self.capacity_of(share));
        if wait == Amounts::default() {
            holding.bucket = holding.bucket.charged(cost);
            holding.used = holding.used.plus(Amounts { events: 1, bytes });
            return Decision::Admitted;
        }
        holding.refused += 1;
        let behind = holding.bucket.latest.as_millis().abs_diff(now.as_millis());
        self.rejected(wait, share, behind)
    }

    /// Brings `holding` to `now`: what is paid off by then, and what may be used from then on.
    fn advance(&self, holding: &mut Holding, now: Timestamp) {
        holding.bucket = holding.bucket.at(now, self.share(holding));
        Self::use_pending(holding);
    }

    /// Uses what is pending once its time has come, with what is owed on it. Nobody has used it since, so that it has paid for
    /// itself meanwhile.
    fn use_pending(holding: &mut Holding) {
        if holding.pending == holding.granted || holding.bucket.latest < holding.pending_from {
            return;
        }
        let unused_ms = holding.bucket.latest.as_millis().abs_diff(holding.pending_from.as_millis());
        let paid =
            holding.pending.map2(holding.granted, |pending, granted| (pending - granted).saturating_mul(unused_ms));
        let owed = holding.owed_pending.minus(holding.owed_granted).minus(paid);
        holding.bucket = holding.bucket.charged(owed);
        (holding.granted, holding.owed_granted) = (holding.pending, holding.owed_pending);
    }

    /// Takes what `grant` gives, and gives back what it asks for; all there is, where the tenant `is_idle` in this partition.
    pub fn take(&self, holding: &mut Holding, grant: &Grant, now: Option<Timestamp>, is_idle: bool) {
        if let Some(now) = now {
            self.advance(holding, now);
        }
        // One that waits is not put off by a later one.
        if holding.is_given(grant) {
            holding.pending = holding.granted.max(grant.granted);
            holding.owed_pending = holding.owed_granted.max(grant.owed);
            holding.pending_from = grant.from;
            Self::use_pending(holding);
        }
        if holding.is_asked(grant) {
            let most = holding.held();
            let asked = grant.recalled.minus(holding.returned).min(most);
            self.give_back(holding, if is_idle { most } else { asked });
        }
    }

    /// Gives back so much of the share, and with it its part of what is charged: both stay as full as they were.
    fn give_back(&self, holding: &mut Holding, given: Amounts) {
        let before = self.share(holding);
        let part = |ahead: u64, given: u64, before: u64| {
            let same = u128::from(ahead) * u128::from(given) / u128::from(before.max(1));
            // What it holds at most: what is charged beyond stays.
            u64::try_from(same).unwrap_or(u64::MAX).min(self.capacity * given / WHOLE)
        };
        let ahead = holding.bucket.ahead;
        let owed = Amounts {
            events: part(ahead.events, given.events, before.events),
            bytes: part(ahead.bytes, given.bytes, before.bytes),
        };
        holding.bucket.ahead = ahead.minus(owed);
        holding.owed_returned = holding.owed_returned.plus(owed);
        holding.returned = holding.returned.plus(given);
        holding.free_from = holding.free_from.max(holding.bucket.latest);
    }

    /// Whether there is something to tell: [`Compiled::report`] tells it.
    pub fn is_due(&self, holding: &Holding) -> bool {
        let elapsed = holding.bucket.latest.as_millis().saturating_sub(holding.since.as_millis());
        let interval = self.interval();
        if elapsed < interval {
            return false;
        }
        let intervals = elapsed.unsigned_abs() / interval.unsigned_abs();
        intervals >= QUIET
            || (intervals >= ROUTINE && self.demand(holding, holding.bucket.latest).most() >= LITTLE)
            || self.needs(holding)
    }

    fn needs(&self, holding: &Holding) -> bool {
        let held = holding.held();
        if held.events >= LENT && held.bytes >= LENT {
            return false;
        }
        let capacity = self.capacity_of(self.share(holding));
        let is_nearly_full = holding.bucket.ahead.exceeds(capacity.map2(capacity, |capacity, _| capacity / 4 * 3));
        // One event is much of a small part.
        let one = self.cost_of(0).events;
        let is_by_one = holding.bucket.ahead.events <= one
            && capacity.events > one
            && capacity.bytes / 2 >= holding.bucket.ahead.bytes;
        holding.refused > 0 || (is_nearly_full && !is_by_one)
    }

    /// What comes lately as of `now`, in millionths of the rate.
    fn demand(&self, holding: &Holding, now: Timestamp) -> Amounts {
        let elapsed = now.as_millis().saturating_sub(holding.since.as_millis()).max(self.interval());
        let elapsed = elapsed.unsigned_abs();
        let of = |wanted: u64, rate: u64| {
            let per_second = u128::from(wanted) * 1_000 * u128::from(WHOLE) / u128::from(elapsed);
            u64::try_from(per_second / u128::from(rate)).unwrap_or(u64::MAX).min(MOST_DEMAND * WHOLE)
        };
        let rates = self.rates();
        let now = Amounts {
            events: of(holding.wanted.events, rates.events_per_second),
            bytes: of(holding.wanted.bytes, rates.bytes_per_second),
        };
        let weight = elapsed.min(600_000);
        let smooth = now.map2(holding.pace, |now, pace| (now * weight + pace * SMOOTH_MS) / (weight + SMOOTH_MS));
        // Who is sent away has no time to be believed.
        if holding.refused > 0 { smooth.max(now.map2(now, |now, _| now / 2)) } else { smooth }
    }

    /// What `holding` has to tell, which it then has told.
    pub fn report(&self, holding: &mut Holding, partition: u32) -> Usage {
        let usage = Usage {
            tenant_id: self.tenant_id().to_string(),
            partition,
            term: holding.term,
            granted: holding.pending,
            returned: holding.returned,
            owed: holding.owed_returned,
            owed_taken: holding.owed_pending,
            free_from: holding.free_from,
            used: holding.used,
            demand: if holding.since == Timestamp::MIN {
                Amounts::default()
            } else {
                self.demand(holding, holding.bucket.latest)
            },
            ahead: holding.bucket.ahead.map2(Amounts::default(), |ahead, _| ahead / 1_000),
            needs: self.needs(holding),
            at: holding.bucket.latest,
            closed: false,
        };
        holding.pace = usage.demand;
        holding.wanted = Amounts::default();
        holding.refused = 0;
        holding.since = holding.bucket.latest;
        usage
    }

    /// The same of one that has had no event of late, at `now` by the wall clock: one that `is_idle` wants nothing.
    pub fn report_quiet(&self, holding: &mut Holding, partition: u32, now: Timestamp, is_idle: bool) -> Usage {
        let demand = if is_idle { Amounts::default() } else { self.demand(holding, now.max(holding.bucket.latest)) };
        let usage = self.report(holding, partition);
        holding.pace = demand;
        Usage { demand, needs: false, ..usage }
    }

    /// Whether it has been quiet for so long, by the wall clock, that the sender must have gone: all may be given back.
    pub fn is_idle(&self, holding: &Holding, now: Timestamp) -> bool {
        let quiet_ms = now.as_millis().saturating_sub(holding.bucket.latest.as_millis()).max(0).unsigned_abs();
        let per_second = u128::from(self.demand(holding, holding.bucket.latest).events)
            * u128::from(self.rates().events_per_second)
            / u128::from(WHOLE);
        // At the pace of before so many would have come.
        (per_second * u128::from(quiet_ms) >= MISSED * 1_000 && quiet_ms >= GONE_MS) || quiet_ms >= QUIET_MS
    }

    /// Ends the term: the last report, after which `holding` is to be dropped. `None` where it may not be yet.
    pub fn close(&self, mut holding: Holding, partition: u32, now: Timestamp) -> Option<Usage> {
        holding.expires_at(self, partition).filter(|at| *at <= now)?;
        if !self.is_home(partition) {
            self.advance(&mut holding, now);
            let held = holding.held();
            self.give_back(&mut holding, held);
        }
        Some(Usage { closed: true, ..self.report_quiet(&mut holding, partition, now, true) })
    }

    fn interval(&self) -> i64 {
        i64::try_from(self.spread.interval_ms()).unwrap_or(i64::MAX)
    }
}
