//! What a batch will write: kept in one block of memory until its transaction begins.

use std::{ops::Range, sync::Arc};

use cybervault_model::Timestamp;

use crate::{Poison, Record, dead_letter::headers};

/// One record to be written.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Where to.
    pub topic: &'a Arc<str>,
    /// Its key.
    pub key: &'a [u8],
    /// Its headers.
    pub headers: &'a [(&'a str, &'a [u8])],
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: Option<i32>,
    pub(crate) time: Option<Timestamp>,
    key: Range<usize>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// The records that a batch will write, and the counts that hold once it is committed.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    counts: Vec<(metrics::Counter, u64)>,
}

/// How full an outbox was, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    bytes: usize,
    entries: usize,
    headers: usize,
    counts: usize,
}

impl Outbox {
    /// Adds a record whose value `write` appends to the buffer it is given.
    ///
    /// # Errors
    /// What `write` returns; the record is then not added.
    pub fn push<E>(&mut self, output: Output<'_>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.push_at(output, None, write)
    }

    /// The same, with the record's own time; without one it is the client's clock's.
    pub(crate) fn push_at<E>(
        &mut self,
        output: Output<'_>,
        time: Option<Timestamp>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mark = self.mark();
        let key = self.append(output.key);
        let first_header = self.headers.len();
        for (name, value) in output.headers {
            self.push_header(name, value);
        }
        let headers = first_header..self.headers.len();
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.rewind(mark);
            return Err(error);
        }
        let value = Some(start..self.bytes.len());
        self.entries.push(Entry { topic: output.topic.clone(), partition: None, time, key, value, headers });
        Ok(())
    }

    /// Counts `by` more on `counter` once the batch is committed, and not at all if it is given up.
    pub fn count(&mut self, counter: metrics::Counter, by: u64) {
        self.counts.push((counter, by));
    }

    /// Adds a state's change to its changelog; no value is a tombstone.
    pub(crate) fn push_change(&mut self, topic: &Arc<str>, partition: i32, key: &[u8], value: Option<[&[u8]; 2]>) {
        let key = self.append(key);
        let start = self.bytes.len();
        let value = value.map(|parts| {
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
            start..self.bytes.len()
        });
        let headers = self.headers.len()..self.headers.len();
        self.entries.push(Entry { topic: topic.clone(), partition: Some(partition), time: None, key, value, headers });
    }

    /// Adds `record` as it came, with the reason beside it.
    pub(crate) fn push_dead(&mut self, topic: &Arc<str>, stage: &str, record: &Record<'_>, poison: &Poison) {
        let key = self.append(record.key.unwrap_or_default());
        let first_header = self.headers.len();
        for (name, value) in record.headers.iter().filter(|(name, _)| !headers::is_added(name)) {
            self.push_header(name, value);
        }
        self.push_header(headers::REASON, poison.reason.as_bytes());
        self.push_header(headers::MESSAGE, poison.bounded_message().as_bytes());
        self.push_header(headers::STAGE, stage.as_bytes());
        self.push_header(headers::TOPIC, record.topic.as_bytes());
        self.push_header(headers::PARTITION, record.partition.to_string().as_bytes());
        self.push_header(headers::OFFSET, record.offset.to_string().as_bytes());
        self.push_header(headers::TIMESTAMP, record.timestamp.as_millis().to_string().as_bytes());
        let headers = first_header..self.headers.len();
        let value = Some(self.append(record.value));
        self.entries.push(Entry { topic: topic.clone(), partition: None, time: None, key, value, headers });
    }

    fn push_header(&mut self, name: &str, value: &[u8]) {
        let name = self.append(name.as_bytes());
        let value = self.append(value);
        self.headers.push((name, value));
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no record is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// All records, as (topic, key, value): what a test looks at.
    pub fn records(&self) -> impl Iterator<Item = (&str, &[u8], Option<&[u8]>)> {
        self.entries.iter().map(|entry| (&*entry.topic, self.key(entry), self.value(entry)))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn key(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.key.clone()]
    }

    pub(crate) fn value(&self, entry: &Entry) -> Option<&[u8]> {
        entry.value.clone().map(|range| &self.bytes[range])
    }

    pub(crate) fn headers(&self, entry: &Entry) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers[entry.headers.clone()].iter().map(|(name, value)| {
            // Names were appended from &str.
            (std::str::from_utf8(&self.bytes[name.clone()]).unwrap_or_default(), &self.bytes[value.clone()])
        })
    }

    pub(crate) fn publish_counts(&mut self) {
        for (counter, by) in self.counts.drain(..) {
            counter.increment(by);
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            entries: self.entries.len(),
            headers: self.headers.len(),
            counts: self.counts.len(),
        }
    }

    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.entries.truncate(mark.entries);
        self.headers.truncate(mark.headers);
        self.counts.truncate(mark.counts);
    }

    /// Empties it and gives back memory that only an unusual batch needed.
    pub(crate) fn clear(&mut self) {
        const KEEP: usize = 8 * 1024 * 1024;
        self.rewind(Mark { bytes: 0, entries: 0, headers: 0, counts: 0 });
        self.bytes.shrink_to(KEEP);
    }
}
