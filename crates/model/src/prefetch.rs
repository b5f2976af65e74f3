//! Memory fetched before it is needed.
#![allow(unsafe_code)] // a hint to the processor

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Has the processor fetch the bytes of an event that is next, and a little of what lies behind them, while something else is done.
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        // What is read as a stream behind these lines is fetched anyway.
        const LINE: usize = 64;
        const MOST_LINES: usize = 128;
        for line in 0..(bytes.len() / LINE + 1).min(MOST_LINES) {
            // SAFETY: a hint, which reads nothing, of whatever address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(line * LINE).cast()) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// The events, each handed out when the next one is on its way into the caches, as a stage takes records.
pub fn in_turn<E: AsRef<[u8]>>(events: &[E]) -> impl Iterator<Item = &E> {
    events
        .iter()
        .enumerate()
        .inspect(|(at, _)| events.get(at + 1).into_iter().for_each(|next| prefetch(next.as_ref())))
        .map(|(_, event)| event)
}
