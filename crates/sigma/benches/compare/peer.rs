//! `rsigma-eval`'s side: every call goes over all lines once, parsing included.

use std::{collections::HashSet, hint::black_box};

use cybervault_model::in_turn;
use cybervault_sigma::RuleSource;
use rsigma_eval::{Engine, EvaluationResult, JsonEvent};
use rsigma_parser::{LogSource, parse_sigma_yaml};
use serde_json::Value;

use crate::{Outcome, rules::File};

/// With the index of witnesses that it always has. Its BENCHMARKS.md finds `cross_rule_ac` slower with that, so that it is left
/// out; the bloom filter is for the caller to try, as the README says.
pub(crate) fn engine(files: &[File], bloom: bool) -> Outcome<Engine> {
    let mut rules = Vec::new();
    for File { text, .. } in files {
        rules.extend(parse_sigma_yaml(text)?.rules);
    }
    let mut engine = Engine::new();
    engine.set_bloom_prefilter(bloom);
    engine.add_rules(&rules);
    Ok(engine)
}

pub(crate) fn parse(lines: &[&str]) -> u64 {
    each(lines, |_, value| {
        black_box(value);
        0
    })
}

/// Counts hits.
pub(crate) fn matches<'a>(engine: &'a Engine, lines: &'a [&str]) -> Box<dyn FnMut() -> u64 + 'a> {
    Box::new(move || each(lines, |_, value| black_box(engine.evaluate(&JsonEvent::borrow(value))).len() as u64))
}

/// Counts hits among the rules for each line's log sources. It has no table of which log has what categories, so that it is told
/// the sources, and the time to find them out is not counted.
pub(crate) fn routed<'a>(
    engine: &'a Engine,
    lines: &'a [&str],
    sources: &'a [Vec<LogSource>],
) -> Box<dyn FnMut() -> u64 + 'a> {
    Box::new(move || {
        each(lines, |line, value| {
            let event = JsonEvent::borrow(value);
            let found = |source| black_box(engine.evaluate_pruned(&event, source));
            match &sources[line][..] {
                [] => 0,
                [source] => found(source).len() as u64,
                sources => {
                    let all: Vec<_> = sources.iter().flat_map(found).collect();
                    all.iter().map(id).collect::<HashSet<_>>().len() as u64
                }
            }
        })
    })
}

fn id(result: &EvaluationResult) -> Option<&str> {
    result.header.rule_id.as_deref()
}

/// It leaves out rules that ask for something else, and not those that ask for what the event has not: this is named then, by
/// what no rule asks for.
pub(crate) fn log_source(source: &RuleSource) -> LogSource {
    let or_none = |name: &Option<String>| Some(name.clone().unwrap_or_else(|| "none".into()));
    LogSource {
        product: or_none(&source.product),
        service: or_none(&source.service),
        category: or_none(&source.category),
        ..LogSource::default()
    }
}

fn each(lines: &[&str], mut look: impl FnMut(usize, &Value) -> u64) -> u64 {
    let values = in_turn(lines).enumerate().map(|(line, text)| (line, serde_json::from_str::<Value>(text)));
    values.map(|(line, value)| value.map_or(0, |value| look(line, &value))).sum()
}
