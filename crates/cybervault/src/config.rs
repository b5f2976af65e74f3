//! The configuration: one YAML file, the environment and flags, later ones going before earlier ones.
//!
//! Every value has a default, so the file may be empty. An environment variable is `CYBERVAULT_` and the key's path in
//! capitals with two underscores between levels: `CYBERVAULT_KAFKA__BOOTSTRAP`, `CYBERVAULT_BATCH__MAX_RECORDS`.

mod correlation;
mod gateway;
mod indicators;
mod keys;
mod layers;
mod secret;
mod topics;
mod tracing;

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use cybervault_model::{
    Decoder,
    container::{ContainerLimits, Unpacker},
    json::Limits,
};
use cybervault_quota::{Plans, Spread};
use cybervault_response::Guardrails;
use cybervault_scoring::Weights;
use cybervault_stream::{BatchLimits, Health, KafkaSettings, Sizes, StateLimits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    correlation::Correlation,
    gateway::GatewayConfig,
    indicators::{FeedFile, Indicators},
    layers::ConfigError,
    secret::{ClientOptions, Secret},
    topics::{TopicNames, Topics},
    tracing::Tracing,
};

/// CyberVault's configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where Kafka is.
    pub(crate) kafka: Kafka,
    /// Which part of the work this process does.
    pub(crate) worker: Worker,
    /// The topics.
    pub(crate) topics: Topics,
    /// When a batch, and with it a transaction, ends: by the first of these that is reached.
    pub(crate) batch: Batch,
    /// How much of one event is looked at; what exceeds it is dead-lettered.
    pub(crate) limits: EventLimits,
    /// What tenants may send.
    pub(crate) quota: Quota,
    /// The tenants: a YAML file, see `cybervault tenants check`. Read again when it changes.
    pub(crate) tenants_file: Option<PathBuf>,
    /// Whether that file may name no tenant at all, so that every event is rejected. Without it, an empty list is taken for a
    /// slip: a worker does not start with it, and one that runs keeps the tenants that it has. Default: false.
    pub(crate) allow_no_tenants: bool,
    /// The detection rules: a folder of Sigma rules. Without it, those that ship with the product. Read again when it
    /// changes.
    pub(crate) rules_dir: Option<PathBuf>,
    /// What is done to the rules.
    pub(crate) rules: Rules,
    /// How late events of a correlation may come, and how much is kept of them.
    pub(crate) correlation: Correlation,
    /// Lists of known hashes, addresses, domains and URLs.
    pub(crate) indicators: Indicators,
    /// The playbooks: a folder of YAML files. Without it, those that ship with the product. Read again when it changes.
    pub(crate) playbooks_dir: Option<PathBuf>,
    /// How hits become a score, a severity and a verdict.
    pub(crate) scoring: Weights,
    /// What becomes of an assessment that found nothing.
    pub(crate) emit: Emit,
    /// The form of what is produced.
    pub(crate) output: Output,
    /// Which findings are one incident, and when one is told.
    pub(crate) incidents: cybervault_incident::Settings,
    /// What holds for all playbooks.
    pub(crate) response: Guardrails,
    /// Metrics and health over HTTP.
    pub(crate) metrics: Metrics,
    /// How much state a partition may have.
    pub(crate) state: State,
    /// REST API and console.
    pub(crate) gateway: GatewayConfig,
    /// The log, on stderr.
    pub(crate) log: Log,
    /// Traces.
    pub(crate) tracing: Tracing,
}

/// Where Kafka is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kafka {
    /// The brokers, `host:port` with commas between. Default: `localhost:9092`.
    pub(crate) bootstrap: String,
    /// Any option of librdkafka by its own name, so that TLS and SASL work: `security.protocol: SASL_SSL`. A password may
    /// not stand here: write `sasl.password_file: PATH`, or set `CYBERVAULT_KAFKA__CLIENT__SASL_PASSWORD`.
    pub(crate) client: ClientOptions,
    /// What all topics' names begin with, `prod.` for one. Default: nothing.
    pub(crate) topic_prefix: String,
    /// A schema registry with Confluent's interface: Avro is then read and written in its wire format.
    pub(crate) schema_registry: Option<SchemaRegistry>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap: "localhost:9092".to_owned(),
            client: ClientOptions::default(),
            topic_prefix: String::new(),
            schema_registry: None,
        }
    }
}

/// A schema registry with Confluent's interface.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaRegistry {
    /// Its address, with the path where there is one: `https://registry:8081`.
    pub(crate) url: String,
    /// The user, where it asks for one.
    #[serde(default)]
    pub(crate) username: Option<String>,
    /// The password: only by environment, `CYBERVAULT_KAFKA__SCHEMA_REGISTRY__PASSWORD`.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// A file with the password in it.
    #[serde(default)]
    pub(crate) password_file: Option<PathBuf>,
}

