//! Correlations: rules over several events, read and checked, with the places of what they name.
//!
//! Whether what they name is there can be told once all files are read: [`Correlation::resolve`].

use std::collections::HashMap;

use rsigma_parser::{
    ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, FieldAlias, Timespan, WindowMode,
};

use super::{Notes, condition, filter::references, metadata::Metadata};
use crate::{
    finding::{Meant, Place, nearest},
    yaml::{Node, Typed},
};

const TYPES: [(&str, CorrelationType); 8] = [
    ("event_count", CorrelationType::EventCount),
    ("value_count", CorrelationType::ValueCount),
    ("temporal", CorrelationType::Temporal),
    ("temporal_ordered", CorrelationType::TemporalOrdered),
    ("value_sum", CorrelationType::ValueSum),
    ("value_avg", CorrelationType::ValueAvg),
    ("value_percentile", CorrelationType::ValuePercentile),
    ("value_median", CorrelationType::ValueMedian),
];

const OPERATORS: [(&str, ConditionOperator); 6] = [
    ("lt", ConditionOperator::Lt),
    ("lte", ConditionOperator::Lte),
    ("gt", ConditionOperator::Gt),
    ("gte", ConditionOperator::Gte),
    ("eq", ConditionOperator::Eq),
    ("neq", ConditionOperator::Neq),
];

/// The keys of a correlation; `generate` stands beside it, and is taken here, too.
const KEYS: [&str; 10] =
    ["type", "rules", "group-by", "timespan", "timeframe", "condition", "aliases", "generate", "window", "gap"];

/// The longest time span, in milliseconds: a year and a day.
const LONGEST_MS: i64 = 366 * 86_400_000;

/// The most fields that a correlation groups by or counts together.
const MOST_FIELDS: usize = 16;

/// A correlation with the places of its parts.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    /// It, as pipelines change it; its condition's bounds, percentile and time span are below.
    pub(crate) rule: CorrelationRule,
    /// The document.
    pub(crate) at: Place,
    pub(crate) timespan_ms: i64,
    /// What the condition compares with.
    pub(crate) bounds: Vec<(ConditionOperator, f64)>,
    pub(crate) percentile: Option<f64>,
    /// Where the condition is written; where it is left out, the correlation.
    pub(crate) condition_at: Place,
    /// The rules that it names, …
    pub(crate) rules: Vec<(String, Place)>,
    /// … those that its condition names, …
    pub(crate) in_condition: Vec<(String, Place)>,
    /// … and those that its aliases name.
    pub(crate) in_aliases: Vec<(String, Place)>,
}

/// A condition that was read.
struct ReadCondition {
    condition: CorrelationCondition,
    bounds: Vec<(ConditionOperator, f64)>,
    percentile: Option<f64>,
    at: Place,
    names: Vec<(String, Place)>,
}

