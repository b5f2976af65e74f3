//! `bench match`: decoding and matching on one thread, beside parsing alone.

use std::{
    hint,
    num::NonZeroUsize,
    ops::ControlFlow,
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
    let (mut scratch, route) = (detection.matcher.scratch(), args.route.into());
    let mut events: Vec<Box<[u8]>> = Vec::new();
    each_event(&args.events, "bench", config, &mut |found| {
        if !args.hits_only || !detection.matcher.matches(found.event, route, &mut scratch).is_empty() {
            events.push(found.event.bytes.into());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if events.is_empty() {
        let wanted = if args.hits_only { "of which a rule is true" } else { "that can be read" };
        bail!("no events {wanted} in what --events names");
    }
    if let Some(hosts) = args.interleave {
        events = interleaved(events, hosts);
    }
    // All in one piece of memory, as they are in a lot of records.
    let bytes = events.concat();
    let mut rest = &*bytes;
    let lines: Vec<&[u8]> = events.iter().filter_map(|event| rest.split_off(..event.len())).collect();
    drop(events);
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

/// The events as if so many hosts sent at the same time: cut into that many runs, one of each in turn. What is left over is a run of
/// its own.
fn interleaved<E>(events: Vec<E>, hosts: NonZeroUsize) -> Vec<E> {
    let length = (events.len() / hosts).max(1);
    let mut placed: Vec<_> = events.into_iter().enumerate().map(|(at, event)| (at % length, event)).collect();
    // Events of the same place in their runs stay in the order of the runs.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, event)| event).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_send_in_turn_and_no_event_is_lost() {
        let of = |count: usize, hosts| interleaved((0..count).collect(), NonZeroUsize::new(hosts).unwrap());
        assert_eq!(of(6, 2), [0, 3, 1, 4, 2, 5]);
        assert_eq!(of(7, 3), [0, 2, 4, 6, 1, 3, 5]);
        assert_eq!(of(3, 64), [0, 1, 2]);
        let mut all = of(1000, 64);
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}
