//! Memory that is used again for every event.

use std::fmt;

use crate::{
    bits,
    compile::{PredicateId, RuleLists},
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
    pub(crate) field: FieldId,
    /// The target in the event's table that led here.
    pub(crate) target: u32,
    pub(crate) value: Scalar<'e>,
    /// The field's next value.
    next: u32,
}

const END: u32 = u32::MAX;

/// The values that the event's fields have.
#[derive(Debug)]
pub(crate) struct Slots<'e> {
    list: Vec<Slot<'e>>,
    /// Each field's first value.
    heads: Vec<u32>,
}

impl<'e> Slots<'e> {
    fn new(fields: usize) -> Self {
        Self { list: Vec::new(), heads: vec![END; fields] }
    }

    /// A stand-in while the real one is in use.
    pub(crate) fn empty() -> Self {
        Self { list: Vec::new(), heads: Vec::new() }
    }

    pub(crate) fn push(&mut self, field: FieldId, target: u32, value: Scalar<'e>) {
        let head = &mut self.heads[field.index()];
        let next = std::mem::replace(head, u32::try_from(self.list.len()).unwrap_or(END));
        self.list.push(Slot { field, target, value, next });
    }

    pub(crate) fn has(&self, field: FieldId) -> bool {
        self.heads[field.index()] != END
    }

    /// The field's values, the last one first.
    pub(crate) fn of(&self, field: FieldId) -> impl Iterator<Item = Slot<'e>> {
        let mut at = self.heads[field.index()];
        std::iter::from_fn(move || {
            let slot = *self.list.get(at as usize)?;
            at = slot.next;
            Some(slot)
        })
    }

    /// Empties it and lends its memory to the next event.
    pub(crate) fn recycle<'n>(mut self) -> Slots<'n> {
        for slot in &self.list {
            self.heads[slot.field.index()] = END;
        }
        self.list.clear();
        // Collecting an emptied list of the same element size keeps its memory; were it not so, it would only be slower.
        let list = self.list.into_iter().map(|slot| Slot { value: Scalar::Null, ..slot }).collect();
        Slots { list, heads: self.heads }
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
    /// How often texts of a field that were left for later have been asked for.
    later: Vec<(FieldId, u32)>,
    seen: Box<[u64]>,
    /// The rules to look at.
    pub(crate) candidates: Vec<u32>,
}

impl Marks {
    fn new(predicates: usize, rules: usize) -> Self {
        Self {
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
    pub(crate) slots: Slots<'static>,
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
    pub(crate) fn new(fields: usize, predicates: usize, rules: usize) -> Self {
        Self {
            slots: Slots::new(fields),
            marks: Marks::new(predicates, rules),
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
