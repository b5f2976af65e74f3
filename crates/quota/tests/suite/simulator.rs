//! A fleet in memory: one tenant's partitions, its owner, and the messages between them, which may come late, twice, out of
//! order or never. Time is simulated.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
};

use cybervault_model::{Plan, QuotaOverride, Tenant, TenantId, TenantStatus, Timestamp};
use cybervault_quota::{Admission, Compiled, Decision, Grant, Holding, Ledger, Plans, Spread, Usage};

pub(crate) const T0: i64 = 1_800_000_000_000;
const INTERVAL_MS: u64 = 250;

/// Small, fast and the same on every machine: SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end.max(1)
    }

    pub(crate) fn pick(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the network and the workers do to messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Milliseconds that a message takes, from and to.
    pub(crate) latency: (u64, u64),
    pub(crate) lost_percent: u64,
    pub(crate) repeated_percent: u64,
}

impl Weather {
    /// As it is: a transaction and a read either way, nothing lost.
    pub(crate) const FAIR: Self = Self { latency: (20, 120), lost_percent: 0, repeated_percent: 0 };
}

#[derive(Default)]
struct Partition {
    holding: Option<Holding>,
    terms: u64,
    /// How far its leader's clock is off.
    skew: i64,
    is_down: bool,
    /// Record times of what waits to be read, with sizes.
    backlog: VecDeque<(i64, u64)>,
    /// The latest grant that its worker knows.
    view: Option<Grant>,
    /// The latest record time.
    clock: i64,
    /// Whether an event came since the last tick.
    is_active: bool,
}

enum Message {
    Usage(Usage),
    Grant(Grant),
}

pub(crate) struct Fleet {
    admission: Admission,
    partitions: Vec<Partition>,
    ledger: Ledger,
    under_way: BTreeMap<(i64, u64), Message>,
    pub(crate) random: Random,
    pub(crate) weather: Weather,
    pub(crate) now: i64,
    sent: u64,
    pub(crate) is_owner_away: bool,
    /// What was admitted: record time and bytes.
    pub(crate) admitted: Vec<(i64, u64)>,
    pub(crate) rejected: Vec<i64>,
    pub(crate) messages: u64,
}

/// What the simulated tenant may send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) burst_percent: u32,
}

impl Fleet {
    pub(crate) fn new(name: &str, quota: Quota, partitions: u32, weather: Weather, seed: u64) -> Self {
        let overrides = QuotaOverride {
            events_per_second: Some(quota.events),
            bytes_per_second: Some(quota.bytes),
            burst_percent: Some(quota.burst_percent),
        };
        let tenant = Tenant {
            tenant_id: TenantId::new(name).unwrap(),
            name: None,
            plan: Plan::Starter,
            status: TenantStatus::Active,
            quota: Some(overrides),
        };
        let spread = Spread::over(NonZeroU32::new(partitions).unwrap(), INTERVAL_MS);
        Self {
            admission: Admission::compile(vec![tenant], &Plans::default(), spread).unwrap(),
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            ledger: Ledger::default(),
            under_way: BTreeMap::new(),
            random: Random(seed),
            weather,
            now: T0,
            sent: 0,
            is_owner_away: false,
            admitted: Vec::new(),
            rejected: Vec::new(),
            messages: 0,
        }
    }

    fn tenant(&self) -> Compiled {
        self.admission.lookup(self.name()).unwrap().clone()
    }