pub(super) fn read(file: &str, document: &Node, notes: &mut Notes) -> Option<Correlation> {
    let metadata = Metadata::read(document, notes);
    let (key, node) = document.entry("correlation")?;
    let Some(entries) = node.map() else {
        notes.error(
            key.at,
            "correlation",
            format!("`correlation` is {}; write a map with `type`, `rules`, `timespan`", node.kind()),
        );
        return None;
    };
    for (key, _) in entries {
        let name = key.scalar().map_or("", |key| &*key.text);
        if !KEYS.contains(&name) {
            let meant = Meant(nearest(name, KEYS));
            notes.warn(
                key.at,
                "unknown-key",
                format!("`{name}` means nothing in a correlation and is passed over{meant}"),
            );
        }
    }
    let correlation_type = correlation_type(key, node, notes);
    let rules = references(node.get("rules"), "rules", notes);
    let timespan_ms = timespan(key, node, notes);
    window(document, node, notes);
    let condition = condition(file, (key, node), correlation_type, notes);
    let is_extended =
        condition.as_ref().is_some_and(|read| matches!(read.condition, CorrelationCondition::Extended(_)));
    if rules.is_empty() && !is_extended {
        notes.error(key.at, "correlation", "the correlation names no rules; write `rules: [their ids or names]`");
    }
    let mut in_aliases = Vec::new();
    let aliases = aliases(node.get("aliases"), &mut in_aliases, notes);
    let group_by = group_by(key, node, notes);
    if group_by.len() > MOST_FIELDS {
        notes.error(
            key.at,
            "group-by",
            format!("`group-by` has {} fields, and {MOST_FIELDS} are the most", group_by.len()),
        );
    }
    let generate = generate(document, node, notes);
    let Metadata {
        title,
        sigma_version,
        id,
        name,
        related,
        taxonomy,
        status,
        description,
        license,
        author,
        references,
        date,
        modified,
        fields,
        falsepositives,
        level,
        tags,
        scope,
        custom_attributes,
    } = metadata;
    let ReadCondition { condition, bounds, percentile, at: condition_at, names: in_condition } = condition?;
    let rule = CorrelationRule {
        title,
        sigma_version,
        id,
        name,
        status,
        description,
        author,
        date,
        modified,
        related,
        references,
        taxonomy,
        license,
        tags,
        fields,
        falsepositives,
        level,
        scope,
        correlation_type: correlation_type?,
        rules: rules.iter().map(|(name, _)| name.clone()).collect(),
        group_by,
        timespan: Timespan::parse("1s").ok()?,
        window: WindowMode::Sliding,
        gap: None,
        condition,
        aliases,
        generate,
        custom_attributes,
    };
    let (at, timespan_ms) = (document.at, timespan_ms?);
    Some(Correlation { rule, at, timespan_ms, bounds, percentile, condition_at, rules, in_condition, in_aliases })
}

fn correlation_type(key: &Node, node: &Node, notes: &mut Notes) -> Option<CorrelationType> {
    let names = TYPES.map(|(name, _)| name);
    let Some(written) = node.get("type") else {
        notes.error(key.at, "correlation", format!("the correlation has no `type`; write one of {}", names.join(", ")));
        return None;
    };
    let text = written.text().unwrap_or_default();
    let found = TYPES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    if found.is_none() {
        let meant = Meant(nearest(text, names));
        notes.error(
            written.at,
            "correlation",
            format!("`{text}` is no type of correlation; write one of {}{meant}", names.join(", ")),
        );
    }
    found
}

