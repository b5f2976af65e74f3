//! What a gateway is told by whoever starts it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use cybervault_model::{Encoding, Plan, avro::WriterSchemas};
use cybervault_stream::KafkaSettings;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::{Place, Retention};

/// Everything a gateway has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// What errors' `docs_url` begins with; without it they are paths.
    pub public_url: Option<String>,
    /// Certificate and key in PEM; without them it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Proxies before it, which say in `X-Forwarded-For` whose requests they pass on.
    pub trusted_proxies: Vec<IpNet>,
    /// Where it remembers things.
    pub store: Place,
    /// How many requests a tenant may make.
    pub rate_limits: RateLimits,
    /// How long what was found is kept.
    pub retention: Retention,
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The transactional id that it writes as; no other process has it.
    pub transactional_id: String,
    /// The topics.
    pub topics: Topics,
    /// The consumer groups whose lag is watched, each with the topic that it reads.
    pub groups: Vec<(String, Arc<str>)>,
    /// The form of what is written.
    pub encoding: Encoding,
    /// The schemas of what is read.
    pub schemas: Arc<dyn WriterSchemas>,
    /// Bytes that one event may have.
    pub max_event_bytes: usize,
    /// Whether requests have spans. Trace headers are carried on all the same.
    pub spans: bool,
}

/// The topics that a gateway reads or writes.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Out: events that came by the API.
    pub events: Arc<str>,
    /// In and out: assessments.
    pub assessments: Arc<str>,
    /// In: actions.
    pub actions: Arc<str>,
    /// In: rejections.
    pub rejections: Arc<str>,
    /// In: what log sources events belong to.
    pub sources: Arc<str>,
    /// Out: decisions.
    pub decisions: Arc<str>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain in PEM, one's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// Requests of one plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRates {
    /// Requests a minute that read.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub read_per_minute: u32,
    /// Requests a minute that write.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub write_per_minute: u32,
    /// How far a minute's worth may be exceeded at once, in percent.
    #[schemars(range(max = 1_000))]
    pub burst_percent: u32,
}

/// Requests of each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Default: 60 read, 20 write, burst 15 %.
    pub starter: RequestRates,
    /// Default: 300 read, 100 write, burst 20 %.
    pub professional: RequestRates,
    /// Default: 60,000 read, 600,000 write, burst 20 %.
    pub enterprise: RequestRates,
}

impl Default for RateLimits {
    fn default() -> Self {
        let rates = |read_per_minute, write_per_minute, burst_percent| RequestRates {
            read_per_minute,
            write_per_minute,
            burst_percent,
        };
        Self { starter: rates(60, 20, 15), professional: rates(300, 100, 20), enterprise: rates(60_000, 600_000, 20) }
    }
}

impl RateLimits {
    /// The rates of `plan`.
    pub const fn of(&self, plan: Plan) -> RequestRates {
        match plan {
            Plan::Starter => self.starter,
            Plan::Professional => self.professional,
            Plan::Enterprise => self.enterprise,
        }
    }
}
