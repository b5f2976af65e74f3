//! Events assessed again, beside the fleet.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use cybervault_stream::{Failure, Outbox, Record, Stage, State};
use foldhash::fast::RandomState;
use metrics::Counter;

use super::Assess;

/// The assessments that are there already, by their ids' 128 bits.
#[derive(Debug, Default)]
pub(crate) struct KnownAssessments(HashSet<u128, RandomState>);

impl KnownAssessments {
    /// How many are kept at most: some 300 MB.
    pub(crate) const MOST: usize = 10_000_000;

    /// Takes note of one. Whether there was room.
    pub(crate) fn add(&mut self, assessment_id: &str) -> bool {
        let has_room = self.0.len() < Self::MOST;
        if has_room {
            self.0.insert(bits(assessment_id));
        }
        has_room
    }

    /// Whether it is there.
    pub(crate) fn has(&self, assessment_id: &str) -> bool {
        self.0.contains(&bits(assessment_id))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An id is `ta_` and 128 bits. Any other is none that we have made: it is told apart by a hash.
fn bits(assessment_id: &str) -> u128 {
    let hex = assessment_id.strip_prefix("ta_").filter(|hex| hex.len() == 32);
    hex.and_then(|hex| u128::from_str_radix(hex, 16).ok()).unwrap_or_else(|| {
        let hash = cybervault_model::derived_id("", &[assessment_id.as_bytes()]);
        u128::from_str_radix(hash.trim_start_matches('_'), 16).unwrap_or_default()
    })
}

/// What came of the events, as far as it was committed.
#[derive(Debug, Default)]
pub(crate) struct ReprocessTally {
    pub(crate) events: Arc<AtomicU64>,
    pub(crate) written: Arc<AtomicU64>,
    pub(crate) there_already: Arc<AtomicU64>,
    pub(crate) rejected: Arc<AtomicU64>,
    pub(crate) unreadable: Arc<AtomicU64>,
    pub(crate) of_others: Arc<AtomicU64>,
}

/// How the assess stage works where events are assessed again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    /// The assessments that are not written, as they are there.
    pub(crate) known: Arc<KnownAssessments>,
    /// What consumers are told of those that are written.
    pub(crate) mark: &'static str,
    /// Whose events alone are assessed.
    pub(crate) tenant: Option<String>,
    pub(crate) tally: Arc<ReprocessTally>,
}

impl Again {
    pub(crate) fn count(counter: &Arc<AtomicU64>, out: &mut Outbox) {
        out.count(Counter::from_arc(counter.clone()), 1);
    }
}

/// Assesses the events of these offsets again. Buckets of its own, which no changelog keeps, decide on quotas by the records' times, as those
/// of the fleet did.
#[derive(Debug)]
pub(crate) struct Reprocess {
    assess: Assess,
    tally: Arc<ReprocessTally>,
    stretches: BTreeMap<i32, Range<i64>>,
    reached: BTreeMap<i32, i64>,
    stop: Arc<AtomicBool>,
}

impl Reprocess {
    /// A stage that tells `stop` once it has come to the end of each stretch.
    pub(crate) fn new(
        assess: Assess,
        tally: Arc<ReprocessTally>,
        stretches: BTreeMap<i32, Range<i64>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { assess, tally, stretches, reached: BTreeMap::new(), stop }
    }

    fn assess(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        Again::count(&self.tally.events, out);
        match self.assess.process(record, state, out) {
            // It is a dead letter already.
            Err(Failure::Poison(_)) => {
                Again::count(&self.tally.unreadable, out);
                Ok(())
            }
            other => other,
        }
    }
}

impl Stage for Reprocess {
    fn begin_batch(&mut self) {
        self.assess.begin_batch();
    }

    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        if self.stretches.get(&record.partition).is_some_and(|stretch| stretch.contains(&record.offset)) {
            self.assess(record, state, out)?;
        }
        let reached = self.reached.entry(record.partition).or_insert(record.offset);
        *reached = record.offset.max(*reached);
        Ok(())
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        self.assess.end_batch(out);
        let is_done = |(partition, stretch): (&i32, &Range<i64>)| {
            self.reached.get(partition).is_some_and(|reached| *reached + 1 >= stretch.end)
        };
        if self.stretches.iter().all(is_done) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
