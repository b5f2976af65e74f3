//! Findings that belong together, and people's words on them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AttackRef, ContributionKind, Entity, EntityKind, Level, RecommendedAction, Score, Severity, TenantId, Timestamp,
    avro::long, derived_id,
};

/// The id of the incident that a tenant's assessment opens: always the same for the same assessment.
pub fn incident_id(tenant_id: &str, assessment_id: &str) -> String {
    derived_id("inc", &[tenant_id.as_bytes(), assessment_id.as_bytes()])
}

/// Where the work on an incident stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// Nobody has taken it up.
    #[default]
    Open,
    /// Somebody works on it.
    InProgress,
    /// It is done with. What repeats is only counted; something new opens it again.
    Closed,
}

impl IncidentStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::InProgress, Self::Closed];

    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InProgress => "in_progress",
            Self::Closed => "closed",
        }
    }
}

/// What people found an incident to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentVerdict {
    /// An attack.
    TruePositive,
    /// Nothing: the rules were wrong.
    FalsePositive,
    /// What the rules say, but meant well.
    Benign,
}

impl IncidentVerdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TruePositive, Self::FalsePositive, Self::Benign];

    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TruePositive => "true_positive",
            Self::FalsePositive => "false_positive",
            Self::Benign => "benign",
        }
    }
}

/// Why an incident is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentChange {
    /// It is new.
    Opened,
    /// A tactic that it had not.
    Tactic,
    /// A host that it had not.
    Host,
    /// A user that it had not.
    User,
    /// A higher severity.
    Severity,
    /// Another incident has become a part of it.
    Absorbed,
    /// It has become a part of the one in `merged_into`.
    Merged,
    /// It was closed, and something new has come.
    Reopened,
    /// A person's word.
    Decision,
    /// Findings that were only counted are told along.
    Counted,
}

impl IncidentChange {
    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Tactic => "tactic",
            Self::Host => "host",
            Self::User => "user",
            Self::Severity => "severity",
            Self::Absorbed => "absorbed",
            Self::Merged => "merged",
            Self::Reopened => "reopened",
            Self::Decision => "decision",
            Self::Counted => "counted",
        }
    }
}

/// What part an entity has in an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityRole {
    /// The host that it happened on.
    Affected,
    /// The account that acted.
    Actor,
    /// Where something came from.
    Source,
    /// What something was done to, or where a connection went.
    Target,
    /// What it was done with: a process.
    Tool,
    /// What was left behind or touched: a file.
    Artifact,
    /// It is on a list of what is known to be bad.
    Indicator,
}

impl EntityRole {
    /// The name as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Affected => "affected",
            Self::Actor => "actor",
            Self::Source => "source",
            Self::Target => "target",
            Self::Tool => "tool",
            Self::Artifact => "artifact",
            Self::Indicator => "indicator",
        }
    }
}

/// Someone or something that took part in an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentEntity {
    /// What it is.
    pub kind: EntityKind,
    /// Its name.
    pub value: String,
    /// Its parts, each once.
    pub roles: Vec<EntityRole>,
    /// Whether findings are joined by it. What is everywhere, SYSTEM for one, joins nothing.
    pub joins: bool,
    /// In how many findings it stands.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub findings: u64,
    /// When it was first there.
    pub first_at: Timestamp,
    /// And last.
    pub last_at: Timestamp,
}

/// A tactic, and when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentTactic {
    /// `TA0002`.
    pub tactic_id: Arc<str>,
    /// `Execution`.
    pub tactic: Arc<str>,
    /// When it was first seen.
    pub first_at: Timestamp,
}

/// How often a rule, indicator or correlation was true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentRule {
    /// What it is.
    pub kind: ContributionKind,
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub level: Level,
    /// Its share of the risk, 0 to 1.
    pub weight: f64,
    /// In how many findings it stands.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub findings: u64,
    /// When it was first true.
    pub first_at: Timestamp,
    /// And last.
    pub last_at: Timestamp,
}

