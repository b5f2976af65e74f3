//! Which signals come together where.
//!
//! A group can be evaluated anywhere, as long as all its signals come there, and so do those of the correlations under and over it. What
//! *meets* is what all groups of a chain have in common: of a correlation by itself, all its group's values; of some that are under one
//! another, the values of the fields by which all of them group; where there is no such field, only the tenant. So an event is in the groups
//! of a whole chain at one moment, as if all were in one place.

use crate::{
    feed::{Pending, feeds},
    plan::Plan,
    signal::Signal,
};

/// What an event is for in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The values that meet, by their places among the event's values. Without case, they are what tells one place from another.
    pub values: Vec<u32>,
    /// The rules of the event that count there, by their places in the pack.
    pub rules: Vec<usize>,
    /// The correlations that they feed there at once, by their places in the pack.
    pub correlations: Vec<usize>,
}

impl Plan {
    /// Where an event has something to count, and whether it belongs to more groups than are taken.
    pub fn meetings(&self, signal: &Signal<'_>) -> (Vec<Meeting>, bool) {
        let (mut meetings, mut is_cut) = (Vec::<Meeting>::new(), false);
        let (mut groups, mut found) = (Vec::new(), Vec::new());
        for rule in signal.rules {
            for fed in self.fed_by(*rule) {
                let compiled = self.correlation(fed.correlation);
                let pending = Pending { correlation: fed.correlation, slot: fed.slot, time: signal.time, group: 0 };
                groups.clear();
                found.clear();
                is_cut |= feeds(compiled, signal, &pending, &mut groups, &mut found);
                let counts = found.iter().filter(|feed| !(compiled.criterion.wants_values() && feed.values.is_empty()));
                for feed in counts {
                    let values: Vec<u32> = compiled.meets.iter().map(|place| groups[feed.group + place]).collect();
                    let meeting = place_for(values, signal, &mut meetings);
                    add(&mut meeting.rules, *rule);
                    add(&mut meeting.correlations, fed.correlation);
                }
            }
        }
        (meetings, is_cut)
    }
}

fn place_for<'m>(values: Vec<u32>, signal: &Signal<'_>, meetings: &'m mut Vec<Meeting>) -> &'m mut Meeting {
    let folded = |values: &[u32]| values.iter().map(|value| signal.fields.folded(*value)).collect::<Vec<_>>();
    let wanted = folded(&values);
    let known = meetings.iter().position(|meeting| folded(&meeting.values) == wanted);
    let at = known.unwrap_or_else(|| {
        meetings.push(Meeting { values, rules: Vec::new(), correlations: Vec::new() });
        meetings.len() - 1
    });
    &mut meetings[at]
}

fn add(known: &mut Vec<usize>, one: usize) {
    if let Err(at) = known.binary_search(&one) {
        known.insert(at, one);
    }
}
