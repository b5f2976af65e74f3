//! Whether each runner is at work, and comes forward: what `/readyz` and `/livez` tell.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;

/// A partition of an input topic.
pub(crate) type Place = (Arc<str>, i32);

/// How old a measured end may be and still say that records wait.
const FRESH: Duration = Duration::from_secs(30);

/// How far a runner has come with one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    /// The next offset to be committed, as far as it is known: not while state is being read back.
    next: Option<i64>,
    /// Since when that offset stands, or nothing waits.
    since: Instant,
    /// Nothing that is handed out lies before this offset: the last ones may be a transaction's markers.
    seen: i64,
    /// The partition's end, and when it was asked for.
    end: Option<(i64, Instant)>,
    /// Whether this runner holds the partition now.
    held: bool,
}

impl Progress {
    fn lag(&self) -> Option<i64> {
        let (end, _) = self.end?;
        Some((end - self.next?.max(self.seen)).max(0))
    }

    /// For how long records have waited without any being committed.
    fn stalled(&self) -> Duration {
        let is_fresh = self.end.is_some_and(|(_, at)| at.elapsed() < FRESH);
        match self.lag() {
            Some(1..) if is_fresh && self.held => self.since.elapsed(),
            _ => Duration::ZERO,
        }
    }
}

/// How far a runner has come.
#[derive(Clone, Debug, Default)]
struct State {
    /// A broker answers.
    reachable: bool,
    /// When none did last.
    outage: Option<Instant>,
    /// The group has given it its partitions (there may be none for it), and their state is restored.
    assigned: bool,
    /// What it waits for, in words.
    waiting_for: String,
    /// Records committed since the start.
    records: u64,
    /// When it last made a step, in milliseconds since `Health` was made.
    step: Arc<AtomicU64>,
    partitions: BTreeMap<Place, Progress>,
    /// Its session has ended by an error, and these partitions were its.
    lost: bool,
}

/// A runner: its stage, and the id that no other runner of the stage has.
type RunnerId = (Arc<str>, Arc<str>);

/// The health of all runners of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    runners: Arc<DashMap<RunnerId, State>>,
    begun: Instant,
    stalled_after: Duration,
}

impl Default for Health {
    /// With the patience of a minute.
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl Health {
    /// Of no runner yet. One that makes no step for `stalled_after` though records wait counts as hanging.
    pub fn new(stalled_after: Duration) -> Self {
        Self { runners: Arc::default(), begun: Instant::now(), stalled_after }
    }

    /// What keeps the process from being ready, a line each; empty when it is.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        for runner in self.runners.iter() {
            let (stage, _) = runner.key();
            if !(runner.reachable && runner.assigned) {
                let what = match &*runner.waiting_for {
                    "" if !runner.reachable => "no broker answers",
                    "" => "waits for its partitions",
                    other => other,
                };
                obstacles.push(format!("{stage}: {what}"));
            }
            for ((topic, partition), progress) in &runner.partitions {
                let stalled = progress.stalled();
                if stalled > self.stalled_after {
                    let (seconds, lag) = (stalled.as_secs(), progress.lag().unwrap_or_default());
                    obstacles.push(format!(
                        "{stage}: partition {partition} of `{topic}` has not moved for {seconds} s, and {lag} records wait"
                    ));
                }
            }
        }
        if self.runners.is_empty() {
            obstacles.push("no stage has started".into());
        }
        obstacles.sort();
        obstacles
    }

    /// The runners that hang, a line each: records have waited for long, a broker tells of them, and as long the runner has made
    /// no step.
    pub fn hanging(&self) -> Vec<String> {
        let now = self.now();
        let mut hanging = Vec::new();
        for runner in self.runners.iter() {
            let idle = Duration::from_millis(now.saturating_sub(runner.step.load(Ordering::Relaxed)));
            // A record that has just come to a runner with nothing to do is no sign of hanging: it has to have waited as long.
            let waits = runner.partitions.values().any(|progress| progress.stalled() > self.stalled_after);
            if waits && idle > self.stalled_after {
                let (stage, id) = runner.key();
                let seconds = idle.as_secs();
                hanging.push(format!("{stage} ({id}): records wait, and no step was made for {seconds} s"));
            }
        }
        hanging.sort();
        hanging
    }

    /// Records that `stage` has committed since the start, all its runners together.
    pub fn records(&self, stage: &str) -> u64 {
        self.runners.iter().filter(|runner| *runner.key().0 == *stage).map(|runner| runner.records).sum()
    }

    /// A runner's own place in it.
    pub(crate) fn of_runner(&self, stage: &Arc<str>, id: &str) -> RunnerHealth {
        let id = (stage.clone(), id.into());
        let step = self.runners.entry(id.clone()).or_default().step.clone();
        let runner = RunnerHealth { all: self.clone(), id, step };
        runner.step();
        runner
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What is known of a partition: its lag, and for how long it has stood still though records wait.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) at: Place,
    /// `None` before the end and the committed offset are known.
    pub(crate) lag: Option<i64>,
    pub(crate) stalled: Duration,
}

