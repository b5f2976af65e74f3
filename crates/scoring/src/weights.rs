//! How much a level weighs, and which score means what.

use cybervault_model::{Level, Score, Severity, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All that a score depends on beside the hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// What one hit of a level weighs.
    pub levels: LevelWeights,
    /// From which score a severity begins.
    pub severity: SeverityThresholds,
    /// From which severity a verdict begins.
    pub verdict: VerdictThresholds,
}

/// The weight of one hit by its level: the share of 1 that it scores alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LevelWeights {
    /// Default: 0.02.
    pub informational: f64,
    /// Default: 0.15.
    pub low: f64,
    /// Default: 0.40.
    pub medium: f64,
    /// Default: 0.70.
    pub high: f64,
    /// Default: 0.92.
    pub critical: f64,
}

/// The lowest score of each severity; below `low` it is informational. So set by default that one hit alone has the
/// severity of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SeverityThresholds {
    /// Default: 10.
    pub low: Score,
    /// Default: 35.
    pub medium: Score,
    /// Default: 65.
    pub high: Score,
    /// Default: 90.
    pub critical: Score,
}

/// The lowest severity of each verdict; below `suspicious` it is benign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VerdictThresholds {
    /// Default: low.
    pub suspicious: Severity,
    /// Default: high.
    pub malicious: Severity,
}

impl Default for LevelWeights {
    fn default() -> Self {
        Self { informational: 0.02, low: 0.15, medium: 0.40, high: 0.70, critical: 0.92 }
    }
}

impl Default for SeverityThresholds {
    fn default() -> Self {
        let points = |points: u8| Score::try_from(points).unwrap_or(Score::MAX);
        Self { low: points(10), medium: points(35), high: points(65), critical: points(90) }
    }
}

impl Default for VerdictThresholds {
    fn default() -> Self {
        Self { suspicious: Severity::Low, malicious: Severity::High }
    }
}

/// Weights that make no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidWeights {
    /// A weight is no share of 1.
    #[error("scoring.levels.{}: a weight is at least 0 and below 1, not {weight}", level.as_str())]
    Weight {
        /// Whose.
        level: Level,
        /// The weight.
        weight: f64,
    },
    /// A higher level weighs less than a lower one.
    #[error("scoring.levels: {} weighs less than the level below it", .0.as_str())]
    WeightOrder(Level),
    /// A higher step begins below a lower one.
    #[error("scoring.{0}: each threshold must be at least the one before it")]
    ThresholdOrder(&'static str),
}

impl Weights {
    /// What a hit of `level` weighs.
    pub const fn of(&self, level: Level) -> f64 {
        match level {
            Level::Informational => self.levels.informational,
            Level::Low => self.levels.low,
            Level::Medium => self.levels.medium,
            Level::High => self.levels.high,
            Level::Critical => self.levels.critical,
        }
    }

    /// The severity of `score`.
    pub fn severity(&self, score: Score) -> Severity {
        let SeverityThresholds { low, medium, high, critical } = self.severity;
        [(critical, Severity::Critical), (high, Severity::High), (medium, Severity::Medium), (low, Severity::Low)]
            .into_iter()
            .find(|&(from, _)| score >= from)
            .map_or(Severity::Informational, |(_, severity)| severity)
    }

    /// The verdict on `severity`.
    pub fn verdict(&self, severity: Severity) -> Verdict {
        if severity >= self.verdict.malicious {
            Verdict::Malicious
        } else if severity >= self.verdict.suspicious {
            Verdict::Suspicious
        } else {
            Verdict::Benign
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidWeights> {
        // A weight of 1 would leave no doubt: every other hit would count for nothing.
        if let Some((level, weight)) =
            Level::ALL.map(|level| (level, self.of(level))).into_iter().find(|(_, weight)| !(0.0..1.0).contains(weight))
        {
            return Err(InvalidWeights::Weight { level, weight });
        }
        if let Some([_, above]) = Level::ALL.array_windows().find(|[below, above]| self.of(*above) < self.of(*below)) {
            return Err(InvalidWeights::WeightOrder(*above));
        }
        let SeverityThresholds { low, medium, high, critical } = self.severity;
        if ![low, medium, high, critical].is_sorted() {
            return Err(InvalidWeights::ThresholdOrder("severity"));
        }
        if self.verdict.malicious < self.verdict.suspicious {
            return Err(InvalidWeights::ThresholdOrder("verdict"));
        }
        Ok(())
    }
}
