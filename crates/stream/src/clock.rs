//! The time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cybervault_model::Timestamp;

/// Now, by this machine's clock. What is decided about a record goes by the record's own time instead.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The latest time that is at most `ahead` of the clock.
pub(crate) fn latest(ahead: Duration) -> Timestamp {
    now().plus_millis(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX))
}
