//! What a signal costs: `cargo bench -p cybervault-correlation`. A hundred correlations of all types, each over a rule of its own; one
//! thread, in memory, and rsigma's engine beside it with the same signals.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark says what it finds, and fails if it can't go on"
)]

use std::{fs, sync::Arc, time::Instant};

use cybervault_correlation::{Engine, FieldValues, Limits, Plan, Signal};
use cybervault_sigma::{RuleFile, load};
use rsigma_eval::{CorrelationConfig, CorrelationEngine, JsonEvent};
use serde_json::json;

const RULES: usize = 100;
const SIGNALS: usize = 2_000_000;

fn rules() -> String {
    let kinds = [
        "type: event_count, condition: {gte: 50}",
        "type: value_count, condition: {field: v, gte: 50}",
        "type: value_sum, condition: {field: v, gte: 1000000}",
        "type: event_count, condition: {gte: 20, lt: 100}",
        "type: value_avg, condition: {field: v, gt: 1000000}",
    ];
    (0..RULES)
        .map(|at| {
            format!(
                "title: R{at}\nid: r{at}\nname: r{at}\nlogsource: {{product: test}}\ndetection: {{s: {{r: {at}}}, condition: s}}\n---\n\
                 title: C{at}\nid: c{at}\ncorrelation: {{{}, rules: [r{at}], group-by: [u], timespan: 10m}}\n---\n",
                kinds[at % kinds.len()]
            )
        })
        .collect()
}

/// A signal's rule, group and value: spread evenly, and always the same.
fn signal(number: usize, groups: usize) -> (usize, usize, usize) {
    let mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let group = usize::try_from(mixed).unwrap() % groups;
    (group % RULES, group, number % 1000)
}

/// Bytes of the process that are resident.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

#[expect(clippy::cast_precision_loss, reason = "numbers to be read")]
fn ours(text: &str, groups: usize) -> f64 {
    let pack = load([RuleFile { path: "bench.yml", text }]);
    assert_eq!(pack.failed, []);
    let plan = Arc::new(Plan::compile(&pack));
    let limits = Limits { tenant_bytes: 1 << 40, total_bytes: 1 << 40, ..Limits::default() };
    let mut engine = Engine::new(plan.clone(), pack.rules.iter().map(|rule| rule.meta.title.as_str()), limits);
    let (mut fields, mut needed, mut findings) = (FieldValues::default(), Vec::new(), 0);
    let values: Vec<_> = (0..1000).map(|value| value.to_string()).collect();
    let named = resident();
    let mut take = |engine: &mut Engine, number: usize| {
        let (rule, group, value) = signal(number, groups);
        let (id, name) = (format!("ev_{number:032x}"), format!("account-{group}"));
        plan.needed([rule], &mut needed);
        fields.clear();
        for field in &needed {
            fields.push(*field, if plan.fields()[*field] == "u" { &name } else { &values[value] }, None);
        }
        let time = i64::try_from(number / 10).unwrap();
        let signal = Signal { tenant: "t", event_id: &id, time, rules: &[rule], fields: &fields, meets: None };
        engine.take(&signal, &mut |_| findings += 1);
    };
    // All groups are there before time is taken: what is drawn evenly has to be drawn more often for that.
    let warm = (groups * 2).max(100_000);
    (0..warm).for_each(|number| take(&mut engine, number));
    let grown = resident().saturating_sub(named);
    let (live, told) = (engine.groups(), engine.bytes());
    let started = Instant::now();
    (warm..warm + SIGNALS).for_each(|number| take(&mut engine, number));
    let rate = SIGNALS as f64 / started.elapsed().as_secs_f64();
    println!(
        "{groups:>9} groups: {rate:>9.0} signals/s; {live} live groups in {} MiB ({} MiB by its own count), then {} MiB; {findings} findings",
        grown >> 20,
        told >> 20,
        engine.bytes() >> 20
    );
    rate
}

#[expect(clippy::cast_precision_loss, reason = "numbers to be read")]
fn theirs(text: &str, groups: usize) -> f64 {
    let rules = rsigma_parser::parse_sigma_yaml(text).unwrap();
    let config =
        CorrelationConfig { max_state_entries: 10_000_000, emit_detections: false, ..CorrelationConfig::default() };
    let mut engine = CorrelationEngine::new(config);
    engine.add_collection(&rules).unwrap();
    let names: Vec<_> = (0..groups).map(|group| format!("account-{group}")).collect();
    let detections: Vec<_> = (0..RULES)
        .map(|rule| {
            let event = json!({"r": rule});
            engine.evaluate(&JsonEvent::borrow(&event))
        })
        .collect();
    assert!(detections.iter().all(|found| found.len() == 1));
    let run = |engine: Option<&mut CorrelationEngine>| {
        let started = Instant::now();
        let mut engine = engine;
        for number in 0..SIGNALS / 4 {
            let (rule, group, value) = signal(number, groups);
            let event = json!({"r": rule, "u": names[group], "v": value});
            let found = detections[rule].clone();
            if let Some(engine) = &mut engine {
                engine.process_with_detections(
                    &JsonEvent::borrow(&event),
                    found,
                    i64::try_from(number / 10_000).unwrap(),
                );
            }
        }
        started.elapsed().as_secs_f64()
    };
    // What it takes to make the events is not its time.
    let making = run(None);
    let rate = (SIGNALS / 4) as f64 / (run(Some(&mut engine)) - making);
    println!("{groups:>9} groups: {rate:>9.0} signals/s, rsigma");
    rate
}

fn main() {
    let text = rules();
    let few = ours(&text, 10_000);
    let many = ours(&text, 1_000_000);
    println!("a signal takes {:.2} times as long with 10^6 groups as with 10^4", few / many);
    println!("{:.1} times rsigma's rate with 10^4 groups", few / theirs(&text, 10_000));
}
