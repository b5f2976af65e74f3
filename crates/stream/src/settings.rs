//! How the client reaches Kafka.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{StreamError, rebalance};

/// Where Kafka is, and every other option of librdkafka that the user sets.
#[derive(Clone, Debug, Default)]
pub struct KafkaSettings {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    /// Any librdkafka option, by its own name; what the exactly-once contract needs can't be changed.
    pub client: BTreeMap<String, String>,
    /// The group's id that consumers outside any group name, as librdkafka wants one. They never join it, but ask after it:
    /// it lies where the user may see groups. Empty, it is `cybervault.reader`.
    pub reader_group: String,
    /// How much is read and written at once.
    pub sizes: Sizes,
}

/// How much is read and written at once, in bytes. The client's own limits follow from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The largest record that is written, before compression. `message.max.bytes` in `kafka.client` stands above it.
    pub record: usize,
    /// What a compressed batch of records may become where it is read with all others.
    pub batch: usize,
    /// What a batch may become that is read alone, since it was larger than that.
    pub lone_batch: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { record: 4 * MIB, batch: 64 * MIB, lone_batch: 160 * MIB }
    }
}

const MIB: usize = 1024 * 1024;

/// How much one answer to a fetch holds, unless a single batch is larger: the client's own default is 50 MB a broker.
const FETCH: usize = 16 * MIB;

/// Options that the exactly-once contract and readiness rest on; `kafka.client` may not set them.
const RESERVED: [&str; 10] = [
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "partition.assignment.strategy",
    "statistics.interval.ms",
    "transactional.id",
];

/// Options that only one kind of client takes; the other would warn about each.
const PRODUCER_ONLY: [&str; 8] = [
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.type",
    "linger.ms",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
];
const CONSUMER_ONLY: [&str; 8] = [
    "auto.offset.reset",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.instance.id",
    "max.poll.interval.ms",
    "queued.max.messages.kbytes",
    "session.timeout.ms",
];

