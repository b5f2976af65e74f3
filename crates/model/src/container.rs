//! Containers: what wraps several events, or one, in something that is none itself.
//!
//! A list; CloudTrail's `{"Records":[…]}`; what Azure writes to an event hub; a search engine's answer; a record that has its event as
//! text; a line of syslog with JSON in it. Each event inside is decoded by itself, so one gone wrong takes no other with it, and has a
//! place: a JSON pointer (RFC 6901) from the record's top, that goes on inside of texts.
//!
//! Where events end is told by brackets and quotes alone ([`Scanner`]); what is a wrapper, by its keys (`wrapper`). A document that
//! came in the form of an earlier one is known not to be a container, so that plain events cost what they did.

mod place;
mod scan;
mod wrapper;

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

pub use self::scan::{End, Scanner};
pub(crate) use self::wrapper::{Holds, KEYS, Wrapper, may_be_event};
use self::{
    place::Places,
    scan::{Members, each_element, skip_blank},
    wrapper::Shape,
};
use crate::{
    ContentType, DecodeError, Decoder, Incoming, Source, TelemetryEvent, avro::WriterSchemas, decode::Decoded,
    json::ReadError, log_line,
};

/// How much of containers is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerLimits {
    /// Events of one record.
    pub max_events: usize,
    /// Wrappers inside each other.
    pub max_depth: usize,
}

impl Default for ContainerLimits {
    fn default() -> Self {
        Self { max_events: 10_000, max_depth: 8 }
    }
}

/// What events are inside of, as far as it tells them from those of another one.
#[derive(Debug)]
pub struct Container<'c> {
    head: &'c [u8],
    digest: OnceLock<[u8; 32]>,
}

impl<'c> Container<'c> {
    /// So many of its first bytes tell it from others: of a long one no more need be kept.
    pub const HEAD: usize = 64 * 1024;

    /// One that begins with these bytes.
    pub fn new(bytes: &'c [u8]) -> Self {
        Self { head: &bytes[..bytes.len().min(Self::HEAD)], digest: OnceLock::new() }
    }

    /// What its head comes to: only asked for by events with findings.
    pub(crate) fn digest(&self) -> &[u8] {
        self.digest.get_or_init(|| Sha256::digest(self.head).into())
    }
}

/// Where an event was found.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// In what.
    pub container: &'a Container<'a>,
    /// Where in it: a JSON pointer, empty for a line that is an event but not as it stands.
    pub place: &'a str,
}

/// What an envelope says of all events in its payload.
#[derive(Clone, Debug)]
pub struct Around {
    pub(crate) tenant_id: String,
    pub(crate) kind: String,
    pub(crate) product: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) category: Option<String>,
}

impl Around {
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            product: self.product.as_deref(),
            service: self.service.as_deref(),
            category: self.category.as_deref(),
        }
    }
}

/// One event of a record, or what should have been one.
#[derive(Debug)]
pub struct Part<'p> {
    /// Its bytes: the record's value where it is all of it.
    pub bytes: &'p [u8],
    /// Where it was found; none for a record that is an event as it stands.
    pub place: Option<&'p str>,
    /// The event, or why it is none.
    pub event: Result<TelemetryEvent<'p>, DecodeError>,
    /// The bytes that it is charged with: its own, and the first one's also those around events, so that all of a record's come to
    /// no less than the record's.
    pub charge: usize,
}

/// What a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpacked {
    /// One event, as it stood.
    One,
    /// A container, with so many.
    Container(u64),
}

/// Decodes records, and opens those that are containers.
///
/// ```
/// use cybervault_model::{Decoder, Incoming, container::{ContainerLimits, Unpacked, Unpacker}, json::Limits};
///
/// let mut unpacker = Unpacker::new(Decoder::new(Limits::default()), ContainerLimits::default());
/// let value = br#"{"Records":[{"eventName":"StopLogging"},{"eventName":}]}"#;
/// let mut told = Vec::new();
/// let unpacked = unpacker.each(&Incoming { key: Some(b"acme"), value, ..Incoming::default() }, &mut |part| {
///     told.push((part.place.unwrap_or_default().to_owned(), part.event.is_ok()));
/// })?;
/// assert_eq!(unpacked, Unpacked::Container(2));
/// assert_eq!(told, [("/Records/0".to_owned(), true), ("/Records/1".to_owned(), false)]);
/// # Ok::<_, cybervault_model::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Unpacker {
    decoder: Decoder,
    opener: Opener,
}

