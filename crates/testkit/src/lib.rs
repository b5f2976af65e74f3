//! Kafka for tests.
#![forbid(unsafe_code)]
