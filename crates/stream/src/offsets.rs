//! How far topics go, and how far groups have come.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::{KafkaSettings, StreamError};

/// Where a topic ends: partition, first offset, and the offset of the next record.
///
/// # Errors
/// When no broker answers or the topic is missing.
pub fn ends(kafka: &KafkaSettings, topic: &str) -> Result<Vec<(i32, i64, i64)>, StreamError> {
    let wait = Duration::from_secs(10);
    let client = kafka.lone_consumer("read_committed")?;
    let metadata = client.fetch_metadata(Some(topic), wait).map_err(|error| StreamError::from_kafka(topic, &error))?;
    let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
    (0..i32::try_from(partitions).unwrap_or(i32::MAX))
        .map(|partition| {
            let found = client.fetch_watermarks(topic, partition, wait);
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
        .committed_offsets(list, Duration::from_secs(10))
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