/// What is done to the detection rules before they are compiled.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    /// Processing pipelines in pySigma's YAML: files, or folders of them. Read again when they change.
    pub(crate) pipelines: Vec<PathBuf>,
}

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Events to assessments.
    Assess,
    /// Shares of tenants' quotas, moved to where their events come.
    Quota,
    /// Signals of several events to findings.
    Correlate,
    /// Assessments to actions.
    Respond,
    /// Assessments to incidents.
    Incidents,
}

/// Which part of the work this process does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Worker {
    /// Its stages. Default: all.
    pub(crate) roles: Vec<Role>,
    /// A name that no other live worker has, and that stays the same over restarts: its transactional ids begin with it.
    /// Default: the host's name.
    pub(crate) instance: Option<String>,
    /// Runners of each stage, each with a thread, a consumer and a producer of its own. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) runners: u32,
    /// How many milliseconds a shutdown may take: the process ends by then, whatever hangs. Default: 10,000.
    #[schemars(range(min = 1))]
    pub(crate) shutdown_ms: u64,
    /// After how many milliseconds without a step, though records wait, a stage counts as hanging: `/livez` then fails. Default:
    /// 60,000.
    #[schemars(range(min = 1000))]
    pub(crate) stalled_after_ms: u64,
    /// Whether a worker is the same member of its groups after a restart, by `worker.instance`: it then has its partitions back
    /// at once, and one that is gone for good is missed only after `session.timeout.ms`, 6 s. Default: true.
    pub(crate) static_membership: bool,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            roles: vec![Role::Assess, Role::Quota, Role::Correlate, Role::Respond, Role::Incidents],
            instance: None,
            runners: 1,
            shutdown_ms: 10_000,
            stalled_after_ms: 60_000,
            static_membership: true,
        }
    }
}

impl Worker {
    /// The worker's name: as configured, else the host's.
    pub(crate) fn instance(&self) -> String {
        self.instance.clone().unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned())
    }

    /// How long a shutdown may take.
    pub(crate) fn shutdown(&self) -> Duration {
        Duration::from_millis(self.shutdown_ms)
    }

    /// The health of stages that have not started yet.
    pub(crate) fn health(&self) -> Health {
        Health::new(Duration::from_millis(self.stalled_after_ms))
    }
}

/// When a batch ends.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Batch {
    /// Records; up to twice as many while the batch before it is still being committed. Default: 10,000.
    #[schemars(range(min = 1))]
    pub(crate) max_records: usize,
    /// Bytes of the records' values and of what the batch writes; twice as many likewise. Default: 16 MiB.
    #[schemars(range(min = 1))]
    pub(crate) max_bytes: usize,
    /// Milliseconds since the batch's first record. Default: 5.
    pub(crate) linger_ms: u64,
}

impl Default for Batch {
    fn default() -> Self {
        let BatchLimits { max_records, max_bytes, linger } = BatchLimits::default();
        Self { max_records, max_bytes, linger_ms: u64::try_from(linger.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// How much of one event is looked at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventLimits {
    /// Bytes of one event. Default: 1 MiB.
    pub(crate) max_event_bytes: usize,
    /// Objects and lists inside each other, 1 to 1,000. Default: 64.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_depth: usize,
    /// Bytes that a compressed batch of records may become. A larger one is read again by itself, and no other batch meanwhile.
    /// Default: 64 MiB.
    #[schemars(range(min = 18_874_368))]
    pub(crate) max_batch_bytes: usize,
    /// Bytes that such a batch may become. A larger one is stepped over and told on the dead-letter topic. Default: 160 MiB.
    #[schemars(range(min = 18_874_368, max = 1_000_000_000))]
    pub(crate) max_lone_batch_bytes: usize,
    /// Events in one record that is a container; in a file there may be any number. Default: 10,000.
    #[schemars(range(min = 1))]
    pub(crate) max_container_events: usize,
    /// Containers inside each other, 1 to 32. Default: 8.
    #[schemars(range(min = 1, max = 32))]
    pub(crate) max_container_depth: usize,
    /// How many milliseconds an event's record may be ahead of this worker's clock where its topic has the senders' clock
    /// (`CreateTime`): one that is further ahead is taken as so far ahead. Default: 1,000.
    #[schemars(range(max = 3_600_000))]
    pub(crate) max_ahead_ms: u64,
}

impl Default for EventLimits {
    fn default() -> Self {
        let Limits { max_bytes, max_depth } = Limits::default();
        let Sizes { batch, lone_batch, .. } = Sizes::default();
        let ContainerLimits { max_events, max_depth: max_container_depth } = ContainerLimits::default();
        Self {
            max_event_bytes: max_bytes,
            max_depth,
            max_batch_bytes: batch,
            max_lone_batch_bytes: lone_batch,
            max_container_events: max_events,
            max_container_depth,
            max_ahead_ms: 1_000,
        }
    }
}

impl EventLimits {
    /// As the decoder takes them.
    pub(crate) fn reader(&self) -> Limits {
        Limits { max_bytes: self.max_event_bytes, max_depth: self.max_depth }
    }

    /// What decodes records and opens containers.
    pub(crate) fn unpacker(&self) -> Unpacker {
        self.unpacker_of(self.max_container_events)
    }

    /// The same for files, whose containers are of any length.
    pub(crate) fn file_unpacker(&self) -> Unpacker {
        self.unpacker_of(usize::MAX)
    }

    fn unpacker_of(&self, max_events: usize) -> Unpacker {
        let limits = ContainerLimits { max_events, max_depth: self.max_container_depth };
        Unpacker::new(Decoder::new(self.reader()), limits)
    }
}

/// What tenants may send.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Quota {
    /// The rates behind each plan.
    pub(crate) plans: Plans,
    /// How often, in milliseconds, a partition that lacks of a tenant's quota says so; 50 to 10,000. Shares follow where events
    /// come by about two of these. Default: 250.
    #[schemars(range(min = 50, max = 10_000))]
    pub(crate) share_interval_ms: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { plans: Plans::default(), share_interval_ms: 250 }
    }
}

/// What becomes of an assessment that found nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Emit {
    /// It is not written.
    #[default]
    Findings,
    /// It is written as well: one assessment an admitted event.
    All,
}