impl KafkaSettings {
    /// Settings for the brokers at `bootstrap`, all else as librdkafka has it.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), ..Self::default() }
    }

    /// The options of `client` that may not be set there.
    pub fn reserved_options(&self) -> impl Iterator<Item = &str> {
        self.client.keys().map(String::as_str).filter(|name| RESERVED.contains(name))
    }

    /// Finds an option of `client` that the client does not know, or a value that it does not take: which, and why.
    ///
    /// # Errors
    /// The option, and what the client says.
    pub fn check_options(&self) -> Result<(), (String, String)> {
        for (name, value) in &self.client {
            let alone = ClientConfig::from_iter([(name.clone(), value.clone())]).create_native_config();
            if let Err(KafkaError::ClientConfig(_, problem, ..)) = alone {
                return Err((name.clone(), problem.trim_end().to_owned()));
            }
        }
        Ok(())
    }

    /// Finds what the client says of all options together, as of a mechanism that it was not built with.
    ///
    /// # Errors
    /// What the client says.
    pub fn check_together(&self) -> Result<(), String> {
        let client: Result<BaseConsumer, _> = self.admin().create();
        client.map(drop).map_err(|error| error.to_string())
    }

    /// Over `config`, what the user sets: `ClientConfig::config_map` can't be copied from, it masks passwords.
    fn over(&self, mut config: ClientConfig, not_for_this_kind: &[&str]) -> ClientConfig {
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "cybervault")
            // A broker that hangs is given up, and one that is back is found, within seconds. The client's defaults are 60 s for an
            // answer, 30 s for a connection, and up to 10 s between two attempts.
            .set("socket.timeout.ms", "10000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("reconnect.backoff.max.ms", "1000");
        for (name, value) in &self.client {
            if !RESERVED.contains(&name.as_str()) && !not_for_this_kind.contains(&name.as_str()) {
                config.set(name, value);
            }
        }
        config
    }

    fn consumer_defaults(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            // Prefetch is bounded in bytes a partition; the default of 64 MiB would let 100 partitions hold 6 GiB.
            .set("queued.max.messages.kbytes", "16384")
            .set("queued.min.messages", "20000")
            // An idle partition answers soon after its first record, which is what latency at low load hangs on.
            .set("fetch.wait.max.ms", "50")
            .set("fetch.queue.backoff.ms", "10")
            .set("auto.offset.reset", "earliest")
            .set("topic.metadata.refresh.interval.ms", "30000")
            // A worker that died is missed after the first; a member beats by the client's own thread, whatever the stage does.
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            .set("fetch.max.bytes", self.fetch_bytes().to_string())
            .set("receive.message.max.bytes", self.sizes.batch.max(self.fetch_bytes() + MIB).to_string());
        let mut config = self.over(config, &PRODUCER_ONLY);
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.remove("group.instance.id");
        config
    }

    /// A member of `group` that sees committed records only.
    pub(crate) fn group_consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer_defaults();
        config
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            // Where reading begins is said with each assignment. That what it comes to is not there any more is to be told.
            .set("auto.offset.reset", "error")
            .set("partition.assignment.strategy", "cooperative-sticky");
        config
    }

    /// A client that asks where `group` stands, without being a member of it. It waits for no open transaction, and to it a
    /// partition ends behind these.
    pub(crate) fn reader_of(&self, group: &str) -> Result<LoneConsumer, StreamError> {
        let mut config = self.consumer_defaults();
        config.set("group.id", group).set("isolation.level", "read_uncommitted");
        config.create_with_context(Quiet::default()).map_err(|error| StreamError::Configuration(error.to_string()))
    }

    /// The same for one partition, with room for a batch that is larger than others.
    pub(crate) fn roomy_consumer(&self) -> Result<LoneConsumer, StreamError> {
        let roomy = Self { sizes: Sizes { batch: self.sizes.lone_batch, ..self.sizes }, ..self.clone() };
        roomy.lone_consumer("read_committed")
    }

    /// A consumer outside any group, told its partitions, that says when it has come to an end.
    pub(crate) fn lone_consumer(&self, isolation: &str) -> Result<LoneConsumer, StreamError> {
        let client = self.alone(isolation).create_with_context(Quiet::default());
        client.map_err(|error| StreamError::Configuration(error.to_string()))
    }

    /// The same, which knows at any moment how far it has read, and whether brokers answer: [`Quiet::seen`].
    pub(crate) fn watching_consumer(&self, isolation: &str) -> Result<LoneConsumer, StreamError> {
        let mut config = self.alone(isolation);
        let client = config.set("statistics.interval.ms", "500").create_with_context(Quiet::default());
        client.map_err(|error| StreamError::Configuration(error.to_string()))
    }

    fn alone(&self, isolation: &str) -> ClientConfig {
        let mut config = self.consumer_defaults();
        let group = if self.reader_group.is_empty() { "cybervault.reader" } else { &self.reader_group };
        config.set("group.id", group).set("isolation.level", isolation).set("enable.partition.eof", "true");
        config
    }

    fn producer_defaults(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            // The Java clients' own partitioner: whoever writes with the same key, from whatever language, comes to the
            // same partition.
            .set("partitioner", "murmur2_random")
            .set("compression.codec", "lz4")
            .set("linger.ms", "1")
            .set("batch.size", "262144")
            .set("message.max.bytes", self.sizes.record.to_string())
            .set("queue.buffering.max.kbytes", "65536");
        let mut config = self.over(config, &CONSUMER_ONLY);
        config.set("enable.idempotence", "true");
        config
    }

    /// How much one answer to a fetch holds; the client wants it to be no less than its largest record.
    fn fetch_bytes(&self) -> usize {
        let number = |name| self.client.get(name).and_then(|value: &String| value.parse().ok());
        number("fetch.max.bytes").unwrap_or_else(|| FETCH.max(number("message.max.bytes").unwrap_or_default()))
    }

    /// The largest record that the client takes to write, before compression.
    pub(crate) fn largest_record(&self) -> usize {
        let set = self.client.get("message.max.bytes").and_then(|value| value.parse().ok());
        set.unwrap_or(self.sizes.record)
    }

    /// How long others wait for the open transaction of a worker that died, unless its successor takes its id. Longer than a broker
    /// takes to come back: one that ends overdue transactions right after its start may forget some of their partitions.
    pub fn transaction_timeout_ms(&self) -> u64 {
        let set = self.client.get("transaction.timeout.ms").and_then(|value| value.parse().ok());
        set.unwrap_or(30_000)
    }

    /// A producer without transactions.
    pub(crate) fn producer(&self) -> ClientConfig {
        self.producer_defaults()
    }

    /// A producer whose records belong to transactions.
    pub(crate) fn transactional_producer(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.producer_defaults();
        // What the user has set goes to the client as it is: it says what is wrong with it.
        if !self.client.contains_key("transaction.timeout.ms") {
            config.set("transaction.timeout.ms", self.transaction_timeout_ms().to_string());
        }
        config.set("transactional.id", transactional_id);
        config
    }

    /// A client for creating and describing topics.
    pub(crate) fn admin(&self) -> ClientConfig {
        let mut other: Vec<&str> = PRODUCER_ONLY.to_vec();
        other.extend(CONSUMER_ONLY);
        self.over(ClientConfig::new(), &other)
    }
}

/// A consumer outside any group.
pub(crate) type LoneConsumer = BaseConsumer<Quiet>;

/// Why `client` gets no answer: what it heard on the way, about a certificate or a password, says more than `error` does.
pub(crate) fn reason(client: &LoneConsumer, error: &KafkaError) -> String {
    // It is told to those who poll.
    let _ = client.poll(Duration::from_millis(10));
    let heard = client.context().reason.lock().unwrap_or_else(PoisonError::into_inner).take();
    heard.unwrap_or_else(|| error.to_string())
}

/// A client whose errors are told by whoever calls it: coming to a partition's end, above all, is none.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    reason: Mutex<Option<String>>,
    seen: Mutex<Option<Seen>>,
}

/// How a consumer is, as it last told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When it told.
    pub(crate) at: Instant,
    /// Whether brokers answer.
    pub(crate) answered: bool,
    /// How many partitions were read to their end, transactions' markers and all.
    pub(crate) at_end: usize,
}

impl Quiet {
    /// What it told last: never, unless it is one that tells.
    pub(crate) fn seen(&self) -> Option<Seen> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => return,
            // This follows on each reason that says more.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            _ => *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned()),
        }
        tracing::debug!(%error, reason, "Kafka reader");
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| &topic.partitions);
        let ended = partitions.filter(|(number, partition)| {
            **number >= 0
                && partition.ls_offset >= 0
                && partition.next_offset >= partition.ls_offset
                && partition.fetchq_cnt == 0
        });
        let seen = Seen { at: Instant::now(), answered: rebalance::answers(&statistics), at_end: ended.count() };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

impl ConsumerContext for Quiet {}
