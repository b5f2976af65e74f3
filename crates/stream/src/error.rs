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
    /// A call got no answer in its time.
    #[error("{what}: no answer from Kafka within {seconds} s; going on from the last commit")]
    NoAnswer {
        /// What was attempted.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A transaction is open for longer than one can be.
    #[error(
        "a transaction in `{topic}`, partition {partition}, has been open at offset {offset} for {seconds} s, and nobody can \
         read on behind it. Kafka may have lost sight of it: see \"An open transaction\" in \
         docs/runbooks/CybervaultPartitionStalled.md"
    )]
    Undecided {
        /// Where it is.
        topic: String,
        /// Where in it.
        partition: i32,
        /// Where it begins.
        offset: i64,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A topic is not there.
    #[error("topic `{0}` does not exist; create it with `cybervault topics apply`")]
    MissingTopic(String),
    /// Kafka refuses access.
    #[error("Kafka refuses {what}: {reason}; {remedy}")]
    Denied {
        /// What was attempted.
        what: String,
        /// What Kafka says.
        reason: String,
        /// What to do: the ACL that is wanting, by operation and resource.
        remedy: String,
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
    /// Whether no waiting and no other attempt mends it. A missing topic is none of these: a broker that has just come back may
    /// not know it yet, and before the next session it is looked for.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Configuration(_) | Self::Denied { .. } | Self::RecordTooLarge { .. })
    }

    /// Names what was attempted when `error` came back.
    pub(crate) fn from_kafka(what: impl Into<String>, error: &KafkaError) -> Self {
        Self::from_kafka_needing(what, error, Needs::default())
    }

    /// The same of an attempt that needs these permissions: where it is refused, the one that is wanting is named.
    pub(crate) fn from_kafka_needing(what: impl Into<String>, error: &KafkaError, needs: Needs<'_>) -> Self {
        let what = what.into();
        let reason = error.to_string();
        match error.rdkafka_error_code() {
            Some(code) if is_denied(code) => Self::Denied { what, reason, remedy: needs.remedy(code) },
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Self::MissingTopic(what)
            }
            _ => Self::Fatal { what, reason },
        }
    }
}

/// What an attempt has to be allowed. Which of it is wanting, Kafka's code says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs<'n> {
    /// An operation, and the topics that it is done to.
    topics: Option<(&'static str, &'n str)>,
    /// The consumer group to take part in.
    group: Option<&'n str>,
    /// The transactional id to write as.
    transactional_id: Option<&'n str>,
}

impl<'n> Needs<'n> {
    /// To read these topics. Kafka grants Describe along with it.
    pub(crate) const fn read(topics: &'n str) -> Self {
        Self { topics: Some(("Read", topics)), group: None, transactional_id: None }
    }

    /// To write to these topics. Kafka grants Describe along with it.
    pub(crate) const fn write(topics: &'n str) -> Self {
        Self { topics: Some(("Write", topics)), group: None, transactional_id: None }
    }

    /// To see these topics.
    pub(crate) const fn describe(topics: &'n str) -> Self {
        Self { topics: Some(("Describe", topics)), group: None, transactional_id: None }
    }

    /// To create these topics.
    pub(crate) const fn create(topics: &'n str) -> Self {
        Self { topics: Some(("Create", topics)), group: None, transactional_id: None }
    }

    /// To take part in this group as well.
    pub(crate) const fn and_group(self, group: &'n str) -> Self {
        Self { group: Some(group), ..self }
    }

    /// To write as this transactional id as well.
    pub(crate) const fn and_id(self, id: &'n str) -> Self {
        Self { transactional_id: Some(id), ..self }
    }

    fn remedy(self, code: RDKafkaErrorCode) -> String {
        let acl = match (code, self) {
            (RDKafkaErrorCode::SaslAuthenticationFailed, _) => {
                return "check the user and the password in `kafka.client`".to_owned();
            }
            (RDKafkaErrorCode::TopicAuthorizationFailed, Self { topics: Some((operation, topics)), .. }) => {
                let several = if topics.contains(", ") { "s" } else { "" };
                format!("{operation} on topic{several} {topics}")
            }
            (RDKafkaErrorCode::TopicAuthorizationFailed, _) => "Read and Write on the topics of this stage".to_owned(),
            (RDKafkaErrorCode::GroupAuthorizationFailed, Self { group: Some(group), .. }) => {
                format!("Read on group {group}")
            }
            (RDKafkaErrorCode::GroupAuthorizationFailed, _) => "Read on the consumer group of this stage".to_owned(),
            (RDKafkaErrorCode::TransactionalIdAuthorizationFailed, Self { transactional_id: Some(id), .. }) => {
                format!("Write on transactional id {id}")
            }
            (RDKafkaErrorCode::TransactionalIdAuthorizationFailed, _) => {
                "Write on the transactional ids of this stage".to_owned()
            }
            (_, Self { topics: Some((operation @ "Create", _)), .. }) => format!("{operation} on the cluster"),
            _ => "IdempotentWrite on the cluster".to_owned(),
        };
        format!("grant the user the ACL `{acl}`, see \"Permissions\" in docs/operations.md")
    }
}

/// Whether a consumer outside any group may not read. The client wants a group's id even of one that never joins, and asks
/// after that group: that it may not see it keeps it from nothing.
pub(crate) fn is_denied_alone(code: RDKafkaErrorCode) -> bool {
    is_denied(code) && code != RDKafkaErrorCode::GroupAuthorizationFailed
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_told_which_acl_is_wanting() {
        use RDKafkaErrorCode as Code;
        let needs = Needs::read("in").and_group("cybervault.assess").and_id("cybervault.assess.a.0");
        for (code, needs, expected) in [
            (Code::TopicAuthorizationFailed, needs, "the ACL `Read on topic in`"),
            (Code::TopicAuthorizationFailed, Needs::write("a, b"), "the ACL `Write on topics a, b`"),
            (Code::TopicAuthorizationFailed, Needs::describe("in"), "the ACL `Describe on topic in`"),
            (Code::GroupAuthorizationFailed, needs, "the ACL `Read on group cybervault.assess`"),
            (Code::TransactionalIdAuthorizationFailed, needs, "`Write on transactional id cybervault.assess.a.0`"),
            (Code::ClusterAuthorizationFailed, Needs::create("in"), "`Create on the cluster`"),
            (Code::ClusterAuthorizationFailed, needs, "`IdempotentWrite on the cluster`"),
            (Code::SaslAuthenticationFailed, needs, "check the user and the password"),
        ] {
            let error = StreamError::from_kafka_needing("it", &KafkaError::MessageConsumption(code), needs);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
