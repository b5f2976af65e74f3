//! Transformations of values.

use std::collections::BTreeMap;

use rsigma_parser::{Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};
use yaml_serde::Value;

use super::{
    Case, Kind, RegexMethod, Transformation,
    detection::{Change, DetectionItem, Node, string, string_text},
    python::Pattern,
    sigma_value,
};

/// Applies a transformation of values; `None` where it has nothing to do.
pub(super) fn change(transformation: &Transformation, item: &mut DetectionItem) -> Result<Option<Change>, String> {
    let changed = match transformation {
        Transformation::ReplaceString { regex, replacement, skip_special, interpret_special } => {
            let sub = |text: &str| regex.replace_all(text, replacement);
            let replace = |text: &SigmaString| {
                if *skip_special { in_parts(text, *interpret_special, sub) } else { in_whole(text, sub) }
            };
            // A number is a text here, and stays one.
            number_to_text(item)?;
            item.change_texts(|text| Ok(Some(vec![SigmaValue::String(replace(text))])))?
        }
        Transformation::MapString { mapping } => item.change_texts(|text| {
            let to = mapping.get(&string_text(&text.parts));
            Ok(to.map(|to| to.as_slice().iter().map(|to| SigmaValue::String(SigmaString::new(to))).collect()))
        })?,
        Transformation::Case { method } => {
            let change = |text: &str| with_case(text, *method);
            item.change_texts(|text| Ok(Some(vec![SigmaValue::String(in_parts(text, false, change))])))?
        }
        Transformation::SetValue { value, force_type } => {
            let value = fixed_value(value, *force_type)?;
            item.modifiers.retain(|modifier| matches!(modifier, Modifier::All | Modifier::Neq));
            item.set_values(vec![value])?;
            true
        }
        Transformation::ConvertType { target_type: Kind::Str } => number_to_text(item)?,
        Transformation::ConvertType { target_type: Kind::Num } => {
            item.change_texts(|text| Ok(Some(vec![number(&string_text(&text.parts))?])))?
        }
        Transformation::Regex { method } => return Ok(to_regex(item, *method)),
        Transformation::HashesFields { valid_hash_algos, field_prefix, drop_algo_prefix, field_to_parse } => {
            let field = item.field.as_ref().filter(|field| field_to_parse.contains(field));
            let texts = field.and_then(|_| all_texts(item));
            let Some(texts) = texts else { return Ok(None) };
            let field = |algorithm: &str| {
                let name = if *drop_algo_prefix { "" } else { algorithm };
                format!("{field_prefix}{name}")
            };
            return hashes(&texts, valid_hash_algos, field).map(|node| Some(Change::Replace(node)));
        }
        Transformation::ExtractFields { regex, field_prefix, preserve_unmatched } => {
            let extracted = extract(item, regex, field_prefix.as_deref(), *preserve_unmatched);
            return Ok(extracted.map(Change::Replace));
        }
        _ => false,
    };
    Ok(changed.then_some(Change::Keep))
}

/// Changes each plain part of a text; the result's own wildcards are such if `interpret`.
fn in_parts(text: &SigmaString, interpret: bool, change: impl Fn(&str) -> String) -> SigmaString {
    let part = |part: &StringPart| match part {
        StringPart::Plain(text) if interpret => SigmaString::new(&change(text)).parts,
        StringPart::Plain(text) => vec![StringPart::Plain(change(text))],
        special => vec![special.clone()],
    };
    string(text.parts.iter().flat_map(part).collect())
}

/// Changes a text with its wildcards; what the result has of them are wildcards, unless a backslash stands before.
fn in_whole(text: &SigmaString, change: impl Fn(&str) -> String) -> SigmaString {
    let changed = change(&string_text(&text.parts));
    let mut escaped = String::with_capacity(changed.len());
    let mut rest = changed.chars().peekable();
    while let Some(character) = rest.next() {
        escaped.push(character);
        // Only a wildcard takes a backslash for an escape; any other is a character of the text.
        if character == '\\' && !matches!(rest.peek(), Some('*' | '?')) {
            escaped.push('\\');
        }
    }
    SigmaString::new(&escaped)
}

fn with_case(text: &str, case: Case) -> String {
    match case {
        Case::Lower => text.to_lowercase(),
        Case::Upper => text.to_uppercase(),
        Case::Snake => {
            let separated = text.char_indices().flat_map(|(at, character)| {
                let separator = (at > 0 && character.is_ascii_uppercase()).then_some('_');
                separator.into_iter().chain([character])
            });
            separated.collect::<String>().to_lowercase()
        }
    }
}

fn number_to_text(item: &mut DetectionItem) -> Result<bool, String> {
    if !item.has_plain_values() {
        return Ok(false);
    }
    item.change_values(|value| {
        let is_number = matches!(value, SigmaValue::Integer(_) | SigmaValue::Float(_));
        Ok(is_number.then(|| vec![SigmaValue::String(SigmaString::new(&value.to_string()))]))
    })
}

fn number(text: &str) -> Result<SigmaValue, String> {
    let whole = text.parse().map(SigmaValue::Integer).ok();
    let number = whole.or_else(|| text.parse().map(SigmaValue::Float).ok());
    number.ok_or_else(|| format!("`{text}` is to become a number, and is none"))
}

/// The value that `set_value` sets.
pub(super) fn fixed_value(value: &Value, kind: Option<Kind>) -> Result<SigmaValue, String> {
    let wrong = |what: &str| Err(format!("`value` is to be {what}"));
    match (kind, value) {
        (_, Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) => wrong("one plain value"),
        (None, value) => Ok(sigma_value(value)),
        (Some(_), Value::Null | Value::Bool(_)) => wrong("a text or a number where `force_type` is set"),
        (Some(Kind::Str), value) => Ok(SigmaValue::String(SigmaString::new(&sigma_value(value).to_string()))),
        (Some(Kind::Num), value) => number(&sigma_value(value).to_string()),
    }
}

