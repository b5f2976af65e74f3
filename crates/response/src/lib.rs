//! Playbooks, guardrails and the life of an action.
#![forbid(unsafe_code)]