/// Findings of the same rules about the same entities, told as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// The first of them.
    pub assessment_id: String,
    /// What was found.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The ids of the rules, indicators and correlations, in the order of their text.
    pub rules: Vec<String>,
    /// The ids of the tactics, in the order of the matrix.
    pub tactics: Vec<Arc<str>>,
    /// Who and what took part. Of processes and files, which may be others each time, all that came are here, up to a bound.
    pub entities: Vec<Entity>,
    /// Processes and files beyond that bound, counted each time.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub further_entities: u64,
    /// How many findings.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub findings: u64,
    /// When the first of them happened.
    pub first_at: Timestamp,
    /// And the last.
    pub last_at: Timestamp,
}

/// What a person's word is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IncidentDecisionKind {
    /// Where the work stands.
    Status,
    /// Whose it is.
    Assign,
    /// Anything.
    Comment,
    /// What it was.
    Verdict,
}

impl IncidentDecisionKind {
    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Assign => "assign",
            Self::Comment => "comment",
            Self::Verdict => "verdict",
        }
    }
}

/// The value on `incident.decisions`, keyed by tenant: a person's word on an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentDecision {
    /// What tells it from all others; the same one counts once.
    pub decision_id: String,
    /// Which incident. One that has become a part of another stands for that one.
    pub incident_id: String,
    /// Whose; a word on another tenant's incident is refused.
    pub tenant_id: TenantId,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: IncidentDecisionKind,
    /// The new status, where it is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IncidentStatus>,
    /// The verdict, where it is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<IncidentVerdict>,
    /// Who is to work on it, where it is about that; nobody where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Who says so.
    pub decided_by: String,
    /// Why, or the comment itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A person's word that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentWord {
    /// Of which decision.
    pub decision_id: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: IncidentDecisionKind,
    /// The status, verdict or name, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why, or the comment itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who said so.
    pub by: String,
    /// When: the decision's record time.
    pub at: Timestamp,
}

/// What an incident had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Entities, counted each time.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub entities: u64,
    /// Rules, counted each time.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub rules: u64,
    /// Findings whose entry in the timeline was taken out.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub timeline: u64,
    /// People's words.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub decisions: u64,
    /// Ids of findings in `gained`.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub gained: u64,
}

/// The value on `threat.incidents`: an incident as it stands after something material has changed. The latest record of an id holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// `inc_…`, see [`incident_id`].
    pub incident_id: String,
    /// Whose.
    pub tenant_id: TenantId,
    /// How often it was told, this time among them.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub revision: u64,
    /// Why it is told.
    pub changes: Vec<IncidentChange>,
    /// What it is, in one line for people.
    pub title: String,
    /// Where the work on it stands.
    pub status: IncidentStatus,
    /// What people found it to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<IncidentVerdict>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// The worst of its findings.
    pub severity: Severity,
    /// 100·(1-∏(1-wᵢ)) over its rules' weights, each rule once.
    pub risk_score: Score,
    /// How many findings it has.
    #[serde(serialize_with = "long::unsigned")]
    #[schemars(with = "u64")]
    pub findings: u64,
    /// When the first of them happened.
    pub first_at: Timestamp,
    /// And the last.
    pub last_at: Timestamp,
    /// The record time of the finding that opened it.
    pub opened_at: Timestamp,
    /// The record time of what made it be told.
    pub updated_at: Timestamp,
    /// The tactics, in the order in which they were first seen.
    pub tactics: Vec<IncidentTactic>,
    /// What ATT&CK calls it: tactics and techniques.
    pub mitre_attack: Vec<AttackRef>,
    /// Who and what took part.
    pub entities: Vec<IncidentEntity>,
    /// What was found, in the order in which it first happened.
    pub timeline: Vec<TimelineEntry>,
    /// How often each rule was true.
    pub rules: Vec<IncidentRule>,
    /// What would contain it.
    pub recommended_actions: Vec<RecommendedAction>,
    /// People's words, in the order in which they were taken.
    pub decisions: Vec<IncidentWord>,
    /// The ids of the findings that it has gained since it was told before.
    pub gained: Vec<String>,
    /// The incidents that have become a part of it.
    pub merged: Vec<String>,
    /// The incident that it has become a part of. Nothing more happens to it under its own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
    /// What it had no room for.
    pub left_out: LeftOut,
}

impl Incident {
    /// Whether it came to be told because of something new that was found, rather than for a count or a person's word.
    pub fn is_news(&self) -> bool {
        use IncidentChange as C;
        let is_news = |change: &C| !matches!(change, C::Counted | C::Decision | C::Merged);
        self.changes.iter().any(is_news)
    }
}
