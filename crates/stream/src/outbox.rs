//! What a batch will write: kept in one block of memory until its transaction begins.

use std::{
    fmt::{Display, Write},
    ops::Range,
    sync::Arc,
};

use cybervault_model::{Timestamp, TraceContext, TraceParent};
use sha2::{Digest, Sha256};

use crate::{Poison, Record, dead_letter::headers};

/// What Kafka's format adds to a header at most.
const HEADER_ROOM: usize = 10;
/// Room for the headers that a dead letter gets.
const ADDED_ROOM: usize = 4096;
/// How much of a value's head, and of its tail, is kept at most where all of it is too much.
const MOST_OF_A_PART: usize = 64 * 1024;

/// Where dead letters go, from which stage, and how large one may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLetters<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) stage: &'a str,
    pub(crate) limit: usize,
}

/// Records that can't be read, and are stepped over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// The first offset that is stepped over …
    pub(crate) first: i64,
    /// … and the last.
    pub(crate) last: i64,
    pub(crate) reason: &'static str,
    pub(crate) message: &'a str,
}

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
    key: Option<Range<usize>>,
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
    /// Parts of the record at hand that are given up.
    given_up: Vec<GivenUp>,
    /// The trace headers of what is pushed now.
    carried: Option<TraceParent>,
    carried_state: Vec<u8>,
}

/// How full an outbox was, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    bytes: usize,
    entries: usize,
    headers: usize,
    counts: usize,
    given_up: usize,
}

/// A part of a record that is given up, while the rest of it is processed.
#[derive(Debug)]
struct GivenUp {
    value: Vec<u8>,
    place: String,
    poison: Poison,
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
        let key = Some(self.append(output.key));
        let first_header = self.headers.len();
        for (name, value) in output.headers {
            self.push_header(name, value);
        }
        // A stage that passes headers on has this one among them.
        if !output.headers.iter().any(|(name, _)| *name == TraceContext::PARENT) {
            self.push_carried();
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

    /// Names the trace that what is pushed from now on belongs to: that of the record that it comes of.
    pub(crate) fn carry(&mut self, trace: Option<&TraceContext<'_>>) {
        self.carried = trace.map(TraceContext::parent);
        self.carried_state.clear();
        if let Some(state) = trace.and_then(|trace| trace.state) {
            self.carried_state.extend_from_slice(state.as_bytes());
        }
    }

    fn push_carried(&mut self) {
        let Some(parent) = self.carried else { return };
        self.push_header(TraceContext::PARENT, &parent);
        if !self.carried_state.is_empty() {
            let state = std::mem::take(&mut self.carried_state);
            self.push_header(TraceContext::STATE, &state);
            self.carried_state = state;
        }
    }

    /// Counts `by` more on `counter` once the batch is committed, and not at all if it is given up.
    pub fn count(&mut self, counter: metrics::Counter, by: u64) {
        self.counts.push((counter, by));
    }

    /// Gives up a part of the record at hand, at this place in it: it becomes a dead letter of its own, and the rest is processed.
    pub fn give_up(&mut self, value: &[u8], place: &str, poison: Poison) {
        self.given_up.push(GivenUp { value: value.to_owned(), place: place.to_owned(), poison });
    }

    /// What was given up of the record at hand, as (place, value, reason): what a test looks at.
    pub fn given_up(&self) -> impl Iterator<Item = (&str, &[u8], &Poison)> {
        self.given_up.iter().map(|part| (&*part.place, &*part.value, &part.poison))
    }

    /// Makes what was given up of `record` dead letters: the reason of each.
    pub(crate) fn bury(&mut self, to: DeadLetters<'_>, record: &Record<'_>) -> Vec<&'static str> {
        let parts = std::mem::take(&mut self.given_up);
        let bury = |GivenUp { value, place, poison }: GivenUp| {
            let part = Record { value: &value, is_tombstone: false, ..*record };
            self.push_dead_at(to, &part, &poison, Some(&place));
            poison.reason
        };
        parts.into_iter().map(bury).collect()
    }

    /// Whether there is something to bury.
    pub(crate) fn has_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// Adds a state's change to its changelog; no value is a tombstone.
    pub(crate) fn push_change(&mut self, topic: &Arc<str>, partition: i32, key: &[u8], value: Option<[&[u8]; 2]>) {
        let key = Some(self.append(key));
        let start = self.bytes.len();
        let value = value.map(|parts| {
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
            start..self.bytes.len()
        });
        let headers = self.headers.len()..self.headers.len();
        self.entries.push(Entry { topic: topic.clone(), partition: Some(partition), time: None, key, value, headers });
    }

