//! Correlations, compiled: which rules feed which of them, and with which fields.

use cybervault_sigma::{Correlation, Referred, RulePack};

use crate::criterion::Criterion;

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
            plan.correlations.push(Compiled { rule: rule.clone(), criterion, slots, parents: Vec::new() });
        }
        plan.tell_rules();
        plan
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
