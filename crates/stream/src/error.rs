//! What can go wrong with Kafka, said so that a person knows what to do.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

/// Why the shell could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The client refused its configuration.
    #[error("the Kafka client refuses its configuration: {0}; see `kafka.client` in the configuration")]
    Configuration(String),
    /// No broker answers.
    #[error(
        "no answer from Kafka at {bootstrap}: {reason}; check the address, TLS and SASL settings, and that it runs"
    )]
    Unreachable {
        /// What was tried.
        bootstrap: String,
        /// What the client says.
        reason: String,
    },
    /// A topic is not there.
    #[error("topic `{0}` does not exist; create it with `cybervault topics apply`")]
    MissingTopic(String),
    /// A changelog does not have its input's partitions.
    #[error(
        "topic `{changelog}` has {found} partitions, but `{input}` has {expected}: state and input must have the same \
         number; stop the workers, delete `{changelog}` and run `cybervault topics apply`"
    )]
    PartitionMismatch {
        /// The state's topic.
        changelog: String,
        /// The input's topic.
        input: String,
        /// Partitions of the changelog.
        found: usize,
        /// Partitions of the input.
        expected: usize,
    },
    /// Kafka refuses access.
    #[error("Kafka refuses {what}: {reason}; grant the ACL, see \"Permissions\" in the README")]
    Denied {
        /// What was attempted.
        what: String,
        /// What Kafka says.
        reason: String,
    },
    /// Another process has taken over this one's transactional id.
    #[error(
        "another process uses the transactional id `{0}` and has fenced this one off; give each worker its own \
         `worker.instance`"
    )]
    Fenced(String),
    /// A record that no broker takes.
    #[error(
        "a record of {bytes} bytes for `{topic}` is larger than Kafka takes; raise `max.message.bytes` of that topic"
    )]
    RecordTooLarge {
        /// Where it was to go.
        topic: String,
        /// Its size.
        bytes: usize,
    },
    /// Anything else that no retry mends.
    #[error("{what} failed: {reason}")]
    Fatal {
        /// What was attempted.
        what: String,
        /// What the client says.
        reason: String,
    },
}

impl StreamError {
    /// Names what was attempted when `error` came back.
    pub(crate) fn from_kafka(what: impl Into<String>, error: &KafkaError) -> Self {
        let what = what.into();
        let reason = error.to_string();
        match error.rdkafka_error_code() {
            Some(code) if is_denied(code) => Self::Denied { what, reason },
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Self::MissingTopic(what)
            }
            _ => Self::Fatal { what, reason },
        }
    }
}

pub(crate) fn is_denied(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
    )
}
