//! One record, borrowed from the client's memory.

use std::fmt;

use cybervault_model::{Origin, Timestamp, TraceContext};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};

use crate::Poison;

/// A record's headers.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a>(&'a [(&'a str, &'a [u8])]);

impl<'a> Headers<'a> {
    /// Those of this list.
    pub const fn new(list: &'a [(&'a str, &'a [u8])]) -> Self {
        Self(list)
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.0.iter().copied()
    }

    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The only header of that name.
    ///
    /// # Errors
    /// When there are several: whose word would count?
    pub fn sole(&self, name: &'static str) -> Result<Option<&'a [u8]>, Poison> {
        let mut all = self.iter().filter(|(key, _)| *key == name).map(|(_, value)| value);
        let found = all.next();
        if all.next().is_some() {
            return Err(Poison::new("ambiguous_header", format!("the header `{name}` is there more than once")));
        }
        Ok(found)
    }

    /// The trace that the record belongs to. Of headers that are there twice the last counts: whoever passed the record on
    /// has added it.
    pub fn trace(&self) -> Option<TraceContext<'a>> {
        let (mut parent, mut state) = (None, None);
        for (name, value) in self.iter() {
            match name {
                TraceContext::PARENT => parent = Some(value),
                TraceContext::STATE => state = Some(value),
                _ => {}
            }
        }
        TraceContext::read(parent?, state)
    }
}

/// More headers than most records have.
const FEW: usize = 8;

/// A record's headers, read from the client once: it looks each of them up by a call, and they are asked for by several
/// names.
pub(crate) struct ReadHeaders<'a> {
    few: [(&'a str, &'a [u8]); FEW],
    count: usize,
    /// All of them, where they are more.
    many: Vec<(&'a str, &'a [u8])>,
}

impl<'a> ReadHeaders<'a> {
    pub(crate) fn new(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut read = Self { few: [("", &[]); FEW], count: 0, many: Vec::new() };
        for header in headers {
            match read.few.get_mut(read.count) {
                Some(place) => *place = header,
                None if read.many.is_empty() => read.many = [&read.few[..], &[header]].concat(),
                None => read.many.push(header),
            }
            read.count += 1;
        }
        read
    }

    pub(crate) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(BorrowedHeaders::iter);
        Self::new(headers.map(|header| (header.key, header.value.unwrap_or_default())))
    }

    pub(crate) fn list(&self) -> Headers<'_> {
        Headers(if self.many.is_empty() { &self.few[..self.count] } else { &self.many })
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its own time.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; empty for a tombstone.
    pub value: &'a [u8],
    /// Whether it has no value at all.
    pub is_tombstone: bool,
    /// Its headers.
    pub headers: Headers<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn from_message(message: &'a BorrowedMessage<'_>, headers: &'a ReadHeaders<'_>) -> Self {
        Self {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or_default()),
            key: message.key(),
            value: message.payload().unwrap_or_default(),
            is_tombstone: message.payload().is_none(),
            headers: headers.list(),
        }
    }

    /// Where it lies.
    pub fn origin(&self) -> Origin {
        Origin { topic: self.topic.into(), partition: self.partition, offset: self.offset, place: None }
    }
}
