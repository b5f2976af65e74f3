//! One record from where it lies, however large its batch is.

use std::time::{Duration, Instant};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{KafkaSettings, OwnedRecord, Record, StreamError, record::ReadHeaders};

/// What there is at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The record.
    Record(OwnedRecord),
    /// Nothing any more, and the next record lies at this offset.
    Next(i64),
    /// Nothing: the partition ends before it.
    End,
    /// Its batch becomes larger than `Sizes::batch`, or is damaged.
    Unreadable(String),
}

/// Reads the record at `offset`. Within `Sizes::batch` of `kafka`.
///
/// # Errors
/// When no broker answers within `wait`, or refuses.
pub fn fetch(
    kafka: &KafkaSettings,
    topic: &str,
    partition: i32,
    offset: i64,
    wait: Duration,
) -> Result<Fetched, StreamError> {
    let said = |error: KafkaError| StreamError::from_kafka(format!("`{topic}`, partition {partition}"), &error);
    let consumer = kafka.lone_consumer("read_committed")?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(said)?;
    consumer.assign(&list).map_err(said)?;
    let since = Instant::now();
    while since.elapsed() < wait {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => {
                let headers = ReadHeaders::of(&message);
                let record = Record::from_message(&message, &headers);
                let is_it = record.offset == offset;
                return Ok(if is_it { Fetched::Record((&record).into()) } else { Fetched::Next(record.offset) });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Fetched::End),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::BadCompression | RDKafkaErrorCode::BadMessage) => {
                    return Ok(Fetched::Unreadable(error.to_string()));
                }
                Some(code) if crate::error::is_denied(code) => return Err(said(error)),
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition) => {
                    return Err(said(error));
                }
                _ => tracing::debug!(%error, topic, partition, "reading"),
            },
        }
    }
    Err(StreamError::NoAnswer { what: format!("reading `{topic}` at offset {offset}"), seconds: wait.as_secs() })
}
