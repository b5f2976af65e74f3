//! Cases in text files: a detection section, and events that it is true of or not.

use std::fmt::Write as _;

use cybervault_sigma::{Matcher, Routing};

use crate::{matcher, raw, reader};

#[test]
fn modifiers_mean_what_the_specification_says() {
    run(include_str!("../cases/modifiers.txt"));
}

#[test]
fn conditions_join_selections_as_the_specification_says() {
    run(include_str!("../cases/conditions.txt"));
}

fn run(cases: &str) {
    let mut wrong = String::new();
    for case in cases.split("\n== ").skip(1) {
        let (title, body) = case.split_once('\n').unwrap();
        let (events, detection): (Vec<_>, Vec<_>) =
            body.lines().partition(|line| line.starts_with("match ") || line.starts_with("miss "));
        let mut rule = format!("title: {title}\nlogsource: {{product: test}}\ndetection:\n");
        for line in &detection {
            writeln!(rule, "  {line}").unwrap();
        }
        if !detection.iter().any(|line| line.starts_with("condition")) {
            rule.push_str("  condition: sel\n");
        }
        let matcher = matcher(&rule);
        for line in events {
            let (expected, event) = line.split_once(' ').unwrap();
            if is_true(&matcher, event) != (expected == "match") {
                writeln!(wrong, "{title}: not a {line}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn is_true(matcher: &Matcher, event: &str) -> bool {
    let mut reader = reader();
    let document = reader.read(event.as_bytes()).unwrap();
    let mut scratch = matcher.scratch();
    let hits = matcher.matches(&raw(&document, event.as_bytes()), Routing::Off, &mut scratch);
    !hits.is_empty()
}
