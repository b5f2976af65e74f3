//! A selection's line, `Field|modifier|…: values`, with what its modifiers take.

use rsigma_parser::{DetectionItem, FieldSpec, Modifier, SigmaValue};

use super::Notes;
use crate::{
    finding::{Meant, nearest},
    modifier::check_modifiers,
    yaml::{Data, Node, Scalar, Typed},
};

/// Every modifier by the names that rules may write (Sigma 2.1, modifiers appendix), the usual one first.
const MODIFIERS: [(&str, Modifier); 35] = [
    ("contains", Modifier::Contains),
    ("startswith", Modifier::StartsWith),
    ("endswith", Modifier::EndsWith),
    ("all", Modifier::All),
    ("exists", Modifier::Exists),
    ("cased", Modifier::Cased),
    ("neq", Modifier::Neq),
    ("windash", Modifier::WindAsh),
    ("re", Modifier::Re),
    ("i", Modifier::IgnoreCase),
    ("ignorecase", Modifier::IgnoreCase),
    ("m", Modifier::Multiline),
    ("multiline", Modifier::Multiline),
    ("s", Modifier::DotAll),
    ("dotall", Modifier::DotAll),
    ("base64", Modifier::Base64),
    ("base64offset", Modifier::Base64Offset),
    ("utf16le", Modifier::Wide),
    ("wide", Modifier::Wide),
    ("utf16be", Modifier::Utf16be),
    ("utf16", Modifier::Utf16),
    ("lt", Modifier::Lt),
    ("lte", Modifier::Lte),
    ("gt", Modifier::Gt),
    ("gte", Modifier::Gte),
    ("minute", Modifier::Minute),
    ("hour", Modifier::Hour),
    ("day", Modifier::Day),
    ("week", Modifier::Week),
    ("month", Modifier::Month),
    ("year", Modifier::Year),
    ("cidr", Modifier::Cidr),
    ("expand", Modifier::Expand),
    ("fieldref", Modifier::FieldRef),
    // Nothing is near it: it is what people write for `neq`.
    ("not", Modifier::Neq),
];

/// A modifier as rules write it.
pub(crate) fn modifier_name(modifier: Modifier) -> &'static str {
    MODIFIERS.iter().find(|(_, known)| *known == modifier).map_or("", |(name, _)| name)
}

/// Reads a line; `None` where something is wrong with it, which is noted.
pub(super) fn read(file: &str, key: &Node, value: &Node, has_arrays: bool, notes: &mut Notes) -> Option<DetectionItem> {
    let written = key.scalar().filter(|key| key.value != Typed::Null).map_or("", |key| &*key.text);
    let mut parts = written.split('|');
    let name = parts.next().unwrap_or_default();
    if has_arrays && name.ends_with(']') && name.contains('[') {
        let message = format!(
            "`{name}`: array selectors (sigma-version 3) are not supported; a field's value is looked for in \
             every element of a list already"
        );
        notes.error(key.at, "array-selector", message);
        return None;
    }
    let mut modifiers = Vec::new();
    let mut offset = name.len();
    for part in parts {
        offset += 1;
        let place = || key.place_within(file, offset);
        match MODIFIERS.iter().find(|(name, _)| *name == part) {
            Some(("not", _)) => {
                let message =
                    "`not` is no modifier; write `|neq`, or `not` before the selection's name in the condition";
                notes.error(place(), "unknown-modifier", message);
                return None;
            }
            Some((_, modifier)) => modifiers.push(*modifier),
            None => {
                let names = MODIFIERS.iter().map(|(name, _)| *name);
                let meant = Meant(nearest(part, names.filter(|name| name.len() > 1 && *name != "not")));
                notes.error(place(), "unknown-modifier", format!("`{part}` is no modifier{meant}"));
                return None;
            }
        }
        offset += part.len();
    }
    let field = FieldSpec::new((!name.is_empty()).then(|| name.to_owned()), modifiers);
    if let Err(error) = check_modifiers(&field) {
        notes.error(key.at, error.code, error.message);
        return None;
    }
    let nodes = nodes(name, value, notes)?;
    let line = Line { field: &field, key, nodes };
    line.warn(notes);
    let values = line.values(notes)?;
    Some(DetectionItem { field, values })
}

