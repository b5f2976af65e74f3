//! Rules' selections and conditions.

use std::collections::{HashMap, HashSet};

use rsigma_parser::{Detection, Detections, Quantifier, SelectorPattern, SigmaRule};

use super::{
    Notes, Places,
    condition::{self, Condition, Name, selects},
    item::{self, sigma_value},
    metadata::{Metadata, WITH_ARRAYS, log_source},
};
use crate::{
    finding::{Meant, nearest},
    yaml::{Data, Node},
};

pub(super) fn read(file: &str, document: &mut Node, notes: &mut Notes) -> Option<(SigmaRule, Places)> {
    if document.get("detection").is_none() {
        let mut keys = document.map().unwrap_or_default().iter().filter_map(|(key, _)| key.text());
        let near = keys.rfind(|key| nearest(key, ["detection", "correlation", "filter"]).is_some());
        let meant = near.map(|key| format!("; `{key}` was probably meant to be it")).unwrap_or_default();
        let message = format!("this is no Sigma rule: it has no `detection`, `correlation` or `filter`{meant}");
        notes.error(document.at, "no-rule", message);
        return None;
    }
    let metadata = Metadata::read(document, notes);
    let logsource = log_source(document, notes).unwrap_or_default();
    let source = document.get("logsource").map_or(document.at, |node| node.at);
    let node = take(document, "detection")?;
    let detection = detections(file, &node, &[], has_arrays(metadata.sigma_version), notes)?;
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
    let rule = SigmaRule {
        title,
        logsource,
        detection,
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
    };
    Some((rule, Places { at: document.at, source, references: Vec::new(), detection: node }))
}

pub(super) fn has_arrays(sigma_version: Option<u32>) -> bool {
    sigma_version.is_some_and(|major| major >= WITH_ARRAYS)
}

/// Takes a key's value out of a document.
pub(super) fn take(document: &mut Node, key: &str) -> Option<Node> {
    let Data::Map(entries) = &mut document.data else { return None };
    let at = entries.iter().position(|(known, _)| known.scalar().is_some_and(|known| known.text == key))?;
    Some(entries.remove(at).1)
}

/// Reads what has selections and a condition; the keys in `besides` are neither.
pub(super) fn detections(
    file: &str,
    node: &Node,
    besides: &[&str],
    has_arrays: bool,
    notes: &mut Notes,
) -> Option<Detections> {
    let Some(entries) = node.map() else {
        notes.error(
            node.at,
            "detection",
            format!("the selections are {}; write a map of selections and a condition", node.kind()),
        );
        return None;
    };
    let mut named = HashMap::new();
    let mut keys = Vec::new();
    for (key, value) in entries {
        let name = key.scalar().map_or("", |key| &*key.text);
        if name == "condition" || besides.contains(&name) {
            continue;
        }
        if name == "timeframe" && value.scalar().is_some() {
            let message =
                "`timeframe` belongs to Sigma's old way of counting, which nothing evaluates; write a correlation rule";
            notes.warn(key.at, "timeframe", message);
            continue;
        }
        let selection = selection(file, (key, value), has_arrays, notes);
        keys.push((name, key));
        named.extend(selection.map(|selection| (name.to_owned(), selection)));
    }
    let Some(written) = node.get("condition").filter(|node| !node.is_null()) else {
        let near = keys.iter().find(|(name, _)| nearest(name, ["condition"]).is_some());
        let (at, meant) = near.map_or((node.at, None), |(_, key)| (key.at, Some("condition")));
        notes.error(at, "condition", format!("there is no condition; write `condition: selection`{}", Meant(meant)));
        return None;
    };
    let written = written.list().unwrap_or(std::slice::from_ref(written));
    if written.is_empty() || keys.is_empty() {
        let message = if keys.is_empty() {
            "there is no selection; write one above the condition"
        } else {
            "there is no condition"
        };
        notes.error(node.at, "condition", message);
        return None;
    }
    let (mut conditions, mut condition_strings) = (Vec::new(), Vec::new());
    let mut used = HashSet::new();
    for node in written {
        let Some(text) = node.text() else {
            notes.error(node.at, "condition", format!("a condition is a text, and this is {}", node.kind()));
            continue;
        };
        match condition::read(text) {
            Ok(Condition { expr, names }) => {
                names.iter().for_each(|name| resolve(file, node, name, &keys, &mut used, notes));
                conditions.push(expr);
                condition_strings.push(text.to_owned());
            }
            Err(unread) => notes.error(node.place_within(file, unread.offset), "condition", unread.message),
        }
    }
    for (name, key) in keys.iter().filter(|(name, _)| !used.contains(name)) {
        notes.warn(
            key.at,
            "unused-selection",
            format!("the condition does not name `{name}`, which therefore decides nothing"),
        );
    }
    Some(Detections { named, conditions, condition_strings, timeframe: None })
}

