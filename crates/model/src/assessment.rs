//! What was found about one event, and why.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{TenantId, Timestamp};

/// An id that depends on `parts` alone: `prefix_` and 128 bits of their SHA-256.
pub fn derived_id(prefix: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = &hash.finalize()[..16];
    let mut id = String::with_capacity(prefix.len() + 1 + 2 * hash.len());
    id.push_str(prefix);
    id.push('_');
    push_hex(&mut id, hash);
    id
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    let digit = |digit: u8| char::from(b"0123456789abcdef"[usize::from(digit)]);
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// The id of the assessment of a tenant's event: always the same for the same event.
///
/// An id that a sender gives to an event is only its word: another event may come with the same. `content`, what
/// [`crate::TelemetryEvent::content`] says, keeps the two apart, so that neither takes the place of the other's finding. It is
/// `None` where the event's id is derived from its bytes, and says all of them already. Findings of events with a
/// sender's id that versions up to 0.1.0 wrote have ids without content, too.
pub fn assessment_id(tenant_id: &str, event_id: &str, content: Option<&[u8; 32]>) -> String {
    match content {
        Some(content) => derived_id("ta", &[tenant_id.as_bytes(), event_id.as_bytes(), content]),
        None => derived_id("ta", &[tenant_id.as_bytes(), event_id.as_bytes()]),
    }
}

/// A risk score, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "u8")]
#[schemars(with = "u8")]
pub struct Score(u8);

impl Score {
    /// The highest.
    pub const MAX: Self = Self(100);

    /// From a share of 1, rounded to the nearest whole point; what lies outside 0..=1 is taken as the nearer end.
    pub fn from_share(share: f64) -> Self {
        // In range after the clamp, and a NaN becomes 0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Self((share.clamp(0.0, 1.0) * 100.0).round() as u8)
    }

    /// The points.
    pub const fn get(self) -> u8 {
        self.0
    }
}

// By hand, as Avro would take a derived one for a record of one field.
impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl TryFrom<u8> for Score {
    type Error = String;

    fn try_from(points: u8) -> Result<Self, Self::Error> {
        if points <= 100 { Ok(Self(points)) } else { Err(format!("a score is 0 to 100, not {points}")) }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How bad, in the five steps that Sigma's levels have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    #[default]
    Informational,
    /// Look at it when there is time.
    Low,
    /// Look at it.
    Medium,
    /// Look at it soon.
    High,
    /// Act now.
    Critical,
}

/// A rule's level: Sigma's `level` has the same five steps as a severity.
pub type Level = Severity;

impl Severity {
    /// All, from the lowest.
    pub const ALL: [Self; 5] = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The one-word answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing contributed.
    #[default]
    Benign,
    /// Something did.
    Suspicious,
    /// Enough did to act on.
    Malicious,
}

impl Verdict {
    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Suspicious => "suspicious",
            Self::Malicious => "malicious",
        }
    }
}

/// What kind of thing contributed to a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContributionKind {
    /// A Sigma rule.
    Rule,
    /// A known-bad hash, address, domain or URL.
    Indicator,
    /// A value rarely seen.
    Rarity,
    /// A correlation of several events.
    Correlation,
    /// The risk that the entity has gathered.
    EntityRisk,
}

/// A field and the value in it that made a rule true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The field as the event names it.
    pub field: String,
    /// The value, cut at a bound.
    pub value: String,
}

/// One reason for a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contribution {
    /// What kind.
    pub kind: ContributionKind,
    /// The rule's, indicator's or correlation's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub level: Level,
    /// Its share of the noisy-or, 0 to 1.
    pub weight: f64,
    /// What in the event made it true.
    pub evidence: Vec<Evidence>,
}

/// A tactic and technique of MITRE ATT&CK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackRef {
    /// `TA0002`; empty where only the technique is known.
    pub tactic_id: Arc<str>,
    /// `Execution`.
    pub tactic: Arc<str>,
    /// `T1059.001`; empty where only the tactic is known.
    pub technique_id: Arc<str>,
    /// `PowerShell`.
    pub technique: Arc<str>,
}

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// A computer.
    Host,
    /// An account.
    User,
    /// An address.
    Ip,
    /// A domain name.
    Domain,
    /// A process, by image path.
    Process,
    /// A file, by path.
    File,
    /// A file, by hash.
    Hash,
}

impl EntityKind {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Host, Self::User, Self::Ip, Self::Domain, Self::Process, Self::File, Self::Hash];

    /// The name as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::User => "user",
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Process => "process",
            Self::File => "file",
            Self::Hash => "hash",
        }
    }
}

/// Someone or something that took part in the event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// Its name.
    pub value: String,
}

