//! What is known of an indicator besides its value.

use std::sync::Arc;

use cybervault_model::{Level, Timestamp};

/// Who lists an indicator, as what and until when. Indicators that have it in common share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// The feed that lists it.
    pub feed: Arc<str>,
    /// What the feed says it belongs to: a family, a campaign.
    pub title: Option<Box<str>>,
    /// How much a finding weighs.
    pub level: Level,
    /// It says nothing about events from this time on.
    pub valid_until: Option<Timestamp>,
}

impl About {
    /// Whether it says anything about what happened at `at`. An event of unknown time is rather found than missed.
    pub(crate) fn is_valid(&self, at: impl Fn() -> Option<Timestamp>) -> bool {
        self.valid_until.is_none_or(|end| at().is_none_or(|at| at < end))
    }
}

/// A confidence of 0 to 100 as a level, by the scale of STIX 2.1 (appendix A): none, low, medium, high.
pub(crate) const fn level_of(confidence: u8) -> Level {
    match confidence {
        0 => Level::Informational,
        1..30 => Level::Low,
        30..70 => Level::Medium,
        _ => Level::High,
    }
}
