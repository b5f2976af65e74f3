//! What an event costs, over the number of rules and over its size.

use std::path::Path;

use cybervault_sigma::Routing;
use serde_json::{Value, json};

use crate::{
    Outcome, events, ours,
    plot::{Axis, Line, Plot, Scale},
    rules::{File, scaled},
    turns::in_turns,
};

/// What was measured, and how it is to be drawn.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) points: Vec<Value>,
    plot: Plot,
}

impl Curve {
    pub(crate) fn draw(&self, path: &Path) -> Outcome<()> {
        self.plot.draw(path)
    }
}

/// With fewer rules, with all, and with up to ten times as many.
pub(crate) fn over_rules(files: &[File], lines: &[&str]) -> Outcome<Curve> {
    let all = files.len();
    let fewer = [30, 100, 300, 1_000].into_iter().filter(|count| count * 2 < all);
    let counts: Vec<_> = fewer.chain([all, 3 * all, 10 * all]).collect();
    let mut matchers = Vec::new();
    for count in &counts {
        matchers.push(ours::matcher(&scaled(files, *count)?));
    }
    let mut sides: Vec<Box<dyn FnMut() -> u64 + '_>> = vec![ours::decode(lines)];
    for matcher in &matchers {
        sides.push(ours::matches(matcher, Routing::Auto, lines));
        sides.push(ours::matches(matcher, Routing::Off, lines));
    }
    let taken = in_turns(&mut sides);
    let each = |at: usize| taken[at].seconds * 1e6 / lines.len() as f64;
    let rule_counts = matchers.iter().map(|matcher| matcher.rules().len());
    let points = rule_counts.clone().zip(&matchers).enumerate().map(|(at, (rules, matcher))| {
        json!({
            "rules": rules,
            "parsing_micros": each(0),
            "routed_micros": each(2 * at + 1),
            "every_rule_micros": each(2 * at + 2),
            "hits": taken[2 * at + 2].found,
            "literals_bytes": matcher.literals_bytes(),
        })
    });
    let line = |side: &dyn Fn(usize) -> usize| {
        rule_counts.clone().enumerate().map(|(at, rules)| (rules as f64, each(side(at)))).collect()
    };
    Ok(Curve {
        points: points.collect(),
        plot: Plot {
            across: Axis { name: "rules", scale: Scale::Logarithmic(&[30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4]) },
            lines: lines_of(line(&|_| 0), line(&|at| 2 * at + 1), line(&|at| 2 * at + 2)),
        },
    })
}

/// Half octaves of a kilobyte, and how many events must be of a size to tell.
const HALF_OCTAVES: std::ops::Range<i32> = -2..8;
const ENOUGH: usize = 100;

/// With all rules, for the events of each size.
pub(crate) fn over_size(files: &[File], lines: &[&str]) -> Curve {
    let matcher = ours::matcher(files);
    let sizes: Vec<Vec<&str>> = HALF_OCTAVES
        .map(|half| {
            let from = 1e3 * 2f64.powf(f64::from(half) / 2.0);
            let fits = |line: &&&str| (from..from * 2f64.sqrt()).contains(&(line.len() as f64));
            lines.iter().filter(fits).copied().collect::<Vec<_>>()
        })
        .filter(|lines| lines.len() >= ENOUGH)
        .collect();
    let mut sides: Vec<Box<dyn FnMut() -> u64 + '_>> = Vec::new();
    for lines in &sizes {
        sides.push(ours::decode(lines));
        sides.push(ours::matches(&matcher, Routing::Auto, lines));
        sides.push(ours::matches(&matcher, Routing::Off, lines));
    }
    let taken = in_turns(&mut sides);
    let each = |at: usize| taken[at].seconds * 1e6 / sizes[at / 3].len() as f64;
    let kilobytes = |at: usize| events::bytes(&sizes[at]) as f64 / 1e3 / sizes[at].len() as f64;
    let line = |side: usize| (0..sizes.len()).map(|at| (kilobytes(at), each(3 * at + side))).collect();
    let point = |at: usize| {
        json!({
            "kilobytes": kilobytes(at),
            "parsing_micros": each(3 * at),
            "routed_micros": each(3 * at + 1),
            "every_rule_micros": each(3 * at + 2),
        })
    };
    Curve {
        points: (0..sizes.len()).map(point).collect(),
        plot: Plot {
            across: Axis { name: "size of the event, kB", scale: Scale::FromZero },
            lines: lines_of(line(0), line(1), line(2)),
        },
    }
}

fn lines_of(parsing: Vec<(f64, f64)>, routed: Vec<(f64, f64)>, every: Vec<(f64, f64)>) -> [Line; 3] {
    [
        Line { name: "every rule on every event", points: every },
        Line { name: "rules for the event's log source", points: routed },
        Line { name: "parsing alone", points: parsing },
    ]
}
