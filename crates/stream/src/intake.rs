//! Records taken from the client many at a time.
//!
//! Its Rust interface hands them out one by one, each with several readings of the clock and an object more to free. Its C interface
//! has a call for many. So the partitions' records come to a queue of their own here; all else, the group's wishes and the client's
//! errors, stays on the client's own queue, which is polled as ever.
#![allow(unsafe_code)] // calls of the client's C interface

use std::{
    ffi::{CStr, CString, c_void},
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

use cybervault_model::{Timestamp, prefetch};
use rdkafka::{
    bindings as c,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{IsError, KafkaError, RDKafkaErrorCode},
};

use crate::{
    Record, StreamError,
    rebalance::GroupContext,
    record::{Headers, ReadHeaders},
};

/// How many records are taken at once at most: some tenths of a millisecond's work.
const MOST: usize = 64;

/// Where the records of a group member's partitions come.
pub(crate) struct Intake<C: ConsumerContext = GroupContext> {
    queue: NonNull<c::rd_kafka_queue_t>,
    /// Outlives the queue.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: the client's queues belong to no thread.
unsafe impl<C: ConsumerContext> Send for Intake<C> {}

impl<C: ConsumerContext> Intake<C> {
    pub(crate) fn new(consumer: Arc<BaseConsumer<C>>) -> Result<Self, StreamError> {
        // SAFETY: the client lives, and goes on living while this does.
        let queue = unsafe { c::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| StreamError::Configuration("the client has no queue".into()))?;
        Ok(Self { queue, consumer })
    }

    /// Has the partition's records come here from now on. To be called before it is assigned.
    pub(crate) fn follow(&self, topic: &str, partition: i32) -> Result<(), StreamError> {
        let name = CString::new(topic).map_err(|error| StreamError::Configuration(error.to_string()))?;
        // SAFETY: client, name and both queues live until behind the calls; what is destroyed is this one's hold of the queue.
        unsafe {
            let own = c::rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), name.as_ptr(), partition);
            if own.is_null() {
                return Err(StreamError::Configuration(format!(
                    "the client has no queue for {topic}, partition {partition}"
                )));
            }
            c::rd_kafka_queue_forward(own, self.queue.as_ptr());
            c::rd_kafka_queue_destroy(own);
        }
        Ok(())
    }

    /// Takes what is there; waits at most so long for the first record, and for no other.
    pub(crate) fn take(&self, wait: Duration) -> Lot<C> {
        let mut found = [ptr::null_mut(); MOST];
        // Told to wait, it would wait until all places are taken.
        let first = if wait.is_zero() { 0 } else { self.consume(wait, &mut found[..1]) };
        let count = first + self.consume(Duration::ZERO, &mut found[first..]);
        let messages = found[..count].iter().filter_map(|message| NonNull::new(*message).map(Message)).collect();
        Lot { messages, _consumer: self.consumer.clone() }
    }

    /// Fills `found` as far as records come in this time: how many did.
    fn consume(&self, wait: Duration, found: &mut [*mut c::rd_kafka_message_t]) -> usize {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives, and the client writes to as many places as it is told there are.
        let count =
            unsafe { c::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, found.as_mut_ptr(), found.len()) };
        // Negative where there are none.
        usize::try_from(count).unwrap_or_default()
    }
}

impl<C: ConsumerContext> Drop for Intake<C> {
    fn drop(&mut self) {
        // SAFETY: it is used no more, and the client still lives.
        unsafe { c::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// What the client hands out, to be given back by dropping it.
struct Message(NonNull<c::rd_kafka_message_t>);

// SAFETY: the client's messages belong to no thread: any may read them, and any, but one, destroy them.
unsafe impl Send for Message {}

impl Message {
    fn get(&self) -> &c::rd_kafka_message_t {
        // SAFETY: it is this one's until it is dropped, and nothing writes to it.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is used no more, and the client still lives.
        unsafe { c::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// Records taken at once, which lie in the client's memory as long as this is there.
pub(crate) struct Lot<C: ConsumerContext = GroupContext> {
    messages: Vec<Message>,
    /// Outlives them, as it comes behind them.
    _consumer: Arc<BaseConsumer<C>>,
}

impl<C: ConsumerContext> Lot<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Taken<'_>> {
        // Most records are of the same topic as the one before.
        let mut last = (ptr::null_mut(), "");
        self.messages.iter().map(move |message| {
            let topic = message.get().rkt;
            if topic != last.0 && !topic.is_null() {
                // SAFETY: the message's topic lives as long as it does; its name ends with a zero.
                let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name(topic)) };
                // Kafka's topics are named in ASCII.
                last = (topic, name.to_str().unwrap_or_default());
            }
            Taken { message, topic: last.1 }
        })
    }
}

/// A batch of records that the client can't take apart.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Its first offset.
    pub(crate) base: i64,
    /// What the client says.
    pub(crate) text: String,
}

/// A record in the client's memory, or an error in a record's place.
pub(crate) struct Taken<'l> {
    message: &'l Message,
    topic: &'l str,
}

