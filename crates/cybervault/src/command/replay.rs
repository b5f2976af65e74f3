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
use cybervault_stream::{Follower, Health, KafkaSettings, Runner, Start, headers, offsets};
use serde_json::json;

use super::Answer;
use crate::{
    cli::ReplayArgs,
    config::Config,
    pipeline,
    stage::{Replay, ReplayFilter, ReplayTally},
};

const STAGE: &str = "replay";
/// How many kinds of dead letters are told apart in the answer: their headers may be anyone's.
const MAX_KINDS: usize = 1_000;

/// (what becomes of it, reason, origin's topic).
type Kind = (ReplayTally, String, String);

/// What is in the topic that no replay has dealt with yet.
#[derive(Default)]
struct Waiting {
    kinds: BTreeMap<Kind, u64>,
    /// The last dead letter of each partition.
    last: BTreeMap<i32, i64>,
}

pub(super) fn run(args: &ReplayArgs, config: &Config) -> anyhow::Result<Answer> {
    let kafka = config.kafka();
    let dead_letters = config.topic(|names| &names.telemetry_dlq);
    let filter = ReplayFilter {
        reason: args.reason.clone(),
        tenant: args.tenant.clone(),
        inputs: pipeline::input_topics(config),
    };
    let waiting = find_waiting(&kafka, (&pipeline::group(config, STAGE), &dead_letters), &filter)?;
    let sent: u64 = count(&waiting, ReplayTally::Sent);
    if !args.dry_run && sent > 0 {
        send_back(config, filter, &dead_letters, &waiting)?;
    }
    print(&waiting, args)?;
    Ok(Answer::Yes)
}

fn count(waiting: &Waiting, tally: ReplayTally) -> u64 {
    waiting.kinds.iter().filter(|((found, ..), _)| *found == tally).map(|(_, count)| count).sum()
}

/// Reads what the replay's group has not come past yet, to the topic's end as it is now.
fn find_waiting(kafka: &KafkaSettings, (group, topic): (&str, &str), filter: &ReplayFilter) -> anyhow::Result<Waiting> {
    let done: BTreeMap<i32, i64> = offsets::committed(kafka, group, topic)?.into_iter().collect();
    let mut follower = Follower::open(kafka, &[topic], Start::Beginning)?;
    let mut waiting = Waiting::default();
    while !follower.is_at_end() {
        let Some(record) = follower.next(Duration::from_millis(100))? else { continue };
        if done.get(&record.partition).is_some_and(|next| record.offset < *next) {
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
        let last = waiting.last.entry(record.partition).or_insert(record.offset);
        *last = record.offset.max(*last);
    }
    Ok(waiting)
}

fn send_back(config: &Config, filter: ReplayFilter, dead_letters: &Arc<str>, waiting: &Waiting) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut settings = pipeline::runner_settings(config, STAGE, 0);
    settings.inputs = vec![dead_letters.clone()];
    settings.outputs.clone_from(&filter.inputs);
    settings.outputs.push(dead_letters.clone());
    let (kafka, group) = (settings.kafka.clone(), settings.group.clone());
    let stage = Replay::new(filter, dead_letters.clone(), waiting.last.clone(), stop.clone());
    let runner = Runner::new(settings, stage, &Health::default(), stop.clone());
    let runner = thread::Builder::new().name(STAGE.to_owned()).spawn(move || runner.run())?;
    let left = || -> anyhow::Result<i64> {
        let done: BTreeMap<i32, i64> = offsets::committed(&kafka, &group, dead_letters)?.into_iter().collect();
        let of = |(partition, last): (&i32, &i64)| (last + 1 - done.get(partition).copied().unwrap_or(0).max(0)).max(0);
        Ok(waiting.last.iter().map(of).sum())
    };
    while !runner.is_finished() {
        thread::sleep(Duration::from_millis(200));
        // Another replay may have dealt with some of the partitions.
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

fn print(waiting: &Waiting, args: &ReplayArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (sent, filtered, foreign) = (
        count(waiting, ReplayTally::Sent),
        count(waiting, ReplayTally::Filtered),
        count(waiting, ReplayTally::Foreign),
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
        }
    }
    writeln!(out, "{sent} {would}sent back, {} stay", filtered + foreign)
}
