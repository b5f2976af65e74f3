//! The life of actions: cases in `cases/*.txt`, and what holds whatever comes.
//!
//! A case file is commands, then `----`, then what they answer, then an empty line. `UPDATE_CASES=1` writes the answers.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use cybervault_model::{
    ActionMode, ActionState, Decision, DecisionVerdict, Guardrail, ResponseAction, Severity, Target, TenantId,
    Timestamp,
};
use cybervault_response::{Candidate, Guard, Guardrails, NeverTouch, Proposal, Store};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

#[derive(Clone, Default)]
struct MapStore(BTreeMap<Vec<u8>, (Vec<u8>, Option<Timestamp>)>);

impl Store for MapStore {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(|(value, _)| value.as_slice())
    }

    fn put(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>) {
        self.0.insert(key.to_vec(), (value.to_vec(), expires_at));
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut due: Vec<_> =
            self.0.iter().filter_map(|(key, (_, at))| at.filter(|at| *at <= now).map(|at| (at, key.clone()))).collect();
        due.sort();
        due.truncate(limit);
        due.into_iter().map(|(_, key)| (self.0.remove(&key).unwrap().0, key)).map(|(value, key)| (key, value)).collect()
    }
}

/// What `name` stands for in records.
fn named<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(name.into()).unwrap()
}

fn guard(guardrails: Guardrails) -> Guard {
    Guard::new(guardrails).unwrap()
}

/// The words of a command: those without `=` in order, the others by name.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let named = line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        Self { plain: line.split_whitespace().filter(|word| !word.contains('=')).collect(), named }
    }

    fn get(&self, name: &str, otherwise: &'a str) -> &'a str {
        self.named.get(name).unwrap_or(&otherwise)
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.get("at", "0m").trim_end_matches('m').parse::<i64>().unwrap() * 60_000)
    }

    fn tenant(&self) -> TenantId {
        TenantId::new(self.get("tenant", "acme")).unwrap()
    }

    fn candidate(&self) -> Candidate {
        let [_, assessment, kind, target, mode] = self.plain[..] else { panic!("propose what? {:?}", self.plain) };
        let (target_kind, value) = target.split_once(':').unwrap();
        Candidate {
            incident_id: None,
            tenant_id: self.tenant(),
            assessment_id: assessment.to_owned(),
            severity: Severity::High,
            playbook_id: self.get("playbook", "contain").to_owned(),
            step: 0,
            kind: named(kind),
            target: Target { kind: named(target_kind), value: value.to_owned(), host: None },
            reason: "why".to_owned(),
            mode: named(mode),
            cap_per_hour: self.get("cap", "10").parse().unwrap(),
            cool_down: self.get("cool", "1h").parse().unwrap(),
            expires_after: self.get("expires", "24h").parse().unwrap(),
            never_touch: self.named.get("never").map(|&entry| entry.to_owned()),
            proposed_at: self.at(),
        }
    }

    fn guardrails(&self) -> Guardrails {
        let hosts = self.named.get("never").map(|&host| host.to_owned()).into_iter().collect();
        Guardrails {
            never_touch: NeverTouch { hosts, ..NeverTouch::default() },
            cap_per_hour: self.get("cap", "60").parse().unwrap(),
            max_pending: self.get("pending", "1000").parse().unwrap(),
        }
    }
}

/// A guard, its store, and the actions seen, by assessment.
struct Run {
    guard: Guard,
    store: MapStore,
    action_ids: BTreeMap<String, String>,
}

impl Run {
    fn command(&mut self, line: &str) -> String {
        let words = Words::new(line);
        let mut events = Vec::new();
        let emit = &mut |event: ResponseAction| events.push(event);
        let outcome = match words.plain[0] {
            "guardrails" => {
                self.guard = guard(words.guardrails());
                String::new()
            }
            "propose" => {
                let candidate = words.candidate();
                self.action_ids.insert(candidate.assessment_id.clone(), candidate.action_id());
                format!("{:?}\n", self.guard.propose(&candidate, &mut self.store, emit))
            }
            "approve" | "deny" => {
                let decision = Decision {
                    action_id: self.action_ids.get(words.plain[1]).cloned().unwrap_or_default(),
                    tenant_id: words.tenant(),
                    verdict: named(words.plain[0]),
                    decided_by: "ann".to_owned(),
                    comment: words.named.get("comment").map(|&text| text.to_owned()),
                };
                format!("{:?}\n", self.guard.decide(&decision, words.at(), &mut self.store, emit))
            }
            "expire" => format!("{}\n", self.guard.expire(words.at(), &mut self.store, emit)),
            "store" => format!("{} entries\n", self.store.0.len()),
            other => panic!("no command `{other}`"),
        };
        events.iter().fold(outcome, |mut text, event| {
            let ResponseAction { state, kind, target, decided_by, reason, updated_at, guardrail, .. } = event;
            let minute = updated_at.as_millis() / 60_000;
            let guardrail = guardrail.map(|guardrail| format!(" ({guardrail:?})")).unwrap_or_default();
            let (state, kind) = (state.as_str(), kind.as_str());
            writeln!(text, "  {state} {kind} {target} at {minute}m by {decided_by}: {reason}{guardrail}").unwrap();
            text
        })
    }
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let mut run =
            Run { guard: guard(Guardrails::default()), store: MapStore::default(), action_ids: BTreeMap::new() };
        let mut answered = String::new();
        for case in text.trim_end().split("\n\n") {
            let commands = case.split("----").next().unwrap().trim_end();
            let answers: String =
                commands.lines().filter(|line| !line.starts_with('#')).map(|line| run.command(line)).collect();
            write!(answered, "{commands}\n----\n{answers}\n").unwrap();
        }
        let answered = format!("{}\n", answered.trim_end());
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, answered).unwrap();
        } else {
            assert_eq!(answered, text, "{}", path.display());
        }
    }
}

