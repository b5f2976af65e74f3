//! The states of an action, each a type: only what was approved can be carried out.

use cybervault_model::{ActionState, Guardrail, ResponseAction, Timestamp};

use crate::Candidate;

/// An action that a playbook asks for, and that nobody has decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposed(ResponseAction);

/// An action that is to be done. There is no way to one but through [`Proposed::approve`].
#[derive(Clone, Debug, PartialEq)]
pub struct Approved(ResponseAction);

/// An action that will not be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed(ResponseAction);

impl Proposed {
    /// What `candidate` asks for.
    pub fn new(candidate: &Candidate) -> Self {
        Self(ResponseAction {
            action_id: candidate.action_id(),
            idempotency_key: candidate.idempotency_key(),
            tenant_id: candidate.tenant_id.clone(),
            assessment_id: candidate.assessment_id.clone(),
            incident_id: candidate.incident_id.clone(),
            playbook_id: candidate.playbook_id.clone(),
            kind: candidate.kind,
            target: candidate.target.clone(),
            mode: candidate.mode,
            state: ActionState::Proposed,
            reason: candidate.reason.clone(),
            guardrail: None,
            decided_by: format!("playbook:{}", candidate.playbook_id),
            reversible: candidate.kind.is_reversible(),
            proposed_at: candidate.proposed_at,
            updated_at: candidate.proposed_at,
            expires_at: candidate.expires_after.after(candidate.proposed_at),
        })
    }

    /// The proposal from where it was kept; `None` if `action` is in another state.
    pub(crate) fn from_kept(action: ResponseAction) -> Option<Self> {
        (action.state == ActionState::Proposed).then_some(Self(action))
    }

    /// The event that says so.
    pub const fn event(&self) -> &ResponseAction {
        &self.0
    }

    /// The same, held for a person by `guardrail`.
    #[must_use]
    pub(crate) fn held(mut self, guardrail: Guardrail, why: &str) -> Self {
        self.0.guardrail = Some(guardrail);
        self.0.reason = format!("{}; {why}", self.0.reason);
        self
    }

    /// To be done, as `by` says.
    pub fn approve(self, by: String, reason: String, at: Timestamp) -> Approved {
        Approved(self.moved(ActionState::Approved, by, reason, at))
    }

    /// Not to be done, as `by` says.
    pub fn deny(self, by: String, reason: String, at: Timestamp) -> Closed {
        Closed(self.moved(ActionState::Denied, by, reason, at))
    }

    /// Not to be done, because `guardrail` forbids it.
    pub(crate) fn forbid(self, guardrail: Guardrail, reason: String, at: Timestamp) -> Closed {
        let mut action = self.moved(ActionState::Denied, "guardrail".to_owned(), reason, at);
        action.guardrail = Some(guardrail);
        Closed(action)
    }

    /// Not to be done, because nobody decided. As of when that was due, whenever it is noticed.
    pub fn expire(self) -> Closed {
        let at = self.0.expires_at;
        Closed(self.moved(ActionState::Expired, "clock".to_owned(), "nobody decided in time".to_owned(), at))
    }

    fn moved(self, state: ActionState, decided_by: String, reason: String, at: Timestamp) -> ResponseAction {
        ResponseAction { state, decided_by, reason, updated_at: at, ..self.0 }
    }
}

impl Approved {
    /// The event that says so.
    pub fn into_event(self) -> ResponseAction {
        self.0
    }
}

impl Closed {
    /// The event that says so.
    pub fn into_event(self) -> ResponseAction {
        self.0
    }
}
