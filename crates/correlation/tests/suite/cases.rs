//! What correlations mean, case by case: `tests/cases/correlations.txt`.

use std::{collections::BTreeMap, fmt::Write as _};

use cybervault_correlation::Limits;

use crate::{Bench, pack};

const CASES: &str = include_str!("../cases/correlations.txt");

/// A case has a title behind `==`, correlations, and behind `--` its events, one a line: seconds, tenant, the rules that are true of it,
/// and fields as `field=value`; behind `=>` what becomes true, with commas between.
#[test]
fn correlations_become_true_as_the_cases_say() {
    let mut wrong = String::new();
    let mut count = 0;
    for case in CASES.split("\n== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (correlations, events) = rest.split_once("\n--\n").unwrap();
        let mut bench = Bench::new(&pack(&format!("{correlations}\n")), Limits::default());
        for (number, line) in (1..).zip(events.lines().filter(|line| !line.trim().is_empty())) {
            let (event, expected) = line.split_once("=>").unwrap_or((line, ""));
            let mut words = event.split_whitespace();
            let seconds: f64 = words.next().unwrap().parse().unwrap();
            let (tenant, rules) = (words.next().unwrap(), words.next().unwrap());
            let rules: Vec<_> =
                rules.bytes().filter(u8::is_ascii_lowercase).map(|rule| usize::from(rule - b'a')).collect();
            let values: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
            #[expect(clippy::cast_possible_truncation, reason = "the cases' times are small")]
            let found = bench.take(tenant, &format!("e{number}"), (seconds * 1000.0).round() as i64, &rules, &values);
            let mut expected: Vec<_> = expected.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            let mut found: Vec<_> = found.iter().map(String::as_str).collect();
            expected.sort_unstable();
            found.sort_unstable();
            if found != expected {
                writeln!(wrong, "{title}: event {number}: {found:?}, not {expected:?}").unwrap();
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count >= 30, "{count}");
}

/// What a finding says beside its name.
#[test]
fn a_finding_shows_its_events_in_their_order_and_of_many_the_first_and_the_last() {
    let text = "title: T\ncorrelation: {type: temporal_ordered, rules: [a, b, c], group-by: u, timespan: 1h}\n";
    let pack = pack(text);
    let mut bench = Bench::new(&pack, Limits::default());
    let mut shown = BTreeMap::new();
    let mut take = |id: &str, time: i64, rule: usize| {
        bench.fields.clear();
        bench.fields.push(0, "Root", None);
        let signal = cybervault_correlation::Signal {
            tenant: "t",
            event_id: id,
            time,
            rules: &[rule],
            fields: &bench.fields,
            meets: None,
        };
        bench.engine.take(&signal, &mut |finding| {
            let events = finding.events.iter().map(|event| (event.event_id.clone(), event.rules.join("+")));
            shown.insert(finding.event_id.to_owned(), (finding.count, finding.group.len(), events.collect::<Vec<_>>()));
        });
    };
    for at in 0..50_i64 {
        take(&format!("a{at}"), at, 0);
    }
    take("b", 60, 1);
    for at in 0..40_i64 {
        take(&format!("a{at}"), 70 + at, 0);
    }
    take("c", 200, 2);
    let (count, groups, events) = &shown["c"];
    assert_eq!((*count, *groups, events.len()), (92, 1, 33));
    assert_eq!(events[0], ("a0".to_owned(), "a".to_owned()));
    assert_eq!(events[12], ("b".to_owned(), "b".to_owned()));
    assert_eq!(events[32], ("c".to_owned(), "c".to_owned()));
}

#[test]
fn a_counted_value_is_shown_and_is_cut_where_it_is_long() {
    let text = "title: T\ncorrelation: {type: value_count, rules: a, group-by: u, timespan: 1h, condition: {field: v, gte: 2}}\n";
    let mut bench = Bench::new(&pack(text), Limits::default());
    let long = "x".repeat(1000);
    let mut take = |id: &str, value: &str| {
        bench.fields.clear();
        for (at, field) in bench.plan.fields().iter().enumerate() {
            bench.fields.push(at, if field == "u" { "root" } else { value }, None);
        }
        let signal = cybervault_correlation::Signal {
            tenant: "t",
            event_id: id,
            time: 0,
            rules: &[0],
            fields: &bench.fields,
            meets: None,
        };
        let mut values = Vec::new();
        bench
            .engine
            .take(&signal, &mut |finding| values.extend(finding.events.iter().map(|event| event.value.clone())));
        values
    };
    assert_eq!(take("e1", "One"), []);
    assert_eq!(take("e2", &long), [Some("One".to_owned()), Some("x".repeat(128))]);
}
