//! Both engines over the same lines, in turns.

use cybervault_sigma::Routing;
use serde_json::{Value, json};

use crate::{
    Outcome, ours, peer,
    rules::File,
    turns::{Taken, in_turns},
};

pub(crate) fn compare(files: &[File], lines: &[&str]) -> Outcome<Value> {
    let matcher = ours::matcher(files);
    let sources: Vec<_> = ours::log_sources(&matcher, lines)
        .iter()
        .map(|sources| sources.iter().map(peer::log_source).collect::<Vec<_>>())
        .collect();
    let bloom = bloom_pays(files, lines)?;
    let engine = peer::engine(files, bloom)?;
    let taken = in_turns(&mut [
        ours::decode(lines),
        Box::new(|| peer::parse(lines)),
        ours::matches(&matcher, Routing::Off, lines),
        peer::matches(&engine, lines),
        ours::explains(&matcher, Routing::Off, lines),
        ours::matches(&matcher, Routing::Auto, lines),
        peer::routed(&engine, lines, &sources),
        ours::explains(&matcher, Routing::Auto, lines),
    ]);
    let rate = |taken: Taken| lines.len() as f64 / taken.seconds;
    let side = |at: usize| json!({ "events_per_second": rate(taken[at]), "hits": taken[at].found });
    Ok(json!({
        "rules": matcher.rules().len(),
        "peer_rules": engine.rule_count(),
        "bloom": bloom,
        "parsing": { "ours": side(0), "peer": side(1) },
        "every_rule": { "ours": side(2), "peer": side(3), "ours_with_evidence": side(4) },
        "routed": { "ours": side(5), "peer": side(6), "ours_with_evidence": side(7) },
    }))
}

/// Whether the peer's bloom filter makes it faster, which its documentation says to try on what one has.
fn bloom_pays(files: &[File], lines: &[&str]) -> Outcome<bool> {
    let some: Vec<_> = lines.iter().step_by(lines.len().div_ceil(1_000)).copied().collect();
    let (without, with) = (peer::engine(files, false)?, peer::engine(files, true)?);
    let taken = in_turns(&mut [peer::matches(&without, &some), peer::matches(&with, &some)]);
    Ok(taken[1].seconds < taken[0].seconds)
}
