//! Correlations: rules over several events, read and checked, with the places of what they name.
//!
//! Whether what they name is there can be told once all files are read: [`Correlation::resolve`].

use std::collections::HashMap;

use rsigma_parser::{
    ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, FieldAlias, Timespan, WindowMode,
};

use super::{Notes, condition, filter::references, metadata::Metadata};
use crate::{
    finding::{Issue, Meant, Place, nearest},
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

/// A correlation with the places of its parts.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    pub(crate) rule: CorrelationRule,
    /// The document.
    pub(crate) at: Place,
    /// The rules that it, its condition and its aliases name.
    pub(crate) references: Vec<(String, Place)>,
}

impl Correlation {
    /// What it names that is none of these rules.
    pub(crate) fn resolve(
        &self,
        known: &impl Fn(&str) -> bool,
        near: &[&str],
        refused: &impl Fn(&str) -> bool,
    ) -> Option<Issue> {
        let (name, at) = self.references.iter().find(|(name, _)| !known(name))?;
        let message = if refused(name) {
            format!("the rule `{name}` can't be used, so this can't either; mend that first")
        } else {
            let meant = Meant(nearest(name, near.iter().copied()));
            format!("no rule has the id or name `{name}`{meant}")
        };
        Some(Issue::new(*at, "unknown-reference", message))
    }
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
    let mut named = references(node.get("rules"), "rules", notes);
    let rules: Vec<_> = named.iter().map(|(name, _)| name.clone()).collect();
    let timespan = timespan(key, node, notes);
    let (window, gap) = window(document, node, notes);
    let condition = condition(file, (key, node), correlation_type, &mut named, notes);
    if rules.is_empty() && !matches!(condition, Some(CorrelationCondition::Extended(_))) {
        notes.error(key.at, "correlation", "the correlation names no rules; write `rules: [their ids or names]`");
    }
    let aliases = aliases(node.get("aliases"), &mut named, notes);
    let group_by = group_by(key, node, notes);
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
        rules,
        group_by,
        timespan: timespan?,
        window,
        gap,
        condition: condition?,
        aliases,
        generate,
        custom_attributes,
    };
    Some(Correlation { rule, at: document.at, references: named })
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

fn timespan(key: &Node, node: &Node, notes: &mut Notes) -> Option<Timespan> {
    let Some(written) = node.get("timespan").or_else(|| node.get("timeframe")) else {
        notes.error(key.at, "timespan", "the correlation has no `timespan`; write `timespan: 5m`");
        return None;
    };
    span(written, notes)
}

fn span(written: &Node, notes: &mut Notes) -> Option<Timespan> {
    let text = written.scalar().map_or("", |scalar| &*scalar.text);
    let span = Timespan::parse(text).ok().filter(|span| span.count > 0);
    if span.is_none() {
        notes.error(written.at, "timespan", format!("`{text}` is no time span; write a number and s, m, h or d: `5m`"));
    }
    span
}

/// rsigma's own `window` and `gap`, under its namespace or in the correlation.
fn window(document: &Node, node: &Node, notes: &mut Notes) -> (WindowMode, Option<Timespan>) {
    let written = |name: &str| document.get(&format!("rsigma.{name}")).or_else(|| node.get(name));
    let mut mode = WindowMode::default();
    if let Some(window) = written("window") {
        match window.text().map(str::parse) {
            Some(Ok(known)) => mode = known,
            _ => notes.error(window.at, "correlation", "`window` is `sliding`, `tumbling` or `session`"),
        }
    }
    let gap = written("gap").and_then(|gap| span(gap, notes).map(|span| (gap, span)));
    match (mode, &gap) {
        (WindowMode::Session, None) => {
            notes.error(node.at, "correlation", "`window: session` needs a gap that ends it; write `gap: 5m`");
        }
        (WindowMode::Sliding | WindowMode::Tumbling, Some((gap, _))) => {
            notes.error(gap.at, "correlation", "`gap` ends sessions; write `window: session`, or take it away");
        }
        _ => {}
    }
    (mode, gap.map(|(_, span)| span))
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
    named: &mut Vec<(String, Place)>,
    notes: &mut Notes,
) -> Option<CorrelationCondition> {
    let is_temporal = matches!(kind, Some(CorrelationType::Temporal | CorrelationType::TemporalOrdered));
    let Some(written) = node.get("condition").filter(|node| !node.is_null()) else {
        if is_temporal || kind.is_none() {
            // Every rule must be true.
            return Some(CorrelationCondition::Threshold {
                predicates: vec![(ConditionOperator::Gte, 1)],
                field: None,
                percentile: None,
            });
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
        return match condition::read(text) {
            Ok(condition) => {
                named.extend(
                    condition.names.iter().map(|name| (name.name.clone(), written.place_within(file, name.offset))),
                );
                Some(CorrelationCondition::Extended(condition.expr))
            }
            Err(unread) => {
                notes.error(written.place_within(file, unread.offset), "condition", unread.message);
                None
            }
        };
    }
    threshold(written, kind, notes)
}

fn threshold(written: &Node, kind: Option<CorrelationType>, notes: &mut Notes) -> Option<CorrelationCondition> {
    let Some(entries) = written.map() else {
        notes.error(
            written.at,
            "correlation",
            format!("the condition is {}; write a map: `condition: {{gte: 10}}`", written.kind()),
        );
        return None;
    };
    let (mut predicates, mut field, mut percentile) = (Vec::new(), None, None);
    let before = notes.errors.len();
    for (key, value) in entries {
        let name = key.scalar().map_or("", |key| &*key.text);
        let count = value.scalar().and_then(|scalar| match scalar.value {
            Typed::Int(count) => u64::try_from(count).ok(),
            _ => None,
        });
        match (name, OPERATORS.iter().find(|(known, _)| *known == name), count) {
            (_, Some((_, operator)), Some(count)) => predicates.push((*operator, count)),
            (_, Some(_), None) => {
                notes.error(
                    value.at,
                    "correlation",
                    format!("`{name}` takes a whole number, and this is {}", value.kind()),
                );
            }
            ("field", ..) => {
                let list = value.list().unwrap_or(std::slice::from_ref(value));
                let fields: Option<Vec<_>> = list.iter().map(|field| field.text().map(str::to_owned)).collect();
                field = fields.filter(|fields| !fields.is_empty());
                if field.is_none() {
                    notes.error(
                        value.at,
                        "correlation",
                        format!("`field` is a field's name, and this is {}", value.kind()),
                    );
                }
            }
            ("percentile", _, Some(rank)) if rank <= 100 => percentile = Some(rank),
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
    if predicates.is_empty() && notes.errors.len() == before {
        notes.error(
            written.at,
            "correlation",
            "the condition compares nothing; write one of lt, lte, gt, gte, eq, neq: `gte: 10`",
        );
    }
    let wants_field = !matches!(
        kind,
        None | Some(CorrelationType::EventCount | CorrelationType::Temporal | CorrelationType::TemporalOrdered)
    );
    if wants_field && field.is_none() {
        let name = kind.map_or("", |kind| kind.as_str());
        let message =
            format!("`{name}` counts values of a field, and the condition names none; write `field: User` in it");
        notes.error(written.at, "missing-field", message);
    }
    Some(CorrelationCondition::Threshold { predicates, field, percentile })
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
