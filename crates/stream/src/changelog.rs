//! A partition's state on its compacted topic, and back from it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use rdkafka::{
    Message, Offset, TopicPartitionList, consumer::Consumer, error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
};
use tracing::{debug, info};

use crate::{
    KafkaSettings, Outbox, State, StateLimits, StreamError,
    error::{Needs, is_denied_alone},
    offsets,
    settings::LoneConsumer,
    state::{Change, Undo},
};

/// A change's value: one byte of version, eight of expiry (big-endian milliseconds), then the state's own bytes.
const VERSION: u8 = 1;
const HEAD: usize = 9;
const NEVER: i64 = i64::MAX;

/// How long a command that looks at states waits for them.
const READ_WITHIN: Duration = Duration::from_secs(300);

/// How long a client call may take before it is tried again.
const CALL: Duration = Duration::from_secs(5);
/// How long it is tried.
const ANSWER: Duration = Duration::from_secs(15);
/// For how long no record may come before all are read.
const SILENCE: Duration = Duration::from_secs(30);
/// How much longer than its own time-out a transaction may be open: its coordinator looks for such every 10 s, and may itself have
/// just started.
const DECISION: Duration = Duration::from_secs(15);

/// Ends `state`'s batch and puts its changes into `out`.
pub(crate) fn write(topic: &Arc<str>, partition: i32, state: &mut State, out: &mut Outbox) -> Undo {
    state.end_batch(|Change { key, entry }| match entry {
        None => out.push_change(topic, partition, key, None),
        Some((value, expires_at)) => {
            let mut head = [VERSION; HEAD];
            head[1..].copy_from_slice(&expires_at.map_or(NEVER, Timestamp::as_millis).to_be_bytes());
            out.push_change(topic, partition, key, Some([&head, value]));
        }
    })
}

fn parse(value: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
    let (head, rest) = value.split_first_chunk::<HEAD>()?;
    let [VERSION, expiry @ ..] = head else { return None };
    let expires_at = i64::from_be_bytes(*expiry);
    Some((rest, (expires_at != NEVER).then(|| Timestamp::from_millis(expires_at))))
}

