//! Linux audit records as auditd writes them: `type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e …`.

use serde_json::{Map, Value};

use super::{add, scalar};

pub(super) fn read(text: &str) -> Option<Map<String, Value>> {
    let mut event = Map::new();
    let mut rest = text;
    if let Some(behind) = text.strip_prefix("node=") {
        let (node, behind) = behind.split_once(' ')?;
        event.insert("node".to_owned(), node.into());
        rest = behind;
    }
    let (kind, behind) = rest.strip_prefix("type=")?.split_once(' ')?;
    let (id, mut rest) = behind.strip_prefix("msg=")?.split_once(')')?;
    id.strip_prefix("audit(")?;
    event.insert("type".to_owned(), kind.into());
    event.insert("msg".to_owned(), format!("{id})").into());
    rest = rest.strip_prefix(':').unwrap_or(rest);
    pairs(rest, kind, &mut event);
    Some(event)
}

/// `key=value` pairs; a value may be in quotes, and one in single quotes has pairs of its own.
fn pairs(text: &str, kind: &str, event: &mut Map<String, Value>) {
    // Between what the kernel wrote and what auditd looked up stands a control character.
    let mut rest = text.trim_start_matches([' ', '\x1d', ',']);
    while let Some((key, behind)) = rest.split_once('=') {
        let key = key.rsplit(' ').next().unwrap_or(key);
        let quote = behind.chars().next().filter(|char| matches!(char, '"' | '\''));
        let (value, behind) = match quote.and_then(|quote| behind[1..].split_once(quote)) {
            Some((value, behind)) => (value, behind),
            None => {
                let end = behind.find([' ', '\x1d']).unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        if quote == Some('\'') && value.contains('=') {
            pairs(value, kind, event);
        } else if !key.is_empty() {
            let value = match quote {
                None => from_hex(key, kind, value).map_or_else(|| scalar(value), Value::from),
                Some(_) => value.into(),
            };
            add(event, key, value);
        }
        rest = behind.trim_start_matches([' ', '\x1d', ',']);
    }
}

/// Texts with blanks or quotes in them are written as hexadecimal digits, without quotes.
fn from_hex(key: &str, kind: &str, value: &str) -> Option<String> {
    let is_argument =
        kind == "EXECVE" && key.strip_prefix('a').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_text = is_argument || matches!(key, "proctitle" | "exe" | "comm" | "name" | "cwd" | "cmd" | "acct" | "data");
    if !is_text || value.is_empty() || !value.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = value.as_bytes().chunks(2).map(byte).collect();
    // Of a title the arguments are separated by zeros.
    Some(String::from_utf8_lossy(&bytes?).trim_end_matches('\0').replace('\0', " "))
}