/// One runner's health.
#[derive(Clone, Debug)]
pub(crate) struct RunnerHealth {
    all: Health,
    id: RunnerId,
    step: Arc<AtomicU64>,
}

impl RunnerHealth {
    pub(crate) fn broker_answers(&self, answers: bool) {
        self.update(|state| {
            state.reachable = answers;
            if !answers {
                state.outage = Some(Instant::now());
            }
        });
    }

    /// Brokers were found away, if only for a moment.
    pub(crate) fn broker_was_away(&self) {
        self.update(|state| state.outage = Some(Instant::now()));
    }

    /// How long ago brokers were away.
    pub(crate) fn since_outage(&self) -> Option<Duration> {
        self.update(|state| state.outage.map(|at| at.elapsed()))
    }

    /// It has come forward: records were looked at, a batch was committed, state was read back, the group was answered, or it
    /// waits on purpose.
    pub(crate) fn step(&self) {
        self.step.store(self.all.now(), Ordering::Relaxed);
    }

    /// It has its partitions, and their state.
    pub(crate) fn assigned(&self) {
        self.step();
        self.update(|state| {
            (state.reachable, state.assigned) = (true, true);
            state.waiting_for.clear();
        });
    }

    /// It can't work before something has happened.
    pub(crate) fn waits_for(&self, what: String) {
        self.update(|state| (state.assigned, state.waiting_for) = (false, what));
    }

    /// The group gives it these partitions. Where it goes on is known only once their state is there.
    pub(crate) fn takes_on(&self, partitions: &[Place]) {
        self.update(|state| {
            // What an earlier session held is another's now, unless it is among these.
            if state.lost {
                state.partitions.clear();
                state.lost = false;
            }
            for at in partitions {
                let new = Progress { next: None, since: Instant::now(), seen: 0, end: None, held: true };
                state.partitions.insert(at.clone(), new);
            }
        });
    }

    /// It has the partition, and does not read it until somebody has acted.
    pub(crate) fn holds_back(&self, at: &Place) {
        self.update(|state| {
            if let Some(progress) = state.partitions.get_mut(at) {
                progress.held = false;
            }
        });
    }

    /// It no longer holds the partition.
    pub(crate) fn gives_back(&self, at: &Place) {
        self.step();
        self.update(|state| state.partitions.remove(at));
    }

    /// Its session has ended by an error. Its partitions stay in sight until it has others: their lag goes on growing.
    pub(crate) fn lets_go(&self) {
        self.update(|state| {
            state.lost = true;
            state.partitions.values_mut().for_each(|progress| progress.held = false);
        });
    }

    /// It holds no partition any more, and does not want any.
    pub(crate) fn leaves(&self) {
        self.update(|state| state.partitions.clear());
    }

