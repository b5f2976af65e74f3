//! The records and their decoder, over the public interface.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod avro_events;
mod contract;
mod hostile_bytes;
