//! What becomes of what playbooks ask for.

use cybervault_model::{ActionMode, Decision, DecisionVerdict, Guardrail, ResponseAction, Timestamp};

use crate::{
    Candidate, Guardrails, InvalidNeverTouch, Proposed, Store,
    ledger::{self, Known, Ledger},
    never_touch::Untouchable,
};

/// How many entries one call of [`Guard::expire`] takes, so that a batch stays short.
const EXPIRE_AT_ONCE: usize = 1_000;
/// How much of a person's words an action keeps.
const MAX_NAME_CHARS: usize = 200;
const MAX_COMMENT_CHARS: usize = 1_000;

/// Holds the guardrails, and decides with what the store remembers. Each event goes to `emit`, in order.
#[derive(Debug)]
pub struct Guard {
    guardrails: Guardrails,
    untouchable: Untouchable,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// Said, and no more: the playbook is a dry run.
    Said,
    /// Waits for a person.
    Waits,
    /// Waits for a person because an hourly cap is reached.
    Held,
    /// Goes ahead.
    Approved,
    /// A guardrail forbids it.
    Denied(Guardrail),
    /// Nothing: the same was asked for the same target recently.
    CoolingDown,
    /// Nothing: this very action has been proposed before.
    Known,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The action goes ahead.
    Approved,
    /// It does not: the person says so, or a guardrail that came into force since.
    Denied,
    /// It changed nothing.
    Ignored(Ignored),
}

/// Why a decision changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The tenant has no such action, or had it long ago.
    Unknown,
    /// It came too late.
    Expired,
    /// The action is approved, denied or expired already.
    Settled,
}

impl Ignored {
    /// The name as it stands in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Settled => "settled",
        }
    }
}

impl Guard {
    /// A guard that keeps to `guardrails`.
    ///
    /// # Errors
    /// When the never-touch list has an entry that can't be read.
    pub fn new(guardrails: Guardrails) -> Result<Self, InvalidNeverTouch> {
        let untouchable = guardrails.untouchable()?;
        Ok(Self { guardrails, untouchable })
    }

    /// Takes up what a playbook asks for.
    pub fn propose(
        &self,
        candidate: &Candidate,
        store: &mut dyn Store,
        emit: &mut dyn FnMut(ResponseAction),
    ) -> Proposal {
        let mut ledger = Ledger::new(store, &candidate.tenant_id);
        let proposed = Proposed::new(candidate);
        if !matches!(ledger.action(&proposed.event().action_id), Known::Nothing) {
            return Proposal::Known;
        }
        if ledger.is_cooling(candidate) {
            return Proposal::CoolingDown;
        }
        ledger.start_cool_down(candidate);
        if let Some(entry) = self.forbidden_by(candidate) {
            let reason = format!("`{entry}` is on a never-touch list");
            return deny(candidate, proposed, (Guardrail::NeverTouch, reason), &mut ledger, emit);
        }
        match candidate.mode {
            ActionMode::DryRun => {
                emit(proposed.event().clone());
                Proposal::Said
            }
            ActionMode::Approval => self.wait(candidate, proposed, Proposal::Waits, &mut ledger, emit),
            ActionMode::Auto => self.go_ahead(candidate, proposed, &mut ledger, emit),
        }
    }

    fn forbidden_by<'c>(&'c self, candidate: &'c Candidate) -> Option<&'c str> {
        candidate.never_touch.as_deref().or_else(|| self.untouchable.forbids(candidate.kind, &candidate.target))
    }

