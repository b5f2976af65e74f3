//! The owner's side: what each partition may hold of one tenant's quota, and who gets what.

use cybervault_model::Timestamp;

use crate::{
    Compiled, Grant, Usage,
    share::{Amounts, LENT, WHOLE},
};

const VERSION: u8 = 1;
/// Numbers of an entry, as state.
const WORDS: usize = 19;
/// The most partitions that are remembered of a tenant.
const MAX_ENTRIES: usize = 10_000;

/// For how long a partition's word on its demand holds.
const FRESH_MS: i64 = 15_000;
/// In how many share intervals an answer to a recall is looked for before it is said again.
const PATIENCE: u64 = 8;
/// What is not worth to be moved: this part of what is lent.
const TRIFLE: u64 = LENT / 512;
/// How many partitions are asked to give back at once.
const ASKED_AT_ONCE: usize = 8;

/// What is lent of one tenant's quota, and to whom.
///
/// Of each partition the owner knows what it granted, and the least that was given back. Their difference is at least what the
/// partition holds, whatever was lost, came late or came twice; and the owner never lets the differences add up to more than there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// From when on what was given back, and is not granted again, may be used: of events and of bytes.
    free_from: [Timestamp; 2],
    /// What is owed on that.
    owed: Amounts,
    /// By partition.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    partition: u32,
    /// The latest term that is known; 0 for none.
    term: u64,
    /// Whether the partition still knows the tenant in that term.
    is_open: bool,
    granted: Amounts,
    returned: Amounts,
    recalled: Amounts,
    demand: Amounts,
    ahead: Amounts,
    used: Amounts,
    needs: bool,
    /// When it was last heard of, by the owner's time.
    heard: Timestamp,
    /// When it was last asked to give back.
    asked: Timestamp,
    /// From when on what is granted may be used.
    from: Timestamp,
    /// What was owed on what was granted, and on what was returned.
    owed_granted: Amounts,
    owed_returned: Amounts,
}

/// One of the two limits.
type Limit = (fn(&Amounts) -> u64, fn(&mut Amounts) -> &mut u64);
const LIMITS: [Limit; 2] = [
    (|amounts| amounts.events, |amounts| &mut amounts.events),
    (|amounts| amounts.bytes, |amounts| &mut amounts.bytes),
];

impl Entry {
    /// A partition that has told nothing: at home it has what is lent.
    fn unknown(partition: u32, is_home: bool) -> Self {
        Self {
            partition,
            term: 0,
            is_open: false,
            granted: Amounts::both(if is_home { LENT } else { 0 }),
            returned: Amounts::default(),
            recalled: Amounts::default(),
            demand: Amounts::default(),
            ahead: Amounts::default(),
            used: Amounts::default(),
            needs: false,
            heard: Timestamp::MIN,
            asked: Timestamp::MIN,
            from: Timestamp::MIN,
            owed_granted: Amounts::default(),
            owed_returned: Amounts::default(),
        }
    }

    /// The most that it may hold.
    fn held(&self) -> Amounts {
        self.granted.minus(self.returned)
    }

    /// What it could use at `now`: what comes, and what pays for what is charged within four seconds.
    fn want(&self, now: Timestamp, of: fn(&Amounts) -> u64) -> u64 {
        let is_stale = now.as_millis().saturating_sub(self.heard.as_millis()) > FRESH_MS;
        if is_stale || !self.is_open || of(&self.demand) == 0 {
            0
        } else {
            of(&self.demand) * 9 / 8 + (of(&self.ahead) / 4).min(4 * WHOLE)
        }
    }

    fn words(&self) -> [u64; WORDS] {
        [
            u64::from(self.partition) << 2 | u64::from(self.is_open) << 1 | u64::from(self.needs),
            self.term,
            self.granted.events,
            self.granted.bytes,
            self.returned.events,
            self.returned.bytes,
            self.recalled.events,
            self.recalled.bytes,
            self.demand.events << 32 | self.demand.bytes,
            self.ahead.events.min(u64::from(u32::MAX)) << 32 | self.ahead.bytes.min(u64::from(u32::MAX)),
            self.used.events,
            self.used.bytes,
            self.heard.as_millis().cast_unsigned(),
            self.asked.as_millis().cast_unsigned(),
            self.from.as_millis().cast_unsigned(),
            self.owed_granted.events,
            self.owed_granted.bytes,
            self.owed_returned.events,
            self.owed_returned.bytes,
        ]
    }

    fn of_words(words: &[[u8; 8]; WORDS]) -> Option<Self> {
        let number = |at: usize| u64::from_be_bytes(words[at]);
        let both = |at: usize| Amounts { events: number(at), bytes: number(at + 1) };
        let halves = |at: usize| Amounts { events: number(at) >> 32, bytes: number(at) & u64::from(u32::MAX) };
        let time = |at: usize| Timestamp::from_millis(number(at).cast_signed());
        Some(Self {
            partition: u32::try_from(number(0) >> 2).ok()?,
            is_open: number(0) & 2 != 0,
            needs: number(0) & 1 != 0,
            term: number(1),
            granted: both(2),
            returned: both(4),
            recalled: both(6),
            demand: halves(8),
            ahead: halves(9),
            used: both(10),
            heard: time(12),
            asked: time(13),
            from: time(14),
            owed_granted: both(15),
            owed_returned: both(17),
        })
    }
}