const CAP: usize = 3;
const TENANT_CAP: usize = 4;

fn candidate() -> impl Strategy<Value = (Candidate, Option<DecisionVerdict>)> {
    let verdict = prop_oneof![Just(None), Just(Some(DecisionVerdict::Approve)), Just(Some(DecisionVerdict::Deny))];
    (0..40u32, 0..3u32, 0..20u32, -5..10i64, 0..6u8, verdict).prop_map(
        |(assessment, playbook, host, step, mode, verdict)| {
            let line =
                format!("propose a{assessment} isolate_host host:ws{host} auto playbook=p{playbook} cap=3 cool=10m");
            let mut candidate = Words::new(&line).candidate();
            candidate.mode = if mode == 0 { ActionMode::Approval } else { ActionMode::Auto };
            candidate.expires_after = "2h".parse().unwrap();
            // Relative to the one before; made absolute below.
            candidate.proposed_at = Timestamp::from_millis(step * 60_000);
            (candidate, verdict)
        },
    )
}

proptest! {
    #[test]
    fn caps_hold_in_every_hour_and_what_must_not_be_touched_is_never_approved(
        // Within a day: for so long a settled action is remembered, and its id not taken up again.
        candidates in proptest::collection::vec(candidate(), 1..120),
    ) {
        let never_touch = NeverTouch { hosts: vec!["ws1?".to_owned()], ..NeverTouch::default() };
        let cap_per_hour = u32::try_from(TENANT_CAP).unwrap();
        let guard = guard(Guardrails { never_touch, cap_per_hour, max_pending: 5 });
        let mut store = MapStore::default();
        let mut events: Vec<ResponseAction> = Vec::new();
        let mut now = Timestamp::from_millis(0);
        for (mut candidate, verdict) in candidates {
            now = now.plus_millis(candidate.proposed_at.as_millis());
            candidate.proposed_at = now;
            guard.propose(&candidate, &mut store, &mut |event| events.push(event));
            prop_assert_eq!(
                guard.propose(&candidate, &mut store, &mut |event| panic!("a replay said {event:?}")) == Proposal::Known,
                store.get(format!("acme\0a{}", candidate.action_id()).as_bytes()).is_some()
            );
            if let Some(verdict) = verdict {
                let action_id = candidate.action_id();
                let tenant_id = candidate.tenant_id.clone();
                let decision = Decision { action_id, tenant_id, verdict, decided_by: "ann".to_owned(), comment: None };
                guard.decide(&decision, now, &mut store, &mut |event| events.push(event));
            }
            guard.expire(now, &mut store, &mut |event| events.push(event));
        }
        check(&events)?;
    }
}

fn check(events: &[ResponseAction]) -> Result<(), TestCaseError> {
    let mut alone: Vec<&ResponseAction> = Vec::new();
    let mut states: BTreeMap<&str, Vec<ActionState>> = BTreeMap::new();
    for event in events {
        states.entry(&event.action_id).or_default().push(event.state);
        if event.state == ActionState::Approved {
            prop_assert!(!(event.target.value.len() == 4 && event.target.value.starts_with("ws1")), "{:?}", event);
            if event.decided_by.starts_with("playbook:") {
                alone.push(event);
            }
        }
        if event.guardrail == Some(Guardrail::NeverTouch) {
            prop_assert_eq!(event.state, ActionState::Denied);
        }
    }
    for (id, states) in states {
        prop_assert!(states[0] == ActionState::Proposed && states.len() <= 2, "{} {:?}", id, states);
    }
    for first in &alone {
        let hour = first.updated_at..first.updated_at.plus_millis(3_600_000);
        let within = || alone.iter().filter(|event| hour.contains(&event.updated_at));
        prop_assert!(within().count() <= TENANT_CAP);
        prop_assert!(within().filter(|event| event.playbook_id == first.playbook_id).count() <= CAP);
    }
    Ok(())
}
