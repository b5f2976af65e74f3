//! Signals to the findings of correlations.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use cybervault_correlation::{Counts, Engine, FieldValues, Finding, Keep, Limits, Moment, Signal};
use cybervault_model::{
    Assessment, ContentType, Encoding, Severity, Signal as SignalRecord, avro::WriterSchemas, decode_value, fault,
};
use cybervault_scoring::About;
use cybervault_stream::{Failure, Outbox, Record, Stage, State};
use foldhash::fast::RandomState;
use metrics::{Gauge, counter, gauge};

use super::{
    TenantLabels,
    meters::{RuleMeters, Tally},
    push, undecodable,
};
use crate::{detection::Detection, live::Live};

/// The correlate stage. It reads `detection.signals`, whose key says what meets, and writes assessments.
///
/// Its state is what an [`Engine`] has kept of a partition's groups. The engine is made anew from it wherever the state is not the one that
/// the engine has made: after a batch was taken back, and where a partition has come. So what is found depends on the partition's log alone.
#[derive(Debug)]
pub(crate) struct Correlate {
    live: Arc<Live>,
    detection: Arc<Detection>,
    /// The rules' places by their ids, and the plan's fields by their names.
    rules: HashMap<String, usize, RandomState>,
    fields: HashMap<String, usize, RandomState>,
    schemas: Arc<dyn WriterSchemas>,
    assessments: Arc<str>,
    encoding: Encoding,
    limits: Limits,
    places: HashMap<i32, Place>,
    scratch: Scratch,
    meters: Meters,
}

/// The engine of a partition.
#[derive(Debug)]
struct Place {
    engine: Engine,
    /// The detection whose plan it has.
    detection: Arc<Detection>,
    /// The state that it has made, or was made from.
    lineage: u64,
    /// What of its counts is counted.
    counted: Counts,
    held: Held,
}

/// What is held by a place, as the gauges know it.
#[derive(Debug)]
struct Held {
    groups: Gauge,
    bytes: Gauge,
    told: [f64; 2],
}

impl Held {
    fn new() -> Self {
        Self {
            groups: gauge!("cybervault_correlation_groups"),
            bytes: gauge!("cybervault_correlation_bytes"),
            told: [0.0; 2],
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
    fn tell(&mut self, groups: usize, bytes: usize) {
        let now = [groups as f64, bytes as f64];
        for ((gauge, now), told) in [&self.groups, &self.bytes].into_iter().zip(now).zip(&mut self.told) {
            gauge.increment(now - *told);
            *told = now;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tell(0, 0);
    }
}

/// What is used again for every signal.
#[derive(Debug, Default)]
struct Scratch {
    rules: Vec<usize>,
    values: FieldValues,
}

#[derive(Debug)]
struct Meters {
    labels: TenantLabels,
    rules: RuleMeters,
    taken: Tally,
    unmatched: Tally,
    assessments: [Tally; Severity::ALL.len()],
    lapsed: Tally,
    events_cut: Tally,
    late: Tally,
    replaced: Tally,
    broken: Tally,
    evicted: HashMap<String, Tally, RandomState>,
}

impl Meters {
    fn new(labels: TenantLabels) -> Self {
        let signals =
            |outcome: &'static str| Tally::new(counter!("cybervault_correlation_signals_total", "outcome" => outcome));
        let gone = |why: &'static str| Tally::new(counter!("cybervault_correlation_groups_gone_total", "why" => why));
        Self {
            labels,
            rules: RuleMeters::default(),
            taken: signals("taken"),
            unmatched: signals("unmatched"),
            assessments: Severity::ALL
                .map(|severity| Tally::new(counter!("cybervault_assessments_total", "severity" => severity.as_str()))),
            lapsed: gone("lapsed"),
            replaced: gone("rules_changed"),
            broken: gone("unreadable"),
            events_cut: Tally::new(counter!("cybervault_correlation_events_cut_total")),
            late: Tally::new(counter!("cybervault_correlation_late_events_total")),
            evicted: HashMap::default(),
        }
    }

    fn count(&mut self, now: Counts, before: Counts) {
        self.lapsed.add(now.lapsed - before.lapsed);
        self.events_cut.add(now.cut - before.cut);
        self.late.add(now.late - before.late);
    }

    /// Counts groups that were dropped for want of room. Their number is said by tenant, as far as tenants have labels.
    fn evicted(&mut self, tenant: &str, groups: u64) {
        let label = self.labels.of_name(tenant);
        if !self.evicted.contains_key(label) {
            tracing::warn!(
                tenant,
                "the tenant has more groups than its correlations may hold; those go that nothing has come of for the longest time, see `correlation.max_tenant_bytes`"
            );
            let tally =
                Tally::new(counter!("cybervault_correlation_evicted_groups_total", "tenant" => label.to_owned()));
            self.evicted.insert(label.to_owned(), tally);
        }
        if let Some(tally) = self.evicted.get_mut(label) {
            tally.add(groups);
        }
    }

    fn hand_over(&mut self, out: &mut Outbox) {
        self.rules.hand_over(out);
        let Self { taken, unmatched, assessments, lapsed, events_cut, late, replaced, broken, evicted, .. } = self;
        let all = [taken, unmatched, lapsed, events_cut, late, replaced, broken].into_iter();
        all.chain(assessments).chain(evicted.values_mut()).for_each(|tally| tally.hand_over(out));
    }
}

/// The partition's state as what keeps an engine's windows.
struct Book<'s>(&'s mut State);

impl Keep for Book<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(key, value, None);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }
}

