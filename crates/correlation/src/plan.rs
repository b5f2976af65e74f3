//! Correlations, compiled: which rules feed which of them, and with which fields.

use std::fmt::Write;

use cybervault_sigma::{Correlation, CorrelationCriterion, Referred, RulePack};
use sha2::{Digest, Sha256};

use crate::{criterion::Criterion, kept::Identity};

/// All correlations of a pack, compiled: immutable, to be shared by threads.
#[derive(Debug, Default)]
pub struct Plan {
    correlations: Vec<Compiled>,
    /// The fields that they look at.
    fields: Vec<String>,
    /// What each rule feeds.
    by_rule: Vec<OfRule>,
}

#[derive(Clone, Debug, Default)]
struct OfRule {
    feeds: Vec<Feeds>,
    /// The fields that are needed of its events.
    fields: Vec<u32>,
}

/// That something feeds a correlation, as the rule at this slot of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feeds {
    /// By its place; one that others are over comes before these.
    pub(crate) correlation: usize,
    pub(crate) slot: u8,
}

/// A field's place among [`Plan::fields`]; of a correlation that is under another, a value of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldRef {
    OfEvent(u32),
    OfGroup(usize),
}

/// One correlation.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) rule: Correlation,
    pub(crate) criterion: Criterion,
    pub(crate) slots: Vec<Slot>,
    /// The correlations over it.
    pub(crate) parents: Vec<Feeds>,
    /// The places in its `group-by` of what [meets](Plan::meetings).
    pub(crate) meets: Vec<usize>,
    /// Of all that decides what its windows mean.
    meaning: [u8; 8],
}

impl Compiled {
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity { id: &self.rule.meta.id, meaning: self.meaning }
    }
}

/// Where one of its rules has the fields.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) group: Vec<FieldRef>,
    pub(crate) counted: Vec<FieldRef>,
}

impl Slot {
    fn of_event(&self) -> impl Iterator<Item = u32> + '_ {
        self.group.iter().chain(&self.counted).filter_map(|field| match field {
            FieldRef::OfEvent(field) => Some(*field),
            FieldRef::OfGroup(_) => None,
        })
    }
}

impl Plan {
    /// Compiles a pack's correlations.
    pub fn compile(pack: &RulePack) -> Self {
        let mut plan = Self { by_rule: vec![OfRule::default(); pack.rules.len()], ..Self::default() };
        for (at, rule) in pack.correlations.iter().enumerate() {
            let slots = (0..rule.rules.len()).map(|slot| plan.slot(rule, slot)).collect();
            for (slot, referred) in (0..).zip(&rule.rules) {
                let feeds = Feeds { correlation: at, slot };
                match referred {
                    Referred::Rule(rule) => plan.by_rule[*rule].feeds.push(feeds),
                    Referred::Correlation(inner) => plan.correlations[*inner].parents.push(feeds),
                }
            }
            let criterion = Criterion::of(rule);
            let (parents, meets) = (Vec::new(), (0..rule.group_by.len()).collect());
            plan.correlations.push(Compiled { rule: rule.clone(), criterion, slots, parents, meets, meaning: [0; 8] });
        }
        plan.tell_rules();
        plan.find_meetings();
        for at in 0..plan.correlations.len() {
            plan.correlations[at].meaning = plan.meaning(&plan.correlations[at], pack);
        }
        plan
    }

    /// Has correlations that are under one another know what their groups have in common.
    fn find_meetings(&mut self) {
        let mut is_known = vec![false; self.correlations.len()];
        for at in 0..self.correlations.len() {
            if is_known[at] || !self.is_in_chain(at) {
                continue;
            }
            let chain = self.chain_of(at);
            let common: Vec<Vec<(usize, usize)>> = (0..self.correlations[at].rule.group_by.len())
                .filter_map(|place| self.common(at, place, &chain))
                .collect();
            for member in chain {
                is_known[member] = true;
                let place_in = |common: &Vec<(usize, usize)>| {
                    common.iter().find(|(of, _)| *of == member).map_or(0, |(_, place)| *place)
                };
                self.correlations[member].meets = common.iter().map(place_in).collect();
            }
        }
    }

    fn is_in_chain(&self, at: usize) -> bool {
        self.neighbours(at).next().is_some()
    }