    fn name(&self) -> &'static str {
        "acme"
    }

    /// A partition that is not the tenant's home.
    pub(crate) fn away_from_home(&self, n: usize) -> usize {
        let home = self.tenant().home() as usize;
        let others: Vec<usize> = (0..self.partitions.len()).filter(|at| *at != home).collect();
        others.get(n % others.len().max(1)).copied().unwrap_or(home)
    }

    pub(crate) fn skew(&mut self, partition: usize, millis: i64) {
        self.partitions[partition].skew = millis;
    }

    /// Its worker goes, or comes back and reads what waits. A worker that comes knows of no grant.
    pub(crate) fn set_down(&mut self, partition: usize, is_down: bool) {
        let at = &mut self.partitions[partition];
        at.is_down = is_down;
        at.view = None;
        while !self.partitions[partition].is_down
            && let Some((at, bytes)) = self.partitions[partition].backlog.pop_front()
        {
            self.process(partition, at, bytes);
        }
    }

    pub(crate) fn send(&mut self, partition: usize, bytes: u64) {
        let at = &mut self.partitions[partition];
        let time = self.now + at.skew;
        if at.is_down { at.backlog.push_back((time, bytes)) } else { self.process(partition, time, bytes) }
    }

    fn process(&mut self, partition: usize, time: i64, bytes: u64) {
        let (tenant, place) = (self.tenant(), u32::try_from(partition).unwrap());
        let at = &mut self.partitions[partition];
        at.clock = at.clock.max(time);
        at.is_active = true;
        let mut holding = match at.holding {
            // Through its bytes, as between two batches.
            Some(holding) => Holding::decode(&holding.encode(), || panic!("it is of this version")).unwrap(),
            None => {
                at.terms += 1;
                Holding::open(&tenant, place, at.terms)
            }
        };
        let now = Timestamp::from_millis(time);
        let mut told = Vec::new();
        if let Some(grant) = at.view.as_ref().filter(|grant| tenant.is_news(&holding, grant, now)) {
            let before = holding;
            tenant.take(&mut holding, grant, Some(now), false);
            if before.encode() != holding.encode() {
                told.push(tenant.report(&mut holding, place));
            }
        }
        match tenant.decide(&mut holding, now, bytes) {
            Decision::Admitted => self.admitted.push((holding.latest().as_millis(), bytes)),
            Decision::Rejected { .. } => self.rejected.push(time),
        }
        if tenant.is_due(&holding) {
            told.push(tenant.report(&mut holding, place));
        }
        self.partitions[partition].holding = Some(holding);
        told.into_iter().for_each(|usage| self.post(&Message::Usage(usage)));
    }

    fn post(&mut self, message: &Message) {
        self.messages += 1;
        if self.random.percent(self.weather.lost_percent) {
            return;
        }
        let copies = 1 + u64::from(self.random.percent(self.weather.repeated_percent));
        for copy in 0..copies {
            let (least, most) = self.weather.latency;
            let late = least + self.random.below(most - least + 1) + copy * self.random.below(10_000);
            self.sent += 1;
            let again = match message {
                Message::Usage(usage) => Message::Usage(usage.clone()),
                Message::Grant(grant) => Message::Grant(grant.clone()),
            };
            self.under_way.insert((self.now + i64::try_from(late).unwrap(), self.sent), again);
        }
    }

    /// Lets so many milliseconds pass, one by one.
    pub(crate) fn pass(&mut self, millis: i64) {
        for _ in 0..millis {
            self.now += 1;
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                match entry.remove() {
                    Message::Usage(_) if self.is_owner_away => {}
                    Message::Usage(usage) => self.hear(&usage),
                    Message::Grant(grant) => {
                        let at = grant.partition as usize;
                        self.partitions[at].view = Some(grant);
                    }
                }
            }
            if self.now % 250 == 0 {
                (0..self.partitions.len()).for_each(|partition| self.tick(partition));
            }
        }
    }

    /// The same at once, where nothing is sent for so long.
    pub(crate) fn sleep(&mut self, millis: i64) {
        self.pass(2_000);
        self.now += millis;
        self.pass(2_000);
    }

    fn hear(&mut self, usage: &Usage) {
        let mut ledger = Ledger::decode(&self.ledger.encode()).unwrap();
        let grants = ledger.hear(&self.tenant(), usage, Timestamp::from_millis(self.now));
        let lent = ledger.lent();
        assert!(lent.events <= 980_000 && lent.bytes <= 980_000, "{ledger:?}");
        self.ledger = if ledger.is_at_rest() && self.random.percent(20) { Ledger::default() } else { ledger };
        grants.into_iter().for_each(|grant| self.post(&Message::Grant(grant)));
    }

    fn tick(&mut self, partition: usize) {
        let (tenant, place) = (self.tenant(), u32::try_from(partition).unwrap());
        let at = &mut self.partitions[partition];
        if at.is_down {
            return;
        }
        let was_active = std::mem::take(&mut at.is_active);
        let known = at.holding;
        let mut told = None;
        if let Some(grant) = at.view.clone().filter(|_| !was_active) {
            let mut holding = known.unwrap_or_else(|| Holding::open(&tenant, place, at.terms + 1));
            if tenant.is_news(&holding, &grant, Timestamp::from_millis(self.now)) {
                at.terms = at.terms.max(holding.term());
                let is_idle = tenant.is_idle(&holding, Timestamp::from_millis(self.now));
                tenant.take(&mut holding, &grant, None, is_idle);
                told = Some(tenant.report_quiet(&mut holding, place, Timestamp::from_millis(self.now), is_idle));
                at.holding = Some(holding);
            }
        } else if let Some(usage) =
            known.and_then(|holding| tenant.close(holding, place, Timestamp::from_millis(at.clock)))
        {
            at.holding = None;
            told = Some(usage);
        }
        if let Some(usage) = told {
            self.post(&Message::Usage(usage));
        }
    }

    /// How far what was admitted went beyond what one bucket with perfect knowledge would have admitted, at its worst: in
    /// microseconds of the rate. Nothing up to the bound.
    pub(crate) fn worst_overshoot(&self, quota: Quota) -> i128 {
        let mut admitted = self.admitted.clone();
        admitted.sort_unstable();
        let worst = |rate: u64, cost: fn(u64) -> u64| {
            let capacity = i128::from(1_000_000 / 100 * (100 + u64::from(quota.burst_percent)));
            let interval = if self.partitions.len() == 1 { 0 } else { i128::from(INTERVAL_MS) * 1_000 };
            let (mut ahead, mut last, mut worst) = (0i128, i64::MIN, i128::MIN);
            for &(time, bytes) in &admitted {
                ahead = (ahead - i128::from(time.abs_diff(last)) * 1_000).max(0);
                last = time;
                ahead += i128::from(cost(bytes)) * 1_000_000 / i128::from(rate);
                worst = worst.max(ahead - capacity - interval);
            }
            worst
        };
        worst(quota.events, |_| 1).max(worst(quota.bytes, |bytes| bytes))
    }
}