/// A time span in milliseconds: digits and one lower-case letter (Sigma 2.1 §Time Selection).
fn timespan(key: &Node, node: &Node, notes: &mut Notes) -> Option<i64> {
    let Some(written) = node.get("timespan").or_else(|| node.get("timeframe")) else {
        notes.error(key.at, "timespan", "the correlation has no `timespan`; write `timespan: 5m`");
        return None;
    };
    let text = written.scalar().map_or("", |scalar| &*scalar.text);
    let unit = match text.as_bytes().last() {
        Some(b's') => 1_000,
        Some(b'm') => 60_000,
        Some(b'h') => 3_600_000,
        Some(b'd') => 86_400_000,
        _ => 0,
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let is_span = unit > 0 && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let span = if is_span { digits.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(unit) } else { 0 };
    match span {
        1..=LONGEST_MS => Some(span),
        0 => {
            let message = format!("`{text}` is no time span; write a number and one of s, m, h and d: `5m`");
            notes.error(written.at, "timespan", message);
            None
        }
        _ => {
            notes.error(written.at, "timespan", format!("`{text}` is longer than a year; write a shorter time span"));
            None
        }
    }
}

/// Other windows than sliding ones are no part of Sigma, and nothing evaluates them.
fn window(document: &Node, node: &Node, notes: &mut Notes) {
    for name in ["window", "gap"] {
        let Some(written) = document.get(&format!("rsigma.{name}")).or_else(|| node.get(name)) else { continue };
        if name == "gap" || written.text() != Some("sliding") {
            let message =
                format!("windows slide, as Sigma says, and `{name}` would have them do otherwise; take it away");
            notes.error(written.at, "correlation", message);
        }
    }
}

fn group_by(key: &Node, node: &Node, notes: &mut Notes) -> Vec<String> {
    let Some(written) = node.get("group-by").filter(|node| !node.is_null()) else {
        let near =
            node.map().unwrap_or_default().iter().any(|(key, _)| {
                key.text().is_some_and(|key| key != "group-by" && nearest(key, ["group-by"]).is_some())
            });
        if !near {
            let message =
                "without `group-by` the events of all users and hosts are counted together; write `group-by: [User]`";
            notes.warn(key.at, "group-by", message);
        }
        return Vec::new();
    };
    let list = written.list().unwrap_or(std::slice::from_ref(written));
    let mut fields = Vec::with_capacity(list.len());
    for element in list {
        match element.text() {
            Some(field) => fields.push(field.to_owned()),
            None => notes.error(
                element.at,
                "group-by",
                format!("`group-by` is a list of fields, and this is {}", element.kind()),
            ),
        }
    }
    fields
}

fn generate(document: &Node, node: &Node, notes: &mut Notes) -> bool {
    let Some(written) = document.get("generate").or_else(|| node.get("generate")) else { return false };
    match written.scalar().map(|scalar| scalar.value) {
        Some(Typed::Bool(generate)) => generate,
        _ => {
            notes.error(
                written.at,
                "correlation",
                format!("`generate` is `true` or `false`, and this is {}", written.kind()),
            );
            false
        }
    }
}

fn condition(
    file: &str,
    (key, node): (&Node, &Node),
    kind: Option<CorrelationType>,
    notes: &mut Notes,
) -> Option<ReadCondition> {
    let is_temporal = matches!(kind, Some(CorrelationType::Temporal | CorrelationType::TemporalOrdered));
    let threshold = |field| CorrelationCondition::Threshold { predicates: Vec::new(), field, percentile: None };
    let Some(written) = node.get("condition").filter(|node| !node.is_null()) else {
        if is_temporal || kind.is_none() {
            // Every rule must be true: said once it is known how many there are.
            let (bounds, names) = (Vec::new(), Vec::new());
            return Some(ReadCondition { condition: threshold(None), bounds, percentile: None, at: key.at, names });
        }
        notes.error(key.at, "correlation", "the correlation has no condition; write `condition: {gte: 10}`");
        return None;
    };
    if let Some(text) = written.text() {
        if !is_temporal {
            let message = "only temporal correlations have a condition on rules; write a count: `condition: {gte: 10}`";
            notes.error(written.at, "correlation", message);
            return None;
        }
        return match condition::read_of_rules(text) {
            Ok(read) => {
                let place = |name: condition::Name| (name.name, written.place_within(file, name.offset));
                Some(ReadCondition {
                    condition: CorrelationCondition::Extended(read.expr),
                    bounds: Vec::new(),
                    percentile: None,
                    at: written.at,
                    names: read.names.into_iter().map(place).collect(),
                })
            }
            Err(unread) => {
                notes.error(written.place_within(file, unread.offset), "condition", unread.message);
                None
            }
        };
    }
    let Threshold { bounds, field, percentile } = read_threshold(written, kind, notes)?;
    Some(ReadCondition { condition: threshold(field), bounds, percentile, at: written.at, names: Vec::new() })
}

struct Threshold {
    bounds: Vec<(ConditionOperator, f64)>,
    field: Option<Vec<String>>,
    percentile: Option<f64>,
}

fn read_threshold(written: &Node, kind: Option<CorrelationType>, notes: &mut Notes) -> Option<Threshold> {
    let Some(entries) = written.map() else {
        notes.error(
            written.at,
            "correlation",
            format!("the condition is {}; write a map: `condition: {{gte: 10}}`", written.kind()),
        );
        return None;
    };
    let (mut bounds, mut field, mut percentile) = (Vec::new(), None, None);
    let before = notes.errors.len();
    for (key, value) in entries {
        let name = key.scalar().map_or("", |key| &*key.text);
        let number = value.scalar().and_then(|scalar| number(scalar.value));
        match (name, OPERATORS.iter().find(|(known, _)| *known == name), number) {
            (_, Some((_, operator)), Some(number)) => bounds.push((*operator, number)),
            (_, Some(_), None) => {
                let message = format!("`{name}` takes a number, and this is {}", value.kind());
                notes.error(value.at, "correlation", message);
            }
            ("field", ..) => {
                field = counted(value);
                if field.is_none() {
                    let message = format!("`field` is a field's name, and this is {}", value.kind());
                    notes.error(value.at, "correlation", message);
                }
            }
            ("percentile", _, Some(rank)) if (0.0..=100.0).contains(&rank) => percentile = Some(rank),
            ("percentile", ..) => notes.error(value.at, "correlation", "`percentile` is a number from 0 to 100"),
            _ => {
                let known = OPERATORS.map(|(name, _)| name).into_iter().chain(["field", "percentile"]);
                let meant = Meant(nearest(name, known));
                notes.error(
                    key.at,
                    "correlation",
                    format!("`{name}` means nothing in a correlation's condition{meant}"),
                );
            }
        }
    }
    if bounds.is_empty() && notes.errors.len() == before {
        let message = "the condition compares nothing; write one of lt, lte, gt, gte, eq, neq: `gte: 10`";
        notes.error(written.at, "correlation", message);
    }
    let (is_percentile, name) = (kind == Some(CorrelationType::ValuePercentile), kind.map_or("", |kind| kind.as_str()));
    match (is_percentile, percentile) {
        (true, None) => {
            let message = "`value_percentile` compares the value at a percentile, and the condition names none; write `percentile: 95`";
            notes.error(written.at, "correlation", message);
        }
        (false, Some(_)) if kind.is_some() => {
            let message =
                format!("`percentile` is for `value_percentile`, and means nothing to `{name}`; take it away");
            notes.error(written.at, "correlation", message);
        }
        _ => {}
    }
    let wants_field = !matches!(
        kind,
        None | Some(CorrelationType::EventCount | CorrelationType::Temporal | CorrelationType::TemporalOrdered)
    );
    match &field {
        None if wants_field => {
            let message =
                format!("`{name}` counts values of a field, and the condition names none; write `field: User` in it");
            notes.error(written.at, "missing-field", message);
        }
        Some(fields) if fields.len() > MOST_FIELDS => {
            let message = format!("`field` names {} fields, and {MOST_FIELDS} are the most", fields.len());
            notes.error(written.at, "correlation", message);
        }
        Some(fields) if fields.len() > 1 && wants_field && kind != Some(CorrelationType::ValueCount) => {
            let message = format!("`{name}` computes with the numbers of one field, and these are {}", fields.len());
            notes.error(written.at, "correlation", message);
        }
        Some(_) if !wants_field && kind.is_some() => {
            let message = format!("`field` means nothing to `{name}` and is passed over; was `value_count` meant?");
            notes.warn(written.at, "correlation", message);
        }
        _ => {}
    }
    Some(Threshold { bounds, field, percentile })
}

fn number(value: Typed) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "no bound that is meant is beyond 2^53")]
        Typed::Int(number) => Some(number as f64),
        Typed::Float(number) => Some(number).filter(|number| number.is_finite()),
        _ => None,
    }
}

