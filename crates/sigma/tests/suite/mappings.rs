//! The mappings that ship: events as vendors write them, their log sources, and rules that fire on them.

use std::{collections::BTreeSet, fmt::Write as _};

use cybervault_model::{Decoder, Incoming, json::Limits};
use cybervault_sigma::{Mappings, Routing, RuleFile, load};

use crate::{differential::public_rules, matcher};

/// A case is an event (`event JSON`); its log sources (`is PRODUCT/SERVICE/CATEGORY`, `-` for none), each; and rules for a log
/// source with one selection, which are true of it (`hit SOURCE SELECTION`) or not (`miss SOURCE SELECTION`). What hits does so
/// whether events are routed or not.
#[test]
fn vendors_events_have_their_log_sources_and_hit_rules_for_these() {
    let mut wrong = String::new();
    for case in include_str!("../cases/mappings.txt").split("\n== ").skip(1) {
        let (title, body) = case.split_once('\n').unwrap();
        let of = |kind: &str| body.lines().filter_map(|line| line.strip_prefix(kind)).collect::<Vec<_>>();
        let [event] = *of("event ").as_slice() else { panic!("{title}: one event a case") };
        let expected: BTreeSet<_> = of("is ").into_iter().map(str::to_owned).collect();
        let found = log_sources(event);
        if found != expected {
            writeln!(wrong, "{title}: is {found:?}, not {expected:?}").unwrap();
        }
        assert!(!of("hit ").is_empty(), "{title}: no rule hits");
        for (kind, expected) in [("hit ", true), ("miss ", false)] {
            for rule in of(kind) {
                if hits(rule, event, Routing::Auto) != expected {
                    writeln!(wrong, "{title}: not a {kind}: {rule}").unwrap();
                }
                if expected && !hits(rule, event, Routing::Off) {
                    writeln!(wrong, "{title}: no hit without routing: {rule}").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn log_sources(event: &str) -> BTreeSet<String> {
    let matcher = matcher("title: t\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}");
    let mut decoder = Decoder::new(Limits::default());
    let decoded = decoder.decode(&incoming(event)).unwrap();
    matcher.log_sources(&decoded.event()).iter().map(ToString::to_string).collect()
}

fn hits(rule: &str, event: &str, routing: Routing) -> bool {
    let (source, selection) = rule.split_once(' ').unwrap();
    let names = source.split('/').zip(["product", "service", "category"]).filter(|(name, _)| *name != "-");
    let source: Vec<_> = names.map(|(name, key)| format!("{key}: {name}")).collect();
    let text =
        format!("title: t\nlogsource: {{{}}}\ndetection:\n  sel: {selection}\n  condition: sel\n", source.join(", "));
    let matcher = matcher(&text);
    let mut decoder = Decoder::new(Limits::default());
    let mut scratch = matcher.scratch();
    // Twice, since what is known of its keys may decide the second time.
    let mut hits = || {
        let decoded = decoder.decode(&incoming(event)).unwrap();
        !matcher.matches(&decoded.event(), routing, &mut scratch).is_empty()
    };
    let first = hits();
    assert!((0..4).all(|_| hits() == first), "{rule}: not the same each time");
    first
}

fn incoming(event: &str) -> Incoming<'_> {
    Incoming { key: Some(b"acme"), value: event.as_bytes(), ..Incoming::default() }
}

/// Which of the public rules are for log sources that some mapping gives.
#[test]
fn nearly_all_public_rules_are_for_log_sources_that_mappings_give() {
    let Some(files) = public_rules() else {
        println!("SKIPPED: ../shared/data with the public rules is not here");
        return;
    };
    let pack = load(files.iter().map(|(path, text)| RuleFile { path, text }));
    let mappings = Mappings::builtin();
    let (given, missing): (Vec<_>, Vec<_>) =
        pack.rules.iter().map(|rule| &rule.meta.logsource).partition(|source| mappings.give(source));
    let all = given.len() + missing.len();
    let missing: BTreeSet<_> = missing.into_iter().map(ToString::to_string).collect();
    println!("{} of {all} rules are for log sources that mappings give; not those for {missing:?}", given.len());
    assert!(given.len() * 100 >= all * 99, "{} of {all}", given.len());
}
