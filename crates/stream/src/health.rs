//! Whether each stage is at work: what `/readyz` tells.

use std::sync::Arc;

use dashmap::DashMap;

/// How far a stage has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageHealth {
    /// A broker answers.
    pub reachable: bool,
    /// The group has given it its partitions (there may be none for it), and their state is restored.
    pub assigned: bool,
    /// What it waits for, in words.
    pub waiting_for: String,
    /// Records committed since the start.
    pub records: u64,
}

/// The health of all stages of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<DashMap<Arc<str>, StageHealth>>);

impl Health {
    /// Changes what is known of `stage`.
    pub fn update(&self, stage: &Arc<str>, change: impl FnOnce(&mut StageHealth)) {
        change(&mut self.0.entry(stage.clone()).or_default());
    }

    /// Records that `stage` has committed since the start, all its runners together.
    pub fn records(&self, stage: &str) -> u64 {
        self.0.get(stage).map_or(0, |stage| stage.records)
    }

    /// What keeps the process from being ready, a line each; empty when it is.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles: Vec<String> = self
            .0
            .iter()
            .filter(|stage| !(stage.reachable && stage.assigned))
            .map(|stage| {
                let what = match &*stage.waiting_for {
                    "" if !stage.reachable => "no broker answers",
                    "" => "waits for its partitions",
                    other => other,
                };
                format!("{}: {what}", stage.key())
            })
            .collect();
        if self.0.is_empty() {
            obstacles.push("no stage has started".into());
        }
        obstacles.sort();
        obstacles
    }
}
