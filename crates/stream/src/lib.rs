//! The exactly-once shell around Kafka: a [`Stage`] says what happens to a record, a [`Runner`] makes it happen once.
//!
//! This is the only crate that knows Kafka's client. It has its own threads and never awaits: a runner polls and
//! processes on one thread, and commits the batch before on another.
#![deny(unsafe_code)]

mod clock;
mod error;
mod settings;

mod dead_letter;
mod outbox;
mod record;
mod stage;
mod state;

mod changelog;
mod inflate;
mod intake;
mod lag;
mod measures;
mod metadata;
mod rebalance;
mod runner;
mod session;
mod spans;
mod stop;
mod transaction;

pub mod bare;
mod embedded;
mod fetch;
mod follower;
mod health;
pub mod inspect;
mod journal;
mod memory;
pub mod offsets;
mod publisher;
mod pulse;
mod registry;
mod skip;
mod topics;

pub use changelog::read_states;
pub use clock::now;
pub use dead_letter::{Poison, headers};
pub use embedded::EmbeddedBroker;
pub use error::StreamError;
pub use fetch::{Fetched, fetch};
pub use follower::{Follower, OwnedRecord, Start};
pub use health::Health;
pub use journal::{HandedIn, Journal, JournalError, JournalRecord};
pub use measures::describe as describe_metrics;
pub use memory::give_memory_back;
pub use outbox::{Outbox, Output};
pub use publisher::Publisher;
pub use pulse::Pulse;
pub use record::{Headers, Record};
pub use registry::{RegistryError, RegistrySettings, SchemaRegistry};
pub use runner::{BatchLimits, Runner, RunnerSettings};
pub use settings::{KafkaSettings, Sizes};
pub use skip::{Skip, members, skip};
pub use spans::span_context;
pub use stage::{Failure, Stage};
pub use state::{State, StateLimits};
pub use topics::{TopicFinding, TopicPlan, apply_topics, check_topics};
