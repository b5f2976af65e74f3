//! Times things against each other.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// A slow spell of the machine must not make a median.
const ROUNDS: usize = 3;
/// A side that needs less for one call is called more than once in a round.
const LONG_ENOUGH: Duration = Duration::from_millis(150);

/// What a side needed for one call, and what it found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    pub(crate) found: u64,
}

/// Runs the sides in turns, so that a slow spell of the machine hits all of them. Each has the median of its rounds.
pub(crate) fn in_turns(sides: &mut [Box<dyn FnMut() -> u64 + '_>]) -> Vec<Taken> {
    let mut seconds = vec![Vec::new(); sides.len()];
    let mut found = vec![0; sides.len()];
    for _ in 0..ROUNDS {
        for (at, side) in sides.iter_mut().enumerate() {
            let start = Instant::now();
            let before = running(start);
            let mut calls = 0;
            while calls == 0 || start.elapsed() < LONG_ENOUGH {
                found[at] = side();
                calls += 1;
            }
            seconds[at].push((running(start) - before).as_secs_f64() / f64::from(calls));
        }
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[ROUNDS / 2]
    };
    seconds.into_iter().zip(found).map(|(seconds, found)| Taken { seconds: median(seconds), found }).collect()
}

/// The time that this thread has run, so that a busy machine does not count; the time since `start` where that is unknown.
fn running(start: Instant) -> Duration {
    // The kernel adds up a thread's time when it looks whom to run next: else that is known to some milliseconds only.
    thread::yield_now();
    let nanoseconds = fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next().and_then(|first| first.parse().ok()));
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}