impl Entity {
    /// The name that it has wherever it is spoken of: see [`host_identity`].
    pub fn identity(&self) -> Cow<'_, str> {
        match self.kind {
            EntityKind::Host => host_identity(&self.value),
            _ => Cow::Borrowed(&self.value),
        }
    }
}

/// What is the same of a host's short name and of its fully qualified one, in whatever case: `ws-1` of `WS-1.corp.example`. An
/// address, or what is no name of a host, is itself.
///
/// Hosts of two domains may have the same short name. So what is done to a host names it as the event did.
pub fn host_identity(name: &str) -> Cow<'_, str> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_name = name.trim_end_matches('.').split('.').all(is_label) && name.parse::<IpAddr>().is_err();
    let short = if is_name { name.split('.').next().unwrap_or(name) } else { name };
    if short.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(short.to_ascii_lowercase())
    } else {
        Cow::Borrowed(short)
    }
}

/// An action that would contain what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecommendedAction {
    /// `isolate_host`, `block_ip`, …
    #[serde(rename = "type")]
    pub kind: crate::ActionKind,
    /// On what.
    pub target: crate::Target,
    /// Why.
    pub reason: String,
    /// Whether it can be undone.
    pub reversible: bool,
}

/// An event that had a part in a correlation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CorrelatedEvent {
    /// Which. Of a correlation that is under another, the event that made it true.
    pub event_id: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The titles of the correlation's rules that are true of it, where it is these that count.
    pub rules: Vec<String>,
    /// The value that counts, where it is values that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The events that made a correlation true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CorrelatedEvents {
    /// How many there are in the time frame.
    pub count: u32,
    /// They, in the order of their time; where they are many, the first and the last ones.
    pub events: Vec<CorrelatedEvent>,
}

/// The value on `threat.assessments`.
///
/// Nothing in it depends on when or where it was computed: that is in the record's own timestamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Assessment {
    /// `ta_…`, see [`assessment_id`].
    pub assessment_id: String,
    /// Whose event.
    pub tenant_id: TenantId,
    /// Which event.
    pub event_id: String,
    /// When it happened, where the event or its record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// 100·(1-∏(1-wᵢ)) over the contributions' weights, rounded.
    pub risk_score: Score,
    /// From the score, by configured thresholds.
    pub severity: Severity,
    /// From the severity.
    pub verdict: Verdict,
    /// The reasons, heaviest first.
    pub contributions: Vec<Contribution>,
    /// What ATT&CK calls it.
    pub mitre_attack: Vec<AttackRef>,
    /// Who and what took part; the first is the one that the record's key names.
    pub entities: Vec<Entity>,
    /// What would contain it.
    pub recommended_actions: Vec<RecommendedAction>,
    /// Which rules were in force.
    pub rules_version: String,
    /// How many characters of the event were no characters, halves of surrogate pairs, and were read as U+FFFD; not there
    /// where all were. Somebody may have tried to hide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_characters: Option<u32>,
    /// The events that made a correlation true; not there where the assessment is of one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlated: Option<CorrelatedEvents>,
}

impl Assessment {
    /// The record's key: `tenant|entity`.
    pub fn key(&self) -> String {
        match self.entities.first() {
            Some(entity) => format!("{}|{}", self.tenant_id, entity.identity()),
            None => format!("{}|", self.tenant_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_its_parts_and_on_where_they_end() {
        assert_eq!(assessment_id("acme", "e1", None), assessment_id("acme", "e1", None));
        assert_ne!(assessment_id("acme", "e1", None), assessment_id("acm", "ee1", None));
        assert_ne!(assessment_id("acme", "e1", Some(&[0; 32])), assessment_id("acme", "e1", Some(&[1; 32])));
        assert_ne!(assessment_id("acme", "e1", Some(&[0; 32])), assessment_id("acme", "e1", None));
        assert_eq!(assessment_id("acme", "e1", Some(&[0; 32])).len(), "ta_".len() + 32);
    }

    #[test]
    fn a_hosts_names_are_one() {
        for (name, identity) in [
            ("ws-1", "ws-1"),
            ("WS-1.corp.example", "ws-1"),
            ("ws-1.corp.example.", "ws-1"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("a b.c", "a b.c"),
            ("a..b", "a..b"),
            ("", ""),
        ] {
            assert_eq!(host_identity(name), identity, "{name}");
        }
    }

    #[test]
    fn a_score_stays_within_its_range() {
        assert_eq!(Score::from_share(0.915).get(), 92);
        assert_eq!(Score::from_share(7.0), Score::MAX);
        assert_eq!(Score::from_share(f64::NAN).get(), 0);
        assert!(serde_json::from_str::<Score>("101").is_err());
    }
}
