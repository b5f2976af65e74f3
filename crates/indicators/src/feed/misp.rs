//! Events as MISP exports them: one, a list, or the answer to a search.

use std::io::BufRead;

use cybervault_model::Level;
use serde::Deserialize;

use super::{FeedError, Lines, Listed, Take, kind, unusable};
use crate::{Kind, value::Value};

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    One(Wrapped),
    Answer { response: Vec<Wrapped> },
    List(Vec<Wrapped>),
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(rename = "Event")]
    event: Event,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[derive(Default)]
struct Event {
    #[serde(rename = "info")]
    info: String,
    #[serde(rename = "threat_level_id")]
    threat_level_id: serde_json::Value,
    attribute: Vec<Attribute>,
    object: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "Attribute", default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    /// Whether it is meant to be looked for.
    #[serde(default)]
    to_ids: bool,
    #[serde(default)]
    deleted: bool,
}

pub(super) fn read(lines: Lines<'_, impl BufRead>, take: &mut Take<'_>) -> Result<(), FeedError> {
    let wrong = |error: serde_json::Error| FeedError::Form(format!("is no export of MISP's: {error}"));
    let events = match serde_json::from_reader(lines.from).map_err(wrong)? {
        Document::One(event) => vec![event],
        Document::Answer { response } => response,
        Document::List(events) => events,
    };
    for Wrapped { event } in &events {
        let level = match &event.threat_level_id {
            serde_json::Value::String(id) => threat_level(id),
            id => threat_level(&id.to_string()),
        };
        let attributes = event.attribute.iter().chain(event.object.iter().flat_map(|object| &object.attributes));
        for attribute in attributes.filter(|attribute| attribute.to_ids && !attribute.deleted) {
            each_value(attribute, &mut |kind, text| {
                let title = Some(event.info.as_str()).filter(|info| !info.is_empty());
                let listed = |value| Listed { title, level, ..Listed::new(value) };
                take(Value::read(kind, text).map(listed).ok_or_else(|| unusable(text, Some(kind))))
            })?;
        }
    }
    Ok(())
}

/// MISP's threat levels: high, medium, low, undefined.
fn threat_level(id: &str) -> Option<Level> {
    match id {
        "1" => Some(Level::High),
        "2" => Some(Level::Medium),
        "3" => Some(Level::Low),
        _ => None,
    }
}

/// An attribute's values: those of composite types are divided by `|`. Types that are nothing to look up have none.
fn each_value(
    attribute: &Attribute,
    found: &mut impl FnMut(Kind, &str) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    for (name, text) in attribute.kind.split('|').zip(attribute.value.split('|')) {
        if let Some(kind) = kind(name) {
            found(kind, text)?;
        }
    }
    Ok(())
}
