//! What belongs together, and how much is kept.

use cybervault_model::{EntityKind, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const MINUTE_MS: u64 = 60_000;

/// What belongs together, and how much is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many milliseconds may lie between a finding and an incident that it belongs to, by the time at which they happened. Default:
    /// 7,200,000 (2 hours), at most 7 days.
    #[schemars(range(min = 1_000, max = 604_800_000))]
    pub gap_ms: u64,
    /// Findings make an incident that is told once the worst of them has this severity. Default: high.
    pub min_severity: Severity,
    /// Or once all of them together have this risk, each rule counted once, or once they are 250. Default: 80, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub min_risk: u8,
    /// With how many different hosts an account, address or file may be in findings of a day, and with how many different accounts a host,
    /// before it counts as being everywhere: from then on, it joins no findings. Default: 30.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_companions: u32,
    /// Hosts, accounts, addresses and hashes that join no findings, by name: scanners, gateways, service accounts.
    pub everywhere: Vec<String>,
    /// How many milliseconds of record time what is only counted waits before it is told along. Default: 600,000 (10 minutes).
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub count_every_ms: u64,
    /// Incidents of a tenant that findings are added to. Beyond, the one that gained none for the longest time takes no more. Default: 500.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_active: usize,
    /// Entries of an incident's timeline. Default: 100.
    #[schemars(range(min = 10, max = 300))]
    pub max_timeline: usize,
    /// For how many days after its last finding or word an incident takes people's words. Default: 30.
    #[schemars(range(min = 1, max = 365))]
    pub kept_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gap_ms: 120 * MINUTE_MS,
            min_severity: Severity::High,
            min_risk: 80,
            max_companions: 30,
            everywhere: Vec::new(),
            count_every_ms: 10 * MINUTE_MS,
            max_active: 500,
            max_timeline: 100,
            kept_days: 30,
        }
    }
}

/// A value that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incidents.{name} is {value}, and must be {range}")]
pub struct InvalidSettings {
    name: &'static str,
    value: u64,
    range: &'static str,
}

/// The most entries of `everywhere`.
const MAX_LISTED: usize = 10_000;

impl Settings {
    /// Checks what comes from outside.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        let wide = |number: usize| number as u64;
        for (name, value, min, max, range) in [
            ("gap_ms", self.gap_ms, 1_000, 604_800_000, "1,000 to 604,800,000"),
            ("min_risk", u64::from(self.min_risk), 1, 100, "1 to 100"),
            ("max_companions", u64::from(self.max_companions), 1, 1_000, "1 to 1,000"),
            ("everywhere's length", wide(self.everywhere.len()), 0, wide(MAX_LISTED), "at most 10,000"),
            ("count_every_ms", self.count_every_ms, 1_000, 86_400_000, "1,000 to 86,400,000"),
            ("max_active", wide(self.max_active), 1, 10_000, "1 to 10,000"),
            ("max_timeline", wide(self.max_timeline), 10, 300, "10 to 300"),
            ("kept_days", u64::from(self.kept_days), 1, 365, "1 to 365"),
        ] {
            if !(min..=max).contains(&value) {
                return Err(InvalidSettings { name, value, range });
            }
        }
        Ok(())
    }

    pub(crate) fn gap(&self) -> i64 {
        i64::try_from(self.gap_ms).unwrap_or(i64::MAX)
    }

    pub(crate) fn count_every(&self) -> i64 {
        i64::try_from(self.count_every_ms).unwrap_or(i64::MAX)
    }

    pub(crate) fn kept(&self) -> i64 {
        i64::from(self.kept_days) * 24 * 60 * 60 * 1000
    }
}

/// How many entities of a kind an incident has: those that are flooded with easily must not push out the others.
pub(crate) const fn max_of_a_kind(kind: EntityKind) -> usize {
    match kind {
        EntityKind::Host | EntityKind::User | EntityKind::Ip => 64,
        EntityKind::Domain | EntityKind::Process | EntityKind::File | EntityKind::Hash => 32,
    }
}

/// Rules of an incident.
pub(crate) const MAX_RULES: usize = 200;
/// Tactics and techniques of an incident.
pub(crate) const MAX_ATTACK_REFS: usize = 64;
/// Actions that would contain it.
pub(crate) const MAX_ACTIONS: usize = 32;
/// People's words.
pub(crate) const MAX_WORDS: usize = 200;
/// Incidents that have become a part of one, by name.
pub(crate) const MAX_MERGED: usize = 200;
/// Processes and files of one entry of the timeline.
pub(crate) const MAX_PASSING: usize = 16;
/// Findings that are only counted before they are told along, so that their names fit.
pub(crate) const MAX_GAINED: usize = 250;
/// Names of findings that one telling has: all that a merge brings together.
pub(crate) const MAX_GAINED_NAMES: usize = 1_000;
