//! What only shows over several events: Sigma correlations, evaluated as signals come in.
//!
//! A [`Plan`] is compiled once from a pack's correlations and never changes. A [`Signal`] is what of an event they need: whose it
//! is, when it was, which rules are true of it, and the values of [some fields](Plan::fields). An [`Engine`] holds the windows,
//! takes one signal after the other, and gives a [`Finding`] where a correlation becomes true. Time comes with the signals; the
//! same signals in the same order give the same findings.
//!
//! # What holds
//!
//! - The time frame slides: at an event at `t` it is `[t - timespan, t]`, both ends included. A correlation is evaluated when an
//!   event is added, and found when it is true and was false just before.
//! - Events are put in their place by their own time. One that is late is seen by all time frames that end at it or later, and
//!   finds what would have been found had it come in time.
//! - Windows are bounded a tenant and in total ([`Limits`]); what is dropped is counted ([`Counts`]), and is a tenant's own oldest
//!   before it is anybody else's.
//! - What an engine holds can be [kept](Keep) elsewhere, event by event, and [read back](Engine::restore): the new engine then finds, and
//!   drops, what the old one would have. [`Plan::meetings`] says which signals have to come to the same engine.
#![forbid(unsafe_code)]

// Correlations into a plan.
mod criterion;
mod plan;

// What comes in, and where it comes together.
mod meeting;
mod number;
mod signal;

// A group's events, and what is true of them.
mod event_name;
mod tally;
mod window;

// All groups.
mod engine;
mod feed;
mod kept;
mod store;

pub use engine::{Counts, Engine, Finding, FoundEvent, Limits, Moment, Restored, Step};
pub use kept::Keep;
pub use meeting::Meeting;
pub use plan::Plan;
pub use signal::{FieldValues, Signal, fold};
pub use store::GroupKey;
pub use window::WindowError;