impl Unpacker {
    /// One that decodes by `decoder`.
    pub fn new(decoder: Decoder, limits: ContainerLimits) -> Self {
        Self { decoder, opener: Opener { limits, ..Opener::default() } }
    }

    /// The same with a schema registry, for Confluent's wire format.
    #[must_use]
    pub fn with_schemas(self, schemas: Arc<dyn WriterSchemas>) -> Self {
        Self { decoder: self.decoder.with_schemas(schemas), ..self }
    }

    /// Forgets all that was kept of earlier records: what a panic may have left half-done.
    pub fn recover(&mut self) {
        self.decoder = self.decoder.anew();
        self.opener = Opener { limits: self.opener.limits, ..Opener::default() };
    }

    /// Hands every event of a record to `each`, in order, those that can't be decoded with the reason.
    ///
    /// # Errors
    /// When all of the record is at fault: it is neither an event nor a container, or has too many events. `each` was then not called.
    pub fn each(&mut self, record: &Incoming<'_>, each: &mut impl FnMut(Part<'_>)) -> Result<Unpacked, DecodeError> {
        let mut failed = None;
        if !begins_as_container(record.value) {
            match self.decoder.decode(record) {
                Ok(decoded) if !decoded.may_be_container() => {
                    each(whole(record, &decoded));
                    return Ok(Unpacked::One);
                }
                Ok(decoded) => self.opener.begin(record, decoded.text_at(), decoded.around()),
                Err(error) if !may_be_container(&error) || is_avro(record) => return Err(error),
                Err(error) => {
                    failed = Some(error);
                    self.opener.begin(record, 0..record.value.len(), None);
                }
            }
        } else if is_avro(record) {
            let decoded = self.decoder.decode(record)?;
            each(whole(record, &decoded));
            return Ok(Unpacked::One);
        } else {
            self.opener.begin(record, 0..record.value.len(), None);
        }
        self.each_inside(record, failed, each)
    }

    #[inline(never)]
    fn each_inside(
        &mut self,
        record: &Incoming<'_>,
        mut failed: Option<DecodeError>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<Unpacked, DecodeError> {
        let Self { decoder, opener } = self;
        let own = Container::new(record.value);
        let Some(top) = opener.waiting.pop() else { return Ok(Unpacked::Container(0)) };
        if !opener.open(&top, record, decoder)? {
            return match failed.take() {
                Some(error) => Err(error),
                None => {
                    let decoded = decoder.decode(record)?;
                    each(whole(record, &decoded));
                    Ok(Unpacked::One)
                }
            };
        }
        let mut events = 0;
        while let Some(waiting) = opener.waiting.pop() {
            let bytes = waiting.bytes(record.value);
            if !begins_as_container(bytes) {
                let place = opener.places.text(&waiting.place);
                let incoming = waiting.incoming(record, bytes, &own, place);
                match decoder.decode(&incoming) {
                    Ok(decoded) if decoded.may_be_container() => {}
                    Err(error) if may_be_container(&error) => failed = Some(error),
                    event => {
                        events += 1;
                        let charge = bytes.len() + std::mem::take(&mut opener.spare);
                        let event = event.as_ref().map(Decoded::event).map_err(Clone::clone);
                        each(Part { bytes, place: Some(place), event, charge });
                        continue;
                    }
                }
            }
            let opened = opener.open(&waiting, record, decoder);
            if matches!(opened, Ok(true)) {
                failed = None;
                continue;
            }
            events += 1;
            let place = opener.places.text(&waiting.place);
            let charge = bytes.len() + std::mem::take(&mut opener.spare);
            let incoming = waiting.incoming(record, bytes, &own, place);
            let decoded = match (opened, failed.take()) {
                (Err(error), _) | (Ok(_), Some(error)) => Err(error),
                (Ok(_), None) => decoder.decode(&incoming),
            };
            let event = decoded.as_ref().map(Decoded::event).map_err(Clone::clone);
            each(Part { bytes, place: Some(place), event, charge });
        }
        Ok(Unpacked::Container(events))
    }
}