/// The fields that are counted or computed with.
fn counted(value: &Node) -> Option<Vec<String>> {
    let list = value.list().unwrap_or(std::slice::from_ref(value));
    let fields: Option<Vec<_>> = list.iter().map(|field| field.text().map(str::to_owned)).collect();
    fields.filter(|fields| !fields.is_empty())
}

fn aliases(node: Option<&Node>, named: &mut Vec<(String, Place)>, notes: &mut Notes) -> Vec<FieldAlias> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Vec::new() };
    let Some(entries) = node.map() else {
        notes.error(node.at, "correlation", format!("`aliases` is {}; write `alias: {{rule: field}}`", node.kind()));
        return Vec::new();
    };
    let mut aliases = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let mut mapping = HashMap::new();
        for (rule, field) in value.map().unwrap_or_default() {
            let (Some(name), Some(field)) = (rule.text(), field.text()) else { continue };
            named.push((name.to_owned(), rule.at));
            mapping.insert(name.to_owned(), field.to_owned());
        }
        if mapping.is_empty() || mapping.len() < value.map().map_or(0, <[_]>::len) {
            let message = "an alias says which field it is in each rule's events; write `alias: {rule: field}`";
            notes.error(value.at, "correlation", message);
        }
        aliases.extend(key.text().map(|alias| FieldAlias { alias: alias.to_owned(), mapping }));
    }
    aliases
}
