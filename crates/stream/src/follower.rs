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

use crate::{
    KafkaSettings, Record, StreamError,
    error::{Needs, is_denied_alone},
    metadata,
    record::ReadHeaders,
    settings::LoneConsumer,
};

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

/// Reads all partitions of some topics, committed records only. Partitions that are added meanwhile are read from their
/// first record on.
pub struct Follower {
    consumer: LoneConsumer,
    /// How many partitions are read of each topic.
    topics: BTreeMap<String, i32>,
    /// Where partitions begin that are not read yet.
    offsets: BTreeMap<(String, i32), i64>,
    at_end: HashSet<i32>,
    looked: Instant,
}

/// How often it is looked for partitions that were added.
const LOOK: Duration = Duration::from_secs(3);
/// How long that may take.
const BRIEFLY: Duration = Duration::from_secs(1);
/// For how long what the client told of itself holds.
const FRESH: Duration = Duration::from_secs(3);

/// How long a topic that was just created is left to get its leaders.
const SETTLING: Duration = Duration::from_millis(100);

/// Whether a partition has no leader yet, or another one than a moment ago.
fn is_settling(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

fn place(offsets: &BTreeMap<(String, i32), i64>, topic: &str, partition: i32) -> Offset {
    let known = offsets.get(&(topic.to_owned(), partition));
    known.map_or(Offset::Beginning, |offset| Offset::Offset(*offset))
}

fn refused(topics: &str, error: &KafkaError) -> StreamError {
    StreamError::from_kafka_needing(format!("reading {topics}"), error, Needs::read(topics))
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("topics", &self.topics).finish_non_exhaustive()
    }
}

impl Follower {
    /// Reads `topics` from `start` on.
    ///
    /// # Errors
    /// When no broker answers, or a topic is missing or not readable.
    pub fn open(kafka: &KafkaSettings, topics: &[&str], start: Start) -> Result<Self, StreamError> {
        let consumer = kafka.watching_consumer("read_committed")?;
        let (offsets, at_end) = match start {
            Start::Beginning => (BTreeMap::new(), false),
            Start::End => (BTreeMap::new(), true),
            Start::At(offsets) => (offsets, false),
        };
        let mut assignment = TopicPartitionList::new();
        let mut counts = BTreeMap::new();
        for topic in topics {
            let wait = Duration::from_secs(10);
            let partitions = metadata::partitions(&consumer, topic, wait)?;
            counts.insert((*topic).to_owned(), partitions);
            for partition in 0..partitions {
                let offset = if at_end {
                    // The end as it is now; the client's own `End` would be the end at the first fetch.
                    let until = Instant::now() + wait;
                    let ends = loop {
                        match consumer.fetch_watermarks(topic, partition, wait) {
                            Err(error) if is_settling(&error) && Instant::now() < until => thread::sleep(SETTLING),
                            ends => break ends,
                        }
                    };
                    ends.map(|(_, high)| Offset::Offset(high)).map_err(|error| refused(topic, &error))?
                } else {
                    place(&offsets, topic, partition)
                };
                assignment
                    .add_partition_offset(topic, partition, offset)
                    .map_err(|error| StreamError::from_kafka(*topic, &error))?;
            }
        }
        consumer.assign(&assignment).map_err(|error| StreamError::from_kafka(topics.join(", "), &error))?;
        Ok(Self { consumer, topics: counts, offsets, at_end: HashSet::new(), looked: Instant::now() })
    }

    /// The next record, if one comes by the end of `wait`.
    ///
    /// # Errors
    /// When Kafka refuses; a broker that is away is waited for.
    pub fn next(&mut self, wait: Duration) -> Result<Option<OwnedRecord>, StreamError> {
        if self.looked.elapsed() > LOOK {
            self.take_on_added()?;
            self.looked = Instant::now();
        }
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
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_denied_alone) => {
                let topics = self.topics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Err(refused(&topics, &error))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "reading");
                Ok(None)
            }
        }
    }

    /// Whether all partitions were read to their end as of now. For a follower of one topic only.
    pub fn is_at_end(&self) -> bool {
        self.at_end.len() == self.partitions()
    }

    /// Whether brokers answer, and all that they had a moment ago was handed out.
    pub fn is_current(&self) -> bool {
        let seen = self.consumer.context().seen();
        seen.is_some_and(|seen| seen.answered && seen.at.elapsed() < FRESH && seen.at_end >= self.partitions())
    }

    fn partitions(&self) -> usize {
        self.topics.values().map(|count| usize::try_from(*count).unwrap_or_default()).sum()
    }

    /// Takes on the partitions that were added. A broker that does not answer is asked again later.
    fn take_on_added(&mut self) -> Result<(), StreamError> {
        for (topic, known) in &mut self.topics {
            let found = match self.consumer.fetch_metadata(Some(topic), BRIEFLY) {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(topic, %error, "looking for partitions");
                    return Ok(());
                }
            };
            let count = found.topics().first().map_or(0, |topic| topic.partitions().len());
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            if count <= *known {
                continue;
            }
            let mut added = TopicPartitionList::new();
            for partition in *known..count {
                added
                    .add_partition_offset(topic, partition, place(&self.offsets, topic, partition))
                    .map_err(|error| StreamError::from_kafka(&**topic, &error))?;
            }
            tracing::info!(topic, before = *known, now = count, "partitions were added");
            let taken_on = self.consumer.incremental_assign(&added);
            taken_on.map_err(|error| StreamError::from_kafka(&**topic, &error))?;
            *known = count;
        }
        Ok(())
    }
}