fn whole<'p>(record: &Incoming<'p>, decoded: &'p Decoded<'p>) -> Part<'p> {
    let place = record.inside.map(|inside| inside.place);
    Part { bytes: record.value, place, event: Ok(decoded.event()), charge: record.value.len() }
}

/// Whether a value begins as lists of events do, so that it need not be read as one event first.
fn begins_as_container(value: &[u8]) -> bool {
    match value {
        [b'[', ..] => true,
        [b'{', b'"', b'R' | b'r', rest @ ..] => rest.starts_with(b"ecords\""),
        [b' ' | b'\t' | b'\n' | b'\r', ..] => value.trim_ascii_start().first() == Some(&b'['),
        _ => false,
    }
}

/// Whether what is no event for this reason may well be a container.
fn may_be_container(error: &DecodeError) -> bool {
    match error {
        DecodeError::Json(ReadError::NotObject(what)) => matches!(*what, "array" | "string"),
        DecodeError::Json(_) | DecodeError::NoTenant(_) => true,
        _ => false,
    }
}

fn is_avro(record: &Incoming<'_>) -> bool {
    !matches!(ContentType::from_header(record.content_type), Ok(ContentType::Json))
}

/// A part of a record that is still to be looked at.
#[derive(Debug)]
struct Waiting {
    /// Text that does not stand in the record as it is; else it is a part of the record's own bytes.
    made: Option<Arc<[u8]>>,
    range: Range<usize>,
    place: Range<usize>,
    depth: usize,
    around: Option<Arc<Around>>,
}

impl Waiting {
    fn bytes<'p>(&'p self, record: &'p [u8]) -> &'p [u8] {
        &self.made.as_deref().unwrap_or(record)[self.range.clone()]
    }

    fn incoming<'p>(
        &'p self,
        record: &Incoming<'p>,
        bytes: &'p [u8],
        own: &'p Container<'p>,
        place: &'p str,
    ) -> Incoming<'p> {
        let container = record.inside.map_or(own, |inside| inside.container);
        Incoming {
            value: bytes,
            content_type: None,
            inside: Some(Inside { container, place }),
            around: self.around.as_deref().or(record.around),
            ..*record
        }
    }
}

/// Finds what is inside of containers.
#[derive(Debug, Default)]
struct Opener {
    limits: ContainerLimits,
    /// What is still to be looked at, the next one last.
    waiting: Vec<Waiting>,
    places: Places,
    /// How many events were found.
    found: usize,
    /// Bytes that stand around events and are not charged yet.
    spare: usize,
}

/// What an object turned out to be.
enum Found {
    Event,
    Member(Holds, Range<usize>, String),
    /// An envelope, and the member that is its payload.
    Envelope(Range<usize>, Box<Found>),
}

impl Opener {
    fn begin(&mut self, record: &Incoming<'_>, range: Range<usize>, around: Option<Around>) {
        self.waiting.clear();
        (self.found, self.spare) = (0, 0);
        let place = self.places.begin(record.inside.map_or("", |inside| inside.place));
        let around = around.map(Arc::new);
        self.waiting.push(Waiting { made: None, range, place, depth: 0, around });
    }

