//! Filters: what is taken away from other rules.

use rsigma_parser::{FilterRule, FilterRuleTarget};

use super::{
    Notes, Places,
    detection::{detections, has_arrays, take},
    metadata::{Metadata, log_source},
};
use crate::{finding::Place, yaml::Node};

pub(super) fn read(file: &str, document: &mut Node, notes: &mut Notes) -> Option<(FilterRule, Places)> {
    let metadata = Metadata::read(document, notes);
    let logsource = if document.get("logsource").is_some() { log_source(document, notes) } else { None };
    let node = take(document, "filter")?;
    if node.get("rules").is_none() && node.map().is_some() {
        let message =
            "the filter does not say which rules it is for; write `rules: any`, or a list of their ids or names";
        notes.warn(node.at, "filter", message);
    }
    let references = references(node.get("rules"), "rules", notes);
    let rules = match &references[..] {
        [(only, _)] if only.eq_ignore_ascii_case("any") => FilterRuleTarget::Any,
        [] => FilterRuleTarget::Any,
        names => FilterRuleTarget::Specific(names.iter().map(|(name, _)| name.clone()).collect()),
    };
    let references = if rules == FilterRuleTarget::Any { Vec::new() } else { references };
    let detection = detections(file, &node, &["rules"], has_arrays(metadata.sigma_version), notes)?;
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
        references: sources,
        date,
        modified,
        fields,
        falsepositives,
        level,
        tags,
        scope,
        custom_attributes,
    } = metadata;
    let filter = FilterRule {
        title,
        sigma_version,
        id,
        name,
        taxonomy,
        status,
        description,
        author,
        date,
        modified,
        related,
        license,
        references: sources,
        tags,
        fields,
        falsepositives,
        level,
        scope,
        logsource,
        rules,
        detection,
        custom_attributes,
    };
    Some((filter, Places { at: document.at, source: document.at, references, detection: node }))
}

/// Names of rules, or one such name, each with its place.
pub(super) fn references(node: Option<&Node>, key: &str, notes: &mut Notes) -> Vec<(String, Place)> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Vec::new() };
    let list = node.list().unwrap_or(std::slice::from_ref(node));
    let mut found = Vec::with_capacity(list.len());
    for element in list {
        match element.text() {
            Some(text) => found.push((text.to_owned(), element.at)),
            None => {
                let message = format!("`{key}` names rules by their id or name, and this is {}", element.kind());
                notes.error(element.at, "unknown-reference", message);
            }
        }
    }
    found
}
