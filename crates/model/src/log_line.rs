//! Lines of logs that are no JSON, made JSON: syslog, CEF, LEEF, audit records, Windows events as XML.
//!
//! What is taken from a line keeps the names that its form has for it, so that mappings and rules find it. A line that has none of
//! these forms is none of ours: nothing is guessed.

mod audit;
mod cef;
mod leef;
mod syslog;
mod xml;

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The event, or a list of them, that a line is; `None` for what has no known form.
pub(crate) fn to_json(line: &[u8]) -> Option<Vec<u8>> {
    let line = String::from_utf8_lossy(line.trim_ascii());
    let line = line.trim_start_matches('\u{feff}');
    match body(line) {
        Some(found) => Some(found.into_owned().into_bytes()),
        None => {
            let header = syslog::read(line)?;
            match body(header.message) {
                // CEF and LEEF may leave out who wrote it: the header knows.
                Some(Cow::Owned(event)) => Some(with_host(event, header.hostname)),
                Some(Cow::Borrowed(event)) => Some(event.as_bytes().to_vec()),
                None => Some(written(header.event())),
            }
        }
    }
}

/// What says all by itself, as JSON.
fn body(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let json = text.strip_prefix("@cee:").map_or(text, str::trim_start);
    if json.starts_with(['{', '[']) {
        return serde_json::from_str::<IgnoredAny>(json).is_ok().then_some(Cow::Borrowed(json));
    }
    let event = match text.as_bytes().first()? {
        b'<' => xml::read(text)?,
        b'C' => Value::Object(cef::read(text)?),
        b'L' => Value::Object(leef::read(text)?),
        b't' | b'n' => Value::Object(audit::read(text)?),
        _ => return None,
    };
    Some(Cow::Owned(event.to_string()))
}

fn with_host(event: String, hostname: Option<&str>) -> Vec<u8> {
    let Some(hostname) = hostname else { return event.into_bytes() };
    match serde_json::from_str(&event) {
        Ok(Value::Object(mut event)) if !event.contains_key("Event") => {
            event.entry("hostname").or_insert_with(|| hostname.into());
            written(event)
        }
        _ => event.into_bytes(),
    }
}

fn written(event: Map<String, Value>) -> Vec<u8> {
    Value::Object(event).to_string().into_bytes()
}

/// A number where the text is just how that number is written, so that rules can compare it; else the text.
pub fn scalar(text: &str) -> Value {
    /// All of so many digits are numbers that any reader has exactly.
    const MOST: usize = 15;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.len() <= MOST
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (!digits.starts_with('0') || text == "0");
    match text.parse::<i64>() {
        Ok(number) if is_plain => number.into(),
        _ => text.into(),
    }
}

/// Adds a value under a key; several under the same are a list.
fn add(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        None => drop(object.insert(key.to_owned(), value)),
        Some(Value::Array(list)) => list.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

#[cfg(test)]
mod tests;