    /// Puts what is in a container where it is looked at next; no if it is none.
    fn open(&mut self, container: &Waiting, record: &Incoming<'_>, decoder: &mut Decoder) -> Result<bool, DecodeError> {
        let bytes = container.bytes(record.value);
        let at = skip_blank(bytes, if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 });
        let (before, found) = (self.waiting.len(), self.found);
        // What others are inside of is no event itself.
        self.found = found.saturating_sub(1);
        let opened = match bytes.get(at) {
            Some(b'[') => self.list(container, bytes, at, container.place.clone()).map(|()| true),
            Some(b'{') => match find(bytes, at, 0) {
                Found::Event => self.texts(container, bytes, at),
                Found::Member(holds, value, key) => {
                    let place = self.places.below(&container.place, &key);
                    self.member(container, bytes, holds, value, place)
                }
                Found::Envelope(payload, inner) => {
                    self.envelope(container, bytes, at, payload, *inner, (record, decoder))
                }
            },
            Some(b'"') => {
                let end = bytes.trim_ascii_end().len();
                self.text(container, bytes, at..end, container.place.clone(), Holds::Text)
            }
            Some(_) => Ok(self.line(container, &bytes[at..], container.place.clone())),
            None => Ok(false),
        };
        match opened {
            Ok(true) => {
                let inside: usize = self.waiting[before..].iter().map(|part| part.range.len()).sum();
                self.spare += bytes.len().saturating_sub(inside);
                // The last one is looked at first.
                self.waiting[before..].reverse();
                Ok(true)
            }
            opened => {
                self.waiting.truncate(before);
                self.found = found;
                opened
            }
        }
    }

    /// One more that is inside of `container`.
    fn push(&mut self, container: &Waiting, range: Range<usize>, place: Range<usize>) -> Result<(), DecodeError> {
        let depth = container.depth + 1;
        if depth > self.limits.max_depth {
            return Err(DecodeError::NestedContainers { limit: self.limits.max_depth });
        }
        self.found += 1;
        if self.found > self.limits.max_events {
            return Err(DecodeError::TooManyEvents { limit: self.limits.max_events });
        }
        let (made, around) = (container.made.clone(), container.around.clone());
        self.waiting.push(Waiting { made, range, place, depth, around });
        Ok(())
    }

    fn list(&mut self, container: &Waiting, bytes: &[u8], at: usize, place: Range<usize>) -> Result<(), DecodeError> {
        let from = container.range.start;
        let (mut count, mut failed) = (0, None);
        each_element(bytes, at, |element| {
            let place = self.places.at(&place, count);
            count += 1;
            failed = self.push(container, from + element.start..from + element.end, place).err();
            failed.is_none()
        });
        failed.map_or(Ok(()), Err)
    }

    fn member(
        &mut self,
        container: &Waiting,
        bytes: &[u8],
        holds: Holds,
        value: Range<usize>,
        place: Range<usize>,
    ) -> Result<bool, DecodeError> {
        match holds {
            Holds::List => self.list(container, bytes, value.start, place).map(|()| true),
            Holds::Object => {
                let from = container.range.start;
                self.push(container, from + value.start..from + value.end, place).map(|()| true)
            }
            Holds::Text | Holds::OnlyText => self.text(container, bytes, value, place, holds),
        }
    }

    /// An event, or several, written as text in JSON.
    fn text(
        &mut self,
        container: &Waiting,
        bytes: &[u8],
        value: Range<usize>,
        place: Range<usize>,
        holds: Holds,
    ) -> Result<bool, DecodeError> {
        let Ok(text) = serde_json::from_slice::<String>(&bytes[value]) else { return Ok(false) };
        if !may_be_event(&text) {
            return Ok(false);
        }
        let text = text.trim();
        let json = text.strip_prefix("@cee:").map_or(text, str::trim_start);
        if json.starts_with(['{', '[']) {
            if holds == Holds::OnlyText || serde_json::from_str::<IgnoredAny>(json).is_ok() {
                return self.push_made(container, json.as_bytes().into(), place).map(|()| true);
            }
            return Ok(false);
        }
        Ok(self.line(container, text.as_bytes(), place))
    }

    fn push_made(&mut self, container: &Waiting, made: Arc<[u8]>, place: Range<usize>) -> Result<(), DecodeError> {
        let range = 0..made.len();
        let text = Waiting { made: Some(made), range: range.clone(), ..container.copy() };
        self.push(&text, range, place)
    }

    /// A log's line, made JSON.
    fn line(&mut self, container: &Waiting, line: &[u8], place: Range<usize>) -> bool {
        match log_line::to_json(line) {
            Some(json) => self.push_made(container, json.into(), place).is_ok(),
            None => false,
        }
    }

    /// Several texts one behind the other, as a shipper puts lines together.
    fn texts(&mut self, container: &Waiting, bytes: &[u8], at: usize) -> Result<bool, DecodeError> {
        let mut scanner = Scanner::default();
        let mut next = at;
        let mut count = 0;
        while next < bytes.len() {
            scanner.begin();
            let end = match scanner.top(&bytes[next..]) {
                End::Behind(end) | End::Cut(end) => next + end,
                End::Open => bytes.len(),
            };
            let behind = skip_blank(bytes, end);
            if count == 0 && (behind >= bytes.len() || !matches!(bytes[behind], b'{' | b'[')) {
                return Ok(false);
            }
            let place = self.places.at(&container.place, count);
            let from = container.range.start;
            let text = bytes[next..end].trim_ascii_end().len();
            self.push(container, from + next..from + next + text, place)?;
            (count, next) = (count + 1, behind);
        }
        Ok(true)
    }

    /// An envelope around a container: what it says holds for all events in it.
    fn envelope(
        &mut self,
        container: &Waiting,
        bytes: &[u8],
        at: usize,
        payload: Range<usize>,
        inner: Found,
        (record, decoder): (&Incoming<'_>, &mut Decoder),
    ) -> Result<bool, DecodeError> {
        let Found::Member(holds, value, key) = inner else { return Ok(false) };
        // The same without its payload, which may be larger than an event.
        let without = [&bytes[at..payload.start], b"{}", &bytes[payload.end..]].concat();
        let incoming = Incoming { value: &without, content_type: None, around: container.around.as_deref(), ..*record };
        let around = decoder.decode(&incoming)?.around().map(Arc::new);
        let place = self.places.below(&container.place, "payload");
        let place = self.places.below(&place, &key);
        self.member(&Waiting { around, ..container.copy() }, bytes, holds, value, place)
    }
}