    /// The correlations that this one is over, and those that are over it: (the one under, the one over, as which of its rules).
    fn neighbours(&self, at: usize) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let compiled = &self.correlations[at];
        let under = compiled.rule.rules.iter().enumerate().filter_map(move |(slot, referred)| match referred {
            Referred::Correlation(inner) => Some((*inner, at, slot)),
            Referred::Rule(_) => None,
        });
        let over = compiled.parents.iter().map(move |feeds| (at, feeds.correlation, usize::from(feeds.slot)));
        under.chain(over)
    }

    fn chain_of(&self, at: usize) -> Vec<usize> {
        let (mut chain, mut next) = (vec![at], 0);
        while let Some(at) = chain.get(next).copied() {
            for (under, over, _) in self.neighbours(at) {
                for one in [under, over] {
                    if !chain.contains(&one) {
                        chain.push(one);
                    }
                }
            }
            next += 1;
        }
        chain
    }

    /// The place in each one's `group-by` of what stands at `place` in that of `at`, as (correlation, place); `None` where one of them does
    /// not group by it.
    fn common(&self, at: usize, place: usize, chain: &[usize]) -> Option<Vec<(usize, usize)>> {
        let (mut places, mut next) = (vec![(at, place)], 0);
        while let Some((at, place)) = places.get(next).copied() {
            for (under, over, slot) in self.neighbours(at) {
                let (inner, outer) = (&self.correlations[under].rule, &self.correlations[over].rule);
                let (one, other) = if at == over {
                    let field = outer.field_of(&outer.group_by[place], slot);
                    (under, inner.group_by.iter().position(|known| known == field)?)
                } else {
                    let is_it = |name: &String| outer.field_of(name, slot) == inner.group_by[place];
                    (over, outer.group_by.iter().position(is_it)?)
                };
                match places.iter().find(|(of, _)| *of == one) {
                    Some((_, known)) if *known != other => return None,
                    Some(_) => {}
                    None => places.push((one, other)),
                }
            }
            next += 1;
        }
        (places.len() == chain.len()).then_some(places)
    }

    /// What decides what a correlation's windows mean, and where its signals come together. Its title, level and tags do not, nor what its
    /// rules look for.
    fn meaning(&self, compiled: &Compiled, pack: &RulePack) -> [u8; 8] {
        let Correlation { kind, rules, group_by, timespan_ms, condition, fields, aliases, .. } = &compiled.rule;
        let mut text = format!("{}|{timespan_ms}|{group_by:?}|{fields:?}|{:?}|", kind.as_str(), compiled.meets);
        if let cybervault_sigma::CorrelationKind::ValuePercentile(rank) = kind {
            let _ = write!(text, "{rank}|"); // a String takes everything
        }
        for referred in rules {
            let id = match referred {
                Referred::Rule(at) => pack.rules.get(*at).map_or("", |rule| &rule.meta.id),
                Referred::Correlation(at) => &self.correlations[*at].rule.meta.id,
            };
            let _ = write!(text, "{id:?},");
        }
        let _ = match condition {
            CorrelationCriterion::Bounds(bounds) => write!(text, "|{bounds:?}"),
            CorrelationCriterion::Rules(expr) => write!(text, "|{expr:?}"),
        };
        for alias in aliases {
            let _ = write!(text, "|{:?}{:?}", alias.name, alias.fields);
        }
        let hash = Sha256::digest(text);
        std::array::from_fn(|at| hash[at])
    }

    fn slot(&mut self, rule: &Correlation, slot: usize) -> Slot {
        let inner = match rule.rules[slot] {
            Referred::Correlation(inner) => Some(inner),
            Referred::Rule(_) => None,
        };
        let mut place = |name: &String| {
            let field = rule.field_of(name, slot);
            let of_group =
                inner.and_then(|inner| self.correlations[inner].rule.group_by.iter().position(|known| known == field));
            match of_group {
                Some(at) => FieldRef::OfGroup(at),
                None => FieldRef::OfEvent(intern(&mut self.fields, field)),
            }
        };
        let group = rule.group_by.iter().map(&mut place).collect();
        Slot { group, counted: rule.fields.iter().map(&mut place).collect() }
    }

    /// Has each rule know the fields that all correlations above it need.
    fn tell_rules(&mut self) {
        let mut above: Vec<Vec<u32>> = vec![Vec::new(); self.correlations.len()];
        let needed = |above: &[Vec<u32>], feeds: &[Feeds]| {
            let mut fields = Vec::new();
            for Feeds { correlation, slot } in feeds {
                let slot = &self.correlations[*correlation].slots[usize::from(*slot)];
                fields.extend(slot.of_event().chain(above[*correlation].iter().copied()));
            }
            fields.sort_unstable();
            fields.dedup();
            fields
        };
        for at in (0..self.correlations.len()).rev() {
            above[at] = needed(&above, &self.correlations[at].parents);
        }
        let of_rules: Vec<_> = self.by_rule.iter().map(|rule| needed(&above, &rule.feeds)).collect();
        for (rule, fields) in self.by_rule.iter_mut().zip(of_rules) {
            rule.fields = fields;
        }
    }

    /// The Sigma names of the fields whose values signals have.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The place of a field among them.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field == name)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.correlations.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.correlations.len()
    }

    /// The correlations.
    pub fn correlations(&self) -> impl Iterator<Item = &Correlation> {
        self.correlations.iter().map(|compiled| &compiled.rule)
    }

    /// Whether a rule's events are of interest to a correlation.
    pub fn is_fed_by(&self, rule: usize) -> bool {
        self.by_rule.get(rule).is_some_and(|rule| !rule.feeds.is_empty())
    }

    /// Whether a rule, at once or through others, feeds the correlation at this place.
    pub fn is_under(&self, rule: usize, correlation: usize) -> bool {
        let mut next: Vec<&Feeds> = self.fed_by(rule).iter().collect();
        // References go round in no circle, so that this ends.
        while let Some(feeds) = next.pop() {
            if feeds.correlation == correlation {
                return true;
            }
            next.extend(&self.correlations[feeds.correlation].parents);
        }
        false
    }

    /// Puts the places of the [fields](Self::fields) into `fields` that are needed of an event of these rules, each once.
    pub fn needed(&self, rules: impl IntoIterator<Item = usize>, fields: &mut Vec<usize>) {
        fields.clear();
        for rule in rules {
            if let Some(of) = self.by_rule.get(rule) {
                fields.extend(of.fields.iter().map(|field| *field as usize));
            }
        }
        fields.sort_unstable();
        fields.dedup();
    }

    pub(crate) fn fed_by(&self, rule: usize) -> &[Feeds] {
        self.by_rule.get(rule).map_or(&[], |rule| &rule.feeds)
    }

    pub(crate) fn correlation(&self, at: usize) -> &Compiled {
        &self.correlations[at]
    }
}

fn intern(fields: &mut Vec<String>, name: &str) -> u32 {
    let at = fields.iter().position(|known| known == name).unwrap_or_else(|| {
        fields.push(name.to_owned());
        fields.len() - 1
    });
    // There are not 2³² fields in memory.
    u32::try_from(at).unwrap_or(u32::MAX)
}
