//! Blocking access to topics: create, fill and read them whole.
//!
//! Everything panics with what went wrong: in a test there is nobody to hand an error to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use crate::{
    security,
    wait::{PATIENCE, eventually},
};

/// A record, to be written or as read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Where to write it (`None`: by its key), where it was read.
    pub partition: Option<i32>,
    /// Its place in the partition; ignored on writing.
    pub offset: i64,
    /// Milliseconds since 1970 (`None`: now).
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; empty where there is none.
    pub value: Vec<u8>,
    /// The headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// A record with key and value.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: value.into(), ..Self::default() }
    }

    /// The last header of that name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// Creates topics of `partitions` each, with topic settings such as `("cleanup.policy", "compact")`.
pub fn create(bootstrap: &str, topics: &[&str], partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().expect("an admin client");
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|name| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let created = futures_executor::block_on(admin.create_topics(&new, &options));
    for result in created.unwrap_or_else(|error| panic!("cannot create {topics:?} on {bootstrap}: {error}")) {
        result.unwrap_or_else(|(name, error)| panic!("cannot create topic {name}: {error}"));
    }
    // A busy broker knows them a while after its controller has made them.
    eventually("the new topics", PATIENCE, || {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE).ok()?;
        let is_known = |name: &&str| {
            let found = metadata.topics().iter().find(|topic| topic.name() == *name);
            found.is_some_and(|topic| topic.partitions().len() == usize::try_from(partitions).unwrap_or_default())
        };
        topics.iter().all(is_known).then_some(())
    });
}

/// Changes a topic's own setting; its others go back to the broker's defaults.
pub fn alter(bootstrap: &str, topic: &str, setting: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().expect("an admin client");
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(setting, value);
    let changed = futures_executor::block_on(admin.alter_configs([&change], &AdminOptions::new()));
    for result in changed.unwrap_or_else(|error| panic!("cannot change {topic}: {error}")) {
        result.unwrap_or_else(|(_, error)| panic!("cannot change {topic}: {error}"));
    }
}

/// Gives topics so many partitions in all.
pub fn add_partitions(bootstrap: &str, topics: &[&str], partitions: usize) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().expect("an admin client");
    let new: Vec<NewPartitions<'_>> = topics.iter().map(|topic| NewPartitions::new(topic, partitions)).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let added = futures_executor::block_on(admin.create_partitions(&new, &options));
    for result in added.unwrap_or_else(|error| panic!("cannot add partitions on {bootstrap}: {error}")) {
        result.unwrap_or_else(|(name, error)| panic!("cannot add partitions to {name}: {error}"));
    }
}

/// Deletes what is before `offset` in a partition, as retention does.
pub fn delete_before(bootstrap: &str, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().expect("an admin client");
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a valid offset");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let deleted = futures_executor::block_on(admin.delete_records(&before, &options));
    let deleted = deleted.unwrap_or_else(|error| panic!("cannot delete records of {topic}: {error}"));
    for element in deleted.elements() {
        element.error().unwrap_or_else(|error| panic!("cannot delete records of {topic}: {error}"));
    }
}

/// Writes all records and returns once the broker has them.
pub fn write(bootstrap: &str, topic: &str, records: impl IntoIterator<Item = Record>) {
    write_as(bootstrap, topic, &[], records);
}

/// Writes all records as one batch, compressed by `codec`, however much it becomes once it is read.
pub fn write_one_batch(bootstrap: &str, topic: &str, codec: &str, records: impl IntoIterator<Item = Record>) {
    const ALL: &str = "1000000000";
    let settings = [
        ("compression.codec", codec),
        ("message.max.bytes", ALL),
        ("batch.size", "2147483647"),
        ("batch.num.messages", "1000000"),
        ("queue.buffering.max.messages", "0"),
        ("queue.buffering.max.kbytes", "2097151"),
        // Longer than it takes to hand all of it over.
        ("linger.ms", "20000"),
    ];
    write_as(bootstrap, topic, &settings, records);
}

fn write_as(bootstrap: &str, topic: &str, settings: &[(&str, &str)], records: impl IntoIterator<Item = Record>) {
    let mut config = client(bootstrap);
    config
        .set("enable.idempotence", "true")
        // As Java's clients and the product's: the same key comes to the same partition.
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        // What is too large is for the broker and the product to say.
        .set("message.max.bytes", "10000000")
        .set("message.timeout.ms", PATIENCE.as_millis().to_string());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let producer: BaseProducer<Undelivered> = config.create_with_context(Undelivered::default()).expect("a producer");
    for record in records {
        let mut unsent = outgoing(topic, &record);
        // The client's queue is bounded: make room for what doesn't fit.
        while let Err((error, back)) = producer.send(unsent) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(full, "cannot write to {topic}: {error}");
            producer.poll(Duration::from_millis(1));
            unsent = back;
        }
    }
    // All is handed over: what lingers may go.
    let _ = producer.flush(PATIENCE);
    let failed = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
    assert!(failed.is_none(), "cannot write to {topic}: {failed:?}");
}

/// Why a record did not arrive, the last such.
#[derive(Default)]
struct Undelivered(Mutex<Option<KafkaError>>);

impl ClientContext for Undelivered {}

impl ProducerContext for Undelivered {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivered {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
    }
}

fn outgoing<'a>(topic: &'a str, record: &'a Record) -> BaseRecord<'a, [u8], [u8]> {
    let mut outgoing = BaseRecord::to(topic).payload(record.value.as_slice());
    outgoing.partition = record.partition;
    outgoing.timestamp = record.timestamp;
    outgoing.key = record.key.as_deref();
    if !record.headers.is_empty() {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        outgoing = outgoing.headers(headers);
    }
    outgoing
}

/// Reads what is committed in a topic from its start to its end, partition by partition.
pub fn read(bootstrap: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = client(bootstrap)
        .set("group.id", "testkit")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut partitions = partitions(&consumer, topic);
    let mut assignment = TopicPartitionList::new();
    for &partition in &partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a valid offset");
    }
    consumer.assign(&assignment).expect("partitions can be assigned");
    let mut records = Vec::new();
    while !partitions.is_empty() {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => records.push(incoming(&message)),
            Some(Err(KafkaError::PartitionEOF(ended))) => partitions.retain(|&partition| partition != ended),
            Some(Err(error)) => panic!("cannot read {topic}: {error}"),
            None => panic!("nothing from {topic} on {bootstrap} in {PATIENCE:?}"),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
    let metadata = metadata.unwrap_or_else(|error| panic!("cannot look up {topic}: {error}"));
    let found = &metadata.topics()[0];
    assert!(found.error().is_none(), "cannot read {topic}: {:?}", found.error());
    found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect()
}

fn incoming(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
    });
    Record {
        partition: Some(message.partition()),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}

/// Whether a broker answers.
pub(crate) fn answers(bootstrap: &str) -> bool {
    let consumer: BaseConsumer =
        client(bootstrap).set("log_level", "0").set("reconnect.backoff.max.ms", "500").create().expect("a consumer");
    // Long enough for a connection to a busy broker; asked again until there is one.
    consumer.fetch_metadata(None, Duration::from_secs(5)).is_ok_and(|metadata| !metadata.brokers().is_empty())
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    // A secured broker is reached as the product reaches it.
    for (name, value) in security::options() {
        config.set(name, value);
    }
    config
}
