//! Whether each runner is at work: what `/readyz` tells.

use std::sync::Arc;

use dashmap::DashMap;

/// How far a runner has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// A broker answers.
    reachable: bool,
    /// The group has given it its partitions (there may be none for it), and their state is restored.
    assigned: bool,
    /// What it waits for, in words.
    waiting_for: String,
    /// Records committed since the start.
    records: u64,
}

/// A runner: its stage, and the id that no other runner of the stage has.
type RunnerId = (Arc<str>, Arc<str>);

/// The health of all runners of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<DashMap<RunnerId, State>>);

impl Health {
    /// What keeps the process from being ready, a line each; empty when it is.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles: Vec<String> = self
            .0
            .iter()
            .filter(|runner| !(runner.reachable && runner.assigned))
            .map(|runner| {
                let what = match &*runner.waiting_for {
                    "" if !runner.reachable => "no broker answers",
                    "" => "waits for its partitions",
                    other => other,
                };
                format!("{}: {what}", runner.key().0)
            })
            .collect();
        if self.0.is_empty() {
            obstacles.push("no stage has started".into());
        }
        obstacles.sort();
        obstacles
    }

    /// Records that `stage` has committed since the start, all its runners together.
    pub fn records(&self, stage: &str) -> u64 {
        self.0.iter().filter(|runner| *runner.key().0 == *stage).map(|runner| runner.records).sum()
    }

    /// A runner's own place in it.
    pub(crate) fn of_runner(&self, stage: &Arc<str>, id: &str) -> RunnerHealth {
        let runner = RunnerHealth { all: self.clone(), id: (stage.clone(), id.into()) };
        runner.update(|_| {});
        runner
    }
}

/// One runner's health.
#[derive(Clone, Debug)]
pub(crate) struct RunnerHealth {
    all: Health,
    id: RunnerId,
}

impl RunnerHealth {
    pub(crate) fn broker_answers(&self, answers: bool) {
        self.update(|state| state.reachable = answers);
    }

    /// It has its partitions, and their state.
    pub(crate) fn assigned(&self) {
        self.update(|state| {
            (state.reachable, state.assigned) = (true, true);
            state.waiting_for.clear();
        });
    }

    /// It can't work before something has happened.
    pub(crate) fn waits_for(&self, what: String) {
        self.update(|state| (state.assigned, state.waiting_for) = (false, what));
    }

    pub(crate) fn committed(&self, records: u64) {
        self.update(|state| state.records += records);
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.all.0.entry(self.id.clone()).or_default());
    }
}
