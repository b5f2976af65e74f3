use std::time::{Duration, Instant};

/// The only deadline that a test has. It ends a test that hangs, and decides nothing: what a test waits for may take long where a
/// machine is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How often a fact is looked for: short against what a test waits for, long against what looking costs.
const STEP: Duration = Duration::from_millis(20);

/// Polls `fact` until it holds and returns what it yields.
///
/// # Panics
/// When `timeout` passes first, with `what` in the message.
pub fn eventually<T>(what: &str, timeout: Duration, fact: impl FnMut() -> Option<T>) -> T {
    poll(timeout, fact).unwrap_or_else(|| panic!("after {timeout:?} still not: {what}"))
}

/// Like [`eventually`], for those who have something better to say than a panic.
pub fn poll<T>(timeout: Duration, mut fact: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = fact() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(STEP);
    }
}
