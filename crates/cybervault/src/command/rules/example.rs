//! The examples in rules' files: events that a rule, or a correlation over several of them, is true of or is not.

use std::sync::Arc;

use cybervault_correlation::{Limits, Plan};
use cybervault_model::{Decoder, Incoming, json::Limits as JsonLimits};
use cybervault_sigma::{Mappings, Matcher, Routing, RulePack, Scratch};
use serde::Deserialize;
use serde_json::Value;

use crate::correlating::Correlating;

/// A rule's document as far as tests go.
#[derive(Deserialize)]
pub(super) struct WithExamples {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) examples: Vec<Example>,
}

/// An event, or several in the order in which they come, and whether the rule is to be true of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Example {
    r#match: bool,
    /// An envelope, or a raw log.
    #[serde(default)]
    event: Option<Value>,
    #[serde(default)]
    events: Option<Vec<Value>>,
    /// With which of the events a correlation becomes true, from 1.
    #[serde(default)]
    at: Option<usize>,
}

/// What an example is of.
#[derive(Clone, Copy)]
pub(super) enum Tried {
    /// The rule at this place of the matcher's.
    Rule(usize),
    /// The correlation at this place of the plan's.
    Correlation(usize),
}

/// Rules and correlations to be tried with examples.
pub(super) struct Tester {
    pub(super) matcher: Matcher,
    plan: Arc<Plan>,
}

impl Tester {
    pub(super) fn new(mut pack: RulePack) -> Self {
        // One that only feeds others has examples, too.
        pack.correlations.iter_mut().for_each(|correlation| correlation.meta.is_told = true);
        let plan = Arc::new(Plan::compile(&pack));
        let matcher = Matcher::compile_naming(pack, &Mappings::builtin(), plan.fields().iter().map(String::as_str));
        Self { matcher, plan }
    }

    /// The rule or correlation that a document in this file is.
    pub(super) fn find(&self, rule: &WithExamples, path: &str) -> Option<Tried> {
        let is_it = |meta: &cybervault_sigma::RuleMeta| match &rule.id {
            Some(id) => meta.id == *id,
            None => meta.path == path && meta.title == rule.title,
        };
        let of_rules = self.matcher.rules().iter().position(is_it).map(Tried::Rule);
        let of_correlations = || self.plan.correlations().position(|correlation| is_it(&correlation.meta));
        of_rules.or_else(|| of_correlations().map(Tried::Correlation))
    }

    /// What is wrong with an example.
    pub(super) fn problem(&self, tried: Tried, example: &Example) -> Option<String> {
        let found = match (tried, &example.event, &example.events) {
            (_, Some(_), Some(_)) | (_, None, None) => Err("it has neither or both of `event` and `events`".to_owned()),
            (Tried::Rule(_), _, Some(_)) => Err("a rule is true of one event; write `event`".to_owned()),
            (Tried::Rule(place), Some(event), None) => self.is_true_of(place, event),
            (Tried::Correlation(place), event, events) => {
                let events = events.as_deref().or(event.as_ref().map(std::slice::from_ref)).unwrap_or_default();
                return self.problem_of_events(place, events, example);
            }
        };
        match found {
            Err(error) => Some(error),
            Ok(found) if found == example.r#match => None,
            Ok(true) => Some("the rule is true of the event, and should not be".to_owned()),
            Ok(false) => Some("the rule is not true of the event, and should be".to_owned()),
        }
    }

    fn problem_of_events(&self, place: usize, events: &[Value], example: &Example) -> Option<String> {
        let times = match self.becomes_true(place, events) {
            Ok(times) => times,
            Err(error) => return Some(error),
        };
        match (&times[..], example.r#match, example.at) {
            ([], false, _) => None,
            ([], true, _) => Some("the correlation does not become true, and should".to_owned()),
            ([at, ..], false, _) => Some(format!("the correlation becomes true with event {at}, and should not")),
            (times, true, Some(at)) if !times.contains(&at) => {
                Some(format!("the correlation becomes true with event {}, and should with event {at}", times[0]))
            }
            _ => None,
        }
    }

    /// The events with which a correlation becomes true.
    fn becomes_true(&self, place: usize, events: &[Value]) -> Result<Vec<usize>, String> {
        let mut correlating = Correlating::new(self.plan.clone(), &self.matcher, 0, Limits::default());
        let mut times = Vec::new();
        for (at, event) in (1..).zip(events) {
            self.decode(event, |event, scratch| {
                let hits = self.matcher.matches(event, Routing::Auto, scratch).to_vec();
                correlating.take(&self.matcher, (event, None), &hits, scratch, &mut |finding, _| {
                    if finding.place == place && !times.contains(&at) {
                        times.push(at);
                    }
                });
            })
            .map_err(|error| format!("event {at}: {error}"))?;
        }
        match correlating.without_time {
            0 => Ok(times),
            count => Err(format!("{count} of the events have no time, without which they can't be correlated")),
        }
    }

    fn is_true_of(&self, place: usize, event: &Value) -> Result<bool, String> {
        self.decode(event, |event, scratch| {
            self.matcher.matches(event, Routing::Auto, scratch).iter().any(|hit| hit.get() == place)
        })
    }

    fn decode<T>(
        &self,
        event: &Value,
        look: impl FnOnce(&cybervault_model::TelemetryEvent<'_>, &mut Scratch) -> T,
    ) -> Result<T, String> {
        let bytes = event.to_string();
        let mut decoder = Decoder::new(JsonLimits::default());
        let incoming = Incoming { key: Some(b"examples"), value: bytes.as_bytes(), ..Incoming::default() };
        let decoded = decoder.decode(&incoming).map_err(|error| error.to_string())?;
        Ok(look(&decoded.event(), &mut self.matcher.scratch()))
    }
}
