//! The engine finds what the naive interpreter finds.

use cybervault_correlation::Limits;
use proptest::prelude::*;

use crate::{
    Bench,
    naive::{Asked, Event, Kind, as_they_arrive, in_order},
    pack,
};

const GROUPS: usize = 2;

fn text(asked: &Asked) -> String {
    let (kind, more) = match asked.kind {
        Kind::Count => ("event_count", String::new()),
        Kind::Distinct => ("value_count", "field: v, ".to_owned()),
        Kind::Sum => ("value_sum", "field: v, ".to_owned()),
        Kind::Average => ("value_avg", "field: v, ".to_owned()),
        Kind::Percentile(rank) => ("value_percentile", format!("field: v, percentile: {rank}, ")),
        Kind::Rules | Kind::NotBoth => ("temporal", String::new()),
        Kind::Ordered => ("temporal_ordered", String::new()),
    };
    let below = asked.below.map_or_else(String::new, |below| format!(", lt: {below}"));
    let (rules, condition) = match asked.kind {
        Kind::NotBoth => ("[a, b]", "a and not b".to_owned()),
        _ => ("[a, b, c]", format!("{{{more}gte: {}{below}}}", asked.least)),
    };
    let seconds = asked.timespan / 1000;
    format!(
        "title: T\nid: T\ncorrelation: {{type: {kind}, rules: {rules}, group-by: u, timespan: {seconds}s, condition: {condition}}}\n"
    )
}

prop_compose! {
    fn asked()(
        kind in prop_oneof![
            Just(Kind::Count), Just(Kind::Distinct), Just(Kind::Sum), Just(Kind::Average), Just(Kind::Rules),
            Just(Kind::Ordered), Just(Kind::NotBoth), (0..=100_i64).prop_map(Kind::Percentile),
        ],
        timespan in 1..90_i64,
        least in prop_oneof![1..5_i64, 20..50_i64],
        wide in prop::option::of(1..4_i64),
    ) -> Asked {
        let least = if matches!(kind, Kind::Rules | Kind::Ordered) { (least - 1) % 3 + 1 } else { least };
        Asked { kind, timespan: timespan * 1000, least, below: wide.map(|wide| least + wide) }
    }
}

/// Each with the group that it is in.
fn events(most: usize) -> impl Strategy<Value = Vec<(usize, Event)>> {
    let event = (0..GROUPS, 0..200_i64, 1..8_u64, 0..6_i64)
        .prop_map(|(group, time, rules, value)| (group, Event { time: time * 500, rules, value }));
    prop::collection::vec(event, 0..most)
}

/// What the engine finds with each event.
fn found(bench: &mut Bench, asked: &Asked, number: usize, (group, event): &(usize, Event)) -> bool {
    let rules: Vec<_> = (0..3).filter(|rule| event.rules >> rule & 1 == 1).collect();
    let (group, value) = (format!("g{group}"), event.value.to_string());
    let found = bench.take("t", &format!("e{number}"), event.time, &rules, &[("u", &group), ("v", &value)]);
    assert!(found.len() <= 1, "{asked:?}: {found:?}");
    !found.is_empty()
}

/// What the interpreter finds, group by group.
fn expected(events: &[(usize, Event)], evaluate: impl Fn(&[Event]) -> Vec<bool>) -> Vec<bool> {
    let mut expected = vec![false; events.len()];
    for group in 0..GROUPS {
        let places: Vec<_> = (0..events.len()).filter(|at| events[*at].0 == group).collect();
        let of_group: Vec<_> = places.iter().map(|at| events[*at].1.clone()).collect();
        places.into_iter().zip(evaluate(&of_group)).for_each(|(at, found)| expected[at] = found);
    }
    expected
}