/// The values of a line: one, or a list of such.
fn nodes<'n>(name: &str, value: &'n Node, notes: &mut Notes) -> Option<&'n [Node]> {
    let list = match &value.data {
        Data::Scalar(_) => std::slice::from_ref(value),
        Data::List(list) if list.is_empty() => {
            notes.error(value.at, "no-value", "there is no value in this list; write one, or take the line away");
            return None;
        }
        Data::List(list) => list,
        Data::Map(entries) => {
            notes.error(value.at, "nested-map", nested(name, entries));
            return None;
        }
    };
    if let Some(inner) = list.iter().find(|inner| inner.scalar().is_none()) {
        let message = match &inner.data {
            Data::Map(entries) => nested(name, entries),
            _ => "a list in a list is no value; write all values in one list".to_owned(),
        };
        notes.error(inner.at, "nested-map", message);
        return None;
    }
    Some(list)
}

/// What to write instead of a map under a field.
fn nested(name: &str, entries: &[(Node, Node)]) -> String {
    let key = entries.first().and_then(|(key, _)| key.scalar()).map_or("", |key| &*key.text);
    let (first, _) = key.split_once('|').unwrap_or((key, ""));
    let is_modifier = MODIFIERS.iter().any(|(name, _)| *name == first);
    let instead = if is_modifier { format!("{name}|{key}") } else { format!("{name}.{key}") };
    format!("a field has a value or a list of values, not a map; write `{instead}: …`")
}

/// A line whose modifiers are known.
struct Line<'n> {
    field: &'n FieldSpec,
    key: &'n Node,
    nodes: &'n [Node],
}

impl Line<'_> {
    fn has(&self, modifier: Modifier) -> bool {
        self.field.has_modifier(modifier)
    }

    /// Notes what is taken, but is probably not meant.
    fn warn(&self, notes: &mut Notes) {
        let at = self.key.at;
        if self.has(Modifier::All) && self.nodes.len() == 1 {
            notes.warn(at, "single-all", "`all` joins several values, and there is one; take `|all` away");
        }
        let is_text_op =
            |modifier: &Modifier| matches!(modifier, Modifier::Contains | Modifier::StartsWith | Modifier::EndsWith);
        let is_encoding = |modifier: &Modifier| {
            use Modifier::{Base64, Base64Offset, Utf16, Utf16be, Wide};
            matches!(modifier, Base64 | Base64Offset | Utf16 | Utf16be | Wide)
        };
        let modifiers = &self.field.modifiers;
        let operator = modifiers.iter().position(is_text_op);
        let encoding = modifiers.iter().rposition(is_encoding);
        if let (Some(operator), Some(encoding)) = (operator, encoding)
            && operator < encoding
        {
            let (one, other) = (modifier_name(modifiers[encoding]), modifier_name(modifiers[operator]));
            notes.warn(at, "modifier-order", format!("modifiers are applied in their order; write `{one}|{other}`"));
        }
        for node in self.nodes {
            let Some(scalar) = node.scalar() else { continue };
            if scalar.value == Typed::Null && self.nodes.len() > 1 {
                let message =
                    "null is part of no list (Sigma 2.1 §Special Field Values); write a selection of its own for it";
                notes.warn(node.at, "null-in-list", message);
            }
            if let Typed::Int(number) = scalar.value
                && scalar.text.starts_with("0x")
            {
                let message = format!("{0} is the number {number}; write '{0}' to look for the text", scalar.text);
                notes.warn(node.at, "hexadecimal", message);
            }
            if scalar.value == Typed::Text && scalar.text.is_empty() && operator.is_some() && encoding.is_none() {
                let name = modifier_name(modifiers[operator.unwrap_or_default()]);
                notes.warn(
                    node.at,
                    "empty-value",
                    format!("every text {name} an empty one; write `''` without `|{name}`, or a value"),
                );
            }
        }
    }

    /// The values, if the modifiers take them all.
    fn values(&self, notes: &mut Notes) -> Option<Vec<SigmaValue>> {
        let before = notes.errors.len();
        if self.has(Modifier::Exists) {
            return self.exists(notes);
        }
        let mut values = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let Some(scalar) = node.scalar() else { continue };
            for modifier in &self.field.modifiers {
                if let Some(message) = refused(*modifier, scalar, node.kind()) {
                    notes.error(node.at, "modifier-value", message);
                    break;
                }
            }
            values.push(sigma_value(scalar, self.has(Modifier::Re)));
        }
        (notes.errors.len() == before).then_some(values)
    }

    fn exists(&self, notes: &mut Notes) -> Option<Vec<SigmaValue>> {
        let [node] = self.nodes else {
            notes.error(self.key.at, "modifier-value", "`exists` takes one value; write `true` or `false`");
            return None;
        };
        let scalar = node.scalar()?;
        let expected = match scalar.value {
            Typed::Bool(expected) => Some(expected),
            // In YAML 1.1, which many tools read, these were truth values.
            _ if scalar.is_plain => match scalar.text.to_lowercase().as_str() {
                "yes" | "on" => Some(true),
                "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        let Some(expected) = expected else {
            let message =
                format!("`exists` takes `true` or `false`, and this is {}; write it without quotes", node.kind());
            notes.error(node.at, "modifier-value", message);
            return None;
        };
        if scalar.value == Typed::Text {
            notes.warn(node.at, "modifier-value", format!("`{}` is taken as `{expected}`; write that", scalar.text));
        }
        Some(vec![SigmaValue::Bool(expected)])
    }
}

