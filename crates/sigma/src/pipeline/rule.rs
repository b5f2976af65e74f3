//! Conditions on rules, and transformations of rules as a whole.

use std::collections::BTreeSet;

use rsigma_parser::{ConditionExpr, Detection, LogSource, Status};
use yaml_serde::{Mapping, Value};

use super::{
    Transformation,
    apply::{Context, Document, Subject},
    detection::Node,
    sigma_value,
    when::{Op, RuleCondition, same_value},
};

impl RuleCondition {
    pub(super) fn holds_for_rule(&self, subject: &Subject, context: &Context<'_>) -> Result<bool, String> {
        Ok(match self {
            Self::Logsource { category, product, service } => {
                let fits = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
                subject.document.log_sources().iter().any(|own| {
                    fits(category, &own.category) && fits(product, &own.product) && fits(service, &own.service)
                })
            }
            Self::ContainsField { field } => subject.any_item(&mut |item| item.field.as_ref() == Some(field)),
            Self::ContainsDetectionItem { field, value } => {
                let wanted = sigma_value(value);
                subject.any_item(&mut |item| {
                    let is_there = || item.values.iter().any(|value| same_value(value, &wanted));
                    item.field.as_ref() == Some(field) && item.has_plain_values() && is_there()
                })
            }
            Self::ProcessingItemApplied { processing_item_id } => context.applied.contains(processing_item_id),
            Self::ProcessingState { key, val, op } => context.state_is(key, *op, val),
            Self::IsSigmaRule {} => matches!(subject.document, Document::Rule(_)),
            Self::IsSigmaCorrelationRule {} => matches!(subject.document, Document::Correlation(..)),
            Self::Tag { tag } => subject.document.tags().contains(tag),
            Self::RuleAttribute { attribute, value, op } => attribute_is(&subject.document, attribute, *op, value)
                .map_err(|reason| format!("the condition on the rule's attribute `{attribute}`: {reason}"))?,
        })
    }
}

/// Compares an attribute of the rule. One that the rule has not is never as wanted.
fn attribute_is(document: &Document, attribute: &str, op: Op, wanted: &Value) -> Result<bool, String> {
    let Some(own) = document.attribute(attribute)? else { return Ok(false) };
    let wanted_text = sigma_value(wanted).to_string();
    let ranked = |ranks: &[&str]| {
        let rank = |text: &str| ranks.iter().position(|rank| *rank == text);
        let own = own.as_str().and_then(rank);
        let wanted = rank(&wanted_text).ok_or_else(|| format!("`{wanted_text}` is none of {}", ranks.join(", ")))?;
        Ok(own.is_some_and(|own| op.takes(own.cmp(&wanted))))
    };
    match (attribute, &own) {
        ("level", _) => ranked(&["informational", "low", "medium", "high", "critical"]),
        ("status", _) => ranked(&["unsupported", "deprecated", "experimental", "test", "stable"]),
        (_, Value::Sequence(list)) => Ok(match op {
            Op::In => list.contains(wanted),
            Op::NotIn => !list.contains(wanted),
            // A list is not equal to one value, nor before or after it.
            op => op == Op::Ne,
        }),
        ("date" | "modified", Value::String(own)) => {
            let date = |text: &str| text.replace('/', "-").parse::<jiff::civil::Date>();
            let date = |text: &str| date(text).map_err(|_| format!("`{text}` is no date"));
            Ok(op.takes(date(own)?.cmp(&date(&wanted_text)?)))
        }
        (_, Value::Number(own)) => {
            let wanted: f64 = wanted_text.parse().map_err(|_| format!("`{wanted_text}` is no number"))?;
            let order = own.as_f64().and_then(|own| own.partial_cmp(&wanted));
            Ok(order.is_some_and(|order| op.takes(order)))
        }
        (_, own) => {
            let equal = match own {
                Value::String(own) => *own == wanted_text,
                own => own == wanted,
            };
            match op {
                Op::Eq => Ok(equal),
                Op::Ne => Ok(!equal),
                _ => Err("it is equal (`eq`) or not (`ne`), and nothing else".to_owned()),
            }
        }
    }
}

