//! Which findings are of which incident, and what is told of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod people;
mod property;
mod stories;
mod support;