    /// Adds `record` as it came, with the reason beside it. Of one that would have more than `limit` bytes only a part is kept: the
    /// value's head, tail, size and hash, and where all of it lies.
    pub(crate) fn push_dead(&mut self, to: DeadLetters<'_>, record: &Record<'_>, poison: &Poison) {
        self.push_dead_at(to, record, poison, None);
    }

    /// The same of what stood at a place in its record, if there is one.
    fn push_dead_at(&mut self, to: DeadLetters<'_>, record: &Record<'_>, poison: &Poison, place: Option<&str>) {
        let first_header = self.headers.len();
        let is_replaced = |name| {
            headers::is_added(name)
                || (self.carried.is_some() && [TraceContext::PARENT, TraceContext::STATE].contains(&name))
        };
        let kept: Vec<_> = record.headers.iter().filter(|(name, _)| !is_replaced(name)).collect();
        let kept_bytes: usize = kept.iter().map(|(name, value)| name.len() + value.len() + HEADER_ROOM).sum();
        let key_bytes = record.key.map_or(0, <[u8]>::len);
        let is_whole = record.value.len() + key_bytes + kept_bytes + ADDED_ROOM <= to.limit;
        // In a part of a record, all that an outsider chooses has a share of the room.
        let share = to.limit.saturating_sub(ADDED_ROOM) / 4;
        let mut room = if is_whole { usize::MAX } else { share };
        let mut left_out = 0;
        for (name, value) in kept {
            match room.checked_sub(name.len() + value.len() + HEADER_ROOM) {
                Some(left) => {
                    room = left;
                    self.push_header(name, value);
                }
                None => left_out += 1,
            }
        }
        self.push_carried();
        self.push_header(headers::REASON, poison.reason.as_bytes());
        self.push_header(headers::MESSAGE, poison.bounded_message().as_bytes());
        self.push_header(headers::STAGE, to.stage.as_bytes());
        self.push_header(headers::TOPIC, record.topic.as_bytes());
        self.push_number(headers::PARTITION, record.partition);
        self.push_number(headers::OFFSET, record.offset);
        self.push_number(headers::TIMESTAMP, record.timestamp.as_millis());
        if let Some(place) = place {
            self.push_header(headers::PLACE, place.as_bytes());
        }
        if is_whole {
            return self.push_as_it_came(to.topic, record, first_header);
        }
        let (head, tail) = ends(record.value, share.min(MOST_OF_A_PART));
        self.push_number(headers::VALUE_BYTES, record.value.len());
        self.push_header(headers::VALUE_SHA256, hex(&Sha256::digest(record.value)).as_bytes());
        self.push_number(headers::VALUE_HEAD, head.len());
        if left_out > 0 {
            self.push_number(headers::HEADERS_LEFT_OUT, left_out);
        }
        let key = record.key.filter(|key| key.len() <= share);
        if key_bytes > share {
            self.push_number(headers::KEY_BYTES, key_bytes);
        }
        let headers = first_header..self.headers.len();
        let key = key.map(|key| self.append(key));
        let start = self.append(head).start;
        let value = Some(start..self.append(tail).end);
        self.entries.push(Entry { topic: to.topic.clone(), partition: None, time: None, key, value, headers });
    }

    /// Adds a dead letter without a key or a value, for records that can't be read: what is known of them is in the headers.
    pub(crate) fn push_unread(&mut self, to: DeadLetters<'_>, unread: &Unread<'_>) {
        let first_header = self.headers.len();
        self.push_header(headers::REASON, unread.reason.as_bytes());
        self.push_header(headers::MESSAGE, unread.message.as_bytes());
        self.push_header(headers::STAGE, to.stage.as_bytes());
        self.push_header(headers::TOPIC, unread.topic.as_bytes());
        self.push_number(headers::PARTITION, unread.partition);
        self.push_number(headers::OFFSET, unread.first);
        self.push_number(headers::LAST_OFFSET, unread.last);
        let headers = first_header..self.headers.len();
        self.entries.push(Entry {
            topic: to.topic.clone(),
            partition: None,
            time: None,
            key: None,
            value: None,
            headers,
        });
    }

    /// The first of the records from `mark` on that has more than `limit` allows its topic: which topic, and its bytes.
    pub(crate) fn too_large_since(&self, mark: Mark, limit: impl Fn(&str) -> usize) -> Option<(&str, usize)> {
        let new = self.entries[mark.entries..].iter().map(|entry| (&*entry.topic, self.size(entry)));
        new.into_iter().find(|(topic, bytes)| *bytes > limit(topic))
    }

