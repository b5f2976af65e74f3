//! Playbooks and guardrails, over the public interface.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod guard;
mod incidents;
mod playbooks;
