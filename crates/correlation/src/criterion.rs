//! What must be true of the events in a time frame.

use std::cmp::Ordering;

use cybervault_sigma::{Comparison, Correlation, CorrelationCriterion, CorrelationKind, RuleExpr};

use crate::number::Nano;

/// Bounds that all hold.
#[derive(Clone, Debug)]
pub(crate) struct Bounds(Vec<(Comparison, f64)>);

impl Bounds {
    pub(crate) fn hold(&self, number: f64) -> bool {
        // An explicit 0 is added so that -0 is equal to 0.
        self.0.iter().all(|(comparison, bound)| comparison.holds((number + 0.0).total_cmp(&(bound + 0.0))))
    }

    pub(crate) fn hold_for_count(&self, count: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 events in a window")]
        self.hold(count as f64)
    }

    /// Whether they hold for the exact number that compares so with a bound.
    fn hold_where(&self, compare: impl Fn(Nano) -> Ordering) -> bool {
        self.0.iter().all(|(comparison, bound)| comparison.holds(compare(Nano::new(*bound))))
    }

    pub(crate) fn hold_for_sum(&self, sum: Nano) -> bool {
        self.hold_where(|bound| sum.cmp(&bound))
    }

    pub(crate) fn hold_for_average(&self, sum: Nano, count: usize) -> bool {
        count > 0 && self.hold_where(|bound| sum.cmp(&bound.times(count)))
    }

    /// The whole number that it is to be at least, if that is all they say.
    fn at_least(&self) -> Option<f64> {
        match self.0[..] {
            [(Comparison::AtLeast, bound)] => Some(bound),
            _ => None,
        }
    }
}

/// A correlation's condition, as it is evaluated.
#[derive(Clone, Debug)]
pub(crate) enum Criterion {
    /// The number of events.
    Events(Bounds),
    /// The number of distinct values.
    Distinct(Bounds),
    /// The sum of numbers.
    Sum(Bounds),
    /// Their average.
    Average(Bounds),
    /// The number at a percentile.
    Percentile(f64, Bounds),
    /// The number of different rules.
    Rules(Bounds),
    /// Which rules are true.
    RulesAs(RuleExpr),
    /// Rules in their order.
    Ordered(Order),
}

/// Which rules are to be true one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The rules by their slots, the first that is to be true first.
    pub(crate) slots: Vec<u8>,
    /// How many of them; `None` if all.
    pub(crate) count: Option<Bounds>,
    /// Those that are not to be true at all, as bits.
    pub(crate) forbidden: u64,
}

impl Criterion {
    pub(crate) fn of(correlation: &Correlation) -> Self {
        let slots = || (0..correlation.rules.len()).filter_map(|slot| u8::try_from(slot).ok()).collect::<Vec<_>>();
        match (&correlation.condition, correlation.kind) {
            (CorrelationCriterion::Rules(expr), CorrelationKind::TemporalOrdered) => {
                let mut order = Order { slots: Vec::new(), count: None, forbidden: 0 };
                order.add(expr);
                Self::Ordered(order)
            }
            (CorrelationCriterion::Rules(expr), _) => Self::RulesAs(expr.clone()),
            (CorrelationCriterion::Bounds(bounds), kind) => {
                let bounds = Bounds(bounds.clone());
                match kind {
                    CorrelationKind::EventCount => Self::Events(bounds),
                    CorrelationKind::ValueCount => Self::Distinct(bounds),
                    CorrelationKind::ValueSum => Self::Sum(bounds),
                    CorrelationKind::ValueAvg => Self::Average(bounds),
                    CorrelationKind::ValuePercentile(rank) => Self::Percentile(rank, bounds),
                    CorrelationKind::Temporal => Self::Rules(bounds),
                    CorrelationKind::TemporalOrdered => {
                        let slots = slots();
                        #[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
                        let count = bounds.at_least().is_none_or(|least| least < slots.len() as f64).then_some(bounds);
                        Self::Ordered(Order { slots, count, forbidden: 0 })
                    }
                }
            }
        }
    }

    /// Whether it looks at events' values.
    pub(crate) const fn wants_values(&self) -> bool {
        matches!(self, Self::Distinct(_) | Self::Sum(_) | Self::Average(_) | Self::Percentile(..))
    }

    /// Whether another correlation under it counts with every event that leaves that one true, not with its findings alone.
    pub(crate) const fn sees_all_that_is_true(&self) -> bool {
        matches!(self, Self::Distinct(_) | Self::Rules(_) | Self::RulesAs(_) | Self::Ordered(_))
    }
}

impl Order {
    fn add(&mut self, expr: &RuleExpr) {
        match expr {
            RuleExpr::Rule(slot) => {
                let slot = u8::try_from(*slot).unwrap_or(u8::MAX);
                if !self.slots.contains(&slot) {
                    self.slots.push(slot);
                }
            }
            RuleExpr::All(parts) => parts.iter().for_each(|part| self.add(part)),
            RuleExpr::Not(part) => {
                if let RuleExpr::Rule(slot) = **part {
                    self.forbidden |= 1 << slot;
                }
            }
            // Refused when it was read.
            RuleExpr::Any(_) => {}
        }
    }
}