/// Why the modifier does not take the value, and what to write instead.
fn refused(modifier: Modifier, scalar: &Scalar, kind: &str) -> Option<String> {
    use Modifier::{
        Base64, Base64Offset, Cidr, Contains, Day, EndsWith, Expand, FieldRef, Gt, Gte, Hour, Lt, Lte, Minute, Month,
        Re, StartsWith, Utf16, Utf16be, Week, Wide, WindAsh, Year,
    };
    let (name, text) = (modifier_name(modifier), &scalar.text);
    let is_number = matches!(scalar.value, Typed::Int(_) | Typed::Float(_));
    match modifier {
        Base64 | Base64Offset | Wide | Utf16 | Utf16be | WindAsh | Re | Cidr | Expand | FieldRef
            if scalar.value != Typed::Text =>
        {
            let instead = if scalar.value == Typed::Null { String::new() } else { format!("; write '{text}'") };
            Some(format!("`{name}` takes a text, and this is {kind}{instead}"))
        }
        Contains | StartsWith | EndsWith if scalar.value != Typed::Text && !is_number => {
            let instead = if scalar.value == Typed::Null {
                "; write null without modifiers".to_owned()
            } else {
                format!("; write '{text}'")
            };
            Some(format!("`{name}` takes a text, and this is {kind}{instead}"))
        }
        Lt | Lte | Gt | Gte => match scalar.value {
            Typed::Int(_) => None,
            Typed::Float(number) if !number.is_nan() => None,
            _ if text.parse::<f64>().is_ok() => {
                Some(format!("`{name}` compares numbers, and this is {kind}; write {text} without quotes"))
            }
            _ => Some(format!("`{name}` compares numbers, and this is {kind}; write a number")),
        },
        Minute | Hour | Day | Week | Month | Year => {
            let (first, last) = match modifier {
                Minute => (0, 59),
                Hour => (0, 23),
                Day => (1, 31),
                // The specification says 52; by ISO 8601 some years have one more.
                Week => (1, 53),
                Month => (1, 12),
                _ => (-9999, 9999),
            };
            match scalar.value {
                Typed::Int(number) if (first..=last).contains(&number) => None,
                Typed::Int(_) => Some(format!("a {name} is a number from {first} to {last}; {text} is never true")),
                _ if text.parse::<i64>().is_ok() => {
                    Some(format!("`{name}` takes a number, and this is {kind}; write {text} without quotes"))
                }
                _ => Some(format!("`{name}` takes a whole number, and this is {kind}")),
            }
        }
        _ => None,
    }
}

/// A scalar as a value of a rule.
pub(super) fn sigma_value(scalar: &Scalar, is_raw: bool) -> SigmaValue {
    match scalar.value {
        Typed::Null => SigmaValue::Null,
        Typed::Bool(truth) => SigmaValue::Bool(truth),
        Typed::Float(number) => SigmaValue::Float(number),
        // What does not fit in 64 bits stays as it is written.
        Typed::Int(number) => {
            i64::try_from(number).map_or_else(|_| SigmaValue::from_raw_string(&number.to_string()), SigmaValue::Integer)
        }
        Typed::Text if is_raw => SigmaValue::from_raw_string(&scalar.text),
        Typed::Text => SigmaValue::String(rsigma_parser::SigmaString::new(&scalar.text)),
    }
}
