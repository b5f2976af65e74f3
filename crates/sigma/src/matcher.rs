//! One event tried against all rules.

use std::{borrow::Cow, cmp::Ordering};

use cybervault_model::{
    Evidence, TelemetryEvent, fault,
    json::{Element, Recurring},
};

use crate::{
    bits,
    compile::{Answered, Compiled, FieldTests, Node, PredicateId, Question, compile},
    evidence,
    fields::{FieldId, FieldTable, Fields},
    finding::RuleFinding,
    fresh::Fresh,
    guard::may_be_in_number,
    load::{Rule, RuleMeta, RulePack, RuleSource},
    mapping::Mappings,
    memo::{As, Memo},
    predicate::{TemplatePiece, Test, append_text, write_text},
    route::{Router, Routing},
    routes::{Route, Routes},
    scalar::Scalar,
    scratch::{Marks, Scratch, Slots, UsualSlots},
    shape::{At, Usual},
    survey::Survey,
    usual::{Answers, Items},
    walk::{each_scalar, each_text, find_scalar},
};

/// A rule's place in [`Matcher::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(u32);

impl RuleIndex {
    /// As an index of a slice.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// All rules of a pack, compiled: immutable, to be shared by threads.
#[derive(Debug)]
pub struct Matcher {
    rules: Vec<RuleMeta>,
    failed: Vec<RuleFinding>,
    version: String,
    pub(crate) compiled: Compiled,
    pub(crate) router: Router,
    /// The fields that were named when it was compiled.
    named: Vec<FieldId>,
}

impl Matcher {
    /// Compiles the pack's rules for events that `mappings` describe. Given the pack itself, it takes less memory than with a
    /// borrowed one, which stays beside what is made of it.
    pub fn compile<'p>(pack: impl Into<Cow<'p, RulePack>>, mappings: &Mappings) -> Self {
        Self::compile_naming(pack, mappings, [])
    }

    /// The same; [`Self::fields`] will know these fields as well as those that rules ask about, and by their places among
    /// themselves, too.
    pub fn compile_naming<'p, 'n>(
        pack: impl Into<Cow<'p, RulePack>>,
        mappings: &Mappings,
        fields: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let (pack, failed, version) = match pack.into() {
            Cow::Borrowed(pack) => (Cow::Borrowed(&*pack.rules), pack.failed.clone(), pack.version.clone()),
            Cow::Owned(pack) => (Cow::Owned(pack.rules), pack.failed, pack.version),
        };
        let rules: Vec<_> = pack.iter().map(|Rule { meta, .. }| meta.clone()).collect();
        let names: Vec<_> = fields.into_iter().collect();
        let compiled = compile(pack, names.iter().copied());
        let named = names.iter().filter_map(|name| compiled.fields.get(name)).collect();
        let sources: Vec<_> = rules.iter().map(|rule| rule.logsource.clone()).collect();
        let router = Router::new(mappings, &sources, &compiled);
        Self { rules, failed, version, compiled, router, named }
    }

    /// The rules in force.
    pub fn rules(&self) -> &[RuleMeta] {
        &self.rules
    }

    /// The rules that can't be used, and why.
    pub fn failed(&self) -> &[RuleFinding] {
        &self.failed
    }

    /// The pack's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Bytes that the largest part takes: the tables of rules' literals.
    pub fn literals_bytes(&self) -> usize {
        self.compiled.literals_bytes()
    }

    /// What a thread needs to call [`Self::matches`].
    pub fn scratch(&self) -> Scratch {
        Scratch::new(&self.compiled, self.rules.len())
    }