    pub(crate) fn committed<'a>(&self, records: u64, next: impl IntoIterator<Item = (&'a Place, &'a i64)>) {
        self.step();
        self.update(|state| {
            state.records += records;
            for (at, next) in next {
                if let Some(progress) = state.partitions.get_mut(at)
                    && progress.next != Some(*next)
                {
                    (progress.next, progress.since) = (Some(*next), Instant::now());
                }
            }
        });
    }

    /// Of the partition nothing waits before this offset.
    pub(crate) fn seen(&self, at: &Place, offset: i64) {
        self.update(|state| {
            if let Some(progress) = state.partitions.get_mut(at) {
                progress.seen = progress.seen.max(offset);
            }
        });
    }

    /// The partitions in sight, and whether it is known here where each goes on.
    pub(crate) fn partitions(&self) -> Vec<(Place, bool)> {
        let found = self.all.runners.get(&self.id);
        let all = found.iter().flat_map(|state| &state.partitions);
        all.map(|(at, progress)| (at.clone(), progress.held && progress.next.is_some())).collect()
    }

    /// Takes down what a broker says of a partition: its end and, where it is not known here, the offset that was committed.
    pub(crate) fn told(&self, at: &Place, end: i64, committed: Option<i64>) -> Option<Measured> {
        let mut state = self.all.runners.get_mut(&self.id)?;
        let progress = state.partitions.get_mut(at)?;
        progress.end = Some((end, Instant::now()));
        let is_unknown = !progress.held || progress.next.is_none();
        if is_unknown && committed.is_some() && progress.next != committed {
            (progress.next, progress.since) = (committed, Instant::now());
        }
        let lag = progress.lag();
        if lag == Some(0) {
            progress.since = Instant::now();
        }
        Some(Measured { at: at.clone(), lag, stalled: progress.stalled() })
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.all.runners.entry(self.id.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> (Health, RunnerHealth, [Place; 2]) {
        let health = Health::new(Duration::ZERO);
        let runner = health.of_runner(&"assess".into(), "assess.w1.0");
        runner.assigned();
        let places = [("events".into(), 0), ("events".into(), 1)];
        runner.takes_on(&places);
        (health, runner, places)
    }

    fn pause() {
        std::thread::sleep(Duration::from_millis(2));
    }

    #[test]
    fn a_partition_that_stands_still_while_records_wait_is_told_though_the_other_moves() {
        let (health, runner, [stuck, moving]) = runner();
        for at in [&stuck, &moving] {
            runner.told(at, 100, Some(10));
        }
        pause();
        runner.committed(1, [(&moving, &100)]);
        runner.told(&moving, 100, None);
        let obstacles = health.obstacles();
        assert_eq!(obstacles.len(), 1, "{obstacles:?}");
        assert!(obstacles[0].starts_with("assess: partition 0 of `events` has not moved for 0 s, and 90 records wait"));
    }

    #[test]
    fn a_runner_hangs_where_records_wait_and_it_makes_no_step() {
        let (health, runner, [at, _]) = runner();
        pause();
        assert_eq!(health.hanging(), [""; 0], "nothing is known to wait");
        runner.told(&at, 100, Some(100));
        pause();
        assert_eq!(health.hanging(), [""; 0], "nothing waits");
        runner.told(&at, 101, None);
        pause();
        assert_eq!(health.hanging().len(), 1);
        runner.lets_go();
        assert_eq!(health.hanging(), [""; 0], "it holds nothing: it is joining again");
    }

    #[test]
    fn a_record_that_comes_to_a_runner_that_was_idle_for_long_is_no_sign_of_hanging() {
        let minutes = Duration::from_secs(600);
        let health = Health { begun: Instant::now() - minutes, ..Health::new(minutes / 2) };
        let runner = health.of_runner(&"assess".into(), "assess.w1.0");
        let at = ("events".into(), 0);
        runner.takes_on(std::slice::from_ref(&at));
        runner.step.store(0, Ordering::Relaxed);
        runner.told(&at, 101, Some(100));
        pause();
        assert_eq!(health.hanging(), [""; 0]);
    }

    #[test]
    fn markers_at_the_end_are_no_lag_and_a_lost_session_shows_the_groups_own() {
        let (_, runner, [at, _]) = runner();
        assert_eq!(runner.told(&at, 100, None).unwrap().lag, None);
        runner.committed(1, [(&at, &99)]);
        assert_eq!(runner.told(&at, 100, None).unwrap().lag, Some(1));
        runner.seen(&at, 100);
        assert_eq!(runner.told(&at, 100, None).unwrap().lag, Some(0));
        runner.lets_go();
        assert_eq!(runner.told(&at, 150, Some(120)).unwrap().lag, Some(30));
    }
}
