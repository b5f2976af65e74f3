//! Tells an envelope from a raw log, in one pass over the keys at the top.

use super::DecodeError;
use crate::{
    EventKind, SentTime, Source,
    json::{Document, Node, StaticNode},
};

/// What a record says about itself, apart from its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'d> {
    pub(super) event_id: Option<&'d str>,
    pub(super) tenant_id: Option<&'d str>,
    pub(super) kind: EventKind<'d>,
    pub(super) occurred_at: Option<SentTime<'d>>,
    pub(super) source: Source<'d>,
    /// Which of the top object's keys holds the payload; none where the whole object is it.
    pub(super) payload_at: Option<usize>,
}

impl Envelope<'_> {
    pub(super) const MAX_EVENT_ID: usize = 256;
    pub(super) const MAX_NAME: usize = 128;

    const RAW: Self = Self {
        event_id: None,
        tenant_id: None,
        kind: EventKind::Raw,
        occurred_at: None,
        source: Source { product: None, service: None, category: None },
        payload_at: None,
    };
}

impl<'d> Envelope<'d> {
    /// Reads `document`'s top. Of a key that stands there twice, the last counts.
    pub(super) fn read(document: &Document<'d>) -> Result<Self, DecodeError> {
        // Every envelope has one.
        if document.recurring().is_some_and(|recurring| !recurring.may_have("type")) {
            return Ok(Envelope::RAW);
        }
        let [mut event_id, mut tenant_id, mut kind, mut occurred_at, mut payload] = [None; 5];
        let (mut source, mut payload_at) = (None, 0);
        for (number, (key, at, value)) in document.entries(0).enumerate() {
            match key {
                "event_id" => event_id = Some(value),
                "tenant_id" => tenant_id = Some(value),
                "type" => kind = Some(value),
                "occurred_at" => occurred_at = Some(value),
                "source" => source = Some((at, value)),
                "payload" => (payload, payload_at) = (Some(value), number),
                _ => {}
            }
        }
        let Some(Node::String(name)) = kind else { return Ok(Envelope::RAW) };
        if !matches!(payload, Some(Node::Object { .. })) {
            return match EventKind::from_type(name) {
                // Many logs have a `type`; only ours can't be anything but an envelope gone wrong.
                EventKind::Vendor(_) => Ok(Envelope::RAW),
                _ => Err(DecodeError::wrong_schema("payload", "must be an object")),
            };
        }
        Ok(Self {
            event_id: text("event_id", event_id, Envelope::MAX_EVENT_ID)?,
            tenant_id: text("tenant_id", tenant_id, usize::MAX)?,
            kind: EventKind::from_type(within("type", name, Envelope::MAX_NAME)?),
            occurred_at: text("occurred_at", occurred_at, Envelope::MAX_NAME)?.map(SentTime::Text),
            source: read_source(source, document)?,
            payload_at: Some(payload_at),
        })
    }
}

fn read_source<'d>(source: Option<(usize, Node<'d>)>, document: &Document<'d>) -> Result<Source<'d>, DecodeError> {
    let source = match source {
        None | Some((_, Node::Static(StaticNode::Null))) => return Ok(Source::default()),
        Some((at, Node::Object { .. })) => at,
        _ => return Err(DecodeError::wrong_schema("source", "must be an object")),
    };
    let [mut product, mut service, mut category] = [None; 3];
    for (key, _, value) in document.entries(source) {
        match key {
            "product" => product = Some(value),
            "service" => service = Some(value),
            "category" => category = Some(value),
            _ => {}
        }
    }
    Ok(Source {
        product: text("source.product", product, Envelope::MAX_NAME)?,
        service: text("source.service", service, Envelope::MAX_NAME)?,
        category: text("source.category", category, Envelope::MAX_NAME)?,
    })
}

/// A text that may be left out, also by `null` or an empty one, as many serializers do.
fn text<'d>(field: &str, value: Option<Node<'d>>, longest: usize) -> Result<Option<&'d str>, DecodeError> {
    match value {
        None | Some(Node::Static(StaticNode::Null) | Node::String("")) => Ok(None),
        Some(Node::String(text)) => within(field, text, longest).map(Some),
        _ => Err(DecodeError::wrong_schema(field, "must be a string")),
    }
}

/// `text`, unless it is empty or too long for `field`.
pub(super) fn within<'d>(field: &str, text: &'d str, longest: usize) -> Result<&'d str, DecodeError> {
    if text.is_empty() {
        return Err(DecodeError::wrong_schema(field, "must not be empty"));
    }
    if text.len() > longest {
        let problem = format!("has {} bytes, more than the {longest} it may have", text.len());
        return Err(DecodeError::wrong_schema(field, problem));
    }
    Ok(text)
}