/// Only events of a rule that the correlation is over are in its groups.
fn counted(asked: &Asked, events: Vec<(usize, Event)>) -> Vec<(usize, Event)> {
    let rules = if matches!(asked.kind, Kind::NotBoth) { 3 } else { 7 };
    events.into_iter().filter(|(_, event)| event.rules & rules != 0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn events_in_order_are_found_as_by_the_naive_interpreter(asked in asked(), events in events(200)) {
        let mut events = counted(&asked, events);
        events.sort_by_key(|(_, event)| event.time);
        let mut bench = Bench::new(&pack(&text(&asked)), Limits::default());
        let found: Vec<_> = (0..events.len()).map(|at| found(&mut bench, &asked, at, &events[at])).collect();
        prop_assert_eq!(found, expected(&events, |events| in_order(&asked, events)));
    }

    #[test]
    fn events_in_any_order_are_found_as_by_the_naive_interpreter(asked in asked(), events in events(60)) {
        let events = counted(&asked, events);
        let mut bench = Bench::new(&pack(&text(&asked)), Limits::default());
        let found: Vec<_> = (0..events.len()).map(|at| found(&mut bench, &asked, at, &events[at])).collect();
        prop_assert_eq!(found, expected(&events, |events| as_they_arrive(&asked, events)));
    }

    #[test]
    fn where_more_events_can_only_make_it_truer_the_order_does_not_matter(asked in asked(), events in events(60)) {
        let asked = Asked { below: None, ..asked };
        prop_assume!(!matches!(asked.kind, Kind::Average | Kind::Percentile(_) | Kind::NotBoth));
        let groups = |events: &[(usize, Event)]| {
            let mut bench = Bench::new(&pack(&text(&asked)), Limits::default());
            let mut groups: Vec<_> =
                events.iter().enumerate().filter(|(at, event)| found(&mut bench, &asked, *at, event)).map(|(_, event)| event.0).collect();
            groups.sort_unstable();
            groups.dedup();
            groups
        };
        let mut sorted = events.clone();
        sorted.sort_by_key(|(_, event)| event.time);
        prop_assert_eq!(groups(&events), groups(&sorted));
    }

    #[test]
    fn a_chain_in_order_is_found_as_by_the_naive_interpreter(
        least in 1..4_i64, inner in 1..20_i64, outer in 1..40_i64, ordered in any::<bool>(), events in events(80),
    ) {
        let mut events: Vec<_> = events.into_iter().map(|(_, event)| event).filter(|event| event.rules & 3 != 0).collect();
        events.sort_by_key(|event| event.time);
        let kind = if ordered { "temporal_ordered" } else { "temporal" };
        let text = format!(
            "title: T\ncorrelation: {{type: {kind}, rules: [inner, b], group-by: u, timespan: {outer}s}}\n---\n\
             title: I\nname: inner\ncorrelation: {{type: event_count, rules: a, group-by: u, timespan: {inner}s, condition: {{gte: {least}}}}}\n"
        );
        let mut bench = Bench::new(&pack(&text), Limits::default());
        let found: Vec<_> = events.iter().map(|event| {
            let rules: Vec<_> = (0..2).filter(|rule| event.rules >> rule & 1 == 1).collect();
            !bench.take("t", "e", event.time, &rules, &[("u", "x")]).is_empty()
        }).collect();
        // What the one above sees: the first rule where the one below is true with the event, the second as it is.
        let mut counted: Vec<i64> = Vec::new();
        let seen: Vec<_> = events.iter().map(|event| {
            let is_counted = event.rules & 1 == 1;
            counted.extend(is_counted.then_some(event.time));
            let count = counted.iter().filter(|time| **time >= event.time - inner * 1000).count();
            let is_true = is_counted && count >= usize::try_from(least).unwrap();
            Event { rules: u64::from(is_true) | event.rules & 2, ..event.clone() }
        }).collect();
        let kind = if ordered { Kind::Ordered } else { Kind::Rules };
        let asked = Asked { kind, timespan: outer * 1000, least: 2, below: None };
        let above: Vec<_> = seen.iter().filter(|event| event.rules != 0).cloned().collect();
        let mut expected = in_order(&asked, &above).into_iter();
        let expected: Vec<_> = seen.iter().map(|event| event.rules != 0 && expected.next().unwrap()).collect();
        prop_assert_eq!(found, expected);
    }
}
