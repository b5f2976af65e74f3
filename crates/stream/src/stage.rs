//! What happens to a record.

use std::time::Duration;

use cybervault_model::Timestamp;

use crate::{Outbox, Poison, Record, State};

/// Why a record was not processed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The record itself is at fault: it goes to the dead-letter topic.
    Poison(Poison),
    /// Something that the stage needs is not there now, a schema registry for one: the batch is given up, and the record
    /// comes again after a pause.
    Unavailable(String),
}

impl From<Poison> for Failure {
    fn from(poison: Poison) -> Self {
        Self::Poison(poison)
    }
}

/// One step from input topics to output topics.
///
/// A stage sees each record, with the state of the record's partition, in the partition's order. What it writes to the
/// state and the outbox is committed together with the record's offset, or not at all; the record then comes again. It
/// must therefore keep nothing of its own that a record changes, save what [`Stage::end_batch`] hands over.
pub trait Stage: Send {
    /// How often [`Stage::tick`] is called.
    const TICK: Duration = Duration::from_secs(1);

    /// Called before the first record of each batch: the place to take up new rules or tenants.
    fn begin_batch(&mut self) {}

    /// Processes one record. A part of it that can't be processed is given up by [`Outbox::give_up`].
    ///
    /// # Errors
    /// When the record can't be processed. What was written for it to `out` is then dropped; what was put into the state
    /// stays, so a stage puts there only what holds for a record that is given up, too.
    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure>;

    /// Called after [`Stage::process`] panicked, before the next record: whatever that may have left half done is made anew. What of
    /// the record went to the outbox is dropped; what it put into the state stays. Called, too, where all is begun anew from the last commit.
    fn recover(&mut self) {}

    /// Called for each partition once in [`Stage::TICK`], with the wall clock: what is due without a record.
    fn tick(&mut self, _partition: i32, _now: Timestamp, _state: &mut State, _out: &mut Outbox) {}

    /// Called when the partition is another's from now on: whatever is kept of its state can go.
    fn released(&mut self, _partition: i32) {}

    /// Called after the last record of each batch: the place to put counts into [`Outbox::count`].
    fn end_batch(&mut self, _out: &mut Outbox) {}
}
