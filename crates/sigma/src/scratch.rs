//! Memory that is used again for every event.

use std::fmt;

use cybervault_model::json::Element;

use crate::{
    bits,
    compile::{Compiled, PredicateId, RuleLists},
    fields::FieldId,
    fresh::Fresh,
    matcher::RuleIndex,
    memo::Memo,
    routes::{Allowed, Routes},
    scalar::Scalar,
};

/// A value of a field in the event at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'e> {
    /// The target in the event's table that led here.
    pub(crate) target: u32,
    pub(crate) value: Scalar<'e>,
}

const END: u32 = u32::MAX;

/// The values that the event's fields have.
#[derive(Debug)]
pub(crate) struct Slots<'r, 'e> {
    found: Found<'e>,
    /// Or where they are in events like this one, and this one.
    usual: Option<(&'r UsualSlots, Element<'e>)>,
}

/// Values as they were found, each with the number of its field and of the field's next value.
#[derive(Debug)]
pub(crate) struct Found<'e> {
    list: Vec<(Slot<'e>, usize, u32)>,
    /// Each field's first value.
    heads: Vec<u32>,
}

/// Where the fields of events with the same keys have their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsualSlots {
    /// Targets with their value's node, those of one field together.
    list: Vec<(u32, usize)>,
    /// Where those of each field are.
    fields: Vec<(u32, u32)>,
}

impl UsualSlots {
    /// Of these targets, each with its field and its value's node.
    pub(crate) fn new(fields: usize, mut targets: Vec<(FieldId, u32, usize)>) -> Self {
        // A field's last value is the first.
        targets.reverse();
        targets.sort_by_key(|(field, ..)| *field);
        let mut slots = Self { list: Vec::new(), fields: vec![(0, 0); fields] };
        for (field, target, node) in targets {
            let (start, end) = (slots.list.len(), slots.list.len() + 1);
            slots.list.push((target, node));
            let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let of = &mut slots.fields[field.index()];
            *of = if of.1 == 0 { (number(start), number(end)) } else { (of.0, number(end)) };
        }
        slots
    }

    pub(crate) fn of(&self, field: FieldId) -> &[(u32, usize)] {
        let (start, end) = self.fields[field.index()];
        &self.list[start as usize..end as usize]
    }
}

impl<'e> Found<'e> {
    fn new(fields: usize) -> Self {
        Self { list: Vec::new(), heads: vec![END; fields] }
    }

    /// Empties it and lends its memory to the next event.
    pub(crate) fn recycle<'n>(mut self) -> Found<'n> {
        for (_, field, _) in &self.list {
            self.heads[*field] = END;
        }
        self.list.clear();
        // Collecting an emptied list of the same element size keeps its memory; were it not so, it would only be slower.
        let list = self.list.into_iter().map(|(slot, field, next)| (Slot { value: Scalar::Null, ..slot }, field, next));
        Found { list: list.collect(), heads: self.heads }
    }
}

impl<'r, 'e> Slots<'r, 'e> {
    /// Those of an event of which no other value is found yet; `found` is the memory for these.
    pub(crate) fn of_event(found: Found<'_>, usual: Option<(&'r UsualSlots, Element<'e>)>) -> Self {
        Self { found: found.recycle(), usual }
    }

    /// A stand-in while the real one is in use.
    pub(crate) fn empty() -> Self {
        Self { found: Found { list: Vec::new(), heads: Vec::new() }, usual: None }
    }

    /// The memory for the next event.
    pub(crate) fn recycle(self) -> Found<'static> {
        self.found.recycle()
    }

    pub(crate) fn push(&mut self, field: FieldId, target: u32, value: Scalar<'e>) {
        let Found { list, heads } = &mut self.found;
        let next = std::mem::replace(&mut heads[field.index()], u32::try_from(list.len()).unwrap_or(END));
        list.push((Slot { target, value }, field.index(), next));
    }

    /// Whether a value of the field was found; of those told to be there this is not asked.
    pub(crate) fn has(&self, field: FieldId) -> bool {
        self.found.heads[field.index()] != END
    }

    /// Since when all of the field's values are what they are, where that is known.
    pub(crate) fn since(&self, field: FieldId) -> Option<u64> {
        let (usual, event) = self.usual.as_ref()?;
        let recurring = event.recurring()?;
        let since = |(_, node): &(u32, usize)| recurring.place(event.other(*node)).map(|place| recurring.since(place));
        // A later change would be the latest. Objects are what they always were.
        Some(usual.of(field).iter().filter_map(since).max().unwrap_or_default())
    }

    /// Of the field's values that are `wanted` the one whose place counts first, in whatever order the event has them.
    pub(crate) fn first(&self, field: FieldId, mut wanted: impl FnMut(&Slot<'e>) -> bool) -> Option<Slot<'e>> {
        self.of(field).filter(|slot| wanted(slot)).min_by_key(|slot| slot.target)
    }

    /// The field's values, the last one first.
    pub(crate) fn of(&self, field: FieldId) -> impl Iterator<Item = Slot<'e>> + Clone {
        let mut at = self.found.heads[field.index()];
        let found = std::iter::from_fn(move || {
            let (slot, _, next) = *self.found.list.get(at as usize)?;
            at = next;
            Some(slot)
        });
        let usual = self.usual.iter().flat_map(move |(usual, event)| {
            let slot = |(target, node): &(u32, usize)| Slot { target: *target, value: event.other(*node).into() };
            usual.of(field).iter().map(slot)
        });
        found.chain(usual)
    }
}