    fn go_ahead(
        &self,
        candidate: &Candidate,
        proposed: Proposed,
        ledger: &mut Ledger<'_>,
        emit: &mut dyn FnMut(ResponseAction),
    ) -> Proposal {
        let of_playbook = (candidate.playbook_id.as_str(), candidate.cap_per_hour);
        match ledger.count_against_caps(of_playbook, self.guardrails.cap(), candidate.proposed_at) {
            Some(at) => {
                emit(proposed.event().clone());
                ledger.settle(&proposed.event().action_id, at);
                let by = format!("playbook:{}", candidate.playbook_id);
                emit(proposed.approve(by, candidate.reason.clone(), at).into_event());
                Proposal::Approved
            }
            None => {
                let held =
                    proposed.held(Guardrail::HourlyCap, "held for approval: the cap of actions an hour is reached");
                self.wait(candidate, held, Proposal::Held, ledger, emit)
            }
        }
    }

    fn wait(
        &self,
        candidate: &Candidate,
        proposed: Proposed,
        waits: Proposal,
        ledger: &mut Ledger<'_>,
        emit: &mut dyn FnMut(ResponseAction),
    ) -> Proposal {
        let max = self.guardrails.max_pending;
        if ledger.pending() >= max {
            let reason = format!("as many actions as may, {max}, wait for a decision already");
            return deny(candidate, proposed, (Guardrail::PendingLimit, reason), ledger, emit);
        }
        ledger.keep(&proposed);
        emit(proposed.event().clone());
        waits
    }

    /// Takes up a person's `decision`, whose record's time is `at`.
    pub fn decide(
        &self,
        decision: &Decision,
        at: Timestamp,
        store: &mut dyn Store,
        emit: &mut dyn FnMut(ResponseAction),
    ) -> Decided {
        // Another tenant's action is not among this one's, and so unknown.
        let mut ledger = Ledger::new(store, &decision.tenant_id);
        let proposed = match ledger.action(&decision.action_id) {
            Known::Nothing => return Decided::Ignored(Ignored::Unknown),
            Known::Settled => return Decided::Ignored(Ignored::Settled),
            Known::Pending(proposed) if proposed.event().expires_at <= at => {
                return Decided::Ignored(Ignored::Expired);
            }
            Known::Pending(proposed) => proposed,
        };
        ledger.settle_pending(&decision.action_id, at);
        let by = cut(&decision.decided_by, MAX_NAME_CHARS);
        let reason = cut(decision.comment.as_deref().unwrap_or("no comment"), MAX_COMMENT_CHARS);
        let (decided, event) = match decision.verdict {
            DecisionVerdict::Deny => (Decided::Denied, proposed.deny(by, reason, at).into_event()),
            // The list may have grown since the proposal.
            DecisionVerdict::Approve => match self.untouchable.forbids(proposed.event().kind, &proposed.event().target)
            {
                Some(entry) => {
                    let reason = format!("approved by {by}, but `{entry}` is on a never-touch list");
                    (Decided::Denied, proposed.forbid(Guardrail::NeverTouch, reason, at).into_event())
                }
                None => (Decided::Approved, proposed.approve(by, reason, at).into_event()),
            },
        };
        emit(event);
        decided
    }

    /// Ends what nobody has decided on by `now`, and drops what need not be remembered any longer. Returns how many
    /// entries it took from the store; where that is not 0 there may be more.
    pub fn expire(&self, now: Timestamp, store: &mut dyn Store, emit: &mut dyn FnMut(ResponseAction)) -> usize {
        let expired = store.expired(now, EXPIRE_AT_ONCE);
        let taken = expired.len();
        for proposed in expired.iter().filter_map(|(_, value)| ledger::pending(value)) {
            let action = proposed.event();
            Ledger::new(store, &action.tenant_id).settle_pending(&action.action_id, now);
            emit(proposed.expire().into_event());
        }
        taken
    }
}

fn deny(
    candidate: &Candidate,
    proposed: Proposed,
    (guardrail, reason): (Guardrail, String),
    ledger: &mut Ledger<'_>,
    emit: &mut dyn FnMut(ResponseAction),
) -> Proposal {
    let at = candidate.proposed_at;
    emit(proposed.event().clone());
    ledger.settle(&proposed.event().action_id, at);
    emit(proposed.forbid(guardrail, reason, at).into_event());
    Proposal::Denied(guardrail)
}

fn cut(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}