/// The form of what is produced.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Output {
    /// JSON, or Avro: in Confluent's wire format where a schema registry is configured, else as single objects.
    pub(crate) encoding: OutputEncoding,
}

/// The form of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutputEncoding {
    /// JSON.
    #[default]
    Json,
    /// Avro, by the schemas in schemas/.
    Avro,
}

/// Metrics and health over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Where `/metrics`, `/livez` and `/readyz` are served; port 0 is any free one. They have no password: whoever reaches the
    /// port reads them. `0.0.0.0:9464` is every network of this machine. Default: `127.0.0.1:9464`.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
    /// How many tenants have a label of their own; the rest count as `other`. Default: 50.
    #[schemars(range(max = 10_000))]
    pub(crate) top_tenants: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464)), top_tenants: 50 }
    }
}

/// How much state a partition may have.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct State {
    /// Entries. Default: 1,000,000.
    #[schemars(range(min = 1))]
    pub(crate) max_entries: usize,
    /// Bytes of keys and values. Default: 256 MiB.
    #[schemars(range(min = 1))]
    pub(crate) max_bytes: usize,
}

impl Default for State {
    fn default() -> Self {
        let StateLimits { max_entries, max_bytes } = StateLimits::default();
        Self { max_entries, max_bytes }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log, on stderr.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// What is logged: `info`, `debug`, or a filter such as `info,cybervault_stream=debug`. Default: `info`.
    pub(crate) level: String,
    /// Its form.
    pub(crate) format: LogFormat,
}

impl Log {
    /// Finds a word that is no level. A filter would take it for the name of a module, and log nothing else.
    fn check(&self) -> Result<(), String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
        let mut words = self.level.split(',').map(str::trim);
        match words.find(|word| !is_level(word) && !word.contains(['=', '[', ']'])) {
            None => Ok(()),
            Some(word) => Err(format!(
                "`{word}` is no level: use {}, or a filter as `info,cybervault_stream=debug`",
                LEVELS.join(", ")
            )),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// How the client reaches Kafka.
    pub(crate) fn kafka(&self) -> KafkaSettings {
        let sizes = Sizes {
            record: self.largest_record(),
            batch: self.limits.max_batch_bytes,
            lone_batch: self.limits.max_lone_batch_bytes.max(self.limits.max_batch_bytes),
        };
        KafkaSettings {
            bootstrap: self.kafka.bootstrap.clone(),
            client: self.kafka.client.options(),
            reader_group: format!("cybervault.{}reader", self.kafka.topic_prefix),
            sizes,
        }
    }

    /// The largest record that is written, before compression: a dead letter, which holds an event and its headers.
    pub(crate) fn largest_record(&self) -> usize {
        (self.limits.max_event_bytes * 2 + 64 * 1024).max(4 * 1024 * 1024)
    }

    /// What this worker is called in its groups, without the stage and the runner.
    pub(crate) fn member_name(&self) -> String {
        let set = self.kafka.client.options().remove("group.instance.id");
        set.unwrap_or_else(|| self.worker.instance())
    }

    /// When a batch ends.
    pub(crate) fn batch_limits(&self) -> BatchLimits {
        let Batch { max_records, max_bytes, linger_ms } = self.batch;
        BatchLimits { max_records, max_bytes, linger: Duration::from_millis(linger_ms) }
    }

    /// How much state a partition may have.
    pub(crate) fn state_limits(&self) -> StateLimits {
        StateLimits { max_entries: self.state.max_entries, max_bytes: self.state.max_bytes }
    }

    /// How tenants' quotas are spread.
    pub(crate) fn quota_spread(&self) -> Spread {
        let partitions = NonZeroU32::new(self.topics.partitions).unwrap_or(NonZeroU32::MIN);
        Spread::over(partitions, self.quota.share_interval_ms)
    }

    /// A topic's full name.
    pub(crate) fn topic(&self, name: impl FnOnce(&TopicNames) -> &str) -> Arc<str> {
        format!("{}{}", self.kafka.topic_prefix, name(&self.topics.names)).into()
    }
}

#[cfg(test)]
mod tests;