/// Makes regular expressions of the texts. They describe the whole value, as the text did.
fn to_regex(item: &DetectionItem, method: RegexMethod) -> Option<Change> {
    let is_text = |value: &SigmaValue| matches!(value, SigmaValue::String(text) if !text.parts.is_empty());
    let (texts, others): (Vec<_>, Vec<_>) = item.values.iter().cloned().partition(is_text);
    if texts.is_empty() || !item.has_plain_values() {
        return None;
    }
    let expressions = texts.iter().filter_map(|value| match value {
        SigmaValue::String(text) => Some(SigmaValue::from_raw_string(&regex_of(&text.parts, method))),
        _ => None,
    });
    let joining = item.modifiers.iter().filter(|modifier| matches!(modifier, Modifier::All | Modifier::Neq)).copied();
    let mut modifiers: Vec<_> = joining.chain([Modifier::Re, Modifier::DotAll]).collect();
    modifiers.extend((method == RegexMethod::IgnoreCaseFlag).then_some(Modifier::IgnoreCase));
    let expressions = expressions.collect();
    let node = if others.is_empty() {
        Node::Item(DetectionItem { values: expressions, modifiers, ..item.clone() })
    } else {
        item.clone().split(expressions, others, [modifiers, item.modifiers.clone()])
    };
    Some(Change::Replace(node))
}

fn regex_of(parts: &[StringPart], method: RegexMethod) -> String {
    let part = |part: &StringPart| match part {
        StringPart::Special(SpecialChar::WildcardMulti) => ".*".to_owned(),
        StringPart::Special(SpecialChar::WildcardSingle) => ".".to_owned(),
        StringPart::Plain(text) if method == RegexMethod::IgnoreCaseBrackets => {
            let either = |character: char| {
                if character.is_alphabetic() {
                    format!("[{}{}]", character.to_lowercase(), character.to_uppercase())
                } else {
                    regex::escape(character.encode_utf8(&mut [0; 4]))
                }
            };
            text.chars().map(either).collect()
        }
        StringPart::Plain(text) => regex::escape(text),
    };
    format!("^{}$", parts.iter().map(part).collect::<String>())
}

/// The item's values, where all are texts.
fn all_texts(item: &DetectionItem) -> Option<Vec<String>> {
    let text = |value: &SigmaValue| match value {
        SigmaValue::String(text) => Some(string_text(&text.parts)),
        _ => None,
    };
    item.has_plain_values().then(|| item.values.iter().map(text).collect()).flatten()
}

/// `SHA1=…`, or a hash alone, made an item of the algorithm's own field.
fn hashes(texts: &[String], valid: &[String], field: impl Fn(&str) -> String) -> Result<Node, String> {
    let mut fields: BTreeMap<String, Vec<SigmaValue>> = BTreeMap::new();
    for text in texts {
        let parts: Vec<_> = text.split(if text.contains('|') { '|' } else { '=' }).collect();
        let (algorithm, hash) = match *parts.as_slice() {
            [algorithm, hash] => (algorithm.trim_start_matches('*').to_uppercase(), hash),
            _ => (algorithm_of(parts[0].trim_matches(['*', '?'])).to_owned(), parts[0]),
        };
        if valid.contains(&algorithm) {
            let hash = SigmaValue::String(SigmaString::new(hash.trim_matches(['*', '?'])));
            fields.entry(field(&algorithm)).or_default().push(hash);
        }
    }
    if fields.is_empty() {
        return Err(format!("none of the hashes is of a known kind ({})", valid.join(", ")));
    }
    let item = |(field, values): (String, Vec<SigmaValue>)| {
        let field = Some(field).filter(|field| field != "keyword");
        Node::Item(DetectionItem::new(field, values))
    };
    Ok(Node::Any(fields.into_iter().map(item).collect()))
}

fn algorithm_of(hash: &str) -> &'static str {
    match hash.len() {
        32 => "MD5",
        40 => "SHA1",
        64 => "SHA256",
        128 => "SHA512",
        _ => "",
    }
}

/// Makes an item of each named group; `None` where no value has any.
fn extract(item: &DetectionItem, regex: &Pattern, prefix: Option<&str>, keep: bool) -> Option<Node> {
    let mut found = Vec::new();
    for (text, value) in all_texts(item)?.iter().zip(&item.values) {
        let Some(groups) = regex.named_groups(text) else {
            let kept = DetectionItem::new(item.field.clone(), vec![value.clone()]);
            found.extend(keep.then_some(Node::Item(kept)));
            continue;
        };
        let groups = groups.into_iter().map(|(name, value)| {
            let field = prefix.map_or_else(|| name.to_owned(), |prefix| format!("{prefix}.{name}"));
            Node::Item(DetectionItem::new(Some(field), vec![group_value(value)]))
        });
        let groups: Vec<_> = groups.collect();
        found.extend((!groups.is_empty()).then_some(Node::All(groups)));
    }
    let join = if item.modifiers.contains(&Modifier::All) { Node::All } else { Node::Any };
    (!found.is_empty()).then(|| join(found))
}

/// A group's value: null, a number unless it has a leading zero, or a text.
fn group_value(text: &str) -> SigmaValue {
    if ["null", "none"].contains(&text.to_lowercase().as_str()) {
        return SigmaValue::Null;
    }
    let as_text = || SigmaValue::String(SigmaString::new(text));
    if text != "0" && text.starts_with('0') { as_text() } else { number(text).unwrap_or_else(|_| as_text()) }
}
