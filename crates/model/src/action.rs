//! What is done about a finding: actions, and people's decisions on them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{TenantId, Timestamp};

/// What can be done. The names follow OpenC2's verbs where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Cut a host off the network.
    IsolateHost,
    /// Block an address.
    BlockIp,
    /// End a process.
    KillProcess,
    /// Move a file out of reach.
    QuarantineFile,
    /// Lock an account.
    DisableUser,
    /// Open a ticket.
    OpenTicket,
    /// Tell someone.
    Notify,
}

impl ActionKind {
    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IsolateHost => "isolate_host",
            Self::BlockIp => "block_ip",
            Self::KillProcess => "kill_process",
            Self::QuarantineFile => "quarantine_file",
            Self::DisableUser => "disable_user",
            Self::OpenTicket => "open_ticket",
            Self::Notify => "notify",
        }
    }

    /// Whether it can be undone. A killed process stays dead, and a message stays sent.
    pub const fn is_reversible(self) -> bool {
        !matches!(self, Self::KillProcess | Self::OpenTicket | Self::Notify)
    }
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A computer.
    Host,
    /// An address.
    Ip,
    /// A process.
    Process,
    /// A file.
    File,
    /// An account.
    User,
    /// The tenant as a whole: tickets and notices.
    Tenant,
}

/// The one thing that an action is done to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// What it is.
    pub kind: TargetKind,
    /// Its name.
    pub value: String,
    /// The host it is on, where it is a process or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{} on {host}", self.value),
            None => f.write_str(&self.value),
        }
    }
}

/// How far an action may go by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionMode {
    /// Said, never done.
    DryRun,
    /// Done once a person approves.
    Approval,
    /// Done at once.
    Auto,
}

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Said by a playbook.
    Proposed,
    /// To be done: by the playbook, or by a person.
    Approved,
    /// Not to be done: by a guardrail, or by a person.
    Denied,
    /// Nobody decided in time.
    Expired,
}

impl ActionState {
    /// The name as it stands in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}

/// What held an action back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guardrail {
    /// The target is on a never-touch list.
    NeverTouch,
    /// The playbook's or tenant's cap of actions an hour is reached.
    HourlyCap,
    /// As many actions wait for approval as a tenant may have.
    PendingLimit,
}

/// The value on `response.actions`: one event in an action's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResponseAction {
    /// `ra_…`: the same for the same playbook, step and assessment.
    pub action_id: String,
    /// What an executor remembers so as not to do the same twice; a replay brings the same.
    pub idempotency_key: String,
    /// Whose.
    pub tenant_id: TenantId,
    /// Because of which assessment.
    pub assessment_id: String,
    /// By which playbook.
    pub playbook_id: String,
    /// What is done.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// To what.
    pub target: Target,
    /// How far it may go by itself.
    pub mode: ActionMode,
    /// Where it stands.
    pub state: ActionState,
    /// Why it is in that state, for people.
    pub reason: String,
    /// What held it back, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<Guardrail>,
    /// Who decided: `playbook:<id>`, `guardrail`, `clock`, or the decision's `decided_by`.
    pub decided_by: String,
    /// Whether it can be undone.
    pub reversible: bool,
    /// When it was proposed: the assessment's record time.
    pub proposed_at: Timestamp,
    /// When it came to this state.
    pub updated_at: Timestamp,
    /// When a proposal that nobody decides on ends.
    pub expires_at: Timestamp,
}

impl ResponseAction {
    /// The record's key: `tenant|target`.
    pub fn key(&self) -> String {
        format!("{}|{}", self.tenant_id, self.target.value)
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionVerdict {
    /// Do it.
    Approve,
    /// Leave it.
    Deny,
}

/// The value on `response.decisions`, keyed by tenant: a person's word on a proposed action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// Which action.
    pub action_id: String,
    /// Whose; a decision on another tenant's action is refused.
    pub tenant_id: TenantId,
    /// Yes or no.
    pub verdict: DecisionVerdict,
    /// Who says so.
    pub decided_by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}
