//! Records that can't be processed: kept as they came, with the reason beside them.

/// Header names of a dead letter.
pub mod headers {
    /// A code, `not_json` for one.
    pub const REASON: &str = "error.reason";
    /// The reason in words.
    pub const MESSAGE: &str = "error.message";
    /// The stage that gave up.
    pub const STAGE: &str = "error.stage";
    /// The topic it came from.
    pub const TOPIC: &str = "origin.topic";
    /// The partition it came from.
    pub const PARTITION: &str = "origin.partition";
    /// The offset it came from.
    pub const OFFSET: &str = "origin.offset";
    /// Its own time, in milliseconds since the Unix epoch.
    pub const TIMESTAMP: &str = "origin.timestamp";

    /// Where in the record the dead letter stood, a JSON pointer, if it is a part of it.
    pub const PLACE: &str = "origin.place";
    /// How many bytes the value has, where only its head and tail are kept: it is larger than what can be written.
    pub const VALUE_BYTES: &str = "origin.value.bytes";
    /// The SHA-256 of the whole value, in hexadecimal.
    pub const VALUE_SHA256: &str = "origin.value.sha256";
    /// How many bytes of the value are its head; the rest is its tail.
    pub const VALUE_HEAD: &str = "origin.value.head_bytes";
    /// How many bytes the key has, where it is left out.
    pub const KEY_BYTES: &str = "origin.key.bytes";
    /// How many of the record's headers are left out.
    pub const HEADERS_LEFT_OUT: &str = "origin.headers.left_out";
    /// The last offset of what was stepped over, where it is more than one record.
    pub const LAST_OFFSET: &str = "origin.last_offset";

    const ADDED: [&str; 14] = [
        REASON,
        MESSAGE,
        STAGE,
        TOPIC,
        PARTITION,
        OFFSET,
        TIMESTAMP,
        PLACE,
        VALUE_BYTES,
        VALUE_SHA256,
        VALUE_HEAD,
        KEY_BYTES,
        HEADERS_LEFT_OUT,
        LAST_OFFSET,
    ];

    /// Whether a header was added when the record was given up, and is to go when it is sent back.
    pub fn is_added(name: &str) -> bool {
        ADDED.contains(&name)
    }
}

/// Why a record is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// A code for programs and metrics.
    pub reason: &'static str,
    /// The reason in words; cut to [`Poison::MAX_MESSAGE`] bytes on the topic.
    pub message: String,
}

impl Poison {
    /// The longest message on the topic, in bytes. An outsider's text may be in it.
    pub const MAX_MESSAGE: usize = 512;

    /// A reason and its words.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(crate) fn bounded_message(&self) -> &str {
        let mut end = self.message.len().min(Self::MAX_MESSAGE);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        &self.message[..end]
    }
}
