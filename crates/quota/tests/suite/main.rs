//! Admission, over the public interface.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
mod fleet;
mod simulator;