/// Reads the states of `partitions` back from `topic`.
///
/// The end that is read to is the high watermark, open transactions included, and the read waits until those are decided:
/// an end that leaves them out (the last stable offset) could miss a transaction whose offsets are visible already, but
/// whose marker has not reached this topic (KAFKA-10167 tells of the same in Kafka Streams).
pub(crate) fn restore(
    kafka: &KafkaSettings,
    topic: &Arc<str>,
    partitions: &[i32],
    limits: StateLimits,
    keep_waiting: &dyn Fn() -> bool,
    progress: &dyn Fn(),
) -> Result<HashMap<i32, State>, StreamError> {
    let started = Instant::now();
    let decided_within = Duration::from_millis(kafka.transaction_timeout_ms()) + DECISION;
    let (committed, uncommitted) = (kafka.lone_consumer("read_committed")?, kafka.lone_consumer("read_uncommitted")?);
    let mut states: HashMap<i32, State> = partitions.iter().map(|p| (*p, State::new(limits))).collect();
    let mut assignment = TopicPartitionList::new();
    for &partition in partitions {
        let (low, high) = watermarks(&uncommitted, topic, partition, keep_waiting)?;
        if low == high {
            continue;
        }
        let since = Instant::now();
        loop {
            let (_, stable) = watermarks(&committed, topic, partition, keep_waiting)?;
            if stable >= high {
                break;
            }
            if !keep_waiting() {
                return Ok(states);
            }
            if since.elapsed() > decided_within {
                let (topic, seconds) = (topic.to_string(), since.elapsed().as_secs());
                return Err(StreamError::Undecided { topic, partition, offset: stable, seconds });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .map_err(|error| StreamError::from_kafka(&**topic, &error))?;
    }
    let mut open: HashSet<i32> = assignment.elements().iter().map(TopicPartitionListElem::partition).collect();
    committed.assign(&assignment).map_err(|error| StreamError::from_kafka(&**topic, &error))?;
    let mut records = 0u64;
    let mut heard = Instant::now();
    while !open.is_empty() && keep_waiting() {
        let polled = committed.poll(Duration::from_millis(100));
        if matches!(polled, Some(Ok(_))) {
            heard = Instant::now();
        } else if heard.elapsed() > SILENCE {
            return Err(StreamError::NoAnswer {
                what: format!("reading `{topic}`"),
                seconds: heard.elapsed().as_secs(),
            });
        }
        match polled {
            None => {}
            Some(Ok(message)) => {
                records += 1;
                if records % 1024 == 1 {
                    progress();
                }
                let key = message.key().unwrap_or_default();
                let entry = match message.payload() {
                    None => None,
                    Some(value) => Some(parse(value).ok_or_else(|| unreadable(topic, &message))?),
                };
                if let Some(state) = states.get_mut(&message.partition()) {
                    state.restore(key, entry);
                }
            }
            // Told again where a broker was away meanwhile.
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_denied_alone) => {
                return Err(refused(topic, &error));
            }
            Some(Err(error)) => info!(%topic, %error, "state: still reading"),
        }
    }
    if assignment.count() > 0 {
        info!(%topic, ?partitions, records, seconds = started.elapsed().as_secs_f64(), "state restored");
    }
    Ok(states)
}

/// Reads the states of all partitions of `topic`, as they are now.
///
/// # Errors
/// When no broker answers, or the topic is missing or not readable.
pub fn read_states(
    kafka: &KafkaSettings,
    topic: &Arc<str>,
    limits: StateLimits,
) -> Result<HashMap<i32, State>, StreamError> {
    let partitions: Vec<i32> = offsets::ends(kafka, topic)?.into_iter().map(|(partition, ..)| partition).collect();
    let until = Instant::now() + READ_WITHIN;
    let states = restore(kafka, topic, &partitions, limits, &|| Instant::now() < until, &|| {})?;
    if Instant::now() < until {
        return Ok(states);
    }
    let reason = "it took too long; look whether the brokers are well, and try again".into();
    Err(StreamError::Fatal { what: format!("reading `{topic}`"), reason })
}

fn unreadable(topic: &str, message: &impl Message) -> StreamError {
    StreamError::Fatal {
        what: format!("reading state from `{topic}` partition {} offset {}", message.partition(), message.offset()),
        reason: "the record was not written by this version or an older one; run the version that wrote it".into(),
    }
}

fn refused(topic: &str, error: &KafkaError) -> StreamError {
    StreamError::from_kafka_needing(format!("reading `{topic}`"), error, Needs::read(topic))
}

fn watermarks(
    consumer: &LoneConsumer,
    topic: &str,
    partition: i32,
    keep_waiting: &dyn Fn() -> bool,
) -> Result<(i64, i64), StreamError> {
    let since = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, CALL) {
            Ok(found) => return Ok(found),
            Err(error) if error.rdkafka_error_code().is_some_and(is_denied_alone) => {
                return Err(refused(topic, &error));
            }
            // The next session asks with new clients: one may go on saying that it knows no such partition.
            Err(_) if since.elapsed() > ANSWER => {
                let what = format!("the end of `{topic}`, partition {partition}");
                return Err(StreamError::NoAnswer { what, seconds: since.elapsed().as_secs() });
            }
            Err(error) if keep_waiting() => {
                debug!(topic, partition, %error, "state: asking for the end again");
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(error) => return Err(StreamError::from_kafka(topic, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_back_as_it_was_written() {
        let topic: Arc<str> = "state.x".into();
        let mut state = State::new(StateLimits::default());
        state.put(b"a", b"1", None);
        state.put(b"b", b"", Some(Timestamp::from_millis(-5)));
        let mut out = Outbox::default();
        write(&topic, 3, &mut state, &mut out);
        let mut back = State::new(StateLimits::default());
        for (_, key, value) in out.records() {
            back.restore(key, value.map(|value| parse(value).unwrap()));
        }
        assert_eq!((back.get(b"a"), back.get(b"b"), back.len()), (Some(&b"1"[..]), Some(&b""[..]), 2));
        assert_eq!(back.expired(Timestamp::from_millis(0), 9), [(b"b".to_vec(), vec![])]);
    }

    #[test]
    fn a_value_of_another_version_is_not_taken_for_state() {
        assert!(parse(b"\x02\0\0\0\0\0\0\0\0x").is_none());
        assert!(parse(b"\x01\0").is_none());
    }
}
