//! What is true of the events of a time frame while it slides: added at its end, taken away at its beginning.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::{
    criterion::{Criterion, Order},
    number::{Nano, percentile},
    window::Entry,
};

/// A running count of what one criterion looks at.
#[derive(Clone, Debug)]
pub(crate) enum Tally {
    Events(usize),
    Distinct(Distinct),
    Sum { sum: Nano, count: usize },
    Sorted(Vec<f64>),
    Rules(Present),
    Ordered(Present, Chain),
}

impl Tally {
    pub(crate) fn new(criterion: &Criterion) -> Self {
        match criterion {
            Criterion::Events(_) => Self::Events(0),
            Criterion::Distinct(_) => Self::Distinct(Distinct::default()),
            Criterion::Sum(_) | Criterion::Average(_) => Self::Sum { sum: Nano::default(), count: 0 },
            Criterion::Percentile(..) => Self::Sorted(Vec::new()),
            Criterion::Rules(_) | Criterion::RulesAs(_) => Self::Rules(Present::default()),
            Criterion::Ordered(order) => Self::Ordered(Present::default(), Chain::new(order)),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Events(count) => *count = 0,
            Self::Distinct(distinct) => distinct.clear(),
            Self::Sum { sum, count } => (*sum, *count) = (Nano::default(), 0),
            Self::Sorted(numbers) => numbers.clear(),
            Self::Rules(present) => present.clear(),
            Self::Ordered(present, chain) => {
                present.clear();
                chain.clear();
            }
        }
    }

    pub(crate) fn push(&mut self, entry: &Entry, criterion: &Criterion) {
        match self {
            Self::Events(count) => *count += 1,
            Self::Distinct(distinct) => distinct.push(entry.value),
            Self::Sum { sum, count } => {
                sum.add(Nano::new(entry.number()));
                *count += 1;
            }
            Self::Sorted(numbers) => {
                let number = entry.number();
                let at = numbers.partition_point(|known| known.total_cmp(&number).is_le());
                numbers.insert(at, number);
            }
            Self::Rules(present) => present.push(entry.value),
            Self::Ordered(present, chain) => {
                present.push(entry.value);
                if let Criterion::Ordered(order) = criterion {
                    chain.push(order, entry);
                }
            }
        }
    }

    /// Adds many, in their order.
    pub(crate) fn fill<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>, criterion: &Criterion) {
        if let Self::Sorted(numbers) = self {
            // One by one each would move half of those that are there.
            numbers.extend(entries.map(Entry::number));
            numbers.sort_unstable_by(f64::total_cmp);
        } else {
            entries.for_each(|entry| self.push(entry, criterion));
        }
    }

    /// Whether entries can be taken away at the end, too.
    pub(crate) fn goes_back(&self) -> bool {
        !matches!(self, Self::Ordered(..))
    }

    /// Takes the oldest away; the newest where it [goes back](Self::goes_back).
    pub(crate) fn pop(&mut self, entry: &Entry) {
        match self {
            Self::Events(count) => *count -= 1,
            Self::Distinct(distinct) => distinct.pop(entry.value),
            Self::Sum { sum, count } => {
                sum.take(Nano::new(entry.number()));
                *count -= 1;
            }
            Self::Sorted(numbers) => {
                let number = entry.number();
                let at = numbers.partition_point(|known| known.total_cmp(&number).is_lt());
                if at < numbers.len() {
                    numbers.remove(at);
                }
            }
            // A chain looks at the time at which it begins.
            Self::Rules(present) | Self::Ordered(present, _) => present.pop(entry.value),
        }
    }

    /// The number that is compared, if one is.
    pub(crate) fn measure(&self, criterion: &Criterion, from: i64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 events in a window")]
        let number = |count: usize| count as f64;
        match (self, criterion) {
            (Self::Events(count), _) => Some(number(*count)),
            (Self::Distinct(distinct), _) => Some(number(distinct.count())),
            (Self::Sum { sum, count }, Criterion::Average(_)) => (*count > 0).then(|| sum.number() / number(*count)),
            (Self::Sum { sum, .. }, _) => Some(sum.number()),
            (Self::Sorted(numbers), Criterion::Percentile(rank, _)) => percentile(numbers, *rank),
            (Self::Rules(present), Criterion::Rules(_)) => Some(number(present.bits.count_ones() as usize)),
            (Self::Ordered(_, chain), Criterion::Ordered(order)) => Some(number(chain.longest(order, from))),
            _ => None,
        }
    }

    /// Whether the criterion is true of the time frame that begins at `from`.
    pub(crate) fn holds(&self, criterion: &Criterion, from: i64) -> bool {
        match (self, criterion) {
            (Self::Events(count), Criterion::Events(bounds)) => bounds.hold_for_count(*count),
            (Self::Distinct(distinct), Criterion::Distinct(bounds)) => bounds.hold_for_count(distinct.count()),
            (Self::Sum { sum, count }, Criterion::Sum(bounds)) => *count > 0 && bounds.hold_for_sum(*sum),
            (Self::Sum { sum, count }, Criterion::Average(bounds)) => bounds.hold_for_average(*sum, *count),
            (Self::Sorted(numbers), Criterion::Percentile(rank, bounds)) => {
                percentile(numbers, *rank).is_some_and(|number| bounds.hold(number))
            }
            (Self::Rules(present), Criterion::Rules(bounds)) => {
                bounds.hold_for_count(present.bits.count_ones() as usize)
            }
            (Self::Rules(present), Criterion::RulesAs(expr)) => expr.holds(present.bits),
            (Self::Ordered(present, chain), Criterion::Ordered(order)) => {
                present.bits & order.forbidden == 0 && chain.holds(order, from)
            }
            _ => false,
        }
    }
}

