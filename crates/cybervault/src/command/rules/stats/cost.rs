//! What rules and fields cost, measured on events.
//!
//! All rules are matched together, so no single one's share can be read off. A rule's cost is that of a matcher which has
//! only this rule, above one whose rule asks for a field that no event has. A field's cost is by how much less all rules
//! take when it is taken out of the events. The smallest of several rounds counts: nothing but the work is always there.
//!
//! Thousands of matchers on thousands of events take long, so a few events tell first which rules are worth the others; and rules
//! that are for none of the events' log sources take nothing.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use cybervault_model::{Decoder, Incoming, TelemetryEvent};
use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, RulePack, load};
use serde::Serialize;
use serde_json::Value;

use crate::{command::input::each_event, config::Config};

/// How many events are measured on.
const MAX_EVENTS: usize = 1_000;

/// How many fields are taken out, the ones that most events have.
const MAX_FIELDS: usize = 200;

/// On how many events, spread over all, a field is taken out, and it is told which rules may cost most.
const SAMPLE: usize = 200;

/// How many times as many rules as are to be told are measured on all events.
const SHORT_LIST: usize = 4;

/// A rule that is never true, and asks for what is never there.
const BASELINE: &str = "title: none\nlogsource: {}\ndetection: {none: {'no such field': none}, condition: none}\n";

/// What `rules stats --events` measures.
#[derive(Serialize)]
pub(super) struct Cost {
    events: usize,
    /// All rules together, parsing not included.
    ns_per_event: f64,
    /// Those that cost most alone.
    rules: Vec<RuleCost>,
    /// Those without which all rules take least.
    fields: Vec<FieldCost>,
}

#[derive(Serialize)]
struct RuleCost {
    id: String,
    title: String,
    path: String,
    ns_per_event: f64,
    /// Events that it is true of.
    hits: usize,
}

#[derive(Serialize)]
struct FieldCost {
    /// As the events name it.
    field: String,
    ns_per_event: f64,
    /// Events that have it.
    events: usize,
}

impl Cost {
    /// Measures the rules on the first events of a file.
    ///
    /// # Errors
    /// When the file can't be read or has no events.
    pub(super) fn measure(pack: &RulePack, path: &Path, top: usize, config: &Config) -> anyhow::Result<Self> {
        let mut lines = read(path, config)?;
        let mut decoder = Decoder::new(config.limits.reader());
        lines.retain(|line| decoder.decode(&incoming(line)).is_ok());
        let mut decoders = decoders(lines.len(), config);
        let decoded: Vec<_> = decoders
            .iter_mut()
            .zip(&lines)
            .filter_map(|(decoder, line)| decoder.decode(&incoming(line)).ok())
            .collect();
        let events: Vec<_> = decoded.iter().map(|decoded| decoded.event()).collect();
        if events.is_empty() {
            bail!("no events in {} that can be read", path.display());
        }
        let mappings = Mappings::builtin();
        let all = Matcher::compile(pack, &mappings);
        let together = time(&all, &events, 15);
        Ok(Self {
            events: events.len(),
            ns_per_event: per_event(together, events.len()),
            rules: rules(pack, &all, &mappings, &events, top),
            fields: fields(&all, &sampled(&events), &sampled(&lines), top, config),
        })
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "\ncost: {:.0} ns an event for all rules together, on {} events",
            self.ns_per_event, self.events
        )?;
        writeln!(out, "\nrules that take most alone: ns an event, hits")?;
        for RuleCost { id, title, ns_per_event, hits, .. } in &self.rules {
            writeln!(out, "{ns_per_event:>7.0}  {hits:>5}  {title} ({id})")?;
        }
        writeln!(out, "\nfields without which all rules take least: ns an event less, events that have it")?;
        for FieldCost { field, ns_per_event, events } in &self.fields {
            writeln!(out, "{ns_per_event:>7.0}  {events:>5}  {field}")?;
        }
        Ok(())
    }
}

