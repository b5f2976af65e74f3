//! The matcher's side: every call goes over all lines once, decoding included.

use std::hint::black_box;

use cybervault_model::{Decoder, Incoming, TelemetryEvent, in_turn, json::Limits};
use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, RuleSource, load};

use crate::rules::File;

pub(crate) fn matcher(files: &[File]) -> Matcher {
    Matcher::compile(load(files.iter().map(|File { path, text }| RuleFile { path, text })), &Mappings::builtin())
}

pub(crate) fn decode<'a>(lines: &'a [&str]) -> Box<dyn FnMut() -> u64 + 'a> {
    let mut decoder = decoder();
    Box::new(move || {
        each(&mut decoder, lines, |event| {
            black_box(event);
        });
        0
    })
}

/// Counts hits.
pub(crate) fn matches<'a>(matcher: &'a Matcher, routing: Routing, lines: &'a [&str]) -> Box<dyn FnMut() -> u64 + 'a> {
    let (mut decoder, mut scratch) = (decoder(), matcher.scratch());
    Box::new(move || {
        let mut hits = 0;
        each(&mut decoder, lines, |event| hits += matcher.matches(event, routing, &mut scratch).len() as u64);
        hits
    })
}

/// Counts hits, each with what in the event made the rule true.
pub(crate) fn explains<'a>(matcher: &'a Matcher, routing: Routing, lines: &'a [&str]) -> Box<dyn FnMut() -> u64 + 'a> {
    let (mut decoder, mut scratch) = (decoder(), matcher.scratch());
    Box::new(move || {
        let (mut hits, mut evidence) = (0, Vec::new());
        each(&mut decoder, lines, |event| {
            hits += matcher.matches_shown(event, routing, &mut scratch, &mut evidence).len() as u64;
            black_box(&evidence);
        });
        hits
    })
}

/// Each line's log sources.
pub(crate) fn log_sources(matcher: &Matcher, lines: &[&str]) -> Vec<Vec<RuleSource>> {
    let mut sources = Vec::new();
    each(&mut decoder(), lines, |event| sources.push(matcher.log_sources(event)));
    sources
}

fn decoder() -> Decoder {
    Decoder::new(Limits::default())
}

fn each(decoder: &mut Decoder, lines: &[&str], mut look: impl FnMut(&TelemetryEvent<'_>)) {
    for line in in_turn(lines) {
        let record = Incoming { key: Some(b"bench"), value: line.as_bytes(), ..Incoming::default() };
        if let Ok(decoded) = decoder.decode(&record) {
            look(&decoded.event());
        }
    }
}
