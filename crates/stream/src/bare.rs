//! The bare consume-transform-produce loop that a pipeline's speed is held against: the same client, transactions and
//! settings as a [`crate::Runner`], with nothing done to a record but passing on one in so many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Message,
};

use crate::{
    KafkaSettings, Outbox, Output, StreamError,
    transaction::{Batch, Committer, Outcome},
};

/// What to pass on, and how.
#[derive(Clone, Debug)]
pub struct BareLoop {
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The consumer group.
    pub group: String,
    /// What is read: every partition, from the beginning.
    pub input: Arc<str>,
    /// What is written.
    pub output: Arc<str>,
    /// Of how many records one is passed on.
    pub one_in: u64,
    /// Records of a transaction.
    pub batch: u64,
}

impl BareLoop {
    /// Passes `records` through and returns how long it took, from the first record to the last commit. Strictly in
    /// turn: read a batch, write it, commit it.
    ///
    /// # Errors
    /// When Kafka does not answer or a transaction fails.
    pub fn run(&self, records: u64) -> Result<Duration, StreamError> {
        let kafka_error = |what: &str, error: &_| StreamError::from_kafka(what, error);
        let consumer: BaseConsumer = self
            .kafka
            .group_consumer(&self.group)
            .create()
            .map_err(|error| StreamError::Configuration(error.to_string()))?;
        let mut committer = Committer::start(&self.kafka, &format!("{}-bare", self.group), || false)?;
        consumer.subscribe(&[&self.input]).map_err(|error| kafka_error(&self.input, &error))?;
        let mut out = Outbox::default();
        let mut next = std::collections::BTreeMap::new();
        let (mut seen, mut in_batch, mut started) = (0u64, 0u64, None);
        while seen < records {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.map_err(|error| kafka_error(&self.input, &error))?;
            started.get_or_insert_with(Instant::now);
            (seen, in_batch) = (seen + 1, in_batch + 1);
            next.insert(message.partition(), message.offset() + 1);
            if seen.is_multiple_of(self.one_in) {
                let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
                let copied: Result<(), std::convert::Infallible> =
                    out.push(Output { topic: &self.output, key, headers: &[] }, |bytes| {
                        bytes.extend_from_slice(value);
                        Ok(())
                    });
                let Ok(()) = copied;
            }
            if in_batch == self.batch || seen == records {
                let offsets = next.iter().map(|(partition, next)| (self.input.clone(), *partition, *next)).collect();
                committer.commit(Batch { out, offsets, group: consumer.group_metadata() })?;
                let (batch, outcome) = loop {
                    if let Some(found) = committer.outcome(Duration::from_secs(1))? {
                        break found;
                    }
                };
                match outcome {
                    Outcome::Committed { .. } => {}
                    Outcome::Aborted { error, .. } => {
                        return Err(StreamError::Fatal { what: "the bare loop's transaction".into(), reason: error });
                    }
                    Outcome::Fatal(error) => return Err(error),
                }
                out = batch.out;
                out.clear();
                in_batch = 0;
            }
        }
        Ok(started.map_or(Duration::ZERO, |started| started.elapsed()))
    }
}

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
