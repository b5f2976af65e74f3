//! IBM's Log Event Extended Format, 1.0 and 2.0 (`LEEF:2.0|…`).

use serde_json::{Map, Value};

use super::{add, scalar};

const HEADER: [&str; 5] = ["leefVersion", "vendor", "product", "version", "eventId"];

pub(super) fn read(text: &str) -> Option<Map<String, Value>> {
    let mut rest = text.strip_prefix("LEEF:")?;
    let mut event = Map::new();
    for name in HEADER {
        let (value, behind) = rest.split_once('|')?;
        event.insert(name.to_owned(), scalar(value));
        rest = behind;
    }
    let mut delimiter = '\t';
    if text.starts_with("LEEF:2")
        && let Some((named, behind)) = rest.split_once('|')
        && let Some(found) = named_delimiter(named)
    {
        (delimiter, rest) = (found, behind);
    }
    for pair in rest.split(delimiter) {
        if let Some((key, value)) = pair.split_once('=')
            && !key.trim().is_empty()
        {
            add(&mut event, key.trim(), scalar(value));
        }
    }
    Some(event)
}

/// A character, or its number as `x5E` or `0x5E`; nothing means a tab.
fn named_delimiter(named: &str) -> Option<char> {
    let mut chars = named.chars();
    match (chars.next(), chars.next()) {
        (None, _) => Some('\t'),
        (Some(char), None) => Some(char),
        _ => {
            let hex = named.strip_prefix("0x").or_else(|| named.strip_prefix('x'))?;
            char::from_u32(u32::from_str_radix(hex, 16).ok()?)
        }
    }
}