impl Waiting {
    fn copy(&self) -> Self {
        let Self { made, range, place, depth, around } = self;
        Self { made: made.clone(), range: range.clone(), place: place.clone(), depth: *depth, around: around.clone() }
    }
}

/// Where the list of events begins in a container of which this is the beginning, how many brackets are open around it, and its place;
/// `None` where it is no container.
pub fn long_list(beginning: &[u8]) -> Option<(usize, usize, String)> {
    let mut at = skip_blank(beginning, 0);
    let mut places = Places::default();
    let mut place = places.begin("");
    for around in 0..3 {
        if beginning.get(at) == Some(&b'[') {
            return Some((at, around, places.text(&place).to_owned()));
        }
        match find(beginning, at, 1) {
            Found::Member(Holds::List | Holds::Object, value, key) if beginning.get(at) == Some(&b'{') => {
                place = places.below(&place, &key);
                at = value.start;
            }
            _ => return None,
        }
    }
    None
}

/// What the object that begins at `at` is.
fn find(bytes: &[u8], at: usize, depth: usize) -> Found {
    /// Beyond so many members it is an event.
    const MOST: usize = 65;
    let members: Vec<_> = Members::of(bytes, at).take(MOST).collect();
    let shapes = members.iter().map(|member| (text(member.key), shape(bytes, &member.value)));
    if let Some(wrapper) = Wrapper::of(&shapes) {
        let member = &members[wrapper.member];
        return Found::Member(wrapper.holds, member.value.clone(), text(member.key).to_owned());
    }
    // Of a key that stands there twice, the last counts.
    let last = |key: &[u8]| members.iter().rfind(|member| member.key == key).map(|member| member.value.clone());
    if depth == 0
        && let (Some(kind), Some(payload)) = (last(b"type"), last(b"payload"))
        && bytes.get(kind.start) == Some(&b'"')
        && bytes.get(payload.start) == Some(&b'{')
        && let inner @ Found::Member(..) = find(bytes, payload.start, 1)
    {
        return Found::Envelope(payload, Box::new(inner));
    }
    Found::Event
}

fn text(key: &[u8]) -> &str {
    str::from_utf8(key).unwrap_or_default()
}

fn shape(bytes: &[u8], value: &Range<usize>) -> Shape {
    match bytes.get(value.start) {
        Some(b'{') => Shape::Object,
        Some(b'[') => match bytes.get(skip_blank(bytes, value.start + 1)) {
            Some(b'{' | b']') => Shape::Objects,
            _ => Shape::List,
        },
        _ => Shape::Plain,
    }
}

#[cfg(test)]
mod tests;
