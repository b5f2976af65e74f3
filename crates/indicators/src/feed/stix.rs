//! Bundles of STIX 2.1: their indicators whose patterns ask for single values.

use std::io::BufRead;

use serde::Deserialize;

use super::{FeedError, Lines, Listed, Take, time, unusable};
use crate::{Kind, value::Value};

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    name: Option<String>,
    pattern: Option<String>,
    pattern_type: Option<String>,
    confidence: Option<u8>,
    valid_until: Option<String>,
    #[serde(default)]
    revoked: bool,
}

pub(super) fn read(lines: Lines<'_, impl BufRead>, take: &mut Take<'_>) -> Result<(), FeedError> {
    let wrong = |error: serde_json::Error| FeedError::Form(format!("is no bundle of STIX 2.1: {error}"));
    let bundle: Bundle = serde_json::from_reader(lines.from).map_err(wrong)?;
    for object in bundle.objects.iter().filter(|object| object.kind == "indicator" && !object.revoked) {
        let mut wrong = |problem: &str| take(Err(format!("{}: {problem}", object.id)));
        if object.pattern_type.as_deref().is_some_and(|kind| kind != "stix") {
            wrong("its pattern is not in STIX's own language")?;
            continue;
        }
        let Some(comparisons) = object.pattern.as_deref().and_then(comparisons) else {
            wrong("its pattern asks for more than single values joined by OR")?;
            continue;
        };
        let valid_until = match object.valid_until.as_deref().map(time) {
            Some(None) => {
                wrong("its `valid_until` is no time")?;
                continue;
            }
            valid_until => valid_until.flatten(),
        };
        for (path, text) in comparisons {
            let Some(kind) = kind_of(&path) else {
                take(Err(format!("{}: `{path}` is nothing that is looked up", object.id)))?;
                continue;
            };
            let title = object.name.as_deref();
            let listed = |value| Listed { title, confidence: object.confidence, valid_until, ..Listed::new(value) };
            let value = Value::read(kind, &text).map(listed);
            take(value.ok_or_else(|| format!("{}: {}", object.id, unusable(&text, Some(kind)))))?;
        }
    }
    Ok(())
}

fn kind_of(path: &str) -> Option<Kind> {
    let path = path.to_ascii_lowercase();
    let (object, property) = path.split_once(':')?;
    Some(match (object, property) {
        ("ipv4-addr" | "ipv6-addr", "value") => Kind::Ip,
        ("domain-name", "value") => Kind::Domain,
        ("url", "value") => Kind::Url,
        ("network-traffic", "dst_ref.value" | "src_ref.value") => Kind::Ip,
        ("file" | "artifact", hash) => match hash.strip_prefix("hashes.")?.trim_matches(['\'', '"']) {
            "sha-256" | "sha256" => Kind::Sha256,
            "sha-1" | "sha1" => Kind::Sha1,
            "md5" => Kind::Md5,
            _ => return None,
        },
        _ => return None,
    })
}

/// The paths and values of a pattern that is true of each of these values alone: `[a:b = 'x' OR a:b IN ('y', 'z')]`, several
/// of them joined by OR. `None` for every other.
fn comparisons(pattern: &str) -> Option<Vec<(String, String)>> {
    let mut words = words(pattern)?.into_iter().peekable();
    let mut found = Vec::new();
    loop {
        if words.next()? != Word::Sign('[') {
            return None;
        }
        loop {
            let Word::Bare(path) = words.next()? else { return None };
            match words.next()? {
                Word::Sign('=') => found.push((path, words.next()?.text()?)),
                Word::Bare(word) if word == "IN" => {
                    if words.next()? != Word::Sign('(') {
                        return None;
                    }
                    loop {
                        found.push((path.clone(), words.next()?.text()?));
                        match words.next()? {
                            Word::Sign(',') => {}
                            Word::Sign(')') => break,
                            _ => return None,
                        }
                    }
                }
                _ => return None,
            }
            match words.next()? {
                Word::Bare(word) if word == "OR" => {}
                Word::Sign(']') => break,
                _ => return None,
            }
        }
        match words.next() {
            None => return Some(found),
            Some(Word::Bare(word)) if word == "OR" => {}
            Some(_) => return None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Sign(char),
    Bare(String),
    Text(String),
}

impl Word {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A path may have quotes inside, `file:hashes.'SHA-256'`; a text begins with one.
fn words(pattern: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\r' | '\n' => {}
            '[' | ']' | '(' | ')' | '=' | ',' => words.push(Word::Sign(char)),
            '\'' => {
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        '\\' => text.push(chars.next()?),
                        char => text.push(char),
                    }
                }
                words.push(Word::Text(text));
            }
            first => {
                let mut word = String::from(first);
                let mut quoted = false;
                while let Some(next) = chars.peek() {
                    if !quoted && (next.is_whitespace() || "[](),=!<>".contains(*next)) {
                        break;
                    }
                    quoted ^= *next == '\'';
                    word.extend(chars.next());
                }
                words.push(Word::Bare(word));
            }
        }
    }
    Some(words)
}
