//! Tells an envelope from a raw log, in one pass over the keys at the top.

use super::DecodeError;
use crate::{
    EventKind, SentTime, Source,
    container::{self, Around, Holds, Wrapper, may_be_event},
    json::{Document, Node, Recurring, StaticNode},
    keys::FewKeys,
    reshape::{self, Form},
};

/// What a record says about itself, apart from its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'d> {
    pub(super) event_id: Option<&'d str>,
    pub(super) tenant_id: Option<&'d str>,
    pub(super) kind: EventKind<'d>,
    pub(super) occurred_at: Option<SentTime<'d>>,
    pub(super) source: Source<'d>,
    /// The payload's node: the top where the whole object is it.
    pub(super) payload_at: usize,
    /// The payload's form, if it is one that is made again.
    pub(super) form: Option<Form>,
    /// Whether there is none.
    pub(super) is_raw: bool,
    /// Whether the payload looks like a container.
    pub(super) wraps: bool,
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
        payload_at: 0,
        form: None,
        is_raw: true,
        wraps: false,
    };
}

/// Where a document has what an envelope says: the nodes of its top's values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    event_id: Option<usize>,
    tenant_id: Option<usize>,
    kind: Option<usize>,
    occurred_at: Option<usize>,
    source: Option<usize>,
    payload: Option<usize>,
    /// The forms of the top and of the payload, if they are some that are made again.
    form: Option<Form>,
    payload_form: Option<Form>,
    /// What looks like a container's events at the top, and in the payload.
    events: Option<(Holds, usize)>,
    payload_events: Option<(Holds, usize)>,
}

impl Parts {
    /// Of a key that stands there twice, the last counts.
    fn of(document: &Document<'_>) -> Self {
        let mut parts = Self::default();
        let mut tells = false;
        for (key, at, _) in document.entries(0) {
            let part = match key {
                "event_id" => &mut parts.event_id,
                "tenant_id" => &mut parts.tenant_id,
                "type" => &mut parts.kind,
                "occurred_at" => &mut parts.occurred_at,
                "source" => &mut parts.source,
                "payload" => &mut parts.payload,
                _ => {
                    tells |= may_tell(key);
                    continue;
                }
            };
            *part = Some(at);
        }
        if tells {
            parts.form = Form::of(document, 0);
            parts.events = Wrapper::in_document(document, 0);
        }
        if let Some(at) = parts.kind.and(parts.payload)
            && document.entries(at).any(|(key, ..)| may_tell(key))
        {
            parts.payload_form = Form::of(document, at);
            parts.payload_events = Wrapper::in_document(document, at);
        }
        parts
    }

    /// The top's form, if it is one that is made again.
    pub(super) fn form(&self) -> Option<Form> {
        self.form
    }

    /// Whether a document without an envelope looks like a container.
    pub(super) fn wraps_itself(&self, document: &Document<'_>) -> bool {
        may_be_events(self.events, document)
    }
}

/// Whether a key may tell that an object is made again, or is a container. Most objects have none that does.
fn may_tell(key: &str) -> bool {
    const KEYS: FewKeys = FewKeys::of(&[reshape::KEYS, container::KEYS]);
    KEYS.may_have(key) || reshape::is_record(key)
}

/// Whether what holds events in one document of a form does so in this one.
fn may_be_events(events: Option<(Holds, usize)>, document: &Document<'_>) -> bool {
    events.is_some_and(|(holds, at)| match holds {
        Holds::List | Holds::Object => true,
        Holds::Text | Holds::OnlyText => {
            matches!(document.node(at), Some(Node::String(text)) if may_be_event(text))
        }
    })
}

/// Those of documents that are like earlier ones, by their forms.
#[derive(Debug)]
pub(super) struct KnownParts(Box<[(u64, Parts)]>);

impl Default for KnownParts {
    fn default() -> Self {
        // There is no form 0.
        Self([(0, Parts::default()); Self::MOST].into())
    }
}

impl KnownParts {
    const MOST: usize = 256;

    pub(super) fn of(&mut self, document: &Document<'_>) -> Parts {
        let Some(form) = document.recurring().map(Recurring::form) else { return Parts::of(document) };
        let at = usize::try_from(form % self.0.len() as u64).unwrap_or_default();
        let (known, parts) = &mut self.0[at];
        if *known != form {
            (*known, *parts) = (form, Parts::of(document));
        }
        *parts
    }
}

impl<'d> Envelope<'d> {
    /// Reads `document`, which has these parts.
    pub(super) fn read(document: &Document<'d>, parts: Parts) -> Result<Self, DecodeError> {
        let value = |part: Option<usize>| part.and_then(|at| document.node(at));
        let raw = || Self { form: parts.form, wraps: parts.wraps_itself(document), ..Envelope::RAW };
        let Some(Node::String(name)) = value(parts.kind) else { return Ok(raw()) };
        let Some((payload_at, Node::Object { .. })) = parts.payload.zip(value(parts.payload)) else {
            return match EventKind::from_type(name) {
                // Many logs have a `type`; only ours can't be anything but an envelope gone wrong.
                EventKind::Vendor(_) => Ok(raw()),
                _ => Err(DecodeError::wrong_schema("payload", "must be an object")),
            };
        };
        Ok(Self {
            event_id: text("event_id", value(parts.event_id), Envelope::MAX_EVENT_ID)?,
            tenant_id: text("tenant_id", value(parts.tenant_id), usize::MAX)?,
            kind: EventKind::from_type(within("type", name, Envelope::MAX_NAME)?),
            occurred_at: text("occurred_at", value(parts.occurred_at), Envelope::MAX_NAME)?.map(SentTime::Text),
            source: read_source(parts.source.zip(value(parts.source)), document)?,
            payload_at,
            form: parts.payload_form,
            is_raw: false,
            wraps: may_be_events(parts.payload_events, document),
        })
    }

    /// The same of an event in a container that has an envelope around it: what it does not say itself, that says.
    pub(super) fn within(self, around: &'d Around) -> Self {
        let said = around.source();
        let source = if self.source == Source::default() { said } else { self.source };
        let kind = if self.is_raw { EventKind::from_type(&around.kind) } else { self.kind };
        Self { kind, source, ..self }
    }
}

impl<'d> Envelope<'d> {
    /// The same, with the log source that the record's header names if the envelope names none.
    pub(super) fn sourced(self, header: Option<&'d [u8]>) -> Result<Self, DecodeError> {
        let Some(header) = header.filter(|_| self.source == Source::default()) else { return Ok(self) };
        let wrong =
            || DecodeError::wrong_schema("log_source", "in the header must be product/service/category, `-` for none");
        let text = str::from_utf8(header).map_err(|_| wrong())?;
        let mut names = [None; 3];
        for (at, name) in text.split('/').enumerate() {
            let place = names.get_mut(at).ok_or_else(wrong)?;
            *place = match name.trim() {
                "" | "-" => None,
                name => Some(within("log_source", name, Envelope::MAX_NAME)?),
            };
        }
        let [product, service, category] = names;
        Ok(Self { source: Source { product, service, category }, ..self })
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
