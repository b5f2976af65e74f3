//! ArcSight's Common Event Format, revision 25 (`CEF:0|…`).

use serde_json::{Map, Value};

use super::{add, scalar};

/// Names of the header's fields, as the format's own documentation has them.
const HEADER: [&str; 7] =
    ["cefVersion", "deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "severity"];

pub(super) fn read(text: &str) -> Option<Map<String, Value>> {
    let mut rest = text.strip_prefix("CEF:")?;
    let mut event = Map::new();
    for name in HEADER {
        let (value, behind) = until_bar(rest)?;
        event.insert(name.to_owned(), scalar(&value));
        rest = behind;
    }
    let pairs = pairs(rest);
    for (key, value) in &pairs {
        add(&mut event, key, scalar(value));
    }
    // `cs1=x cs1Label=Policy`: rules ask for the label.
    for (key, label) in &pairs {
        let named = key.strip_suffix("Label").and_then(|of| event.get(of)).filter(|value| !value.is_array()).cloned();
        if let Some(value) = named
            && !label.is_empty()
            && !event.contains_key(label)
        {
            event.insert(label.clone(), value);
        }
    }
    Some(event)
}

/// A field of the header, unescaped, and what is behind its bar. The last one's may be missing.
fn until_bar(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '|' => return Some((value, &text[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            char => value.push(char),
        }
    }
    None
}

/// `key=value` pairs with blanks between, and in values, too: a value ends where the next key begins.
fn pairs(text: &str) -> Vec<(&str, String)> {
    let bytes = text.as_bytes();
    let may_be_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-[]".contains(byte);
    let mut keys = Vec::new();
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'=' && !is_escaped {
            let length = bytes[..at].iter().rev().take_while(|byte| may_be_key(byte)).count();
            let start = at - length;
            if length > 0 && (start == 0 || bytes[start - 1] == b' ') {
                keys.push((start, at));
            }
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    let ends = keys.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    keys.iter()
        .zip(ends)
        .map(|((start, at), end)| (&text[*start..*at], unescaped(text[at + 1..end].trim_end())))
        .collect()
}

fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some(escaped @ ('=' | '\\' | '|')) => text.push(escaped),
                // Windows' paths are often not escaped as they should be.
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            char => text.push(char),
        }
    }
    text
}