/// How often each value is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distinct {
    /// While they are few, looked through.
    few: Vec<(u64, u32)>,
    many: HashMap<u64, u32, FixedState>,
}

impl Distinct {
    const MOST_FEW: usize = 24;

    fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    fn count(&self) -> usize {
        self.few.len() + self.many.len()
    }

    fn push(&mut self, value: u64) {
        if self.many.is_empty() {
            if let Some((_, count)) = self.few.iter_mut().find(|(known, _)| *known == value) {
                *count += 1;
                return;
            }
            if self.few.len() < Self::MOST_FEW {
                self.few.push((value, 1));
                return;
            }
            self.many.extend(self.few.drain(..));
        }
        *self.many.entry(value).or_default() += 1;
    }

    fn pop(&mut self, value: u64) {
        if let Some(at) = self.few.iter().position(|(known, _)| *known == value) {
            self.few[at].1 -= 1;
            if self.few[at].1 == 0 {
                self.few.swap_remove(at);
            }
        } else if let Some(count) = self.many.get_mut(&value) {
            *count -= 1;
            if *count == 0 {
                self.many.remove(&value);
            }
        }
    }
}

/// How many events each rule is true of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Present {
    counts: Vec<u32>,
    bits: u64,
}

impl Present {
    fn clear(&mut self) {
        self.counts.clear();
        self.bits = 0;
    }

    fn push(&mut self, rules: u64) {
        for rule in ones(rules) {
            if self.counts.len() <= rule {
                self.counts.resize(rule + 1, 0);
            }
            self.counts[rule] += 1;
        }
        self.bits |= rules;
    }

    fn pop(&mut self, rules: u64) {
        for rule in ones(rules) {
            self.counts[rule] -= 1;
            if self.counts[rule] == 0 {
                self.bits &= !(1 << rule);
            }
        }
    }
}

fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (lowest < 64).then_some(lowest as usize)
    })
}

/// Of the chains of rules that were true in their order, for each length and last rule the one that began latest. So a time frame has
/// a chain if it begins no later than that.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// By length where all rules are asked for, else by last rule and length.
    began: Vec<i64>,
    /// The same before the events of the last moment, which count in any order among themselves.
    before: Vec<i64>,
    /// When that is, and which rules are true of its events.
    moment: (i64, u64),
}

const NEVER: i64 = i64::MIN;

impl Chain {
    fn new(order: &Order) -> Self {
        let rules = order.slots.len();
        let size = if order.count.is_some() { rules * rules } else { rules };
        Self { began: vec![NEVER; size], before: vec![NEVER; size], moment: (NEVER, 0) }
    }

    fn clear(&mut self) {
        self.began.fill(NEVER);
        self.before.fill(NEVER);
        self.moment = (NEVER, 0);
    }

    fn push(&mut self, order: &Order, entry: &Entry) {
        let Self { began, before, moment } = self;
        if moment.0 == entry.time {
            moment.1 |= entry.value;
            began.clone_from(before);
        } else {
            *moment = (entry.time, entry.value);
            before.clone_from(began);
        }
        let rules = order.slots.len();
        for (rule, slot) in order.slots.iter().enumerate() {
            if moment.1 >> slot & 1 == 0 {
                continue;
            }
            if order.count.is_none() {
                let start = if rule == 0 { entry.time } else { began[rule - 1] };
                began[rule] = began[rule].max(start);
                continue;
            }
            for length in 0..=rule {
                let start = match length {
                    0 => entry.time,
                    _ => (0..rule).map(|last| began[last * rules + length - 1]).max().unwrap_or(NEVER),
                };
                let known = &mut began[rule * rules + length];
                *known = start.max(*known);
            }
        }
    }

    fn holds(&self, order: &Order, from: i64) -> bool {
        let longest = self.longest(order, from);
        order.count.as_ref().map_or(longest == order.slots.len(), |bounds| bounds.hold_for_count(longest))
    }

    /// How many rules the longest chain has that begins no earlier.
    fn longest(&self, order: &Order, from: i64) -> usize {
        let rules = order.slots.len();
        let is_within = |began: i64| began >= from && began != NEVER;
        let longest = (0..rules).rev().find(|length| match order.count {
            None => is_within(self.began[*length]),
            Some(_) => (0..rules).any(|last| is_within(self.began[last * rules + length])),
        });
        longest.map_or(0, |length| length + 1)
    }
}
