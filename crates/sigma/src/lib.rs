//! Sigma rules compiled into one matcher.
#![forbid(unsafe_code)]