    /// The bytes of the largest record for `topic`.
    pub(crate) fn largest(&self, topic: &str) -> usize {
        let those = self.entries.iter().filter(|entry| *entry.topic == *topic);
        those.map(|entry| self.size(entry)).max().unwrap_or_default()
    }

    fn size(&self, entry: &Entry) -> usize {
        let headers: usize = self.headers(entry).map(|(name, value)| name.len() + value.len() + HEADER_ROOM).sum();
        let part = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        part(self.key(entry)) + part(self.value(entry)) + headers
    }

    /// Adds `record` as it came, but with these headers.
    pub fn pass_on(&mut self, topic: &Arc<str>, record: &Record<'_>, headers: &[(&str, &[u8])]) {
        let first_header = self.headers.len();
        for (name, value) in headers {
            self.push_header(name, value);
        }
        self.push_as_it_came(topic, record, first_header);
    }

    fn push_as_it_came(&mut self, topic: &Arc<str>, record: &Record<'_>, first_header: usize) {
        let headers = first_header..self.headers.len();
        let key = record.key.map(|key| self.append(key));
        let value = (!record.is_tombstone).then(|| self.append(record.value));
        self.entries.push(Entry { topic: topic.clone(), partition: None, time: None, key, value, headers });
    }

    fn push_number(&mut self, name: &str, value: impl Display) {
        self.push_header(name, value.to_string().as_bytes());
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

    /// All records, as (topic, key, value), without a key as if it were empty: what a test looks at.
    pub fn records(&self) -> impl Iterator<Item = (&str, &[u8], Option<&[u8]>)> {
        self.entries.iter().map(|entry| (&*entry.topic, self.key(entry).unwrap_or_default(), self.value(entry)))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn key(&self, entry: &Entry) -> Option<&[u8]> {
        entry.key.clone().map(|range| &self.bytes[range])
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
            given_up: self.given_up.len(),
        }
    }

    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.entries.truncate(mark.entries);
        self.headers.truncate(mark.headers);
        self.counts.truncate(mark.counts);
        self.given_up.truncate(mark.given_up);
    }

    /// Empties it and gives back memory that only an unusual batch needed.
    pub(crate) fn clear(&mut self) {
        const KEEP: usize = 8 * 1024 * 1024;
        self.rewind(Mark { bytes: 0, entries: 0, headers: 0, counts: 0, given_up: 0 });
        self.bytes.shrink_to(KEEP);
        self.carry(None);
    }
}

