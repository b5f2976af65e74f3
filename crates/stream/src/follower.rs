//! Reads topics from outside any group: a live feed, a tail, a test.

use std::{
    collections::{BTreeMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{KafkaSettings, Record, StreamError, record::ReadHeaders, settings::LoneConsumer};

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record.
    Beginning,
    /// With the next record that comes.
    End,
    /// At these offsets, by topic and partition; with the oldest record of partitions that are not named, and of those that
    /// no longer have the record.
    At(BTreeMap<(String, i32), i64>),
}

/// A record with memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its own time.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; empty for a tombstone.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl OwnedRecord {
    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

impl From<&Record<'_>> for OwnedRecord {
    fn from(record: &Record<'_>) -> Self {
        Self {
            topic: record.topic.to_owned(),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.to_vec(),
            headers: record.headers.iter().map(|(key, value)| (key.to_owned(), value.to_vec())).collect(),
        }
    }
}

/// Reads all partitions of some topics, committed records only.
pub struct Follower {
    consumer: LoneConsumer,
    partitions: usize,
    at_end: HashSet<i32>,
}

/// How long a topic that was just created is left to get its leaders.
const SETTLING: Duration = Duration::from_millis(100);

/// Whether a partition has no leader yet, or another one than a moment ago.
fn is_settling(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl Follower {
    /// Reads `topics` from `start` on.
    ///
    /// # Errors
    /// When no broker answers, or a topic is missing or not readable.
    pub fn open(kafka: &KafkaSettings, topics: &[&str], start: Start) -> Result<Self, StreamError> {
        let consumer = kafka.lone_consumer("read_committed")?;
        let (offsets, at_end) = match start {
            Start::Beginning => (BTreeMap::new(), false),
            Start::End => (BTreeMap::new(), true),
            Start::At(offsets) => (offsets, false),
        };
        let mut assignment = TopicPartitionList::new();
        for topic in topics {
            let wait = Duration::from_secs(10);
            let found = consumer.fetch_metadata(Some(topic), wait).map_err(|error| StreamError::Unreachable {
                bootstrap: kafka.bootstrap.clone(),
                reason: error.to_string(),
            })?;
            let partitions = found.topics().first().map_or(0, |topic| topic.partitions().len());
            if partitions == 0 {
                return Err(StreamError::MissingTopic((*topic).to_owned()));
            }
            for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
                let offset = if at_end {
                    // The end as it is now; the client's own `End` would be the end at the first fetch.
                    let until = Instant::now() + wait;
                    let ends = loop {
                        match consumer.fetch_watermarks(topic, partition, wait) {
                            Err(error) if is_settling(&error) && Instant::now() < until => thread::sleep(SETTLING),
                            ends => break ends,
                        }
                    };
                    ends.map(|(_, high)| Offset::Offset(high))
                        .map_err(|error| StreamError::from_kafka(*topic, &error))?
                } else {
                    let known = offsets.get(&((*topic).to_owned(), partition));
                    known.map_or(Offset::Beginning, |offset| Offset::Offset(*offset))
                };
                assignment
                    .add_partition_offset(topic, partition, offset)
                    .map_err(|error| StreamError::from_kafka(*topic, &error))?;
            }
        }
        consumer.assign(&assignment).map_err(|error| StreamError::from_kafka(topics.join(", "), &error))?;
        Ok(Self { consumer, partitions: assignment.count(), at_end: HashSet::new() })
    }

    /// The next record, if one comes by the end of `wait`.
    ///
    /// # Errors
    /// When Kafka refuses; a broker that is away is waited for.
    pub fn next(&mut self, wait: Duration) -> Result<Option<OwnedRecord>, StreamError> {
        match self.consumer.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => {
                let headers = ReadHeaders::of(&message);
                let record = Record::from_message(&message, &headers);
                self.at_end.remove(&record.partition);
                Ok(Some(OwnedRecord::from(&record)))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.at_end.insert(partition);
                Ok(None)
            }
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(crate::error::is_denied) => {
                Err(StreamError::from_kafka("reading", &error))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "reading");
                Ok(None)
            }
        }
    }

    /// Whether all partitions were read to their end as of now. For a follower of one topic only.
    pub fn is_at_end(&self) -> bool {
        self.at_end.len() == self.partitions
    }
}
