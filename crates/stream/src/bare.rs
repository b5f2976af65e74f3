//! The bare consume-transform-produce loop that a pipeline's speed is held against: the same client, transactions and
//! settings as a [`crate::Runner`], with nothing done to a record but passing on one in so many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    message::Message,
};

use crate::{
    KafkaSettings, Outbox, Output, Record, StreamError,
    record::ReadHeaders,
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
    /// Passes `records` through, each of which `look` sees first, and returns how long it took, from the first record to the
    /// last commit. Strictly in turn: read a batch, write it, commit it.
    ///
    /// # Errors
    /// When Kafka does not answer or a transaction fails.
    pub fn run(&self, records: u64, look: &mut dyn FnMut(&Record<'_>)) -> Result<Duration, StreamError> {
        let kafka_error = |what: &str, error: &_| StreamError::from_kafka(what, error);
        let consumer: BaseConsumer = self
            .kafka
            .group_consumer(&self.group)
            // A session asks for the first offset itself.
            .set("auto.offset.reset", "earliest")
            .create()
            .map_err(|error| StreamError::Configuration(error.to_string()))?;
        let mut committer = Committer::start(&self.kafka, &format!("{}-bare", self.group), || false, &mut None)?;
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
            look(&Record::from_message(&message, &ReadHeaders::of(&message)));
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
                let out_bytes = out.byte_len();
                committer.commit(Batch { out, offsets, group: consumer.group_metadata(), ..Batch::default() })?;
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
                    Outcome::TooLarge { topic } => return Err(StreamError::RecordTooLarge { topic, bytes: out_bytes }),
                    Outcome::Fatal { error, .. } => return Err(error),
                }
                out = batch.out;
                out.clear();
                in_batch = 0;
            }
        }
        Ok(started.map_or(Duration::ZERO, |started| started.elapsed()))
    }
}