impl Correlate {
    /// A stage that takes the correlations in force from `live`, and writes to `assessments`.
    pub(crate) fn new(
        live: Arc<Live>,
        schemas: Arc<dyn WriterSchemas>,
        (assessments, encoding): (Arc<str>, Encoding),
        limits: Limits,
        labels: TenantLabels,
    ) -> Self {
        let mut stage = Self {
            detection: live.detection(),
            live,
            rules: HashMap::default(),
            fields: HashMap::default(),
            schemas,
            assessments,
            encoding,
            limits,
            places: HashMap::new(),
            scratch: Scratch::default(),
            meters: Meters::new(labels),
        };
        stage.take_up();
        stage
    }

    /// Finds rules and fields by their names from now on as the detection has them.
    fn take_up(&mut self) {
        let Detection { matcher, plan, .. } = &*self.detection;
        let rules = matcher.rules().iter().enumerate().filter(|(at, _)| plan.is_fed_by(*at));
        self.rules = rules.map(|(at, rule)| (rule.id.clone(), at)).collect();
        self.fields = plan.fields().iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
    }

    /// Puts the signal's rules and values into the scratch.
    fn read(&mut self, signal: &SignalRecord) {
        let Scratch { rules, values } = &mut self.scratch;
        rules.clear();
        rules.extend(signal.rules.iter().filter_map(|id| self.rules.get(id)));
        rules.sort_unstable();
        rules.dedup();
        values.clear();
        for field in &signal.fields {
            if let Some(at) = self.fields.get(&field.name) {
                field.values.iter().for_each(|value| values.push(*at, &value.text, value.number));
            }
        }
    }

    /// Writes what was found.
    fn write(&mut self, found: Vec<(usize, Assessment)>, out: &mut Outbox) -> Result<(), Failure> {
        for (place, assessment) in found {
            let key = assessment.key();
            let tenant = assessment.tenant_id.as_str();
            push(out, &self.encoding, (&self.assessments, key.as_bytes()), tenant, &assessment)?;
            fault::point("correlate.written");
            self.meters.assessments[assessment.severity as usize].add(1);
            if let Some(contribution) = assessment.contributions.first() {
                self.meters.rules.hit(place, &contribution.id);
            }
        }
        Ok(())
    }
}

