//! Findings that belong together, as incidents.
//!
//! Assessments of one tenant that share a telling entity, within an activity gap of each other, are one [`Incident`]. What is telling
//! is said by [`Settings`] and by how many others an entity is seen with. Two incidents that turn out to be one are merged. What
//! repeats is folded: it counts, and is not told again.
//!
//! ```text
//! assessment ─ Finding ─┐
//! decision ─────────────┼─ Grouping, over a Store ── Incident, each time something material has changed
//! timer ────────────────┘
//! ```
//!
//! Nothing here reads a clock: time comes with the records, and a timer is one of them. So the same records in the same order give
//! the same incidents, byte for byte, however often whoever processes them is killed.
//!
//! [`Incident`]: cybervault_model::Incident
#![forbid(unsafe_code)]

mod finding;
mod settings;

mod content;
mod fold;
mod title;

mod everywhere;
mod ledger;
mod span;

mod grouping;
mod ocsf;

pub use finding::{Finding, FoundEntity, FoundRule};
pub use grouping::{Added, Decided, Due, Grouping, Outcome};
pub use ledger::Store;
pub use ocsf::to_ocsf;
pub use settings::{InvalidSettings, Settings};
