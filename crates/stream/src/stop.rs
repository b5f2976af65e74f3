//! The word to stop.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The word to stop, and by when.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    told: Arc<AtomicBool>,
    patience: Duration,
}

impl Stop {
    pub(crate) fn new(told: Arc<AtomicBool>, patience: Duration) -> Self {
        Self { told, patience }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// A check that turns true once the word has been out for as long as a shutdown may take.
    pub(crate) fn deadline(&self) -> impl Fn() -> bool + Clone + Send + use<> {
        let stop = self.clone();
        let since = OnceLock::new();
        move || stop.is_told() && since.get_or_init(Instant::now).elapsed() > stop.patience
    }
}
