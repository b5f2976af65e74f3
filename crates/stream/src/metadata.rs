//! What Kafka says of a topic: that it is not there, that it may not be seen, or how many partitions it has.

use std::{thread, time::Duration};

use rdkafka::{
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    StreamError,
    error::{Needs, is_denied_alone},
};

/// How often a topic is asked for that has no leaders yet: one that was just created, or whose broker just started.
const ATTEMPTS: u32 = 20;
/// Between two of these.
const PAUSE: Duration = Duration::from_millis(100);

/// How many partitions `topic` has.
///
/// # Errors
/// When no broker answers within `wait`, and when there is no such topic, or none that this user may see.
pub(crate) fn partitions<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    wait: Duration,
) -> Result<i32, StreamError> {
    for _ in 0..ATTEMPTS {
        let metadata = client.fetch_metadata(Some(topic), wait).map_err(|error| {
            StreamError::from_kafka_needing(format!("topic `{topic}`"), &error, Needs::describe(topic))
        })?;
        let Some(found) = metadata.topics().first() else { break };
        match found.error().map(RDKafkaErrorCode::from) {
            None if !found.partitions().is_empty() => {
                return Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX));
            }
            Some(code) if is_denied_alone(code) => {
                let what = format!("access to topic `{topic}`");
                return Err(StreamError::from_kafka_needing(
                    what,
                    &KafkaError::MetadataFetch(code),
                    Needs::describe(topic),
                ));
            }
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) => thread::sleep(PAUSE),
            Some(_) => break,
        }
    }
    Err(StreamError::MissingTopic(topic.to_owned()))
}
