//! What a tenant has spent lately, and whether it may spend more.
//!
//! Two things hold at once. On average it gets its rate: GCRA, which lets a tenant that was quiet have a whole minute's worth
//! and its burst at once. And in no minute, the first one included, does it get more than that: what was granted in each half
//! second of the last minute is counted.

const SECOND_US: i64 = 1_000_000;
/// A minute, in microseconds.
pub(crate) const MINUTE_US: i64 = 60 * SECOND_US;
/// How exactly it is known when something was granted.
const SLOT_US: i64 = SECOND_US / 2;
const SLOTS: i64 = MINUTE_US / SLOT_US;

/// What a tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Requests a minute on average.
    pub(crate) quota: u32,
    /// Requests in any minute at most.
    pub(crate) most: i64,
    /// Microseconds of the rate that one request costs.
    cost: i64,
}

impl Terms {
    /// So many requests a minute, and `burst_percent` more for a moment.
    pub(crate) fn new(quota: u32, burst_percent: u32) -> Self {
        let quota = quota.max(1);
        let most = i64::from(quota) * i64::from(100 + burst_percent) / 100;
        Self { quota, most, cost: MINUTE_US / i64::from(quota) }
    }
}

/// What was spent. Times are microseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spending {
    /// Until when what was spent is paid for at the tenant's rate.
    pub(crate) paid_until: i64,
    /// What was granted, by the half second since the Unix epoch, the oldest first.
    recent: Vec<(i64, i64)>,
}

impl Spending {
    /// As it is stored.
    pub(crate) fn read(paid_until: i64, recent: &str) -> Self {
        let slot = |text: &str| {
            let (slot, count) = text.split_once(':')?;
            Some((slot.parse().ok()?, count.parse().ok()?))
        };
        Self { paid_until, recent: recent.split_whitespace().filter_map(slot).collect() }
    }

    /// As it is stored.
    pub(crate) fn recent(&self) -> String {
        self.recent.iter().map(|(slot, count)| format!("{slot}:{count}")).collect::<Vec<_>>().join(" ")
    }

    /// Spends `requests` at `now`, or says when they would be granted.
    pub(crate) fn spend(&mut self, requests: i64, terms: Terms, now: i64) -> Result<(), i64> {
        let now_slot = now.div_euclid(SLOT_US);
        // A slot counts as long as anything in it may lie within the last minute.
        self.recent.retain(|(slot, _)| *slot >= now_slot - SLOTS);
        let paid_until = self.paid_until.max(now) + terms.cost * requests;
        let by_rate = paid_until - terms.cost * terms.most;
        let by_window = self.free_at(requests, terms.most);
        let granted_at = by_rate.max(by_window);
        if granted_at > now {
            return Err(granted_at);
        }
        self.paid_until = paid_until;
        match self.recent.last_mut() {
            // A replica's clock may be behind another's.
            Some((slot, count)) if *slot >= now_slot => *count += requests,
            _ => self.recent.push((now_slot, requests)),
        }
        Ok(())
    }

    /// When so many of the last minute are gone that there is room for `requests`.
    fn free_at(&self, requests: i64, most: i64) -> i64 {
        let mut over = self.recent.iter().map(|(_, count)| count).sum::<i64>() + requests - most;
        let mut free_at = i64::MIN;
        for (slot, count) in &self.recent {
            if over <= 0 {
                break;
            }
            over -= count;
            free_at = (slot + SLOTS + 1) * SLOT_US;
        }
        free_at
    }

    /// How many more would be granted at `now`.
    pub(crate) fn remaining(&self, terms: Terms, now: i64) -> i64 {
        let ahead = (self.paid_until - now).max(0);
        let first = now.div_euclid(SLOT_US) - SLOTS;
        let in_window: i64 = self.recent.iter().filter(|(slot, _)| *slot >= first).map(|(_, count)| count).sum();
        let by_rate = (terms.cost * terms.most - ahead).div_euclid(terms.cost);
        by_rate.min(terms.most - in_window).max(0)
    }

    /// When all of it is there again.
    pub(crate) fn whole_at(&self) -> i64 {
        self.recent.last().map_or(0, |(slot, _)| (slot + SLOTS + 1) * SLOT_US).max(self.paid_until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000 * SECOND_US;

    #[test]
    fn a_minutes_worth_and_its_burst_are_granted_at_once_and_no_more_in_that_minute() {
        for (quota, burst, most) in [(60, 15, 69), (20, 15, 23), (300, 20, 360), (1, 0, 1)] {
            let (terms, mut spending) = (Terms::new(quota, burst), Spending::default());
            let granted = |spending: &mut Spending, second: i64| {
                (0..1_000).filter(|_| spending.spend(1, terms, NOW + second * SECOND_US).is_ok()).count()
            };
            assert_eq!(granted(&mut spending, 0), most, "at once");
            let later: usize = (1..60).map(|second| granted(&mut spending, second)).sum();
            assert_eq!(later, 0, "in the rest of the first minute");
            // From then on the rate: an hour is an hour's worth.
            let hour: usize = (60..3_660).map(|second| granted(&mut spending, second)).sum();
            let worth = 60 * quota as usize;
            assert!((worth * 95 / 100..=worth + most).contains(&hour), "{quota}: {hour}");
        }
    }

    #[test]
    fn who_is_refused_is_told_when_and_it_is_true() {
        let (terms, mut spending) = (Terms::new(20, 15), Spending::default());
        let mut now = NOW + 123_456;
        for _ in 0..200 {
            while spending.spend(1, terms, now).is_ok() {}
            let at = spending.spend(1, terms, now).unwrap_err();
            assert!(spending.clone().spend(1, terms, at - 1).is_err());
            now = at;
            assert!(spending.spend(1, terms, now).is_ok());
        }
        assert_eq!(spending.remaining(terms, spending.whole_at()), 23);
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_the_plan_promises(
            quota in 1_u32..80, burst in 0_u32..50, steps in prop::collection::vec(0_i64..3 * SECOND_US, 1..400),
        ) {
            let (terms, mut spending, mut now, mut granted) = (Terms::new(quota, burst), Spending::default(), NOW, Vec::new());
            for step in steps {
                now += step;
                // What is stored is what was there.
                spending = Spending::read(spending.paid_until, &spending.recent());
                if spending.spend(1, terms, now).is_ok() {
                    granted.push(now);
                }
                let minute = granted.iter().filter(|at| **at > now - MINUTE_US).count();
                prop_assert!(minute as i64 <= terms.most);
            }
        }
    }
}
