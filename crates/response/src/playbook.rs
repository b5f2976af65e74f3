//! A playbook as it is written.

use cybervault_model::{ActionKind, ActionMode, EntityKind, Severity, TargetKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InvalidNeverTouch, NeverTouch, Period, never_touch::Untouchable};

/// The most actions that one playbook may ask for.
pub(crate) const MAX_ACTIONS: usize = 16;
/// The longest list in a playbook.
const MAX_LIST: usize = 1_000;
/// The highest cap: the times of so many approvals are kept.
pub(crate) const MAX_CAP: u32 = 1_000;

/// Which assessments or incidents lead to which actions, and how far these may go by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Its id: 1 to 64 of `a-z`, `0-9` and `-`. It is part of every action's id: a playbook that means something else
    /// gets another.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What it is for, and when it is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether it is in force.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// On which assessments or incidents it acts: all that is given must hold.
    pub when: When,
    /// What it asks for, 1 to 16 actions.
    pub actions: Vec<Step>,
    /// How far its actions may go by themselves.
    pub mode: ActionMode,
    /// How many of its actions a tenant gets by itself.
    #[serde(default)]
    pub cap: Cap,
    /// Whom it does not touch, beside the fleet's own list.
    #[serde(default)]
    pub never_touch: NeverTouch,
    /// For how long the same is not asked again for the same target of a tenant, by any playbook.
    #[serde(default = "an_hour")]
    pub cool_down: Period,
    /// For how long a proposal waits for a decision.
    #[serde(default = "a_day")]
    pub expires_after: Period,
}

const fn yes() -> bool {
    true
}

const fn an_hour() -> Period {
    Period::hours(1)
}

const fn a_day() -> Period {
    Period::hours(24)
}

/// Conditions on an assessment. One that is left out holds; of a list, one entry must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The lowest severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// ATT&CK techniques: `T1059` also means all below it, such as `T1059.001`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub techniques: Vec<String>,
    /// ATT&CK tactics by id or name: `TA0008`, `lateral-movement`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tactics: Vec<String>,
    /// Ids of rules, indicators or correlations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Entities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntityMatch>,
    /// Tenants.
    pub tenants: TenantMatch,
    /// Incidents: the playbook then acts on these and not on assessments, and beside it only `tenants` may be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentMatch>,
}

/// Conditions on an incident. One that is left out holds; of a list, one entry must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentMatch {
    /// The lowest severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// How many different ATT&CK tactics it has at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tactics_at_least: Option<u32>,
    /// ATT&CK techniques: `T1059` also means all below it, such as `T1059.001`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub techniques: Vec<String>,
    /// How many hosts and accounts it has at least, of those by which findings are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities_at_least: Option<u32>,
}

/// An entity of a kind whose name matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntityMatch {
    /// Its kind.
    pub kind: EntityKind,
    /// Its name: `*` is any text, `?` any character; case does not matter.
    pub glob: String,
}

/// Which tenants a playbook is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantMatch {
    /// Patterns of ids; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns of ids that it is not for, whatever `include` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// One action that a playbook asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is done.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// To which of the assessment's entities: where a recommended action of the same type names one, that one, else the
    /// first of this kind. An assessment without one gets no such action. Of an incident, to all that recommended actions of the same
    /// type name, to the hosts that it happened on and to the accounts by which findings are joined; up to 8 of them.
    pub target: TargetKind,
}

/// How many actions go ahead by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// In any hour, a tenant and this playbook, 1 to 1,000. What comes beyond waits for a person.
    pub per_hour: u32,
}

impl Default for Cap {
    fn default() -> Self {
        Self { per_hour: 10 }
    }
}

/// Why a playbook is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PlaybookError {
    /// It is no YAML, or has another form.
    #[error("reading playbook {path}: {source}; the form is in schemas/playbook.schema.json")]
    Form {
        /// Where it was read.
        path: String,
        /// What is wrong.
        source: yaml_serde::Error,
    },
    /// A value is out of range.
    #[error("playbook `{id}`: {problem}")]
    Value {
        /// Which.
        id: String,
        /// What is wrong, and what is right.
        problem: String,
    },
    /// A never-touch list can't be read.
    #[error("playbook `{id}`: {source}")]
    NeverTouch {
        /// Which.
        id: String,
        /// Which entry.
        source: InvalidNeverTouch,
    },
    /// Two have the same id.
    #[error("two playbooks have the id `{0}`: give one of them another")]
    Duplicate(String),
}

