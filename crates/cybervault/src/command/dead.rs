//! `cybervault dead`: what could not be processed, and the whole of it from where it came.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::bail;
use cybervault_stream::{Fetched, Follower, OwnedRecord, Sizes, Start, headers};
use serde_json::json;

use super::Answer;
use crate::{
    cli::{DeadCommand, DeadFetchArgs, DeadShowArgs},
    config::Config,
};

/// How long a record may take to come.
const WAIT: Duration = Duration::from_secs(60);

pub(super) fn run(command: &DeadCommand, config: &Config) -> anyhow::Result<Answer> {
    match command {
        DeadCommand::Show(args) => show(args, config),
        DeadCommand::Fetch(args) => fetch(args, config),
    }
}

fn show(args: &DeadShowArgs, config: &Config) -> anyhow::Result<Answer> {
    let dead_letters = config.topic(|names| &names.telemetry_dlq);
    let mut follower = Follower::open(&config.kafka(), &[&dead_letters], Start::Beginning)?;
    let mut out = io::stdout().lock();
    let mut left = args.max.unwrap_or(u64::MAX);
    while left > 0 && !follower.is_at_end() {
        let Some(record) = follower.next(Duration::from_millis(100))? else { continue };
        if args.reason.as_ref().is_some_and(|wanted| record.header(headers::REASON) != Some(wanted)) {
            continue;
        }
        left -= 1;
        if args.json {
            writeln!(out, "{}", as_json(&record))?;
        } else {
            writeln!(out, "{}", in_words(&record))?;
        }
    }
    Ok(Answer::Yes)
}

fn as_json(record: &OwnedRecord) -> serde_json::Value {
    let text = |name| record.header(name);
    let number = |name| text(name).and_then(|text| text.parse::<i64>().ok());
    json!({
        "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
        "reason": text(headers::REASON), "message": text(headers::MESSAGE), "stage": text(headers::STAGE),
        "origin": {
            "topic": text(headers::TOPIC), "partition": number(headers::PARTITION), "offset": number(headers::OFFSET),
            "last_offset": number(headers::LAST_OFFSET),
        },
        "bytes": number(headers::VALUE_BYTES).unwrap_or(i64::try_from(record.value.len()).unwrap_or(i64::MAX)),
        "is_whole": is_whole(record), "sha256": text(headers::VALUE_SHA256),
    })
}

fn in_words(record: &OwnedRecord) -> String {
    let text = |name| record.header(name).unwrap_or("?").escape_debug().collect::<String>();
    let last = record.header(headers::LAST_OFFSET).filter(|last| record.header(headers::OFFSET) != Some(last));
    let last = last.map(|last| format!("-{}", last.escape_debug())).unwrap_or_default();
    let part = if is_whole(record) { "" } else { " (not whole; see `cybervault dead fetch`)" };
    format!(
        "{} {}/{}@{}{last}: {}: {}{part}",
        record.timestamp,
        text(headers::TOPIC),
        text(headers::PARTITION),
        text(headers::OFFSET),
        text(headers::REASON),
        text(headers::MESSAGE)
    )
}

/// Whether the record is there as it came.
fn is_whole(record: &OwnedRecord) -> bool {
    record.header(headers::VALUE_BYTES).is_none() && record.header(headers::LAST_OFFSET).is_none()
}

/// Writes the value of one record to stdout, as it came.
fn fetch(args: &DeadFetchArgs, config: &Config) -> anyhow::Result<Answer> {
    let mut kafka = config.kafka();
    kafka.sizes = Sizes { batch: args.max_batch_bytes, lone_batch: args.max_batch_bytes, ..kafka.sizes };
    let prefix = &config.kafka.topic_prefix;
    let topic = if args.topic.starts_with(&**prefix) { args.topic.clone() } else { format!("{prefix}{}", args.topic) };
    let (partition, offset) = (args.partition, args.offset);
    match cybervault_stream::fetch(&kafka, &topic, partition, offset, WAIT)? {
        Fetched::Record(record) => {
            let mut out = io::stdout().lock();
            out.write_all(&record.value)?;
            out.flush()?;
            Ok(Answer::Yes)
        }
        Fetched::Next(next) => {
            bail!("offset {offset} of partition {partition} is not there any more; the next is {next}")
        }
        Fetched::End => bail!("there is no offset {offset} in partition {partition} of `{topic}`"),
        Fetched::Unreadable(reason) => bail!(
            "the batch of offset {offset} can't be read: {reason}; if it is larger than {} bytes, raise `--max-batch-bytes`",
            args.max_batch_bytes
        ),
    }
}
