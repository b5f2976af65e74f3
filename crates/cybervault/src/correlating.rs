//! Events and the rules that are true of them, handed to the correlations: at once, or as signals to where they meet.

use std::sync::Arc;

use cybervault_correlation::{Engine, FieldValues, Finding, Limits, Plan, Signal, Step, fold};
use cybervault_model::{
    Signal as SignalRecord, SignalField, SignalValue, TelemetryEvent, TenantId, Timestamp, derived_id,
};
use cybervault_sigma::{FieldValue, Matcher, RuleIndex, Scratch};

use crate::detection::Detection;

/// The longest value that is taken as it is, in bytes. Of a longer one it is the beginning, with a hash of the whole.
const LONGEST_VALUE: usize = 1_024;
/// How many bytes of values are taken of one event.
const MOST_BYTES: usize = 128 * 1024;

/// What of an event correlations look at; used again for the next event.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    fields: FieldValues,
    /// The fields that are needed of an event, and the rules of it that are of interest.
    needed: Vec<usize>,
    rules: Vec<usize>,
}

impl Looked {
    /// Reads the fields that are needed of an event with these hits. Whether correlations look at it at all, and whether there were more
    /// values than are taken.
    fn read(
        &mut self,
        (plan, first_field): (&Plan, usize),
        matcher: &Matcher,
        event: &TelemetryEvent<'_>,
        hits: &[RuleIndex],
        scratch: &mut Scratch,
    ) -> Option<bool> {
        let Self { fields, needed, rules } = self;
        rules.clear();
        rules.extend(hits.iter().map(|rule| rule.get()).filter(|rule| plan.is_fed_by(*rule)));
        if rules.is_empty() {
            return None;
        }
        rules.sort_unstable();
        plan.needed(rules.iter().copied(), needed);
        let values = matcher.fields(event, scratch);
        fields.clear();
        let (mut bytes, mut is_cut) = (0, false);
        for field in needed.iter() {
            let mut push = |value: FieldValue<'_>| {
                let text = value.text;
                bytes += text.len().min(LONGEST_VALUE);
                if bytes > MOST_BYTES {
                    is_cut = true;
                } else if text.len() > LONGEST_VALUE {
                    fields.push(*field, &shortened(text), value.number);
                } else {
                    fields.push(*field, text, value.number);
                }
            };
            values.each_of_named(first_field + field, &mut push);
        }
        Some(is_cut)
    }
}

/// The beginning of a long value with a hash of all of it, so that two of the same beginning stay two, and case still does not matter.
fn shortened(text: &str) -> String {
    let begins = &text[..text.floor_char_boundary(LONGEST_VALUE - 64)];
    format!("{begins}… {}", derived_id("value", &[fold(text).as_bytes()]))
}

/// The signals of an event, and whether it has more values or groups than are taken.
pub(crate) fn signals(
    detection: &Detection,
    (tenant_id, event, record_time): (&TenantId, &TelemetryEvent<'_>, Timestamp),
    hits: &[RuleIndex],
    (scratch, looked): (&mut Scratch, &mut Looked),
) -> (Vec<SignalRecord>, bool) {
    let (plan, matcher) = (&*detection.plan, &*detection.matcher);
    let read = looked.read((plan, cybervault_scoring::fields().count()), matcher, event, hits, scratch);
    let Some(values_cut) = read else { return (Vec::new(), false) };
    let Looked { fields, needed, rules } = looked;
    let (event_id, occurred_at) = (event.event_id(), event.occurred_at().unwrap_or(record_time));
    let (tenant, time) = (tenant_id.as_str(), occurred_at.as_millis());
    let signal = Signal { tenant, event_id: &event_id, time, rules, fields, meets: None };
    let (meetings, groups_cut) = plan.meetings(&signal);
    if meetings.is_empty() {
        return (Vec::new(), values_cut || groups_cut);
    }
    let about = detection.about(event, scratch);
    let correlations: Vec<_> = plan.correlations().map(|correlation| &correlation.meta.id).collect();
    let records = meetings.into_iter().map(|meeting| {
        plan.needed(meeting.rules.iter().copied(), needed);
        let value = |(text, number): (&str, Option<f64>)| SignalValue { text: text.to_owned(), number };
        let field = |field: &usize| SignalField {
            name: plan.fields()[*field].clone(),
            values: fields.values(*field).map(value).collect(),
        };
        SignalRecord {
            tenant_id: tenant_id.clone(),
            event_id: event_id.clone(),
            occurred_at,
            correlations: meeting.correlations.iter().map(|at| correlations[*at].clone()).collect(),
            rules: meeting.rules.iter().map(|rule| matcher.rules()[*rule].id.clone()).collect(),
            meets: meeting.values.iter().map(|value| fields.folded(*value).to_owned()).collect(),
            fields: needed.iter().map(field).filter(|field| !field.values.is_empty()).collect(),
            entities: about.entities.clone(),
            destinations: about.destinations.clone(),
        }
    });
    (records.collect(), values_cut || groups_cut)
}

/// Correlations at work over a stream of events, all in one place.
#[derive(Debug)]
pub(crate) struct Correlating {
    plan: Arc<Plan>,
    engine: Engine,
    /// The place among the matcher's named fields of the plan's first.
    first_field: usize,
    looked: Looked,
    /// Events that correlations would have counted, had they a time.
    pub(crate) without_time: u64,
}

impl Correlating {
    /// The correlations of a plan, without any events. The matcher was compiled for the same pack, and knows the plan's fields from
    /// `first_field` on.
    pub(crate) fn new(plan: Arc<Plan>, matcher: &Matcher, first_field: usize, limits: Limits) -> Self {
        let engine = Engine::new(plan.clone(), matcher.rules().iter().map(|rule| rule.title.as_str()), limits);
        Self { plan, engine, first_field, looked: Looked::default(), without_time: 0 }
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
        let Self { plan, engine, first_field, looked, without_time } = self;
        if looked.read((plan, *first_field), matcher, event, hits, scratch).is_none() {
            return;
        }
        let Some(time) = event.occurred_at().or(record_time) else {
            *without_time += 1;
            return;
        };
        let event_id = event.event_id();
        let (tenant, time) = (event.tenant_id, time.as_millis());
        let Looked { fields, rules, .. } = looked;
        let signal = Signal { tenant, event_id: &event_id, time, rules, fields, meets: None };
        take(engine, &signal, scratch);
    }
}
