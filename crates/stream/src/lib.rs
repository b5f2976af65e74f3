//! The exactly-once shell around Kafka.
#![forbid(unsafe_code)]