/// What has been found out about the event at hand.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Predicates known to be true.
    pub(crate) held: Box<[u64]>,
    /// Predicates that were tested on demand.
    pub(crate) tested: Box<[u64]>,
    touched: Vec<PredicateId>,
    /// Nodes of conditions of which is known what they are, and those that are true.
    decided: Box<[u64]>,
    true_nodes: Box<[u64]>,
    touched_nodes: Vec<u32>,
    /// How often texts of a field that were left for later have been asked for.
    later: Vec<(FieldId, u32)>,
    seen: Box<[u64]>,
    /// The rules to look at.
    pub(crate) candidates: Vec<u32>,
}

impl Marks {
    fn new(predicates: usize, nodes: usize, rules: usize) -> Self {
        Self {
            decided: bits::none(nodes),
            true_nodes: bits::none(nodes),
            touched_nodes: Vec::new(),
            later: Vec::new(),
            held: bits::none(predicates),
            tested: bits::none(predicates),
            touched: Vec::new(),
            seen: bits::none(rules),
            candidates: Vec::new(),
        }
    }

    /// Forgets the last event.
    pub(crate) fn reset(&mut self) {
        self.later.clear();
        for predicate in self.touched.drain(..) {
            bits::clear_around(&mut self.held, predicate as usize);
            bits::clear_around(&mut self.tested, predicate as usize);
        }
        for node in self.touched_nodes.drain(..) {
            bits::clear_around(&mut self.decided, node as usize);
            bits::clear_around(&mut self.true_nodes, node as usize);
        }
        for rule in self.candidates.drain(..) {
            bits::clear_around(&mut self.seen, rule as usize);
        }
    }

    /// Notes that the predicate is true, and which rules that makes worth a look.
    pub(crate) fn hold(&mut self, predicate: PredicateId, triggered: &RuleLists, allowed: &Allowed) {
        if bits::set(&mut self.held, predicate as usize) {
            self.touched.push(predicate);
            for rule in triggered.of(predicate) {
                self.consider(*rule, allowed);
            }
        }
    }

    /// Notes that the rule is worth a look, if it is allowed.
    pub(crate) fn consider(&mut self, rule: u32, allowed: &Allowed) {
        if bits::has(&allowed.rules, rule as usize) && bits::set(&mut self.seen, rule as usize) {
            self.candidates.push(rule);
        }
    }

    /// Counts that a text of the field that was left for later is asked for; returns how many were before.
    pub(crate) fn asked_for(&mut self, field: FieldId) -> u32 {
        match self.later.iter_mut().find(|(known, _)| *known == field) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                self.later.push((field, 0));
                0
            }
        }
    }

    /// Whether the node is true, where that is known.
    pub(crate) fn of_node(&self, node: u32) -> Option<bool> {
        bits::has(&self.decided, node as usize).then(|| bits::has(&self.true_nodes, node as usize))
    }

    /// Notes whether the node is true.
    pub(crate) fn decide_node(&mut self, node: u32, holds: bool) {
        bits::set(&mut self.decided, node as usize);
        self.touched_nodes.push(node);
        if holds {
            bits::set(&mut self.true_nodes, node as usize);
        }
    }

    /// Notes what a test on demand has shown.
    pub(crate) fn answer(&mut self, predicate: PredicateId, holds: bool) {
        bits::set(&mut self.tested, predicate as usize);
        self.touched.push(predicate);
        if holds {
            bits::set(&mut self.held, predicate as usize);
        }
    }
}

/// What one thread needs to match events, used again for each; from [`crate::Matcher::scratch`].
pub struct Scratch {
    pub(crate) slots: Found<'static>,
    pub(crate) marks: Marks,
    pub(crate) memo: Memo,
    pub(crate) fresh: Fresh,
    pub(crate) routes: Routes,
    /// A value's text, folded.
    pub(crate) folded: String,
    /// A value's text for tests on demand.
    pub(crate) text: String,
    pub(crate) hits: Vec<RuleIndex>,
}

impl Scratch {
    pub(crate) fn new(compiled: &Compiled, rules: usize) -> Self {
        let (fields, predicates) = (compiled.fields.count(), compiled.questions.len());
        Self {
            slots: Found::new(fields),
            marks: Marks::new(predicates, compiled.conditions.nodes.len(), rules),
            memo: Memo::new(),
            fresh: Fresh::default(),
            routes: Routes::default(),
            folded: String::new(),
            text: String::new(),
            hits: Vec::new(),
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}