impl<'l> Taken<'l> {
    /// The error, if it is one.
    pub(crate) fn error(&self) -> Option<KafkaError> {
        let code = self.message.get().err;
        code.is_error().then(|| KafkaError::MessageConsumption(code.into()))
    }

    /// Why the batch at this offset can't be read, if that is the error: it comes again however often it is asked for.
    pub(crate) fn unreadable(&self) -> Option<Unreadable> {
        let message = self.message.get();
        let KafkaError::MessageConsumption(code) = self.error()? else { return None };
        matches!(
            code,
            RDKafkaErrorCode::BadCompression
                | RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::NotImplemented
        )
        .then(|| {
            // SAFETY: an error's value is its text.
            let text = unsafe { bytes(message.payload, message.len) }.unwrap_or_default();
            let text = String::from_utf8_lossy(text).into_owned();
            Unreadable { topic: self.topic.to_owned(), partition: message.partition, base: message.offset, text }
        })
    }

    /// Has the processor fetch the record's value, which another core has written, while something else is done.
    pub(crate) fn prefetch(&self) {
        let message = self.message.get();
        // SAFETY: the message lives, and what it points to. The headers lie behind the value.
        prefetch(unsafe { bytes(message.payload, message.len) }.unwrap_or_default());
    }

    /// The record's headers; those with a name that is not UTF-8 are left out, as nobody can ask for them.
    pub(crate) fn headers(&self) -> ReadHeaders<'l> {
        let mut list = ptr::null_mut();
        // SAFETY: the message lives, and so do its headers.
        let found = unsafe { c::rd_kafka_message_headers(self.message.0.as_ptr(), &raw mut list) };
        let named = (0..).map_while(move |at| {
            if found.is_error() {
                return None;
            }
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: as above; names end with a zero.
            unsafe {
                let found = c::rd_kafka_header_get_all(list, at, &raw mut name, &raw mut value, &raw mut size);
                (!found.is_error()).then(|| (CStr::from_ptr(name), bytes(value, size).unwrap_or_default()))
            }
        });
        ReadHeaders::new(named.filter_map(|(name, value)| Some((name.to_str().ok()?, value))))
    }

    /// Whether the record's time is the one that its sender has set, not the broker's.
    pub(crate) fn has_senders_time(&self) -> bool {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and the client writes the kind where it is told to.
        unsafe { c::rd_kafka_message_timestamp(self.message.0.as_ptr(), &raw mut kind) };
        kind == c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME
    }

    /// The record.
    pub(crate) fn record<'a>(&self, headers: Headers<'a>) -> Record<'a>
    where
        'l: 'a,
    {
        let message = self.message.get();
        // SAFETY: the message lives, and what it points to.
        unsafe {
            let millis = c::rd_kafka_message_timestamp(self.message.0.as_ptr(), ptr::null_mut());
            Record {
                topic: self.topic,
                partition: message.partition,
                offset: message.offset,
                // -1 where there is none.
                timestamp: Timestamp::from_millis(if millis == -1 { 0 } else { millis }),
                key: bytes(message.key, message.key_len),
                value: bytes(message.payload, message.len).unwrap_or_default(),
                is_tombstone: message.payload.is_null(),
                headers,
            }
        }
    }
}

/// # Safety
/// `at` is null, or there are so many bytes for as long as what they are borrowed from.
unsafe fn bytes<'a>(at: *const c_void, size: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast(), size) })
}
