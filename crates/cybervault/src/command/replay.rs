//! `cybervault replay`: dead letters back to where they came from.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use cybervault_stream::{
    Follower, Health, KafkaSettings, Runner, Start, State, StreamError, headers, offsets, read_states,
};
use serde_json::json;

use super::Answer;
use crate::{
    cli::ReplayArgs,
    config::Config,
    pipeline,
    stage::{Replay, ReplayFilter, ReplayTally, SentBack, Stretch},
};

const STAGE: &str = "replay";
/// The group up to whose offsets versions up to 0.1.0 have dealt with everything. It moves no more.
const BEFORE: &str = "replay";
/// The group that reads now; where it begins is said at each start.
const GROUP: &str = "replay.reader";
/// How many kinds of dead letters are told apart in the answer: their headers may be anyone's.
const MAX_KINDS: usize = 1_000;

/// (what becomes of it, reason, origin's topic).
type Kind = (ReplayTally, String, String);

/// What is in the topic that was not sent back yet.
#[derive(Default)]
struct Waiting {
    kinds: BTreeMap<Kind, u64>,
    /// Where in each partition what is to be sent back lies.
    stretches: BTreeMap<i32, Stretch>,
}

pub(super) fn run(args: &ReplayArgs, config: &Config) -> anyhow::Result<Answer> {
    let kafka = config.kafka();
    let filter = ReplayFilter {
        reason: args.reason.clone(),
        tenant: args.tenant.clone(),
        inputs: pipeline::input_topics(config),
    };
    let waiting = find_waiting(config, &kafka, &filter)?;
    if !args.dry_run && !waiting.stretches.is_empty() {
        send_back(config, filter, &waiting)?;
    }
    print(&waiting, args)?;
    Ok(Answer::Yes)
}

fn count(waiting: &Waiting, tally: ReplayTally) -> u64 {
    waiting.kinds.iter().filter(|((found, ..), _)| *found == tally).map(|(_, count)| count).sum()
}

/// Reads the topic to its end as it is now.
fn find_waiting(config: &Config, kafka: &KafkaSettings, filter: &ReplayFilter) -> anyhow::Result<Waiting> {
    let dead_letters = config.topic(|names| &names.telemetry_dlq);
    let done: BTreeMap<i32, i64> =
        offsets::committed(kafka, &pipeline::group(config, BEFORE), &dead_letters)?.into_iter().collect();
    let oldest: BTreeMap<i32, i64> =
        offsets::ends(kafka, &dead_letters)?.into_iter().map(|(partition, low, _)| (partition, low)).collect();
    let sent = read_states(kafka, &config.topic(|names| &names.state_replay), config.state_limits())?;
    let was_sent = |partition: i32, offset: i64| {
        done.get(&partition).is_some_and(|next| offset < *next)
            || sent.get(&partition).is_some_and(|state: &State| SentBack::has(state, offset))
    };
    let mut follower = Follower::open(kafka, &[&dead_letters], Start::Beginning)?;
    let mut waiting = Waiting::default();
    while !follower.is_at_end() {
        let Some(record) = follower.next(Duration::from_millis(100))? else { continue };
        if was_sent(record.partition, record.offset) {
            continue;
        }
        let header = |name: &str| record.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
        let (tally, _) = filter.judge(record.key.as_deref(), header);
        let named = |name| record.header(name).unwrap_or("unknown").chars().take(249).collect();
        let mut kind = (tally, named(headers::REASON), named(headers::TOPIC));
        if waiting.kinds.len() >= MAX_KINDS && !waiting.kinds.contains_key(&kind) {
            kind = (tally, "other".to_owned(), "other".to_owned());
        }
        *waiting.kinds.entry(kind).or_default() += 1;
        if tally == ReplayTally::Sent {
            let oldest = oldest.get(&record.partition).copied().unwrap_or_default();
            let new = Stretch { oldest, first: record.offset, last: record.offset };
            waiting.stretches.entry(record.partition).or_insert(new).last = record.offset;
        }
    }
    Ok(waiting)
}

