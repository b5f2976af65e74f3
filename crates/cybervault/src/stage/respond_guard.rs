//! What playbooks ask for, and people's decisions, to actions.

use std::{collections::HashMap, sync::Arc};

use cybervault_model::{ActionKind, ActionState, Decision, Encoding, ResponseAction, Timestamp};
use cybervault_response::{Candidate, Decided, Guard, Proposal, Store};
use cybervault_stream::{Failure, Outbox, Poison, Record, Stage, State};
use foldhash::fast::RandomState;
use metrics::counter;
use serde::de::DeserializeOwned;

use super::{KIND_HEADER, meters::Tally, push, respond_select::Kind, sent_at};

/// The second half of the respond stage. Its state is what the guard remembers of each tenant.
#[derive(Debug)]
pub(crate) struct RespondGuard {
    guard: Guard,
    actions: Arc<str>,
    encoding: Encoding,
    meters: Meters,
}

/// The stage's counts; all labels are of fixed sets.
#[derive(Debug, Default)]
struct Meters {
    actions: HashMap<(ActionKind, ActionState), Tally, RandomState>,
    outcomes: HashMap<(&'static str, &'static str), Tally, RandomState>,
}

impl Meters {
    fn action(&mut self, action: &ResponseAction) {
        let (kind, state) = (action.kind, action.state);
        let tally = self.actions.entry((kind, state)).or_insert_with(|| {
            Tally::new(counter!("cybervault_actions_total", "type" => kind.as_str(), "state" => state.as_str()))
        });
        tally.add(1);
    }

    /// What became of a proposal or a decision.
    fn outcome(&mut self, of: &'static str, outcome: &'static str) {
        let tally = self.outcomes.entry((of, outcome)).or_insert_with(|| {
            Tally::new(counter!("cybervault_response_outcomes_total", "of" => of, "outcome" => outcome))
        });
        tally.add(1);
    }
}

impl RespondGuard {
    /// A stage that writes to `actions`.
    pub(crate) fn new(guard: Guard, actions: Arc<str>, encoding: Encoding) -> Self {
        Self { guard, actions, encoding, meters: Meters::default() }
    }

    /// Writes the events of one step.
    fn write(&mut self, events: &[ResponseAction], out: &mut Outbox) -> Result<(), Failure> {
        for action in events {
            let key = action.key();
            push(out, &self.encoding, (&self.actions, key.as_bytes()), action.tenant_id.as_str(), action)?;
        }
        events.iter().for_each(|action| self.meters.action(action));
        Ok(())
    }
}

impl Stage for RespondGuard {
    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let kind = record.headers.get(KIND_HEADER).and_then(Kind::from_header);
        let (store, mut events) = (&mut Ledger(state), Vec::new());
        match kind {
            Some(Kind::Candidate) => {
                let candidate: Candidate = read(record)?;
                let proposal = self.guard.propose(&candidate, store, &mut |action| events.push(action));
                self.meters.outcome("proposal", proposal_name(proposal));
            }
            Some(Kind::Decision) => {
                let decision: Decision = read(record)?;
                let decided = self.guard.decide(&decision, sent_at(record), store, &mut |action| events.push(action));
                self.meters.outcome("decision", decided_name(decided));
            }
            None => {
                return Err(Poison::new("wrong_schema", "header `kind` is neither `candidate` nor `decision`").into());
            }
        }
        self.write(&events, out)
    }

    fn tick(&mut self, _partition: i32, now: Timestamp, state: &mut State, out: &mut Outbox) {
        let mut events = Vec::new();
        self.guard.expire(now, &mut Ledger(state), &mut |action| events.push(action));
        if let Err(failure) = self.write(&events, out) {
            tracing::error!(?failure, "an expired action can't be written");
        }
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        let Meters { actions, outcomes } = &mut self.meters;
        actions.values_mut().chain(outcomes.values_mut()).for_each(|tally| tally.hand_over(out));
    }
}

fn read<T: DeserializeOwned>(record: &Record<'_>) -> Result<T, Failure> {
    serde_json::from_slice(record.value).map_err(|error| Poison::new("wrong_schema", error.to_string()).into())
}

const fn proposal_name(proposal: Proposal) -> &'static str {
    match proposal {
        Proposal::Said => "said",
        Proposal::Waits => "waits",
        Proposal::Held => "held",
        Proposal::Approved => "approved",
        Proposal::Denied(_) => "denied",
        Proposal::CoolingDown => "cooling_down",
        Proposal::Known => "known",
    }
}

const fn decided_name(decided: Decided) -> &'static str {
    match decided {
        Decided::Approved => "approved",
        Decided::Denied => "denied",
        Decided::Ignored(ignored) => ignored.as_str(),
    }
}

/// The partition's state as the guard's store.
struct Ledger<'s>(&'s mut State);

impl Store for Ledger<'_> {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>) {
        self.0.put(key, value, expires_at);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.expired(now, limit)
    }
}
