//! The shell around Kafka, against a real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod runner;
