//! The two batches that a session has at most: one open, one committing.

use std::{collections::BTreeMap, time::Instant};

use cybervault_model::Timestamp;

use super::TopicPartition;
use crate::{Outbox, Record, intake::Lot, spans::BatchSpans, state::Undo};

/// The batch that takes records.
#[derive(Default)]
pub(super) struct Open {
    pub(super) out: Outbox,
    /// The next offset to read, of each partition that the batch has read from, …
    pub(super) next: BTreeMap<TopicPartition, i64>,
    /// … but of the one that it reads from now, since most records are of the same as the one before.
    pub(super) current: Option<(TopicPartition, i64)>,
    /// What was read for it, to be freed by the committer.
    pub(super) read: Vec<Lot>,
    /// Partitions whose state the batch may have changed.
    pub(super) touched: Vec<i32>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) opened: Option<Instant>,
    pub(super) sampled_times: Vec<Timestamp>,
    pub(super) spans: Option<BatchSpans>,
}

impl Open {
    /// Whether the record is of the partition that is read from now.
    pub(super) fn reads(&self, record: &Record<'_>) -> bool {
        let at = self.current.as_ref().map(|((topic, partition), _)| (&**topic, *partition));
        at == Some((record.topic, record.partition))
    }

    /// Puts all that is to be read next into `next`.
    pub(super) fn settle(&mut self) {
        self.next.extend(self.current.take());
    }
}

/// The batch that commits: what takes it back, and what is counted once it is through.
pub(super) struct Committing {
    pub(super) next: BTreeMap<TopicPartition, i64>,
    pub(super) undo: Vec<(i32, Undo)>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) sampled_times: Vec<Timestamp>,
    pub(super) spans: Option<BatchSpans>,
}