    /// The rules that are true of the event, in ascending order.
    ///
    /// `scratch` must come from this matcher. Nothing is allocated once it has grown to what the usual event needs.
    pub fn matches<'s>(
        &self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        scratch: &'s mut Scratch,
    ) -> &'s [RuleIndex] {
        self.run(event, routing, scratch, |_, _| ())
    }

    /// The same; `evidence` becomes what in the event made each of them true: at most 16 values of at most 256 bytes.
    pub fn matches_shown<'s>(
        &self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        scratch: &'s mut Scratch,
        evidence: &mut Vec<Vec<Evidence>>,
    ) -> &'s [RuleIndex] {
        evidence.clear();
        self.run(event, routing, scratch, |run, hits| {
            evidence.extend(hits.iter().map(|rule| evidence::collect(run, self.compiled.conditions.roots[rule.get()])));
        })
    }

    /// Finds the rules that are true of the event, and lets `look` at it with them.
    fn run<'s, 'e>(
        &self,
        event: &TelemetryEvent<'e>,
        routing: Routing,
        scratch: &'s mut Scratch,
        look: impl FnOnce(&mut Run<'_, 'e>, &[RuleIndex]),
    ) -> &'s [RuleIndex] {
        let (at, known) = self.route(event, routing, scratch);
        let Scratch { slots, marks, memo, fresh, routes, folded, text, hits } = scratch;
        hits.clear();
        marks.reset();
        fresh.clear();
        memo.next_event();
        let Routes { routes, shapes, .. } = routes;
        let route = &routes[at];
        if route.allowed.rules.iter().all(|word| *word == 0) {
            return hits;
        }
        let usual = known.map(|known| shapes.usual(known)).zip(event.payload.recurring());
        let (usual_slots, usual, answers) = match usual {
            Some((Usual { items, slots, answers, .. }, recurring)) => {
                (Some((&*slots, event.payload)), Some((items, recurring)), Some(answers))
            }
            None => (None, None, None),
        };
        let found = std::mem::replace(slots, Slots::empty().recycle());
        let mut run = Run {
            compiled: &self.compiled,
            route,
            table: self.router.table(route.table),
            event,
            slots: Slots::of_event(found, usual_slots),
            marks,
            memo,
            fresh,
            usual,
            answers,
            folded,
            text,
        };
        run.see();
        fault::point("matcher.seen");
        run.decide(hits);
        hits.sort_unstable();
        look(&mut run, hits);
        fault::point("matcher.decided");
        *slots = run.slots.recycle();
        hits
    }

    /// The event's route, and what is known of events like it.
    pub(crate) fn route(
        &self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        scratch: &mut Scratch,
    ) -> (usize, Option<At>) {
        let Scratch { memo, routes, text, .. } = scratch;
        let (at, known, is_first) = self.router.route(event, routing, routes, text);
        if is_first {
            memo.clear();
        }
        (at, known)
    }

    /// Where the event's fields are, for use on hits. `scratch` must come from this matcher.
    pub fn fields<'s, 'e>(&'s self, event: &TelemetryEvent<'e>, scratch: &'s mut Scratch) -> EventFields<'s, 'e> {
        let (at, known) = self.route(event, Routing::Auto, scratch);
        let Routes { routes, shapes, .. } = &mut scratch.routes;
        let (fields, named, table) = (&self.compiled.fields, &*self.named, self.router.table(routes[at].table));
        let slots = match known {
            Some(known) => Cow::Borrowed(&shapes.usual(known).slots),
            None => Cow::Owned(Survey::of(event.payload, table, None).end(fields.count()).1),
        };
        EventFields { fields, named, table, slots, event: event.payload }
    }

    /// The log sources that the event belongs to; none where they are unknown.
    pub fn log_sources(&self, event: &TelemetryEvent<'_>) -> Vec<RuleSource> {
        self.router.sources(event)
    }
}

/// How many values of a field are told: comparing each with all others, a list made for it would take seconds.
const MOST_VALUES: usize = 64;

/// One value of a field.
#[derive(Clone, Copy, Debug)]
pub struct FieldValue<'v> {
    /// Its text; a number's or truth value's as well.
    pub text: &'v str,
    /// The number that it is, if it is one and no text.
    pub number: Option<f64>,
}

/// An event's fields by their Sigma names.
#[derive(Debug)]
pub struct EventFields<'m, 'e> {
    fields: &'m Fields,
    named: &'m [FieldId],
    table: &'m FieldTable,
    slots: Cow<'m, UsualSlots>,
    event: Element<'e>,
}

