//! Events and the rules that are true of them, handed to the correlations.

use std::sync::Arc;

use cybervault_correlation::{Engine, FieldValues, Finding, Limits, Plan, Signal, Step};
use cybervault_model::{TelemetryEvent, Timestamp};
use cybervault_sigma::{FieldValue, Matcher, RuleIndex, Scratch};

/// Correlations at work over a stream of events.
#[derive(Debug)]
pub(crate) struct Correlating {
    plan: Arc<Plan>,
    engine: Engine,
    /// The place among the matcher's named fields of the plan's first.
    first_field: usize,
    fields: FieldValues,
    /// The fields that are needed of an event, and the rules of it that are of interest.
    needed: Vec<usize>,
    rules: Vec<usize>,
    /// Events that correlations would have counted, had they a time.
    pub(crate) without_time: u64,
}

impl Correlating {
    /// The correlations of a plan, without any events. The matcher was compiled for the same pack, and knows the plan's fields from
    /// `first_field` on.
    pub(crate) fn new(plan: Arc<Plan>, matcher: &Matcher, first_field: usize, limits: Limits) -> Self {
        let engine = Engine::new(plan.clone(), matcher.rules().iter().map(|rule| rule.title.as_str()), limits);
        let (fields, needed, rules) = (FieldValues::default(), Vec::new(), Vec::new());
        Self { plan, engine, first_field, fields, needed, rules, without_time: 0 }
    }

    /// The engine, for what it counts.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes an event with the rules that are true of it, and hands on the correlations that it makes true. The matcher is that of before,
    /// and the scratch comes from it.
    pub(crate) fn take(
        &mut self,
        matcher: &Matcher,
        (event, record_time): (&TelemetryEvent<'_>, Option<Timestamp>),
        hits: &[RuleIndex],
        scratch: &mut Scratch,
        each: &mut dyn FnMut(&Finding<'_>, &mut Scratch),
    ) {
        self.hand_over(matcher, (event, record_time), hits, scratch, &mut |engine, signal, scratch| {
            engine.take(signal, &mut |finding| each(finding, scratch));
        });
    }

    /// The same, and hands on every step of the correlation at this place of the plan. Whether one of its rules, or of those under it, is
    /// true of the event.
    pub(crate) fn watch(
        &mut self,
        matcher: &Matcher,
        event: &TelemetryEvent<'_>,
        hits: &[RuleIndex],
        (scratch, place): (&mut Scratch, usize),
        each: &mut dyn FnMut(&Step<'_>),
    ) -> bool {
        let plan = self.plan.clone();
        let is_fed = hits.iter().any(|rule| plan.is_under(rule.get(), place));
        self.hand_over(matcher, (event, None), hits, scratch, &mut |engine, signal, _| {
            engine.watch(signal, place, each);
        });
        is_fed
    }

    fn hand_over(
        &mut self,
        matcher: &Matcher,
        (event, record_time): (&TelemetryEvent<'_>, Option<Timestamp>),
        hits: &[RuleIndex],
        scratch: &mut Scratch,
        take: &mut dyn FnMut(&mut Engine, &Signal<'_>, &mut Scratch),
    ) {
        let Self { plan, engine, first_field, fields, needed, rules, without_time } = self;
        rules.clear();
        rules.extend(hits.iter().map(|rule| rule.get()).filter(|rule| plan.is_fed_by(*rule)));
        if rules.is_empty() {
            return;
        }
        let Some(time) = event.occurred_at().or(record_time) else {
            *without_time += 1;
            return;
        };
        plan.needed(rules.iter().copied(), needed);
        let values = matcher.fields(event, scratch);
        fields.clear();
        for field in needed.iter() {
            let mut push = |value: FieldValue<'_>| fields.push(*field, value.text, value.number);
            values.each_of_named(*first_field + field, &mut push);
        }
        let event_id = event.event_id();
        let (tenant, time) = (event.tenant_id, time.as_millis());
        let signal = Signal { tenant, event_id: &event_id, time, rules, fields };
        take(engine, &signal, scratch);
    }
}
