//! What the gateway asks of the rest of the product: the binary answers with what is in force there.

use cybervault_model::{Assessment, Level, Plan, Signal, TenantId, Timestamp};
use serde::Serialize;

/// The rules and tenants in force. Called from many threads at once, and never for long.
pub trait Engine: Send + Sync + 'static {
    /// Assesses one event as the stream would: same rules, same weights, same bytes.
    ///
    /// # Errors
    /// What is wrong with the event, for its sender.
    fn assess(&self, tenant_id: &TenantId, event: &[u8], at: Timestamp) -> Result<Found, String>;

    /// A tenant, if there is one of this id.
    fn tenant(&self, tenant_id: &str) -> Option<TenantFacts>;

    /// The rules in force.
    fn rules(&self) -> Vec<RuleFacts>;

    /// How many records a consumer group has committed, where this is known better than by Kafka: the embedded broker
    /// does not tell what transactions committed.
    fn committed(&self, _group: &str) -> Option<u64> {
        None
    }
}

/// What comes of an event.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its assessment.
    pub assessment: Assessment,
    /// What correlations need of it.
    pub signals: Vec<Signal>,
}

/// What is known of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Its plan.
    pub plan: Plan,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Events a second on the stream.
    pub events_per_second: u64,
    /// Bytes a second on the stream.
    pub bytes_per_second: u64,
    /// Burst on the stream, in percent of the rates.
    pub burst_percent: u32,
}

/// What is told of a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleFacts {
    /// Its id.
    pub rule_id: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub level: Level,
    /// `stable`, `test`, `experimental`, …
    pub status: Option<String>,
    /// Its tags: `attack.t1059.001`, …
    pub tags: Vec<String>,
    /// Sigma's log source, as `product/service/category`; `*` is any.
    pub logsource: String,
    /// What else could look like this.
    pub false_positives: Vec<String>,
}
