//! Hits and their context become one explained assessment.
#![forbid(unsafe_code)]
