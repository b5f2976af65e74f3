//! The product through its built binary, against a real Kafka. All of it is one program, since linking one takes longer than most
//! tests do. `cargo test -p cybervault --test suite response::` runs one module.
//!
//! Tests run side by side in this one process: each makes its own topics, folders and ports, and none changes the process's
//! environment.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and one that is skipped says so"
)]

mod support;

mod avro;
mod chaos;
mod command_line;
mod console;
mod correlate;
mod correlations;
mod dead_letters;
mod deploy;
mod doctor;
mod exactly_once;
mod fairness;
mod gateway;
mod hostile_batches;
mod incidents;
mod inputs;
mod observability;
mod outages;
mod partitions;
mod proxies;
mod quota;
mod readers;
mod recorded_events;
mod response;
mod retention;
mod security;
mod sources;
mod traces;
mod upgrade;