/// Reads one playbook; `path` is only named in errors.
///
/// # Errors
/// When it is not of the form of [`Playbook`] or a value is out of range.
pub fn parse_playbook(path: &str, text: &str) -> Result<Playbook, PlaybookError> {
    let playbook: Playbook =
        yaml_serde::from_str(text).map_err(|source| PlaybookError::Form { path: path.to_owned(), source })?;
    playbook.check()?;
    Ok(playbook)
}

impl Playbook {
    /// Checks what the form alone does not say, and returns what it may not touch.
    pub(crate) fn check(&self) -> Result<Untouchable, PlaybookError> {
        match self.problem() {
            Some(problem) => Err(PlaybookError::Value { id: self.id.chars().take(64).collect(), problem }),
            None => Untouchable::new(&self.never_touch)
                .map_err(|source| PlaybookError::NeverTouch { id: self.id.clone(), source }),
        }
    }

    fn problem(&self) -> Option<String> {
        let id_is_fine = (1..=64).contains(&self.id.len())
            && self.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !id_is_fine {
            return Some("an id is 1 to 64 of `a-z`, `0-9` and `-`".to_owned());
        }
        if self.title.is_empty() || self.title.chars().count() > 200 {
            return Some("a title has 1 to 200 characters".to_owned());
        }
        if !(1..=MAX_ACTIONS).contains(&self.actions.len()) {
            return Some(format!("it asks for {} actions, and may for 1 to {MAX_ACTIONS}", self.actions.len()));
        }
        if !(1..=MAX_CAP).contains(&self.cap.per_hour) {
            return Some(format!("cap.per_hour is {}, and must be 1 to {MAX_CAP}", self.cap.per_hour));
        }
        if self.expires_after == Period::ZERO {
            return Some("expires_after is 0, so nobody could decide: write for example `24h`".to_owned());
        }
        let When { incident, tenants, .. } = &self.when;
        if incident.is_some()
            && self.when != (When { incident: incident.clone(), tenants: tenants.clone(), ..When::default() })
        {
            return Some(
                "beside when.incident only when.tenants may be given: write the other conditions inside of incident"
                    .to_owned(),
            );
        }
        self.actions.iter().find_map(|step| step.problem()).or_else(|| self.list_problem())
    }

    fn list_problem(&self) -> Option<String> {
        let When { techniques, tactics, rules, entities, tenants, .. } = &self.when;
        let NeverTouch { hosts, users, addresses } = &self.never_touch;
        let of_incident = self.when.incident.as_ref().map_or(0, |incident| incident.techniques.len());
        let lists = [
            ("when.incident.techniques", of_incident),
            ("when.techniques", techniques.len()),
            ("when.tactics", tactics.len()),
            ("when.rules", rules.len()),
            ("when.entities", entities.len()),
            ("when.tenants.include", tenants.include.len()),
            ("when.tenants.exclude", tenants.exclude.len()),
            ("never_touch.hosts", hosts.len()),
            ("never_touch.users", users.len()),
            ("never_touch.addresses", addresses.len()),
        ];
        let (name, len) = lists.into_iter().find(|&(_, len)| len > MAX_LIST)?;
        Some(format!("{name} has {len} entries, and may have {MAX_LIST}: split the playbook"))
    }
}

impl Step {
    fn problem(self) -> Option<String> {
        let fitting = match self.kind {
            ActionKind::IsolateHost => TargetKind::Host,
            ActionKind::BlockIp => TargetKind::Ip,
            ActionKind::KillProcess => TargetKind::Process,
            ActionKind::QuarantineFile => TargetKind::File,
            ActionKind::DisableUser => TargetKind::User,
            ActionKind::OpenTicket | ActionKind::Notify => return None,
        };
        let kind = self.kind.as_str();
        (self.target != fitting).then(|| format!("{kind} can't be done to a {}", target_name(self.target)))
    }
}

const fn target_name(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Host => "host",
        TargetKind::Ip => "ip",
        TargetKind::Process => "process",
        TargetKind::File => "file",
        TargetKind::User => "user",
        TargetKind::Tenant => "tenant",
    }
}