impl Ledger {
    /// As state: a version byte and numbers, big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        self.free_from.iter().for_each(|from| bytes.extend_from_slice(&from.as_millis().to_be_bytes()));
        [self.owed.events, self.owed.bytes].iter().for_each(|owed| bytes.extend_from_slice(&owed.to_be_bytes()));
        let words = self.entries.iter().flat_map(Entry::words);
        words.for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
        bytes
    }

    /// Reads what [`Ledger::encode`] wrote; `None` where it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let (free_from, words) = words.split_first_chunk::<2>()?;
        let (owed, words) = words.split_first_chunk::<2>()?;
        let owed = owed.map(u64::from_be_bytes);
        let (entries, []) = words.as_chunks::<WORDS>() else { return None };
        let free_from = free_from.map(|from| Timestamp::from_millis(i64::from_be_bytes(from)));
        Some(Self {
            free_from,
            owed: Amounts { events: owed[0], bytes: owed[1] },
            entries: entries.iter().map(Entry::of_words).collect::<Option<_>>()?,
        })
    }

    /// Whether all is as if nothing had ever been lent: it need not be kept.
    pub fn is_at_rest(&self) -> bool {
        self.entries.iter().all(|entry| !entry.is_open && entry.held().min(Amounts::both(LENT)) == entry.granted)
    }

    /// The share of the rate that partitions may hold in all, in millionths: of events and of bytes.
    pub fn lent(&self) -> Amounts {
        self.entries.iter().fold(Amounts::default(), |sum, entry| sum.plus(entry.held()))
    }

    /// Takes a partition's word, which came at `now`, and says what is granted or asked for by that.
    pub fn hear(&mut self, tenant: &Compiled, usage: &Usage, now: Timestamp) -> Vec<Grant> {
        if usage.partition >= tenant.spread().partitions().get() && self.entries.len() >= MAX_ENTRIES {
            return Vec::new();
        }
        self.entry(tenant, tenant.home());
        if !self.note(tenant, usage, now) {
            return Vec::new();
        }
        let before: Vec<_> = self.entries.iter().map(|entry| (entry.granted, entry.recalled)).collect();
        for limit in 0..LIMITS.len() {
            self.share_out(tenant, limit, now);
        }
        let patience = i64::try_from(tenant.spread().interval_ms() * PATIENCE).unwrap_or(i64::MAX);
        let told = self.entries.iter_mut().zip(before).filter_map(|(entry, (granted, recalled))| {
            let is_news = (entry.granted, entry.recalled) != (granted, recalled);
            // What it does not know, it is told again; and what it has not answered.
            let misses = entry.partition == usage.partition && entry.is_open && entry.granted.exceeds(usage.granted);
            let is_asked = entry.recalled.exceeds(entry.returned) && entry.held() != Amounts::default();
            let unanswered = is_asked
                && entry.asked > Timestamp::MIN
                && now.as_millis().saturating_sub(entry.asked.as_millis()) >= patience;
            if !is_asked || unanswered || entry.asked == Timestamp::MIN {
                entry.asked = if is_asked { now } else { Timestamp::MIN };
            }
            (is_news || misses || unanswered).then(|| Grant {
                tenant_id: usage.tenant_id.clone(),
                partition: entry.partition,
                term: if entry.is_open { entry.term } else { 0 },
                granted: entry.granted,
                recalled: entry.recalled,
                owed: entry.owed_granted,
                from: entry.from,
            })
        });
        told.collect()
    }

    fn entry(&mut self, tenant: &Compiled, partition: u32) -> &mut Entry {
        let at = match self.entries.binary_search_by_key(&partition, |entry| entry.partition) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, Entry::unknown(partition, tenant.is_home(partition)));
                at
            }
        };
        &mut self.entries[at]
    }

    /// Writes down what a partition tells; whether it is later than what was known.
    fn note(&mut self, tenant: &Compiled, usage: &Usage, now: Timestamp) -> bool {
        let is_home = tenant.is_home(usage.partition);
        // What is free already waits for what comes with it.
        let free_from = self.free_from.map(|from| from.max(usage.free_from));
        let mut owed = self.owed;
        let entry = self.entry(tenant, usage.partition);
        if usage.term < entry.term || (usage.term == entry.term && !entry.is_open) {
            return false;
        }
        if usage.term > entry.term {
            // A partition forgets a tenant only where it then holds what one holds that has told nothing.
            let unknown = Entry::unknown(usage.partition, is_home);
            // Whether it took what was owed in the term before is not known.
            owed = owed.plus(entry.owed_granted);
            *entry = Entry { term: usage.term, is_open: true, granted: usage.granted, ..unknown };
        }
        // More than is known here only where this was lost.
        entry.granted = entry.granted.max(usage.granted);
        owed = owed.plus(usage.owed.minus(entry.owed_returned));
        entry.owed_returned = entry.owed_returned.max(usage.owed);
        entry.owed_granted = entry.owed_granted.max(usage.owed_taken);
        entry.returned = entry.returned.max(usage.returned).min(entry.granted);
        entry.used = entry.used.max(usage.used);
        let most = Amounts::both(u64::from(u32::MAX));
        (entry.demand, entry.ahead, entry.needs) = (usage.demand.min(most), usage.ahead.min(most), usage.needs);
        entry.heard = now;
        if usage.closed {
            let (term, used) = (entry.term, entry.used);
            owed = owed.plus(entry.owed_granted.minus(usage.owed_taken));
            *entry = Entry { term, used, ..Entry::unknown(usage.partition, is_home) };
        }
        (self.free_from, self.owed) = (free_from, owed);
        true
    }

    /// Gives what is free to whom it does most good, and asks those who have more than they need for the rest.
    fn share_out(&mut self, tenant: &Compiled, limit: usize, now: Timestamp) {
        let (of, of_mut) = LIMITS[limit];
        let targets = self.targets(tenant, of, now);
        let mut free = LENT.saturating_sub(of(&self.lent()));
        // Those in need first, then whoever may have more.
        for needy in [true, false] {
            let lacking = |entry: &Entry, target: u64| match target.saturating_sub(of(&entry.held())) {
                // A closed home has it by not being told otherwise.
                lack if entry.needs == needy && lack > TRIFLE && entry.is_open => lack,
                _ => 0,
            };
            let total: u64 = self.entries.iter().zip(&targets).map(|(entry, target)| lacking(entry, *target)).sum();
            let (pool, mut rest) = (free, total);
            for (entry, target) in self.entries.iter_mut().zip(&targets) {
                let lack = lacking(entry, *target);
                // To the last unit, so that what comes later need not wait for a remnant.
                let share = if total <= pool || rest == lack { lack.min(free) } else { lack * pool / total };
                rest -= lack;
                if share > 0 {
                    let owed = u128::from(of(&self.owed)) * u128::from(share) / u128::from(free);
                    let owed = u64::try_from(owed).unwrap_or(u64::MAX);
                    *of_mut(&mut self.owed) -= owed;
                    *of_mut(&mut entry.owed_granted) += owed;
                    *of_mut(&mut entry.granted) += share;
                    entry.from = entry.from.max(self.free_from[limit]);
                    free -= share;
                }
            }
        }
        if free == 0 {
            self.free_from[limit] = Timestamp::MIN;
        }
        let lacks = |(entry, target): (&Entry, &u64)| target.saturating_sub(of(&entry.held()));
        // Not for a little more of what it has: each move costs messages, and is by chance.
        let is_worth_it =
            |entry: &Entry, target: u64| entry.needs && target.saturating_sub(of(&entry.held())) * 16 > target;
        let needy = self.entries.iter().zip(&targets).filter(|(entry, target)| is_worth_it(entry, **target));
        let needed: u64 = needy.map(lacks).sum();
        let coming: u64 =
            self.entries.iter().map(|entry| of(&entry.recalled.minus(entry.returned).min(entry.held()))).sum();
        self.recall(&targets, needed.saturating_sub(coming), (of, of_mut));
    }

    /// What each partition should have.
    fn targets(&self, tenant: &Compiled, of: fn(&Amounts) -> u64, now: Timestamp) -> Vec<u64> {
        let wants: Vec<u64> = self.entries.iter().map(|entry| entry.want(now, of)).collect();
        let all: u64 = wants.iter().sum();
        // Chance makes the more of a difference the less comes: what nobody needs goes by the roots.
        let roots: u64 = wants.iter().map(|want| want.isqrt()).sum();
        let target = |entry: &Entry, want: u64| match want {
            _ if all == 0 && tenant.is_home(entry.partition) => LENT,
            0 => 0,
            _ if all <= LENT => want + (LENT - all) * want.isqrt() / roots,
            _ => u64::try_from(u128::from(LENT) * u128::from(want) / u128::from(all)).unwrap_or(LENT),
        };
        self.entries.iter().zip(&wants).map(|(entry, want)| target(entry, *want)).collect()
    }

    fn recall(&mut self, targets: &[u64], mut needed: u64, (of, of_mut): Limit) {
        if needed <= TRIFLE {
            return;
        }
        let mut surplus: Vec<(u64, usize)> = self
            .entries
            .iter()
            .zip(targets)
            .enumerate()
            .map(|(at, (entry, target))| {
                let coming = of(&entry.recalled.minus(entry.returned));
                (of(&entry.held()).saturating_sub(coming).saturating_sub(*target), at)
            })
            .filter(|(surplus, _)| *surplus > TRIFLE)
            .collect();
        surplus.sort_unstable_by(|a, b| b.cmp(a));
        for (surplus, at) in surplus.into_iter().take(ASKED_AT_ONCE) {
            let (entry, part) = (&mut self.entries[at], surplus.min(needed));
            let so_far = of(&entry.recalled.max(entry.returned));
            *of_mut(&mut entry.recalled) = so_far + part;
            needed -= part;
            if needed == 0 {
                break;
            }
        }
    }
}
