//! What the suites run against: a real Kafka, a schema registry, sample data, and the product as a process.
//!
//! Nothing here waits by sleeping for a fixed time: [`eventually`] polls for a fact and says which one never came. [`PATIENCE`] is
//! the one deadline.
#![forbid(unsafe_code)]
// Notices of a suite go where cargo's own go.
#![allow(clippy::print_stderr)]

mod cache;
mod command;
mod docker;
mod kafka;
mod maven;
mod postgres;
mod process;
mod registry;
mod security;
mod wait;

pub mod data;
pub mod reader;
pub mod topic;

pub use kafka::{BOOTSTRAP, Kafka};
pub use postgres::Postgres;
pub use process::{Process, Worker};
pub use registry::Registry;
pub use security::User;
pub use wait::{PATIENCE, eventually, poll};
