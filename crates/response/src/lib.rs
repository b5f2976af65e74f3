//! Playbooks, guardrails and the life of an action.
//!
//! It comes in two halves, because they run in two stages of the stream. [`Playbooks::select`] looks at one assessment
//! and says which playbooks ask for which actions: it remembers nothing. [`Guard`] takes these [`Candidate`]s one after
//! the other, with what it remembers of the tenant in a [`Store`], and decides what becomes of each:
//!
//! ```text
//! candidate ─┬─ known, or cooling down: nothing
//!            └─ proposed ─┬─ approved   by an `auto` playbook within its caps, or by a person
//!                         ├─ denied     by a guardrail, or by a person
//!                         └─ expired    nobody decided in time
//! ```
//!
//! Each state is one [`cybervault_model::ResponseAction`] on the topic. Time comes with the records, so a replay of the
//! same records gives the same events.
#![forbid(unsafe_code)]

mod glob;
mod period;

mod never_touch;
mod playbook;
mod select;
mod select_incident;

mod guard;
mod guardrails;
mod ledger;
mod life;

pub use glob::Glob;
pub use guard::{Decided, Guard, Ignored, Proposal};
pub use guardrails::Guardrails;
pub use ledger::Store;
pub use life::{Approved, Closed, Proposed};
pub use never_touch::{InvalidNeverTouch, NeverTouch};
pub use period::Period;
pub use playbook::{Cap, EntityMatch, IncidentMatch, Playbook, PlaybookError, Step, TenantMatch, When, parse_playbook};
pub use select::{Candidate, Playbooks};
