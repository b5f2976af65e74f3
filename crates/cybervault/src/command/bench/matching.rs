//! `bench match`: decoding and matching on one thread, beside parsing alone.

use std::{
    hint,
    ops::{ControlFlow, Range},
    time::{Duration, Instant},
};

use anyhow::bail;
use cybervault_model::{Decoder, Incoming, in_turn, json::Reader};
use serde_json::json;

use super::{ROUNDS, median, per_second};
use crate::{
    cli::BenchMatchArgs,
    command::{
        Answer,
        input::each_event,
        rules::{pipeline_sources, rules_source},
    },
    config::Config,
    detection::{Correlations, Detection},
};

pub(super) fn run(args: &BenchMatchArgs, config: &Config) -> anyhow::Result<Answer> {
    let detection = Detection::load(
        &rules_source(args.rules.as_deref(), config),
        &pipeline_sources(&[], config),
        config.scoring,
        Correlations::LeftOut,
    )?;
    // All in one piece of memory, as they are in a lot of records.
    let (mut bytes, mut ranges) = (Vec::<u8>::new(), Vec::<Range<usize>>::new());
    each_event(std::slice::from_ref(&args.events), "bench", config, &mut |found| {
        let start = bytes.len();
        bytes.extend_from_slice(found.event.bytes);
        ranges.push(start..bytes.len());
        Ok(ControlFlow::Continue(()))
    })?;
    let lines: Vec<&[u8]> = ranges.into_iter().map(|range| &bytes[range]).collect();
    if lines.is_empty() {
        bail!("no events in {} that can be read", args.events.display());
    }
    let (mut matched, mut parsed, mut hits) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        parsed.push(parse_only(&lines, config).as_secs_f64());
        let (time, found) = decode_and_match(&lines, &detection, args, config);
        matched.push(time.as_secs_f64());
        hits = found;
    }
    let (events, seconds) = (lines.len() as u64, median(matched));
    #[expect(clippy::cast_precision_loss)]
    let mib = bytes.len() as f64 / (1024.0 * 1024.0);
    let parse_only = Duration::from_secs_f64(median(parsed));
    super::answer(
        args.json,
        &json!({
            "events": events,
            "bytes": bytes.len(),
            "rules": detection.matcher.rules().len(),
            "hits": hits,
            "seconds": seconds,
            "events_per_second": per_second(events, Duration::from_secs_f64(seconds)),
            "mib_per_second": mib / seconds,
            "parse_only_events_per_second": per_second(events, parse_only),
        }),
    )
}

fn parse_only(lines: &[&[u8]], config: &Config) -> Duration {
    let mut reader = Reader::new(config.limits.reader()).forgetful();
    let started = Instant::now();
    for line in in_turn(lines) {
        let _ = hint::black_box(reader.read(line).map(|document| document.node(0).is_some()));
    }
    started.elapsed()
}

fn decode_and_match(lines: &[&[u8]], detection: &Detection, args: &BenchMatchArgs, config: &Config) -> (Duration, u64) {
    let mut decoder = Decoder::new(config.limits.reader());
    let mut scratch = detection.matcher.scratch();
    let mut hits = 0;
    let started = Instant::now();
    for line in in_turn(lines) {
        let incoming = Incoming { key: Some(b"bench"), value: line, ..Incoming::default() };
        if let Ok(decoded) = decoder.decode(&incoming) {
            hits += detection.matcher.matches(&decoded.event(), args.route.into(), &mut scratch).len() as u64;
        }
    }
    (started.elapsed(), hits)
}