impl Document {
    fn attribute(&self, name: &str) -> Result<Option<Value>, String> {
        let list = |texts: &[String]| Some(Value::Sequence(texts.iter().cloned().map(Value::String).collect()));
        let text = |text: Option<&String>| text.cloned().map(Value::String);
        let status = |status: Option<Status>| status.map(|status| Value::String(format!("{status:?}").to_lowercase()));
        macro_rules! common {
            ($rule:expr) => {
                match name {
                    "title" => text(Some(&$rule.title)),
                    "id" => text($rule.id.as_ref()),
                    "name" => text($rule.name.as_ref()),
                    "taxonomy" => text($rule.taxonomy.as_ref()),
                    "description" => text($rule.description.as_ref()),
                    "license" => text($rule.license.as_ref()),
                    "author" => text($rule.author.as_ref()),
                    "date" => text($rule.date.as_ref()),
                    "modified" => text($rule.modified.as_ref()),
                    "level" => $rule.level.map(|level| Value::String(level.as_str().to_owned())),
                    "status" => status($rule.status),
                    "references" => list(&$rule.references),
                    "fields" => list(&$rule.fields),
                    "falsepositives" => list(&$rule.falsepositives),
                    "tags" => list(&$rule.tags),
                    "scope" => list(&$rule.scope),
                    "logsource" | "detection" | "related" | "correlation" => {
                        return Err("it is no plain value".to_owned());
                    }
                    custom => $rule.custom_attributes.get(custom).cloned(),
                }
            };
        }
        Ok(match self {
            Self::Rule(rule) => common!(rule),
            Self::Correlation(rule, _) => common!(rule),
        })
    }
}

/// Applies a transformation that is not about single items or names.
pub(super) fn transform(
    transformation: &Transformation,
    subject: &mut Subject,
    context: &mut Context<'_>,
) -> Result<(), String> {
    match transformation {
        Transformation::AddCondition { conditions, name, template, negated } => {
            if let Document::Rule(rule) = &subject.document {
                let conditions = if *template { filled(conditions, &rule.logsource) } else { conditions.clone() };
                add_condition(subject, selection(&conditions)?, name.as_deref(), *negated);
            }
        }
        Transformation::ChangeLogsource { category, product, service } => {
            if let Document::Rule(rule) = &mut subject.document {
                rule.logsource = LogSource {
                    category: category.clone(),
                    product: product.clone(),
                    service: service.clone(),
                    ..LogSource::default()
                };
            }
        }
        Transformation::AddField { field } => subject.document.fields_mut().extend_from_slice(field.as_slice()),
        Transformation::RemoveField { field } => {
            subject.document.fields_mut().retain(|own| !field.as_slice().contains(own));
        }
        Transformation::SetField { fields } => subject.document.fields_mut().clone_from(fields),
        Transformation::SetState { key, val } => drop(context.state.insert(key.clone(), val.clone())),
        Transformation::RuleFailure { message } => return Err(message.clone()),
        Transformation::SetCustomAttribute { attribute, value } => {
            subject.document.custom_attributes_mut().insert(attribute.clone(), value.clone());
        }
        Transformation::StrictFieldMappingFailure {} => {
            let mut unmapped = BTreeSet::new();
            subject.any_item(&mut |item| {
                unmapped.extend(item.field.clone().filter(|field| !context.mapped.contains(field)));
                false
            });
            if !unmapped.is_empty() {
                let fields: Vec<_> = unmapped.into_iter().collect();
                return Err(format!("no pipeline maps these fields: {}", fields.join(", ")));
            }
        }
        // The others are about items and names.
        _ => {}
    }
    Ok(())
}

/// The selection that `add_condition` adds, read as one of a rule.
pub(super) fn selection(conditions: &Mapping) -> Result<Detection, String> {
    let yaml = yaml_serde::to_string(conditions).map_err(|error| error.to_string())?;
    crate::read::selection(&yaml).map_err(|issue| format!("`conditions` are no selection: {}", issue.message))
}

fn add_condition(subject: &mut Subject, selection: Detection, name: Option<&str>, negated: bool) {
    let Some(section) = subject.sections.first_mut() else { return };
    // A name that begins with `_` is not one of `them`.
    let free = (0..).map(|number| format!("_cond_{number}")).find(|name| !section.selections.contains_key(name));
    let Some(name) = name.map(str::to_owned).or(free) else { return };
    section.selections.insert(name.clone(), Some(Node::of(selection)));
    for condition in &mut section.conditions {
        let added = ConditionExpr::Identifier(name.clone());
        let added = if negated { ConditionExpr::Not(Box::new(added)) } else { added };
        *condition = ConditionExpr::And(vec![added, condition.clone()]);
    }
}

/// Puts the rule's log source into the texts of a template.
fn filled(conditions: &Mapping, source: &LogSource) -> Mapping {
    let fill = |text: &str| {
        let parts = [("category", &source.category), ("product", &source.product), ("service", &source.service)];
        parts.into_iter().fold(text.to_owned(), |text, (name, value)| {
            let value = value.as_deref().unwrap_or_default();
            text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
        })
    };
    let fill_value = |value: &Value| match value {
        Value::String(text) => Value::String(fill(text)),
        other => other.clone(),
    };
    let entry = |(key, value): (&Value, &Value)| {
        let value = match value {
            Value::Sequence(list) => Value::Sequence(list.iter().map(fill_value).collect()),
            value => fill_value(value),
        };
        (key.clone(), value)
    };
    conditions.iter().map(entry).collect()
}
