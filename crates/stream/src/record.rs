//! One record, borrowed from the client's memory.

use std::fmt;

use cybervault_model::{Origin, Timestamp};
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
    pub(crate) fn from_message(message: &'a BorrowedMessage<'_>) -> Self {
        Self {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or_default()),
            key: message.key(),
            value: message.payload().unwrap_or_default(),
            headers: message.headers().map_or(Headers::List(&[]), Headers::Client),
        }
    }

    /// Where it lies.
    pub fn origin(&self) -> Origin {
        Origin { topic: self.topic.into(), partition: self.partition, offset: self.offset }
    }
}
