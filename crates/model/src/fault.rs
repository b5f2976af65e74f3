//! Places where a test can make the code fail: what is half done there must not be seen by the next event.
//!
//! They are in debug builds alone, and only code in the same thread can arm one; of a release build there is nothing left of them.

#[cfg(debug_assertions)]
use std::cell::Cell;

#[cfg(debug_assertions)]
thread_local! {
    /// The point that is armed, and how often it is passed before it fails.
    static ARMED: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
}

/// A place that fails when it was armed.
///
/// # Panics
/// When [`arm`] named this point in this thread, and it was passed as often as that said.
#[inline(always)]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    if let Some((armed, before)) = ARMED.get()
        && armed == name
    {
        ARMED.set(before.checked_sub(1).map(|before| (armed, before)));
        assert!(before > 0, "the fault point {name} was armed");
    }
    let _ = name;
}

/// Makes the point fail in this thread, once, after it was passed `before` times.
#[cfg(debug_assertions)]
pub fn arm(name: &'static str, before: u32) {
    ARMED.set(Some((name, before)));
}

/// Takes back what [`arm`] said; whether the point had not failed yet.
#[cfg(debug_assertions)]
pub fn disarm() -> bool {
    ARMED.take().is_some()
}
