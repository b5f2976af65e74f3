//! How far topics go, and how far groups have come.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::{KafkaSettings, StreamError};

/// How long a broker may take to answer.
const WAIT: Duration = Duration::from_secs(10);

/// Where a topic ends: partition, first offset, and the offset of the next record.
///
/// # Errors
/// When no broker answers or the topic is missing.
pub fn ends(kafka: &KafkaSettings, topic: &str) -> Result<Vec<(i32, i64, i64)>, StreamError> {
    let client = kafka.lone_consumer("read_committed")?;
    let metadata = client.fetch_metadata(Some(topic), WAIT).map_err(|error| StreamError::from_kafka(topic, &error))?;
    let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
    (0..i32::try_from(partitions).unwrap_or(i32::MAX))
        .map(|partition| {
            let found = client.fetch_watermarks(topic, partition, WAIT);
            found.map(|(low, high)| (partition, low, high)).map_err(|error| StreamError::from_kafka(topic, &error))
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
    let found = client
        .committed_offsets(list, WAIT)
        .map_err(|error| StreamError::from_kafka(format!("offsets of group `{group}`"), &error))?;
    Ok(found
        .elements()
        .iter()
        .map(|element| match element.offset() {
            Offset::Offset(offset) => (element.partition(), offset),
            _ => (element.partition(), -1),
        })
        .collect())
}

/// Looks again and again how far a group has come on a topic, with the same client.
pub struct Watch {
    group: String,
    topic: String,
    client: BaseConsumer,
    partitions: i32,
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
        let metadata =
            client.fetch_metadata(Some(topic), WAIT).map_err(|error| StreamError::from_kafka(topic, &error))?;
        let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
        if partitions == 0 {
            return Err(StreamError::MissingTopic(topic.to_owned()));
        }
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        Ok(Self { group: group.to_owned(), topic: topic.to_owned(), client, partitions })
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Where the topic ends and how far the group has committed, all partitions added up. A partition of which the group
    /// has committed nothing counts from its beginning.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn sample(&self) -> Result<(i64, i64), StreamError> {
        let failed = |error| StreamError::from_kafka(format!("offsets of group `{}`", self.group), &error);
        let mut list = TopicPartitionList::new();
        (0..self.partitions).for_each(|partition| {
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
