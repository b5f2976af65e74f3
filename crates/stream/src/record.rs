//! One record, borrowed from the client's memory.

use std::fmt;

use cybervault_model::{Origin, Timestamp, TraceContext};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};

/// A record's headers.
#[derive(Clone, Copy)]
pub enum Headers<'a> {
    /// As the client holds them.
    #[doc(hidden)]
    Client(&'a BorrowedHeaders),
    /// As a list.
    List(&'a [(&'a str, &'a [u8])]),
}

impl<'a> Headers<'a> {
    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let count = match self {
            Self::Client(headers) => headers.count(),
            Self::List(list) => list.len(),
        };
        let this = *self;
        (0..count).map(move |at| match this {
            Self::Client(headers) => {
                let header = headers.get(at);
                (header.key, header.value.unwrap_or_default())
            }
            Self::List(list) => list[at],
        })
    }

    /// The first header of that name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find_map(|(key, value)| (key == name).then_some(value))
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

/// How many headers of a record are read at once: more than most have.
const KEPT: usize = 8;

/// A record's headers, read from the client once: it looks each of them up by a call, and they are asked for by several
/// names.
pub(crate) struct ReadHeaders<'a> {
    first: [(&'a str, &'a [u8]); KEPT],
    count: usize,
    all: Option<&'a BorrowedHeaders>,
}

impl<'a> ReadHeaders<'a> {
    pub(crate) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let mut read = Self { first: [("", &[]); KEPT], count: 0, all: message.headers() };
        if let Some(all) = read.all {
            read.count = all.count();
            for (at, header) in all.iter().take(KEPT).enumerate() {
                read.first[at] = (header.key, header.value.unwrap_or_default());
            }
        }
        read
    }

    fn headers(&self) -> Headers<'_> {
        match self.all {
            Some(all) if self.count > KEPT => Headers::Client(all),
            _ => Headers::List(&self.first[..self.count]),
        }
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
            headers: headers.headers(),
        }
    }

    /// Where it lies.
    pub fn origin(&self) -> Origin {
        Origin { topic: self.topic.into(), partition: self.partition, offset: self.offset }
    }
}