/// Finds the selections that a name in the condition means.
fn resolve<'k>(
    file: &str,
    condition: &Node,
    name: &Name,
    keys: &[(&'k str, &Node)],
    used: &mut HashSet<&'k str>,
    notes: &mut Notes,
) {
    let known = || keys.iter().map(|(known, _)| *known);
    let at = || condition.place_within(file, name.offset);
    let Name { name, of, .. } = name;
    let Some(quantifier) = of else {
        match known().find(|known| known == name) {
            Some(known) => drop(used.insert(known)),
            None => {
                let meant = Meant(nearest(name, known()));
                notes.error(
                    at(),
                    "unknown-selection",
                    format!("the condition names `{name}`, which is no selection{meant}"),
                );
            }
        }
        return;
    };
    let pattern = if name == "them" { SelectorPattern::Them } else { SelectorPattern::Pattern(name.clone()) };
    let chosen: Vec<_> = known().filter(|known| selects(&pattern, known)).collect();
    let least = match quantifier {
        Quantifier::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX),
        Quantifier::Any | Quantifier::All => 1,
    };
    if chosen.is_empty() {
        // Without what is after the star, a name is often near.
        let stem = |text: &str| text.split(['*', '_']).next().unwrap_or_default().to_owned();
        let stems: Vec<_> = known().map(stem).collect();
        let meant = nearest(&stem(name), stems.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("; did you mean `{meant}*`?")).unwrap_or_default();
        notes.error(at(), "unknown-selection", format!("no selection's name fits `{name}`{meant}"));
    } else if chosen.len() < least {
        let message = format!(
            "`{least} of {name}` is never true: {} such",
            match chosen.len() {
                1 => "there is one".to_owned(),
                count => format!("there are {count}"),
            }
        );
        notes.error(at(), "unknown-selection", message);
    }
    used.extend(chosen);
}

/// Reads a selection: a map, of which all lines must be true; a list of maps or keywords, of which one must; or a keyword.
pub(super) fn selection(
    file: &str,
    (key, node): (&Node, &Node),
    has_arrays: bool,
    notes: &mut Notes,
) -> Option<Detection> {
    match &node.data {
        Data::Map(entries) if entries.is_empty() => empty(key, notes),
        Data::Map(entries) => {
            let items: Vec<_> =
                entries.iter().filter_map(|(key, value)| item::read(file, key, value, has_arrays, notes)).collect();
            (items.len() == entries.len()).then_some(Detection::AllOf(items))
        }
        Data::List(list) if list.is_empty() => empty(key, notes),
        Data::List(list) if list.iter().all(|node| node.scalar().is_some()) => keywords(list, notes),
        Data::List(list) => {
            let parts: Vec<_> =
                list.iter().filter_map(|node| selection(file, (node, node), has_arrays, notes)).collect();
            (parts.len() == list.len()).then_some(Detection::AnyOf(parts))
        }
        Data::Scalar(_) if node.is_null() => empty(key, notes),
        Data::Scalar(_) => keywords(std::slice::from_ref(node), notes),
    }
}

fn empty(key: &Node, notes: &mut Notes) -> Option<Detection> {
    notes.error(key.at, "empty-selection", "the selection is empty; write what is looked for, or take it away");
    None
}

fn keywords(nodes: &[Node], notes: &mut Notes) -> Option<Detection> {
    let before = notes.errors.len();
    let mut values = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(scalar) = node.scalar() else { continue };
        if node.is_null() {
            notes.error(node.at, "keyword", "null is no keyword; write the text that is looked for");
        }
        if scalar.text.trim().is_empty() {
            notes.warn(node.at, "empty-value", "an empty keyword is in every event; write what is looked for");
        }
        values.push(sigma_value(scalar, false));
    }
    (notes.errors.len() == before).then_some(Detection::Keywords(values))
}
