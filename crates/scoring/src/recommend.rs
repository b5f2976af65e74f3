//! What would contain what was found.

use cybervault_model::{
    ActionKind, Contribution, ContributionKind, Entity, EntityKind, RecommendedAction, Severity, Target, TargetKind,
};

use crate::Attack;

const EXECUTION: &str = "TA0002";
const PERSISTENCE: &str = "TA0003";
const DEFENSE_EVASION: &str = "TA0005";
const CREDENTIAL_ACCESS: &str = "TA0006";
const LATERAL_MOVEMENT: &str = "TA0008";
const EXFILTRATION: &str = "TA0010";
const COMMAND_AND_CONTROL: &str = "TA0011";
const IMPACT: &str = "TA0040";

/// Which action helps from which severity on against which tactics, the most thorough first.
const CONTAINMENT: [(ActionKind, Severity, &[&str]); 5] = [
    (ActionKind::IsolateHost, Severity::High, &[LATERAL_MOVEMENT, COMMAND_AND_CONTROL, IMPACT]),
    (ActionKind::BlockIp, Severity::Medium, &[COMMAND_AND_CONTROL, EXFILTRATION]),
    (ActionKind::KillProcess, Severity::High, &[EXECUTION, CREDENTIAL_ACCESS, COMMAND_AND_CONTROL, IMPACT]),
    (
        ActionKind::QuarantineFile,
        Severity::High,
        &[EXECUTION, PERSISTENCE, DEFENSE_EVASION, COMMAND_AND_CONTROL, IMPACT],
    ),
    (ActionKind::DisableUser, Severity::High, &[CREDENTIAL_ACCESS]),
];

/// What is known when actions are recommended.
pub(crate) struct Finding<'a> {
    pub(crate) tenant_id: &'a str,
    pub(crate) severity: Severity,
    /// The contributions, heaviest first, each with what ATT&CK calls it.
    pub(crate) contributions: &'a [(Contribution, &'a Attack)],
    pub(crate) entities: &'a [Entity],
    /// Where connections of the event went to.
    pub(crate) destinations: &'a [String],
}

impl Finding<'_> {
    /// At most one action of each kind; where nothing can be contained, someone is told.
    pub(crate) fn recommend(&self) -> Vec<RecommendedAction> {
        let containment: Vec<_> = CONTAINMENT
            .into_iter()
            .filter(|&(_, from, _)| self.severity >= from)
            .filter_map(|(kind, _, tactics)| {
                let (cause, tactic) = self.cause(kind, tactics)?;
                let target = self.targets(kind).find(|target| kind.may_touch(target))?;
                let reason = match tactic {
                    Some(tactic) => format!("{} ({}): {tactic}", cause.title, cause.level.as_str()),
                    None => described(cause),
                };
                Some(action(kind, target, reason))
            })
            .collect();
        if containment.is_empty() { self.tell().into_iter().collect() } else { containment }
    }

    fn tell(&self) -> Option<RecommendedAction> {
        let kind = match self.severity {
            Severity::Informational | Severity::Low => return None,
            Severity::Medium => ActionKind::OpenTicket,
            Severity::High | Severity::Critical => ActionKind::Notify,
        };
        let (heaviest, _) = self.contributions.first()?;
        let target = Target { kind: TargetKind::Tenant, value: self.tenant_id.to_owned(), host: None };
        Some(action(kind, target, described(heaviest)))
    }

    /// The heaviest contribution against which `kind` helps, and against what tactic of it.
    fn cause(&self, kind: ActionKind, tactics: &[&str]) -> Option<(&Contribution, Option<&str>)> {
        self.contributions.iter().find_map(|(contribution, attack)| {
            let tactic = attack.0.iter().find(|(_, found)| tactics.contains(&&*found.tactic_id));
            let known_bad = kind == ActionKind::QuarantineFile && contribution.kind == ContributionKind::Indicator;
            (tactic.is_some() || known_bad).then(|| (contribution, tactic.map(|(_, found)| &*found.tactic)))
        })
    }

    fn targets(&self, kind: ActionKind) -> impl Iterator<Item = Target> {
        let (target, entity) = match kind {
            ActionKind::BlockIp => (TargetKind::Ip, None),
            ActionKind::KillProcess => (TargetKind::Process, Some(EntityKind::Process)),
            ActionKind::QuarantineFile => (TargetKind::File, Some(EntityKind::File)),
            ActionKind::DisableUser => (TargetKind::User, Some(EntityKind::User)),
            _ => (TargetKind::Host, Some(EntityKind::Host)),
        };
        // Other addresses may be one's own.
        let destinations = if entity.is_none() { self.destinations } else { &[] };
        let values = destinations.iter().map(String::as_str).chain(self.named(entity));
        let has_host = matches!(target, TargetKind::Process | TargetKind::File);
        let host = move || self.named(Some(EntityKind::Host)).next().filter(|_| has_host).map(str::to_owned);
        values.map(move |value| Target { kind: target, value: value.to_owned(), host: host() })
    }

    fn named(&self, kind: Option<EntityKind>) -> impl Iterator<Item = &str> {
        self.entities.iter().filter(move |entity| Some(entity.kind) == kind).map(|entity| &*entity.value)
    }
}

fn described(contribution: &Contribution) -> String {
    format!("{} ({})", contribution.title, contribution.level.as_str())
}

fn action(kind: ActionKind, target: Target, reason: String) -> RecommendedAction {
    RecommendedAction { kind, target, reason, reversible: kind.is_reversible() }
}
