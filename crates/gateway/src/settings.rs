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
    /// What errors' `docs_url` begins with; without it, the host that was asked.
    pub public_url: Option<String>,
    /// Certificate and key in PEM; without them it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Proxies before it, which say in `X-Forwarded-For` whose requests they pass on.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at the same time.
    pub connections: usize,
    /// Where it remembers things.
    pub store: Place,
    /// How many requests a tenant may make.
    pub rate_limits: RateLimits,
    /// How many streams a tenant and a key may have open.
    pub streams: Streams,
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

impl Settings {
    /// Whether it is reached by TLS alone.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some() || self.public_url.as_ref().is_some_and(|url| url.starts_with("https:"))
    }

    /// What links to it begin with: as it is reached from outside, or else by the host that was asked.
    pub(crate) fn base(&self, host: Option<&str>) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match (&self.public_url, host) {
            (Some(url), _) => url.clone(),
            (None, Some(host)) => format!("{scheme}://{host}"),
            // Of a sender before HTTP/1.1, who named none.
            (None, None) => format!("{scheme}://{}", self.listen),
        }
    }
}

/// The topics that a gateway reads or writes.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Out: events that came by the API.
    pub events: Arc<str>,
    /// Out: what correlations need of them.
    pub signals: Arc<str>,
    /// In and out: assessments.
    pub assessments: Arc<str>,
    /// In: actions.
    pub actions: Arc<str>,
    /// In: rejections.
    pub rejections: Arc<str>,
    /// In: what log sources events belong to.
    pub sources: Arc<str>,
    /// In: incidents.
    pub incidents: Arc<str>,
    /// Out: decisions.
    pub decisions: Arc<str>,
    /// Out: people's words on incidents.
    pub incident_decisions: Arc<str>,
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

/// Open streams of one plan, the console's too. Each replica counts its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamLimits {
    /// Of a tenant at the same time.
    #[schemars(range(min = 1, max = 4_096))]
    pub of_a_tenant: u32,
    /// Of a key at the same time.
    #[schemars(range(min = 1, max = 4_096))]
    pub of_a_key: u32,
}

/// Open streams of each plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Streams {
    /// Default: 20 of a tenant, 10 of a key.
    pub starter: StreamLimits,
    /// Default: 100 of a tenant, 50 of a key.
    pub professional: StreamLimits,
    /// Default: 1,000 of a tenant, 500 of a key.
    pub enterprise: StreamLimits,
}

impl Default for Streams {
    fn default() -> Self {
        let limits = |of_a_tenant, of_a_key| StreamLimits { of_a_tenant, of_a_key };
        Self { starter: limits(20, 10), professional: limits(100, 50), enterprise: limits(1_000, 500) }
    }
}

impl Streams {
    /// The limits of `plan`.
    pub const fn of(&self, plan: Plan) -> StreamLimits {
        match plan {
            Plan::Starter => self.starter,
            Plan::Professional => self.professional,
            Plan::Enterprise => self.enterprise,
        }
    }
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