/// The engine for a partition with this state.
fn place<'p>(
    places: &'p mut HashMap<i32, Place>,
    partition: i32,
    state: &mut State,
    (detection, limits): (&Arc<Detection>, Limits),
    meters: &mut Meters,
) -> &'p mut Place {
    let lineage = state.lineage();
    let place = match places.entry(partition) {
        hash_map::Entry::Occupied(mut known) => {
            if known.get().lineage != lineage {
                known.insert(restore(partition, state, (detection, limits), meters));
            }
            known.into_mut()
        }
        hash_map::Entry::Vacant(new) => new.insert(restore(partition, state, (detection, limits), meters)),
    };
    if !Arc::ptr_eq(&place.detection, detection) {
        let titles = detection.matcher.rules().iter().map(|rule| rule.title.as_str());
        let gone = place.engine.change_plan(detection.plan.clone(), titles, &mut Book(state));
        meters.replaced.add(gone as u64);
        place.detection = detection.clone();
    }
    place
}

/// An engine with what is in the state.
fn restore(
    partition: i32,
    state: &mut State,
    (detection, limits): (&Arc<Detection>, Limits),
    meters: &mut Meters,
) -> Place {
    let titles = detection.matcher.rules().iter().map(|rule| rule.title.as_str());
    let mut engine = Engine::new(detection.plan.clone(), titles, limits);
    let restored = engine.restore(state.iter());
    if restored.broken > 0 {
        tracing::error!(
            partition,
            groups = restored.broken,
            "what is kept of some groups can't be read; they begin anew"
        );
    }
    restored.keys.iter().for_each(|key| state.delete(key));
    meters.replaced.add(restored.left as u64);
    meters.broken.add(restored.broken as u64);
    Place {
        engine,
        detection: detection.clone(),
        lineage: state.lineage(),
        counted: Counts::default(),
        held: Held::new(),
    }
}

impl Stage for Correlate {
    fn begin_batch(&mut self) {
        let detection = self.live.detection();
        if !Arc::ptr_eq(&detection, &self.detection) {
            self.detection = detection;
            self.meters.rules = RuleMeters::default();
            self.take_up();
        }
    }

    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let content_type = record.headers.sole(ContentType::HEADER)?;
        let signal: SignalRecord =
            decode_value(record.value, content_type, &*self.schemas).map_err(|error| undecodable(&error))?;
        self.read(&signal);
        let Self { places, detection, limits, meters, scratch, .. } = self;
        let place = place(places, record.partition, state, (detection, *limits), meters);
        let mut found = Vec::new();
        let about = || About { entities: signal.entities.clone(), destinations: signal.destinations.clone() };
        let mut each = |finding: &Finding<'_>| {
            let assessment = detection.assess_correlation(&signal.tenant_id, about(), finding);
            // Rules and correlations are counted side by side.
            found.push((detection.matcher.rules().len() + finding.place, assessment));
        };
        let taken = Signal {
            tenant: signal.tenant_id.as_str(),
            event_id: &signal.event_id,
            time: signal.occurred_at.as_millis(),
            rules: &scratch.rules,
            fields: &scratch.values,
            meets: Some(&signal.meets),
        };
        let moment =
            Moment { offset: u64::try_from(record.offset).unwrap_or_default(), written: record.timestamp.as_millis() };
        let is_matched = place.engine.take_from_log(&taken, moment, &mut Book(state), &mut each);
        if is_matched { &mut meters.taken } else { &mut meters.unmatched }.add(1);
        let counts = place.engine.counts();
        meters.count(counts, place.counted);
        if counts.evicted > place.counted.evicted {
            place.engine.take_evicted().iter().for_each(|(tenant, groups)| meters.evicted(tenant, *groups));
        }
        place.counted = counts;
        self.write(found, out)
    }

    /// What an engine has half done is not known.
    fn recover(&mut self) {
        self.places.clear();
    }

    fn released(&mut self, partition: i32) {
        self.places.remove(&partition);
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        for place in self.places.values_mut() {
            place.held.tell(place.engine.groups(), place.engine.bytes());
        }
        self.meters.hand_over(out);
    }
}
