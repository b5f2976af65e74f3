//! What one may do, found out by doing it where nothing comes of it: reads from the end, and transactions that are aborted.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

use super::WAIT;
use crate::{KafkaSettings, StreamError, clock::now};

/// What a fleet has to be allowed.
#[derive(Clone, Debug, Default)]
pub struct AccessPlan {
    /// Topics to read from.
    pub inputs: Vec<String>,
    /// Topics to write to.
    pub outputs: Vec<String>,
    /// Consumer groups, each with a topic that it reads.
    pub groups: Vec<(String, String)>,
    /// Transactional ids that no worker has, and that begin as theirs do.
    pub transactional_ids: Vec<String>,
    /// A topic that has the broker's time, where the clock can be read.
    pub timed: Option<String>,
}

/// Whether one thing is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The permission as it is granted: `Read on topic x`.
    pub permission: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of trying one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is allowed.
    Allowed,
    /// What Kafka says against it.
    Refused(String),
    /// It could not be tried, for this reason.
    NotTried(&'static str),
}

/// A broker's clock beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// By how much the broker's is ahead, in milliseconds.
    pub ahead_ms: i64,
    /// What the answer took, and so how far this may be off.
    pub within_ms: i64,
}

/// Tries everything in `plan`. A record of a few bytes is written to each output, in a transaction that is aborted: readers
/// of committed records never see it.
///
/// # Errors
/// When no broker answers.
pub fn probe(kafka: &KafkaSettings, plan: &AccessPlan) -> Result<(Vec<Access>, Option<Clock>), StreamError> {
    let mut found: Vec<Access> = Vec::new();
    let mut told = |permission: String, result: Result<(), KafkaError>| {
        let outcome = result.map_or_else(|error| Outcome::Refused(error.to_string()), |()| Outcome::Allowed);
        found.push(Access { permission, outcome });
    };
    for topic in &plan.inputs {
        told(format!("Read on topic {topic}"), read_end(kafka, topic));
    }
    let mut producer = None;
    for id in &plan.transactional_ids {
        let new = open(kafka, id)?;
        let opened = new.init_transactions(WAIT);
        if opened.is_ok() {
            producer.get_or_insert(new);
        }
        told(format!("Write on transactional id {id}"), opened);
    }
    let mut clock = None;
    let groups = plan.groups.iter().map(|(group, _)| format!("Read on group {group}"));
    let outputs = plan.outputs.iter().map(|topic| format!("Write on topic {topic}"));
    let Some(producer) = producer else {
        let outcome = Outcome::NotTried("that takes a transaction, which none of the transactional ids allows");
        found.extend(groups.chain(outputs).map(|permission| Access { permission, outcome: outcome.clone() }));
        return Ok((found, None));
    };
    for ((group, topic), permission) in plan.groups.iter().zip(groups) {
        told(permission, in_transaction(&producer, || join(kafka, &producer, group, topic)));
    }
    for (topic, permission) in plan.outputs.iter().zip(outputs) {
        told(permission, in_transaction(&producer, || write(&producer, topic).map(drop)));
    }
    if let Some(topic) = &plan.timed {
        // Workers don't need to write there; without this right the clock is not read.
        let _ = in_transaction(&producer, || {
            clock = read_clock(kafka, &producer, topic)?;
            Ok(())
        });
    }
    Ok((found, clock))
}

/// Reads at a partition's end, where there is nothing to come.
fn read_end(kafka: &KafkaSettings, topic: &str) -> Result<(), KafkaError> {
    let failed = |error: StreamError| KafkaError::Subscription(error.to_string());
    let client = kafka.lone_consumer("read_committed").map_err(failed)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::End)?;
    client.assign(&list)?;
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            // Outside any group nothing is asked of one.
            Some(Err(error)) if error.rdkafka_error_code() != Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                return Err(error);
            }
            Some(Err(_)) | None => {}
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}

fn in_transaction(
    producer: &BaseProducer<Deliveries>,
    attempt: impl FnOnce() -> Result<(), KafkaError>,
) -> Result<(), KafkaError> {
    producer.begin_transaction()?;
    let attempted = attempt();
    let aborted = producer.abort_transaction(WAIT);
    attempted.and(aborted)
}

/// Hands over an offset for a group, as a commit would: it counts only if the transaction did.
fn join(
    kafka: &KafkaSettings,
    producer: &BaseProducer<Deliveries>,
    group: &str,
    topic: &str,
) -> Result<(), KafkaError> {
    let mut config = kafka.group_consumer(group);
    config.remove("group.instance.id");
    let client: rdkafka::consumer::BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(0))?;
    let metadata = client.group_metadata().ok_or(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownGroup))?;
    match producer.send_offsets_to_transaction(&list, &metadata, WAIT) {
        // The group is asked for first; the topic is told of by itself.
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Ok(()),
        sent => sent,
    }
}

/// Writes a record and returns where it lies.
fn write(producer: &BaseProducer<Deliveries>, topic: &str) -> Result<i64, KafkaError> {
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).key(b"cybervault-doctor").payload(b"{}");
    producer.send(record).map_err(|(error, _)| error)?;
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        producer.poll(Duration::from_millis(1));
        if let Some(delivered) = producer.context().take() {
            return delivered;
        }
    }
    Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))
}

fn read_clock(
    kafka: &KafkaSettings,
    producer: &BaseProducer<Deliveries>,
    topic: &str,
) -> Result<Option<Clock>, KafkaError> {
    // The first record also asks for the producer's place in the topic: only the second is quick.
    write(producer, topic)?;
    let before = now().as_millis();
    let offset = write(producer, topic)?;
    let after = now().as_millis();
    let failed = |error: StreamError| KafkaError::Subscription(error.to_string());
    let client = kafka.lone_consumer("read_uncommitted").map_err(failed)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset))?;
    client.assign(&list)?;
    let deadline = Instant::now() + WAIT;
    while Instant::now() < deadline {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let rdkafka::Timestamp::LogAppendTime(at) = message.timestamp() else { return Ok(None) };
                return Ok(Some(Clock { ahead_ms: at - (before + after) / 2, within_ms: after - before }));
            }
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn open(kafka: &KafkaSettings, transactional_id: &str) -> Result<BaseProducer<Deliveries>, StreamError> {
    kafka
        .transactional_producer(transactional_id)
        .create_with_context(Deliveries::default())
        .map_err(|error| StreamError::Configuration(error.to_string()))
}

/// What became of the last record.
#[derive(Default)]
struct Deliveries(Mutex<Option<Result<i64, KafkaError>>>);

impl Deliveries {
    fn take(&self) -> Option<Result<i64, KafkaError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let delivered = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivered);
    }
}
