//! How far topics go, and how far groups have come.

use std::time::Duration;

use cybervault_model::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{KafkaSettings, StreamError, error::Needs, metadata};

/// How long a broker may take to answer.
const WAIT: Duration = Duration::from_secs(10);

/// Where a topic ends: partition, first offset, and the offset of the next record.
///
/// # Errors
/// When no broker answers or the topic is missing.
pub fn ends(kafka: &KafkaSettings, topic: &str) -> Result<Vec<(i32, i64, i64)>, StreamError> {
    let client = kafka.lone_consumer("read_committed")?;
    (0..metadata::partitions(&client, topic, WAIT)?)
        .map(|partition| {
            let found = client.fetch_watermarks(topic, partition, WAIT);
            found
                .map(|(low, high)| (partition, low, high))
                .map_err(|error| StreamError::from_kafka_needing(topic, &error, Needs::read(topic)))
        })
        .collect()
}

/// The next offsets that a group has committed for a topic, a partition; −1 where it has not.
///
/// # Errors
/// When no broker answers.
pub fn committed(kafka: &KafkaSettings, group: &str, topic: &str) -> Result<Vec<(i32, i64)>, StreamError> {
    let client: BaseConsumer =
        kafka.group_consumer(group).create().map_err(|error| StreamError::Configuration(error.to_string()))?;
    let mut list = TopicPartitionList::new();
    for (partition, ..) in ends(kafka, topic)? {
        list.add_partition(topic, partition);
    }
    let found = client.committed_offsets(list, WAIT).map_err(|error| refused(group, topic, &error))?;
    Ok(found
        .elements()
        .iter()
        .map(|element| match element.offset() {
            Offset::Offset(offset) => (element.partition(), offset),
            _ => (element.partition(), -1),
        })
        .collect())
}

fn refused(group: &str, topic: &str, error: &KafkaError) -> StreamError {
    let needs = Needs::describe(topic).and_group(group);
    StreamError::from_kafka_needing(format!("offsets of group `{group}`"), error, needs)
}

/// Moves a group that has no members to these offsets, a partition each.
///
/// # Errors
/// When no broker answers, or a member of the group is at work.
pub fn commit(kafka: &KafkaSettings, group: &str, topic: &str, offsets: &[(i32, i64)]) -> Result<(), StreamError> {
    let mut config = kafka.group_consumer(group);
    config.remove("group.instance.id");
    let client: BaseConsumer = config.create().map_err(|error| StreamError::Configuration(error.to_string()))?;
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(|error| refused(group, topic, &error))?;
    }
    client.commit(&list, CommitMode::Sync).map_err(|error| match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::RebalanceInProgress) => StreamError::Fatal {
            what: format!("moving the group `{group}`"),
            reason: "a process of this group is at work; stop it first".into(),
        },
        _ => refused(group, topic, &error),
    })
}

/// The first offset of each partition whose record has this time or a later one; the partition's end where there is none.
///
/// # Errors
/// When no broker answers or the topic is missing.
pub fn at_time(kafka: &KafkaSettings, topic: &str, time: Timestamp) -> Result<Vec<(i32, i64)>, StreamError> {
    let client = kafka.lone_consumer("read_committed")?;
    let failed = |error| StreamError::from_kafka_needing(topic, &error, Needs::read(topic));
    let ends = ends(kafka, topic)?;
    let mut list = TopicPartitionList::new();
    for (partition, ..) in &ends {
        list.add_partition_offset(topic, *partition, Offset::Offset(time.as_millis())).map_err(failed)?;
    }
    let found = client.offsets_for_times(list, WAIT).map_err(failed)?;
    Ok(ends
        .into_iter()
        .map(|(partition, _, high)| match found.find_partition(topic, partition).map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => (partition, offset),
            _ => (partition, high),
        })
        .collect())
}

/// Looks again and again how far a group has come on a topic, with the same client.
pub struct Watch {
    group: String,
    topic: String,
    client: BaseConsumer,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("group", &self.group).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch that joins no group.
    ///
    /// # Errors
    /// When no broker answers or the topic is missing.
    pub fn new(kafka: &KafkaSettings, group: &str, topic: &str) -> Result<Self, StreamError> {
        let mut config = kafka.group_consumer(group);
        config.remove("group.instance.id");
        let client: BaseConsumer = config.create().map_err(|error| StreamError::Configuration(error.to_string()))?;
        metadata::partitions(&client, topic, WAIT)?;
        Ok(Self { group: group.to_owned(), topic: topic.to_owned(), client })
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Where the topic ends and how far the group has committed, all partitions added up, those that were added meanwhile
    /// too. A partition of which the group has committed nothing counts from its beginning.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn sample(&self) -> Result<(i64, i64), StreamError> {
        let failed = |error| refused(&self.group, &self.topic, &error);
        let partitions = metadata::partitions(&self.client, &self.topic, WAIT)?;
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|partition| {
            list.add_partition(&self.topic, partition);
        });
        let committed = self.client.committed_offsets(list, WAIT).map_err(failed)?;
        let (mut end, mut done) = (0, 0);
        for element in committed.elements() {
            let (low, high) = self.client.fetch_watermarks(&self.topic, element.partition(), WAIT).map_err(failed)?;
            end += high;
            done += match element.offset() {
                Offset::Offset(offset) => offset,
                _ => low,
            };
        }
        Ok((end, done))
    }
}
