//! Stepping over records by hand: where a partition can't go on, and nothing else mends it.

use std::{sync::Arc, time::Duration};

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::{
    KafkaSettings, Outbox, StreamError,
    outbox::{DeadLetters, Unread},
    transaction::{Batch, Outcome, Transactor},
};

/// How long a broker may take to answer.
const WAIT: Duration = Duration::from_secs(10);

/// What is to be stepped over.
#[derive(Clone, Debug)]
pub struct Skip {
    /// The stage, and its group.
    pub stage: String,
    /// The stage's group.
    pub group: String,
    /// The topic that it reads.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first offset, where the group stands.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// Where it is recorded.
    pub dead_letters: Arc<str>,
    /// Why, in the operator's words.
    pub reason: String,
}

/// How many members a group has now.
///
/// # Errors
/// When no broker answers, or refuses.
pub fn members(kafka: &KafkaSettings, group: &str) -> Result<usize, StreamError> {
    let said = |error| StreamError::from_kafka(format!("members of group `{group}`"), &error);
    let client = client(kafka, group)?;
    let groups = client.fetch_group_list(Some(group), WAIT).map_err(said)?;
    Ok(groups.groups().iter().map(|group| group.members().len()).sum())
}

/// Moves the group past the records, and records that on the dead-letter topic, in one transaction. The group must have no members:
/// one that works would go on from where it stands.
///
/// # Errors
/// When Kafka does not take it.
pub fn skip(kafka: &KafkaSettings, skip: &Skip) -> Result<(), StreamError> {
    let mut out = Outbox::default();
    let to = DeadLetters { topic: &skip.dead_letters, stage: &skip.stage, limit: usize::MAX };
    let unread = Unread {
        topic: &skip.topic,
        partition: skip.partition,
        first: skip.first,
        last: skip.last,
        reason: "skipped",
        message: &skip.reason,
    };
    out.push_unread(to, &unread);
    let batch = Batch {
        out,
        offsets: vec![(skip.topic.clone(), skip.partition, skip.last + 1)],
        group: client(kafka, &skip.group)?.group_metadata(),
        ..Batch::default()
    };
    let mut transactor = Transactor::new(kafka, &format!("{}.skip", skip.group), || false)?;
    match transactor.run(&batch) {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Aborted { error, .. } => Err(StreamError::Fatal { what: "skipping".into(), reason: error }),
        Outcome::TooLarge { topic } => Err(StreamError::RecordTooLarge { topic, bytes: batch.out.byte_len() }),
        Outcome::Fatal { error, .. } => Err(error),
    }
}

fn client(kafka: &KafkaSettings, group: &str) -> Result<BaseConsumer, StreamError> {
    kafka.group_consumer(group).create().map_err(|error| StreamError::Configuration(error.to_string()))
}
