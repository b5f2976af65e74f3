//! Repetition, told once with a count.
//!
//! Findings are one entry of the timeline where they have the same rules, tactics and severity, and the same hosts, accounts, addresses,
//! domains and hashes. Anything new among these makes an entry of its own. Processes and files are often others each time, and are
//! gathered in the entry.
//!
//! A timeline is bounded. What has no room is, of the entries with the least to tell, the last: first those in which nothing is for
//! the first time, then those in which only an address, domain, hash, process or file is. So however much repeats, what comes beside it
//! for the first time is there.

use std::collections::HashSet;

use cybervault_model::{Entity, EntityKind, TimelineEntry};
use foldhash::fast::RandomState;

use crate::{
    content::is_news,
    everywhere::{identity, is_same},
    settings::MAX_PASSING,
};

/// Whether entities of this kind may be others each time without anything being new.
const fn is_passing(kind: EntityKind) -> bool {
    matches!(kind, EntityKind::Process | EntityKind::File)
}

/// Each entity once, in the order of an entry.
pub(crate) fn ordered(entities: impl Iterator<Item = Entity>) -> Vec<Entity> {
    let mut kept: Vec<Entity> = Vec::new();
    for entity in entities {
        if !kept.iter().any(|known| is_same(known, &entity)) {
            kept.push(entity);
        }
    }
    kept.sort();
    kept
}

/// Whether the findings of two entries are told as one.
fn folds(a: &TimelineEntry, b: &TimelineEntry) -> bool {
    a.severity == b.severity && a.rules == b.rules && a.tactics == b.tactics && has_same(a, b) && has_same(b, a)
}

fn has_same(a: &TimelineEntry, b: &TimelineEntry) -> bool {
    let mut lasting = a.entities.iter().filter(|entity| !is_passing(entity.kind));
    lasting.all(|entity| b.entities.iter().any(|other| is_same(entity, other)))
}

/// Adds an entry, and returns how many findings had no room.
pub(crate) fn add(timeline: &mut Vec<TimelineEntry>, entry: TimelineEntry, max: usize) -> u64 {
    match timeline.iter_mut().find(|known| folds(known, &entry)) {
        Some(known) => fold(known, entry),
        None => timeline.push(entry),
    }
    timeline.sort_by(|a, b| (a.first_at, &a.assessment_id).cmp(&(b.first_at, &b.assessment_id)));
    let mut left_out: u64 = 0;
    while timeline.len() > max {
        let Some(at) = least(timeline) else { break };
        left_out = left_out.saturating_add(timeline.remove(at).findings);
    }
    left_out
}

fn fold(known: &mut TimelineEntry, entry: TimelineEntry) {
    if (entry.first_at, &entry.assessment_id) < (known.first_at, &known.assessment_id) {
        known.assessment_id = entry.assessment_id;
        known.title = entry.title;
    }
    known.first_at = known.first_at.min(entry.first_at);
    known.last_at = known.last_at.max(entry.last_at);
    known.findings = known.findings.saturating_add(entry.findings);
    known.further_entities = known.further_entities.saturating_add(entry.further_entities);
    for entity in entry.entities {
        if known.entities.iter().any(|other| is_same(other, &entity)) {
            continue;
        }
        if known.entities.iter().filter(|other| is_passing(other.kind)).count() < MAX_PASSING {
            known.entities.push(entity);
        } else {
            known.further_entities = known.further_entities.saturating_add(1);
        }
    }
    known.entities.sort();
}

/// What an entry has for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum First {
    Nothing,
    /// An address or the like.
    Detail,
    /// A rule, tactic, severity, host or account.
    News,
}

/// The place of the entry with the least to tell.
fn least(timeline: &[TimelineEntry]) -> Option<usize> {
    let mut seen: HashSet<(&str, std::borrow::Cow<'_, str>), RandomState> = HashSet::default();
    let firsts: Vec<First> = timeline
        .iter()
        .map(|entry| {
            let mut first = First::Nothing;
            let mut note = |kind: &'static str, name, worth| {
                if seen.insert((kind, name)) {
                    first = first.max(worth);
                }
            };
            note("severity", entry.severity.as_str().into(), First::News);
            entry.rules.iter().for_each(|rule| note("rule", rule.as_str().into(), First::News));
            entry.tactics.iter().for_each(|tactic| note("tactic", (&**tactic).into(), First::News));
            for entity in &entry.entities {
                let worth = if is_news(entity.kind) { First::News } else { First::Detail };
                note(entity.kind.as_str(), identity(entity), worth);
            }
            first
        })
        .collect();
    // Of those with as little, the least severe; of these, the last.
    (0..timeline.len()).min_by_key(|&at| (firsts[at], timeline[at].severity, std::cmp::Reverse(at)))
}
