//! The topics: their names, and how they should be.

use std::collections::BTreeMap;

use cybervault_stream::TopicPlan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// The topics.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Topics {
    /// Their names, without the prefix.
    pub(crate) names: TopicNames,
    /// Partitions of each: the most workers that a stage can have. Default: 12.
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) partitions: u32,
    /// Copies of each partition. Default: the broker's own.
    #[schemars(range(min = 1))]
    pub(crate) replication: Option<u16>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { names: TopicNames::default(), partitions: 12, replication: None }
    }
}

macro_rules! topic_names {
    ($($(#[$doc:meta])* $field:ident = $default:literal,)*) => {
        /// The topics' names, without the prefix.
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct TopicNames {
            $($(#[$doc])* pub(crate) $field: String,)*
        }

        impl Default for TopicNames {
            fn default() -> Self {
                Self { $($field: $default.to_owned(),)* }
            }
        }

        impl TopicNames {
            /// All of them, as (key, name).
            pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
                [$((stringify!($field), self.$field.as_str()),)*].into_iter()
            }
        }
    };
}

topic_names! {
    /// In: events. Default: `telemetry.events`.
    telemetry_events = "telemetry.events",
    /// Out: events that came by the API, which the gateway has assessed. Default: `telemetry.api`.
    telemetry_api = "telemetry.api",
    /// Out: what could not be processed. Default: `telemetry.dlq`.
    telemetry_dlq = "telemetry.dlq",
    /// Out: what log sources events belong to, by tenant. Default: `telemetry.sources`.
    telemetry_sources = "telemetry.sources",
    /// Internal: what of events correlations look at, by what meets. Default: `detection.signals`.
    detection_signals = "detection.signals",
    /// Out: assessments. Default: `threat.assessments`.
    threat_assessments = "threat.assessments",
    /// Out: events that were not admitted. Default: `quota.rejections`.
    quota_rejections = "quota.rejections",
    /// Internal: what partitions use of each tenant's quota. Default: `quota.usage`.
    quota_usage = "quota.usage",
    /// Internal: what partitions may use of it. Default: `quota.shares`.
    quota_shares = "quota.shares",
    /// Out: actions, each later state of one too. Default: `response.actions`.
    response_actions = "response.actions",
    /// In: people's decisions on actions. Default: `response.decisions`.
    response_decisions = "response.decisions",
    /// Internal: what playbooks ask for, and decisions, by tenant. Default: `response.candidates`.
    response_candidates = "response.candidates",
    /// Out: incidents, told again each time something material has changed. Default: `threat.incidents`.
    threat_incidents = "threat.incidents",
    /// In: people's words on incidents. Default: `incident.decisions`.
    incident_decisions = "incident.decisions",
    /// Internal: findings and people's words on incidents, by tenant. Default: `incident.candidates`.
    incident_candidates = "incident.candidates",
    /// Internal: the assess stage's state. Default: `state.assess`.
    state_assess = "state.assess",
    /// Internal: the quota stage's state. Default: `state.quota`.
    state_quota = "state.quota",
    /// Internal: the correlate stage's state. Default: `state.correlate`.
    state_correlate = "state.correlate",
    /// Internal: the respond stage's state. Default: `state.response`.
    state_response = "state.response",
    /// Internal: the incidents stage's state. Default: `state.incidents`.
    state_incidents = "state.incidents",
    /// Internal: which dead letters were sent back. Default: `state.replay`.
    state_replay = "state.replay",
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Config {
    /// How every topic should be.
    pub(crate) fn topic_plans(&self) -> Vec<TopicPlan> {
        let max_event = self.limits.max_event_bytes;
        // What comes in is taken up to somewhat more than an event may have, so that the sender of a larger one gets a
        // dead letter instead of an error; a dead letter's headers need room of their own.
        let input_bytes = (max_event + max_event / 2).max(2 * 1024 * 1024).to_string();
        let dead_bytes = self.largest_record().to_string();
        let week = (7 * DAY_MS).to_string();
        let day = DAY_MS.to_string();
        let month = (30 * DAY_MS).to_string();
        // Quotas are decided on a record's own time: with the sender's clock in it (CreateTime, Kafka's default), a sender
        // could write a later time and so refill its own quota.
        let events = [("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", &input_bytes)];
        // How long groups are kept goes by these times, which are to be one clock's.
        let signals = [("message.timestamp.type", "LogAppendTime"), ("retention.ms", &*week)];
        let changelog = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.1")];
        let names = &self.topics.names;
        [
            (&names.telemetry_events, &events[..]),
            (&names.telemetry_api, &[("max.message.bytes", &*input_bytes), ("retention.ms", &*month)]),
            (&names.telemetry_dlq, &[("max.message.bytes", &*dead_bytes), ("retention.ms", &month)]),
            (&names.telemetry_sources, &[("retention.ms", &*week)]),
            (&names.detection_signals, &signals),
            (&names.threat_assessments, &[("retention.ms", &*month)]),
            (&names.quota_rejections, &[("retention.ms", &*week)]),
            (&names.quota_usage, &[("retention.ms", &*day)]),
            (&names.quota_shares, &changelog),
            (&names.response_actions, &[("retention.ms", &*month)]),
            (&names.response_decisions, &[("retention.ms", &*month)]),
            (&names.response_candidates, &[("retention.ms", &*week)]),
            (&names.threat_incidents, &[("retention.ms", &*month)]),
            (&names.incident_decisions, &[("retention.ms", &*month)]),
            (&names.incident_candidates, &[("retention.ms", &*week)]),
            (&names.state_assess, &changelog),
            (&names.state_quota, &changelog),
            (&names.state_correlate, &changelog),
            (&names.state_response, &changelog),
            (&names.state_incidents, &changelog),
            (&names.state_replay, &changelog),
        ]
        .into_iter()
        .map(|(name, config)| self.topic_plan(name, config))
        .collect()
    }

    fn topic_plan(&self, name: &str, config: &[(&str, &str)]) -> TopicPlan {
        TopicPlan {
            name: format!("{}{name}", self.kafka.topic_prefix),
            partitions: i32::try_from(self.topics.partitions).unwrap_or(i32::MAX),
            replication: self.topics.replication.map(i32::from),
            config: config
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<String, String>>(),
        }
    }
}
