//! How large a record may be that a topic takes: by the client's own limit, and by what brokers have refused.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Outbox, Poison, RunnerSettings, StreamError,
    outbox::{DeadLetters, Mark},
};

/// The smallest record whose refusal is put down to its own size. The client writes batches of up to 256 KiB: where a topic refuses
/// smaller ones, its limit is wrong, and not the record.
const LEAST: usize = 64 * 1024;

/// What each topic takes.
#[derive(Debug)]
pub(super) struct SizeLimits {
    /// What the client takes.
    client: usize,
    /// What brokers have refused, less one byte.
    learned: HashMap<String, usize>,
}

impl SizeLimits {
    pub(super) fn new(client: usize) -> Self {
        Self { client, learned: HashMap::new() }
    }

    /// The bytes that a record for `topic` may have: its key, its value and its headers, before compression.
    pub(super) fn limit(&self, topic: &str) -> usize {
        self.learned.get(topic).copied().unwrap_or(self.client)
    }

    /// Where dead letters go, and how large they may be.
    pub(super) fn dead_letters<'a>(&self, settings: &'a RunnerSettings) -> DeadLetters<'a> {
        let topic = &settings.dead_letters;
        DeadLetters { topic, stage: &settings.stage, limit: self.limit(topic) }
    }

    /// Why the input record is given up whose outputs lie in `out` from `mark` on, if one of these is too large.
    pub(super) fn check(&self, out: &Outbox, mark: Mark) -> Option<Poison> {
        let (topic, bytes) = out.too_large_since(mark, |topic| self.limit(topic))?;
        let limit = self.limit(topic);
        let message = format!("what came of it for `{topic}` has {bytes} bytes, and {limit} can be written");
        Some(Poison::new("output_too_large", message))
    }

    /// Takes down that `topic` refused a batch whose largest record has so many bytes; returns what it may have from now on.
    ///
    /// # Errors
    /// Where no dead letter mends it.
    pub(super) fn refused(
        &mut self,
        topic: &str,
        largest: usize,
        changelog: &Option<Arc<str>>,
    ) -> Result<usize, StreamError> {
        let is_state = changelog.as_ref().is_some_and(|changelog| **changelog == *topic);
        if is_state || largest < LEAST {
            return Err(StreamError::RecordTooLarge { topic: topic.into(), bytes: largest });
        }
        let limit = (largest - 1).min(self.limit(topic));
        self.learned.insert(topic.to_owned(), limit);
        Ok(limit)
    }
}
