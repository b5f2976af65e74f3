//! Whether Kafka answers at all.

use std::time::Duration;

use rdkafka::consumer::Consumer;

use crate::{
    KafkaSettings, StreamError,
    settings::{LoneConsumer, reason},
};

/// Asks Kafka again and again, with the same client.
pub struct Pulse {
    client: LoneConsumer,
    bootstrap: String,
    topic: String,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl Pulse {
    /// A pulse that asks after `topic`, as little as can be asked for.
    ///
    /// # Errors
    /// When the client refuses its configuration.
    pub fn new(kafka: &KafkaSettings, topic: &str) -> Result<Self, StreamError> {
        let client = kafka.lone_consumer("read_committed")?;
        Ok(Self { client, bootstrap: kafka.bootstrap.clone(), topic: topic.to_owned() })
    }

    /// Asks once, and waits at most so long.
    ///
    /// # Errors
    /// When no broker answers by then, with what the client says of it.
    pub fn beat(&self, wait: Duration) -> Result<(), StreamError> {
        self.client.fetch_metadata(Some(&self.topic), wait).map(drop).map_err(|error| {
            let reason = reason(&self.client, &error);
            StreamError::Unreachable { bootstrap: self.bootstrap.clone(), reason }
        })
    }
}
