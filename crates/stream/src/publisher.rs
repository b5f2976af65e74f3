//! Writes records outside any transaction: a feeder of samples, a test, a person's decision.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use cybervault_model::Timestamp;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};

use crate::{KafkaSettings, StreamError};

/// After how many records the client's reports of delivery are taken, until when they count as queued.
const REPORTS: u32 = 64;

/// An idempotent producer without transactions.
pub struct Publisher {
    producer: BaseProducer,
    sent: AtomicU32,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher to the brokers of `kafka`.
    ///
    /// # Errors
    /// When the client refuses its configuration.
    pub fn new(kafka: &KafkaSettings) -> Result<Self, StreamError> {
        let producer =
            kafka.producer().create().map_err(|error: KafkaError| StreamError::Configuration(error.to_string()))?;
        Ok(Self { producer, sent: AtomicU32::new(0) })
    }

    /// Queues a record; waits where the queue is full. `time` is the record's own time, the client's clock without one.
    ///
    /// # Errors
    /// When the client refuses the record, for its size for one.
    pub fn send(
        &self,
        topic: &str,
        key: &[u8],
        value: &[u8],
        headers: &[(&str, &[u8])],
        time: Option<Timestamp>,
    ) -> Result<(), StreamError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).key(key).payload(value);
        record.timestamp = time.map(Timestamp::as_millis);
        if !headers.is_empty() {
            let all = headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
            record.headers = Some(all);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    if self.sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(REPORTS) {
                        take_reports(&self.producer);
                    }
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    take_reports(&self.producer);
                    std::thread::sleep(Duration::from_millis(1));
                    record = back;
                }
                Err((error, _)) => return Err(StreamError::from_kafka(topic, &error)),
            }
        }
    }

    /// Waits until all queued records are acknowledged.
    ///
    /// # Errors
    /// When some are not by the end of `wait`.
    pub fn flush(&self, wait: Duration) -> Result<(), StreamError> {
        self.producer.flush(wait).map_err(|error| StreamError::from_kafka("writing", &error))
    }
}

/// Takes what reports of delivery there are.
pub(crate) fn take_reports<C: ProducerContext>(producer: &BaseProducer<C>) {
    // A poll takes one report, which is of one partition alone.
    loop {
        let left = producer.in_flight_count();
        producer.poll(Duration::ZERO);
        if producer.in_flight_count() >= left {
            break;
        }
    }
}
