//! What is done about a finding: actions, and people's decisions on them.

use std::{fmt, net::IpAddr};

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

    /// Whether this may be done to `target` at all, whoever wants it: of the right kind, and nothing that a system or a
    /// network can't do without. Addresses are blocked only outside: no private, shared (RFC 6598), loopback, link-local,
    /// multicast or reserved one. The documentation ranges count as outside, so that examples behave as the real thing.
    pub fn may_touch(self, target: &Target) -> bool {
        let value = target.value.as_str();
        match self {
            Self::IsolateHost => target.kind == TargetKind::Host && !value.is_empty(),
            Self::BlockIp => target.kind == TargetKind::Ip && value.parse().is_ok_and(is_public),
            Self::KillProcess => target.kind == TargetKind::Process && !value.is_empty() && !is_vital_process(value),
            Self::QuarantineFile => target.kind == TargetKind::File && !value.is_empty(),
            Self::DisableUser => target.kind == TargetKind::User && !is_system_account(value),
            Self::OpenTicket | Self::Notify => true,
        }
    }

    /// Whether it changes something outside: what is approved here cuts people and machines off.
    pub const fn is_destructive(self) -> bool {
        !matches!(self, Self::OpenTicket | Self::Notify)
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

impl TargetKind {
    /// The name as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Ip => "ip",
            Self::Process => "process",
            Self::File => "file",
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }
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

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let inside = v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64);
            !inside && (1..224).contains(&a)
        }
        IpAddr::V6(v6) => {
            let inside = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
            !inside && !v6.is_unspecified() && !v6.is_multicast()
        }
    }
}

/// Whether Windows stops with the process at `path`, which may also be a bare name: that one may be the real one.
fn is_vital_process(path: &str) -> bool {
    const VITAL: [&str; 9] = [
        "system",
        "registry",
        "smss.exe",
        "csrss.exe",
        "wininit.exe",
        "winlogon.exe",
        "services.exe",
        "lsass.exe",
        "svchost.exe",
    ];
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    if !VITAL.iter().any(|vital| vital.eq_ignore_ascii_case(name)) {
        return false;
    }
    let folder = path[..path.len() - name.len()].to_ascii_lowercase().replace('/', "\\");
    let folder = folder.strip_suffix('\\').unwrap_or(&folder);
    folder.is_empty() || folder.ends_with("\\windows\\system32")
}

/// Whether the account belongs to the system or a machine rather than to a person.
pub fn is_system_account(name: &str) -> bool {
    const SYSTEM: [&str; 7] = ["", "-", "system", "local service", "network service", "anonymous logon", "root"];
    let name = name.rsplit('\\').next().unwrap_or(name).to_ascii_lowercase();
    SYSTEM.contains(&name.as_str()) || name.ends_with('$') || name.starts_with("dwm-") || name.starts_with("umfd-")
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

impl ActionMode {
    /// The name as it stands in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DryRun => "dry_run",
            Self::Approval => "approval",
            Self::Auto => "auto",
        }
    }
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
    /// Because of which assessment; where it is because of an incident, of the latest one that it gained.
    pub assessment_id: String,
    /// Because of which incident, where it is because of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
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

    /// Whether a person's word would change something, as long as it has not expired. What a dry run proposes is only said.
    pub fn waits_for_decision(&self) -> bool {
        self.state == ActionState::Proposed && self.mode != ActionMode::DryRun
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_system_or_network_cannot_do_without_is_not_touched() {
        use {ActionKind as A, TargetKind as T};
        for (action, kind, value, expected) in [
            (A::BlockIp, T::Ip, "198.51.100.42", true),
            (A::BlockIp, T::Ip, "2001:db8::1", true),
            (A::BlockIp, T::Host, "198.51.100.42", false),
            (A::BlockIp, T::Ip, "10.0.0.1", false),
            (A::BlockIp, T::Ip, "::ffff:192.168.1.1", false),
            (A::BlockIp, T::Ip, "100.64.0.1", false),
            (A::BlockIp, T::Ip, "127.0.0.1", false),
            (A::BlockIp, T::Ip, "169.254.1.1", false),
            (A::BlockIp, T::Ip, "0.0.0.0", false),
            (A::BlockIp, T::Ip, "255.255.255.255", false),
            (A::BlockIp, T::Ip, "fe80::1", false),
            (A::BlockIp, T::Ip, "fd00::1", false),
            (A::BlockIp, T::Ip, "example.com", false),
            (A::KillProcess, T::Process, r"C:\Windows\System32\lsass.exe", false),
            (A::KillProcess, T::Process, "svchost.exe", false),
            (A::KillProcess, T::Process, r"C:\Users\eve\svchost.exe", true),
            (A::DisableUser, T::User, r"NT AUTHORITY\SYSTEM", false),
            (A::DisableUser, T::User, "WS01$", false),
            (A::DisableUser, T::User, r"ACME\eve", true),
            (A::Notify, T::Tenant, "acme", true),
        ] {
            let target = Target { kind, value: value.to_owned(), host: None };
            assert_eq!(action.may_touch(&target), expected, "{action:?} {value}");
        }
    }
}