impl<'e> EventFields<'_, 'e> {
    /// The first values of a field, each once, found as the event's mapping says. The field is one that a rule asks about, or that
    /// was named when the rules were compiled; others have none.
    pub fn values(&self, sigma_field: &str) -> Vec<Cow<'e, str>> {
        self.fields.get(sigma_field).map(|field| self.of(field)).unwrap_or_default()
    }

    /// The same of the field that was named at this place.
    pub fn values_of_named(&self, at: usize) -> Vec<Cow<'e, str>> {
        self.named.get(at).map(|field| self.of(*field)).unwrap_or_default()
    }

    /// Hands on the values of the field that was named at this place, every one, in the order of the places where the field may be.
    pub fn each_of_named(&self, at: usize, each: &mut dyn FnMut(FieldValue<'_>)) {
        let Some(field) = self.named.get(at) else { return };
        let mut slots = Cow::Borrowed(self.slots.of(*field));
        if slots.len() > 1 {
            slots.to_mut().sort_unstable();
        }
        for (target, node) in slots.iter().copied().take(MOST_VALUES) {
            let before = &*self.table.targets[target as usize].before;
            let value = self.event.other(node).into();
            match value {
                Scalar::Text(text) if before.is_empty() => each(FieldValue { text, number: None }),
                value => {
                    let mut text = before.to_owned();
                    let number = match value {
                        #[expect(clippy::cast_precision_loss, reason = "sums of numbers so large need not be exact")]
                        Scalar::Int(number) => Some(number as f64),
                        #[expect(clippy::cast_precision_loss, reason = "sums of numbers so large need not be exact")]
                        Scalar::Uint(number) => Some(number as f64),
                        Scalar::Float(number) => Some(number),
                        _ => None,
                    };
                    if append_text(value, true, &mut text) {
                        each(FieldValue { text: &text, number });
                    }
                }
            }
        }
    }

    fn of(&self, field: FieldId) -> Vec<Cow<'e, str>> {
        let mut slots = Cow::Borrowed(self.slots.of(field));
        if slots.len() > 1 {
            // By the order of the places where the field may be.
            slots.to_mut().sort_unstable();
        }
        let mut values = Vec::with_capacity(slots.len().min(MOST_VALUES));
        for (target, node) in slots.iter().copied() {
            if values.len() == MOST_VALUES {
                break;
            }
            let before = &*self.table.targets[target as usize].before;
            let value = match self.event.other(node).into() {
                Scalar::Text(text) if before.is_empty() => Cow::Borrowed(text),
                value => {
                    let mut text = before.to_owned();
                    if !append_text(value, true, &mut text) {
                        continue;
                    }
                    Cow::Owned(text)
                }
            };
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}

/// So many texts of a field are looked for one by one, where nothing is remembered.
const ASKED_ALONE: u32 = 8;

/// One event on its way.
pub(crate) struct Run<'r, 'e> {
    pub(crate) compiled: &'r Compiled,
    pub(crate) table: &'r FieldTable,
    pub(crate) event: &'r TelemetryEvent<'e>,
    pub(crate) slots: Slots<'r, 'e>,
    pub(crate) route: &'r Route,
    pub(crate) marks: &'r mut Marks,
    pub(crate) memo: &'r mut Memo,
    pub(crate) fresh: &'r mut Fresh,
    /// What the values of events like this one are, where that is kept.
    pub(crate) usual: Option<(&'r mut Items, Recurring<'e>)>,
    answers: Option<&'r mut Answers>,
    pub(crate) folded: &'r mut String,
    pub(crate) text: &'r mut String,
}

impl<'e> Run<'_, 'e> {
    fn decide(&mut self, hits: &mut Vec<RuleIndex>) {
        for at in 0..self.marks.candidates.len() {
            let rule = self.marks.candidates[at];
            if self.holds(self.compiled.conditions.roots[rule as usize]) {
                hits.push(RuleIndex(rule));
            }
        }
    }

    /// Whether a condition's node is true.
    pub(crate) fn holds(&mut self, node: u32) -> bool {
        let conditions = &self.compiled.conditions;
        let is_shared = bits::has(&conditions.shared, node as usize);
        if is_shared && let Some(holds) = self.marks.of_node(node) {
            return holds;
        }
        let holds = match conditions.nodes[node as usize] {
            Node::Is(predicate) => self.answer(predicate),
            Node::Not(inner) => !self.holds(inner),
            Node::All(children) => conditions.children(children).iter().all(|child| self.child_holds(*child)),
            Node::Any(children) => conditions.children(children).iter().any(|child| self.child_holds(*child)),
            Node::AnyOf(children) => self.any_of(conditions.children(children)),
            Node::AtLeast(least, children) => {
                let true_ones = conditions.children(children).iter().filter(|child| self.holds(**child));
                true_ones.take(least as usize).count() == least as usize
            }
        };
        if is_shared {
            self.marks.decide_node(node, holds);
        }
        holds
    }

    /// As [`Self::holds`]; most children are predicates, which need no call.
    #[inline]
    fn child_holds(&mut self, node: u32) -> bool {
        match self.compiled.conditions.nodes[node as usize] {
            Node::Is(predicate) => self.answer(predicate),
            _ => self.holds(node),
        }
    }

    /// Whether one of these is true, which are all answered at once or all of them with their field.
    fn any_of(&mut self, predicates: &[PredicateId]) -> bool {
        let Some(first) = predicates.first().map(|first| *first as usize) else { return false };
        if bits::has(&self.compiled.at_once, first) || self.scan_later(self.compiled.questions[first].field) {
            return predicates.iter().any(|predicate| bits::has(&self.marks.held, *predicate as usize));
        }
        predicates.iter().any(|predicate| self.answer(*predicate))
    }

    /// Whether a predicate is true, tested now if it was not before.
    #[inline]
    pub(crate) fn answer(&mut self, predicate: PredicateId) -> bool {
        // Most end here, and bits are closer together than questions.
        if bits::has(&self.marks.held, predicate as usize) {
            return true;
        }
        if bits::has(&self.compiled.at_once, predicate as usize) || bits::has(&self.marks.tested, predicate as usize) {
            return false;
        }
        self.answer_now(predicate)
    }

    #[inline(never)]
    fn answer_now(&mut self, predicate: PredicateId) -> bool {
        let question = &self.compiled.questions[predicate as usize];
        if question.answered == Answered::WithItsField && self.scan_later(question.field) {
            return bits::has(&self.marks.held, predicate as usize);
        }
        fault::point("matcher.answer");
        let holds = if question.field == FieldId::ANYWHERE {
            self.any_text_passes(&question.test)
        } else if question.is_costly() {
            self.any_value_passes_as_before(predicate, question)
        } else {
            self.any_value_passes(predicate, question)
        };
        self.marks.answer(predicate, holds);
        holds
    }

    /// Looks for all the texts and networks that were left until a rule asks; false where so few were asked for that one by one is cheaper.
    fn scan_later(&mut self, field: FieldId) -> bool {
        let compiled = self.compiled;
        let FieldTests { later, networks, .. } = &compiled.tests[field.index()];
        let asked_alone = if later.is_none() || self.remembers() { 0 } else { ASKED_ALONE };
        match self.marks.asked_for(field).cmp(&asked_alone) {
            Ordering::Less => return false,
            Ordering::Equal => {}
            Ordering::Greater => return true,
        }
        if field == FieldId::ANYWHERE {
            let Some(later) = later else { return true };
            each_text(self.event.payload, 0, &mut |text| self.see_later(field, later, Scalar::Text(text), ""));
            return true;
        }
        let slots = std::mem::replace(&mut self.slots, Slots::empty());
        for slot in slots.of(field) {
            if let Some(later) = later {
                self.see_later(field, later, slot.value, &self.table.targets[slot.target as usize].before);
            }
            fault::point("matcher.later");
            if let Some((networks, text)) = networks.as_ref().zip(slot.value.text()) {
                networks.find(text, |found| self.marks.hold(found, &compiled.triggered, &self.route.allowed));
            }
        }
        self.slots = slots;
        true
    }

    fn any_text_passes(&mut self, test: &Test) -> bool {
        let mut holds = false;
        if may_be_in_number(test) {
            each_scalar(self.event.payload, 0, &mut |value| holds = holds || test.passes(value, "", self.text));
        } else {
            each_text(self.event.payload, 0, &mut |text| {
                holds = holds || test.passes(Scalar::Text(text), "", self.text);
            });
        }
        holds
    }

    /// As [`Self::any_value_passes`] where the field's values alone decide, which may be what they were.
    fn any_value_passes_as_before(&mut self, predicate: PredicateId, question: &Question) -> bool {
        let Some(since) = self.slots.since(question.field) else { return self.any_value_passes(predicate, question) };
        let known = self.answers.as_ref().and_then(|answers| answers.of(predicate, since));
        known.unwrap_or_else(|| {
            let holds = self.any_value_passes(predicate, question);
            self.answers.iter_mut().for_each(|answers| answers.learn(predicate, since, holds));
            holds
        })
    }

    fn any_value_passes(&mut self, predicate: PredicateId, question: &Question) -> bool {
        let targets = &self.table.targets;
        let mut slots = self.slots.of(question.field);
        match &question.test {
            Test::Null => slots.all(|slot| slot.value == Scalar::Null),
            Test::FieldRef { field: other, op, cased } => {
                let Some(other) = self.compiled.fields.get(other) else { return false };
                slots.any(|slot| {
                    let before = &*targets[slot.target as usize].before;
                    write_text(slot.value, before, *cased, self.text)
                        && self.slots.of(other).any(|other| {
                            write_text(other.value, "", *cased, self.folded) && op.holds(self.text, self.folded)
                        })
                })
            }
            Test::Template { pieces, op, cased } => {
                self.text.clear();
                let whole = pieces.iter().all(|piece| match piece {
                    TemplatePiece::Text(text) => append_text(Scalar::Text(text), *cased, self.text),
                    TemplatePiece::Field(name) => {
                        let value = self.compiled.fields.get(name).and_then(|field| self.slots.first(field, |_| true));
                        value.is_some_and(|slot| append_text(slot.value, *cased, self.text))
                    }
                });
                whole
                    && slots.any(|slot| {
                        let before = &*targets[slot.target as usize].before;
                        write_text(slot.value, before, *cased, self.folded) && op.holds(self.folded, self.text)
                    })
            }
            test => {
                let place = if question.is_costly() { self.place(predicate, As::Alone) } else { None };
                slots.any(|slot| {
                    let before = &*targets[slot.target as usize].before;
                    let Some((place, text)) = place.zip(slot.value.text().filter(|_| before.is_empty())) else {
                        return test.passes(slot.value, before, self.text);
                    };
                    if let Some(mut found) = self.memo.recall(place, text.as_bytes()) {
                        return found.next().is_some();
                    }
                    let holds = test.passes(slot.value, before, self.text);
                    let found = [predicate];
                    self.memo.keep(place, text.as_bytes(), if holds { &found } else { &[] });
                    holds
                })
            }
        }
    }

    /// The value of the field that made the predicate true, the first of several, with its place.
    pub(crate) fn passing(&mut self, predicate: PredicateId) -> Option<(&str, Scalar<'e>)> {
        let question = &self.compiled.questions[predicate as usize];
        let table = self.table;
        // Of one value there is nothing to find out.
        let any = self.slots.of(question.field).nth(1).is_none()
            || matches!(question.test, Test::FieldRef { .. } | Test::Template { .. });
        let slot = self.slots.first(question.field, |slot| {
            let before = &*table.targets[slot.target as usize].before;
            any || question.test.passes(slot.value, before, self.text)
        })?;
        Some((&table.targets[slot.target as usize].path, slot.value))
    }
}

impl<'e> Run<'_, 'e> {
    /// The first text or number in the event that passes the test, with its place.
    pub(crate) fn passing_text(&mut self, predicate: PredicateId) -> Option<(String, Scalar<'e>)> {
        let test = &self.compiled.questions[predicate as usize].test;
        let mut path = String::new();
        let with_numbers = may_be_in_number(test);
        let mut passing =
            |value: Scalar<'e>| (with_numbers || value.text().is_some()) && test.passes(value, "", self.text);
        let value = find_scalar(self.event.payload, 0, &mut path, &mut passing)?;
        Some((path, value))
    }
}
