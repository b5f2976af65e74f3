//! Windows events as XML, as the event viewer exports them, `wevtutil` prints them, and Sysmon for Linux writes them to syslog.
//!
//! They become what readers of `.evtx` files make of them, so that the same mapping finds their fields.

use quick_xml::{
    Reader,
    escape::unescape,
    events::{BytesStart, Event},
};
use serde_json::{Map, Value};

use super::{add, scalar};

/// Elements inside each other.
const MOST_DEPTH: usize = 32;

/// An element that is not closed yet.
#[derive(Debug, Default)]
struct Open {
    name: String,
    attributes: Map<String, Value>,
    children: Map<String, Value>,
    text: String,
}

/// Reads one `Event`, or several in `Events`: then a list of them.
pub(super) fn read(text: &str) -> Option<Value> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut events = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if open.len() < MOST_DEPTH => open.push(Open::begin(&start)?),
            Event::Start(_) => return None,
            Event::Empty(start) => close(Open::begin(&start)?, &mut open, &mut events)?,
            Event::End(_) => {
                let ended = open.pop()?;
                close(ended, &mut open, &mut events)?;
            }
            Event::Text(text) => open.last_mut().into_iter().for_each(|open| open.text.push_str(&text)),
            Event::CData(text) => open.last_mut().into_iter().for_each(|open| open.text.push_str(&text)),
            Event::GeneralRef(reference) => {
                let found = match reference.resolve_char_ref().ok()? {
                    Some(char) => char.to_string(),
                    None => unescape(&format!("&{};", &*reference)).ok()?.into_owned(),
                };
                open.last_mut()?.text.push_str(&found);
            }
            // Entities of one's own are how a small text becomes a large one.
            Event::DocType(_) => return None,
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    if !open.is_empty() || events.is_empty() {
        return None;
    }
    Some(if events.len() == 1 { events.remove(0) } else { Value::Array(events) })
}

/// Puts an element into the one around it; an event where those are.
fn close(ended: Open, open: &mut [Open], events: &mut Vec<Value>) -> Option<()> {
    if ended.name == "Event" && open.iter().all(|around| around.name == "Events") {
        events.push(Value::Object([("Event".to_owned(), ended.value())].into_iter().collect()));
        return Some(());
    }
    let Some(around) = open.last_mut() else { return (ended.name == "Events").then_some(()) };
    match ended.attributes.get("Name").and_then(Value::as_str) {
        // `<Data Name="Image">…</Data>`
        Some(name) if ended.name == "Data" && ended.children.is_empty() && !name.is_empty() => {
            add(&mut around.children, name, scalar(ended.text.trim()));
        }
        _ => {
            let name = ended.name.clone();
            add(&mut around.children, &name, ended.value());
        }
    }
    Some(())
}

impl Open {
    fn begin(start: &BytesStart<'_>) -> Option<Self> {
        let name = start.local_name().as_ref().to_owned();
        let mut attributes = Map::new();
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let key = attribute.key.as_ref();
            // Names of namespaces say nothing about the event.
            if key != "xmlns" && !key.starts_with("xmlns:") {
                let value = unescape(&attribute.value).ok()?;
                attributes.insert(attribute.key.local_name().as_ref().to_owned(), scalar(&value));
            }
        }
        // A name that looks like a number is a name.
        if let Some(number @ Value::Number(_)) = attributes.get("Name") {
            let text = number.to_string();
            attributes.insert("Name".to_owned(), text.into());
        }
        Some(Self { name, attributes, ..Self::default() })
    }

    fn value(self) -> Value {
        let Self { attributes, mut children, text, .. } = self;
        let text = text.trim();
        if children.is_empty() && attributes.is_empty() {
            return if text.is_empty() { Value::Null } else { scalar(text) };
        }
        if !attributes.is_empty() {
            children.insert("#attributes".to_owned(), Value::Object(attributes));
        }
        if !text.is_empty() {
            children.insert("#text".to_owned(), scalar(text));
        }
        Value::Object(children)
    }
}