fn read(path: &Path, config: &Config) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    each_event(&[path.to_owned()], "stats", config, &mut |found| {
        lines.push(found.event.bytes.to_vec());
        Ok(if lines.len() < MAX_EVENTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(lines)
}

fn decoders(count: usize, config: &Config) -> Vec<Decoder> {
    (0..count).map(|_| Decoder::new(config.limits.reader())).collect()
}

fn incoming(value: &[u8]) -> Incoming<'_> {
    Incoming { key: Some(b"stats"), value, ..Incoming::default() }
}

/// The shortest time that matching all events takes.
fn time(matcher: &Matcher, events: &[TelemetryEvent<'_>], rounds: usize) -> Duration {
    let mut scratch = matcher.scratch();
    let round = |_| {
        let started = Instant::now();
        for event in events {
            std::hint::black_box(matcher.matches(event, Routing::Auto, &mut scratch));
        }
        started.elapsed()
    };
    (0..rounds).map(round).min().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss)]
fn per_event(time: Duration, events: usize) -> f64 {
    time.as_nanos() as f64 / events as f64
}

/// So many, spread over all.
fn sampled<T: Clone>(all: &[T]) -> Vec<T> {
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.iter().step_by(step).cloned().collect()
}

fn rules(
    pack: &RulePack,
    all: &Matcher,
    mappings: &Mappings,
    events: &[TelemetryEvent<'_>],
    top: usize,
) -> Vec<RuleCost> {
    let mut hits = vec![0; pack.rules.len()];
    let mut sources = HashSet::new();
    let mut scratch = all.scratch();
    for event in events {
        all.matches(event, Routing::Auto, &mut scratch).iter().for_each(|rule| hits[rule.get()] += 1);
        sources.extend(all.log_sources(event));
    }
    let baseline = load([RuleFile { path: "", text: BASELINE }]);
    let baseline = Matcher::compile(&baseline, mappings);
    let tried = |at: &usize| sources.iter().any(|source| pack.rules[*at].meta.logsource.covers(source));
    let alone = |at: usize| {
        let alone = RulePack { rules: vec![pack.rules[at].clone()], ..RulePack::default() };
        Matcher::compile(&alone, mappings)
    };
    let few = sampled(events);
    let mut measured: Vec<_> = (0..pack.rules.len()).filter(tried).map(|at| (time(&alone(at), &few, 2), at)).collect();
    measured.sort_unstable_by_key(|(time, _)| Reverse(*time));
    measured.truncate(top.saturating_mul(SHORT_LIST));
    let nothing = time(&baseline, events, 5);
    let cost = |(_, at): (Duration, usize)| {
        let time = time(&alone(at), events, 3).saturating_sub(nothing);
        let meta = &pack.rules[at].meta;
        RuleCost {
            id: meta.id.clone(),
            title: meta.title.clone(),
            path: meta.path.clone(),
            ns_per_event: per_event(time, events.len()),
            hits: hits[at],
        }
    };
    let mut costs: Vec<_> = measured.into_iter().map(cost).collect();
    costs.sort_by(|a, b| b.ns_per_event.total_cmp(&a.ns_per_event));
    costs.truncate(top);
    costs
}

fn fields(
    matcher: &Matcher,
    events: &[TelemetryEvent<'_>],
    lines: &[Vec<u8>],
    top: usize,
    config: &Config,
) -> Vec<FieldCost> {
    let together = time(matcher, events, 15);
    let values: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let mut paths = std::collections::BTreeMap::<Vec<String>, usize>::new();
    for value in &values {
        let mut own = BTreeSet::new();
        leaves(value, &mut Vec::new(), &mut own);
        own.into_iter().for_each(|path| *paths.entry(path).or_default() += 1);
    }
    let mut paths: Vec<_> = paths.into_iter().collect();
    paths.sort_by_key(|(_, events)| Reverse(*events));
    paths.truncate(MAX_FIELDS);
    let sources: Vec<_> = events.iter().map(|event| matcher.log_sources(event)).collect();
    let mut decoders = decoders(values.len(), config);
    let mut costs = Vec::new();
    for (path, count) in paths {
        let without: Vec<_> =
            values.iter().map(|value| take_out(value.clone(), &path).to_string().into_bytes()).collect();
        let decoded: Vec<_> = decoders
            .iter_mut()
            .zip(&without)
            .filter_map(|(decoder, line)| decoder.decode(&incoming(line)).ok())
            .collect();
        let less: Vec<_> = decoded.iter().map(|decoded| decoded.event()).collect();
        // What tells the log source decides on everything else: it has no cost of its own.
        if less.len() != events.len()
            || less.iter().zip(&sources).any(|(event, known)| matcher.log_sources(event) != *known)
        {
            continue;
        }
        let time = together.saturating_sub(time(matcher, &less, 5));
        costs.push(FieldCost { field: path.join("."), ns_per_event: per_event(time, events.len()), events: count });
    }
    costs.sort_by(|a, b| b.ns_per_event.total_cmp(&a.ns_per_event));
    costs.truncate(top);
    costs
}

/// The paths of plain values, lists gone through.
fn leaves(value: &Value, path: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                path.push(key.clone());
                leaves(inner, path, found);
                path.pop();
            }
        }
        Value::Array(list) => list.iter().for_each(|element| leaves(element, path, found)),
        _ => drop(found.insert(path.clone())),
    }
}

fn take_out(mut value: Value, path: &[String]) -> Value {
    fn remove(value: &mut Value, path: &[String]) {
        match (value, path) {
            (Value::Object(object), [last]) => drop(object.remove(last)),
            (Value::Object(object), [first, rest @ ..]) => {
                if let Some(inner) = object.get_mut(first) {
                    remove(inner, rest);
                }
            }
            (Value::Array(list), path) => list.iter_mut().for_each(|element| remove(element, path)),
            _ => {}
        }
    }
    remove(&mut value, path);
    value
}