/// The first and the last `most` bytes, each of them once.
fn ends(bytes: &[u8], most: usize) -> (&[u8], &[u8]) {
    let (head, rest) = bytes.split_at(most.min(bytes.len()));
    (head, &rest[rest.len().saturating_sub(most)..])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use crate::Headers;

    use super::*;

    const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const STEP: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-00000000000000ab-01";

    fn push(out: &mut Outbox, headers: &[(&str, &[u8])]) {
        let written = out.push(Output { topic: &"out".into(), key: b"", headers }, |_| Ok::<_, Infallible>(()));
        let Ok(()) = written;
    }

    fn headers_of(out: &Outbox, at: usize) -> Vec<(&str, &[u8])> {
        out.headers(&out.entries[at]).collect()
    }

    #[test]
    fn what_is_pushed_has_the_trace_that_is_carried_unless_it_has_one_of_its_own() {
        let mut out = Outbox::default();
        let trace = TraceContext::read(PARENT, Some(b"a=b")).unwrap();
        out.carry(Some(&trace.step(0xab)));
        push(&mut out, &[("kind", b"x")]);
        push(&mut out, &[("traceparent", b"as it came")]);
        out.carry(None);
        push(&mut out, &[]);
        assert_eq!(headers_of(&out, 0), [("kind", &b"x"[..]), ("traceparent", STEP), ("tracestate", b"a=b")]);
        assert_eq!(headers_of(&out, 1), [("traceparent", &b"as it came"[..])]);
        assert_eq!(headers_of(&out, 2), []);
    }

    #[test]
    fn a_dead_letter_keeps_its_headers_and_moves_on_in_its_trace() {
        let came = [("traceparent", PARENT), ("tenant_id", b"acme"), ("tracestate", b"a=b")];
        let record = Record {
            topic: "in",
            partition: 0,
            offset: 7,
            timestamp: Timestamp::from_millis(0),
            key: None,
            value: b"",
            is_tombstone: true,
            headers: Headers::new(&came),
        };
        let topic = "dead".into();
        let to = DeadLetters { topic: &topic, stage: "assess", limit: usize::MAX };
        let dead = |out: &mut Outbox| out.push_dead(to, &record, &Poison::new("not_json", "it"));
        let mut out = Outbox::default();
        dead(&mut out);
        out.carry(record.headers.trace().map(|trace| trace.step(0xab)).as_ref());
        dead(&mut out);
        let traces =
            |at| -> Vec<_> { headers_of(&out, at).into_iter().filter(|(name, _)| name.contains("tra")).collect() };
        assert_eq!(traces(0), [("traceparent", PARENT), ("tracestate", b"a=b")]);
        assert_eq!(traces(1), [("traceparent", STEP), ("tracestate", b"a=b")]);
        assert!(headers_of(&out, 1).contains(&("tenant_id", b"acme")));
        let dead = &out.entries[1];
        assert_eq!((out.key(dead), out.value(dead)), (None, None));
    }

    #[test]
    fn of_a_dead_letter_that_is_too_large_a_part_is_kept_that_fits_and_tells_of_the_whole() {
        const LIMIT: usize = 200_000;
        let topic = "dead".into();
        let to = DeadLetters { topic: &topic, stage: "assess", limit: LIMIT };
        let value: Vec<u8> = (0..300_000u32).flat_map(u32::to_be_bytes).collect();
        let many: Vec<(&str, &[u8])> = (0..100).map(|n| ("h", &value[n..n + 10_000])).collect();
        for (key, headers, value) in
            [(1, &[][..], &value[..]), (1, &many, &value[..7]), (150_000, &[][..], &value), (199_000, &[], &[])]
        {
            let record = Record {
                topic: "in",
                partition: 0,
                offset: 7,
                timestamp: Timestamp::from_millis(0),
                key: Some(&vec![b'k'; key]),
                value,
                is_tombstone: false,
                headers: Headers::new(headers),
            };
            let mut out = Outbox::default();
            out.push_dead(to, &record, &Poison::new("too_large", "it"));
            let dead = &out.entries[0];
            assert!(out.size(dead) <= LIMIT, "{}", out.size(dead));
            let find = |name| out.headers(dead).find(|(key, _)| *key == name).map(|(_, value)| value.to_vec());
            assert_eq!(find(headers::VALUE_BYTES), Some(value.len().to_string().into_bytes()));
            assert_eq!(find(headers::VALUE_SHA256), Some(hex(&Sha256::digest(value)).into_bytes()));
            let kept = out.value(dead).unwrap();
            let head: usize = String::from_utf8(find(headers::VALUE_HEAD).unwrap()).unwrap().parse().unwrap();
            assert!(value.starts_with(&kept[..head]) && value.ends_with(&kept[head..]));
            assert_eq!(find(headers::KEY_BYTES).is_some(), out.key(dead).is_none());
            assert_eq!(find(headers::HEADERS_LEFT_OUT).is_some(), headers.len() == many.len());
        }
    }

    #[test]
    fn a_part_that_is_given_up_is_a_dead_letter_with_its_place_and_goes_with_its_record() {
        let record = Record {
            topic: "in",
            partition: 0,
            offset: 7,
            timestamp: Timestamp::from_millis(0),
            key: Some(b"acme"),
            value: b"[1,{}]",
            is_tombstone: false,
            headers: Headers::new(&[("tenant_id", b"acme")]),
        };
        let mut out = Outbox::default();
        let mark = out.mark();
        out.give_up(b"1", "/0", Poison::new("wrong_schema", "it"));
        out.rewind(mark);
        let topic = "dead".into();
        let to = DeadLetters { topic: &topic, stage: "assess", limit: 200_000 };
        assert_eq!(out.bury(to, &record), <[&str; 0]>::default());
        push(&mut out, &[]);
        out.give_up(b"1", "/0", Poison::new("wrong_schema", "it"));
        assert_eq!(out.bury(to, &record), ["wrong_schema"]);
        let dead = &out.entries[1];
        assert_eq!((out.key(dead), out.value(dead)), (Some(&b"acme"[..]), Some(&b"1"[..])));
        let told = headers_of(&out, 1);
        for header in [("origin.place", &b"/0"[..]), ("origin.offset", b"7"), ("tenant_id", b"acme")] {
            assert!(told.contains(&header), "{told:?}");
        }
        assert!(!out.has_given_up() && out.len() == 2);
    }

    #[test]
    fn of_trace_headers_that_are_there_twice_the_last_counts() {
        let list = [("traceparent", PARENT), ("traceparent", STEP)];
        assert_eq!(Headers::new(&list).trace().map(|trace| trace.span_id), Some(0xab));
        assert_eq!(Headers::new(&[("traceparent", b"nonsense")]).trace(), None);
        assert_eq!(Headers::new(&[("tracestate", b"a=b")]).trace(), None);
    }
}