fn send_back(config: &Config, filter: ReplayFilter, waiting: &Waiting) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let dead_letters = config.topic(|names| &names.telemetry_dlq);
    let mut settings = pipeline::runner_settings(config, STAGE, 0);
    settings.group = pipeline::group(config, GROUP);
    // Its place in the group is not kept: the next one moves the group before it joins.
    settings.member = None;
    settings.inputs = vec![dead_letters.clone()];
    settings.outputs.clone_from(&filter.inputs);
    settings.changelog = Some(config.topic(|names| &names.state_replay));
    let (kafka, group) = (settings.kafka.clone(), settings.group.clone());
    begin_at(&kafka, &group, &dead_letters, |partition| waiting.stretches.get(&partition).map(|found| found.first))?;
    let stage = Replay::new(filter, waiting.stretches.clone(), stop.clone());
    let runner = Runner::new(settings, stage, &Health::default(), stop.clone());
    let runner = thread::Builder::new().name(STAGE.to_owned()).spawn(move || runner.run())?;
    let left = || -> anyhow::Result<i64> {
        let done: BTreeMap<i32, i64> = offsets::committed(&kafka, &group, &dead_letters)?.into_iter().collect();
        let of = |(partition, stretch): (&i32, &Stretch)| {
            (stretch.last + 1 - done.get(partition).copied().unwrap_or(0).max(0)).max(0)
        };
        Ok(waiting.stretches.iter().map(of).sum())
    };
    while !runner.is_finished() {
        thread::sleep(Duration::from_millis(200));
        if left().is_ok_and(|left| left == 0) {
            stop.store(true, Ordering::Relaxed);
        }
    }
    match runner.join() {
        Ok(ended) => ended?,
        Err(_) => bail!("the replay's runner panicked; see the log"),
    }
    let left = left().context("the replay has ended, but Kafka does not say how far it came")?;
    if left > 0 {
        bail!("the replay ended {left} offsets short of its end; run it again to send back the rest");
    }
    Ok(())
}

/// Moves a group to where reading begins in each partition: its end where nothing is to be read.
pub(super) fn begin_at(
    kafka: &KafkaSettings,
    group: &str,
    topic: &str,
    first: impl Fn(i32) -> Option<i64>,
) -> Result<(), StreamError> {
    let ends = offsets::ends(kafka, topic)?;
    let begin: Vec<(i32, i64)> =
        ends.into_iter().map(|(partition, _, high)| (partition, first(partition).unwrap_or(high))).collect();
    offsets::commit(kafka, group, topic, &begin)
}

fn print(waiting: &Waiting, args: &ReplayArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (sent, filtered, foreign) = (
        count(waiting, ReplayTally::Sent),
        count(waiting, ReplayTally::Filtered),
        count(waiting, ReplayTally::Foreign) + count(waiting, ReplayTally::Part),
    );
    if args.json {
        let kinds: Vec<_> = waiting
            .kinds
            .iter()
            .map(|((tally, reason, topic), count)| {
                json!({ "reason": reason, "topic": topic, "count": count, "sent_back": *tally == ReplayTally::Sent })
            })
            .collect();
        let answer = json!({ "dry_run": args.dry_run, "sent_back": sent, "filtered_out": filtered, "foreign": foreign,
            "kinds": kinds });
        return writeln!(out, "{answer}");
    }
    let would = if args.dry_run { "would be " } else { "" };
    for ((tally, reason, topic), count) in &waiting.kinds {
        match tally {
            ReplayTally::Sent => writeln!(out, "{count} {would}sent back to {topic} ({reason})")?,
            ReplayTally::Filtered => writeln!(out, "{count} not asked for ({reason}, from {topic})")?,
            ReplayTally::Foreign => writeln!(out, "{count} left: {topic} is none of the stages' inputs ({reason})")?,
            ReplayTally::Part => writeln!(
                out,
                "{count} left: not whole, since too large ({reason}, from {topic}); `cybervault dead fetch` has all of it"
            )?,
        }
    }
    writeln!(out, "{sent} {would}sent back, {} stay", filtered + foreign)
}
