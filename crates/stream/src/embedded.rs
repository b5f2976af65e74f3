//! A broker inside the process, for trying out: librdkafka's own mock cluster.
//!
//! It speaks Kafka's real protocol, so any client can connect. It keeps at most 5 MB or 100,000 records a partition,
//! dropping the oldest, its transactions isolate nothing, offsets committed in them are forgotten once a group's member is, and
//! it is gone with the process.

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use crate::StreamError;

/// The embedded broker; it stops when dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker").field("bootstrap", &self.bootstrap()).finish()
    }
}

impl EmbeddedBroker {
    /// What it keeps of a partition, in records; the oldest are dropped beyond.
    pub const KEPT_RECORDS: usize = 100_000;
    /// What it keeps of a partition, in bytes.
    pub const KEPT_BYTES: usize = 5 * 1024 * 1024;

    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// When the port can't be opened.
    pub fn start() -> Result<Self, StreamError> {
        let cluster =
            MockCluster::new(1).map_err(|error| StreamError::from_kafka("starting the embedded broker", &error))?;
        Ok(Self { cluster })
    }

    /// Its address.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When it exists or its number of partitions is refused.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), StreamError> {
        self.cluster.create_topic(name, partitions, 1).map_err(|error| StreamError::from_kafka(name, &error))
    }
}
