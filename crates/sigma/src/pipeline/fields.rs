//! Transformations of field names.

use std::collections::BTreeSet;

use rsigma_parser::{CorrelationCondition, Modifier, SigmaString, SigmaValue};

use super::{
    Item, OneOrMore, Transformation,
    apply::{Context, Document},
    detection::{Change, DetectionItem, Node, add_wildcards},
};

/// What a field becomes; `None` where the transformation has nothing to say of it.
fn target(transformation: &Transformation, field: Option<&str>) -> Option<OneOrMore> {
    match transformation {
        Transformation::FieldNameMapping { mapping } => {
            mapping.0.iter().find(|(from, _)| from.as_deref() == field).map(|(_, to)| to.clone())
        }
        Transformation::FieldNamePrefixMapping { mapping } => {
            let field = field?;
            let (to, rest) =
                mapping.0.iter().find_map(|(from, to)| Some((to, field.strip_prefix(from.as_deref()?)?)))?;
            Some(match to {
                OneOrMore::One(to) => OneOrMore::One(format!("{to}{rest}")),
                OneOrMore::More(to) => OneOrMore::More(to.iter().map(|to| format!("{to}{rest}")).collect()),
            })
        }
        Transformation::FieldNamePrefix { prefix } => Some(OneOrMore::One(format!("{prefix}{}", field?))),
        Transformation::FieldNameSuffix { suffix } => Some(OneOrMore::One(format!("{}{suffix}", field?))),
        _ => None,
    }
}

/// Maps a name that stands outside of selections, or is another field that an item refers to.
fn map_name(item: &Item, field: &str, context: &mut Context<'_>) -> Vec<String> {
    let Some(to) = target(&item.transformation, Some(field)).filter(|_| item.concerns_name(Some(field), context))
    else {
        return vec![field.to_owned()];
    };
    if to.as_slice() != [field] {
        let mut applied = context.applied_to_names.remove(field).unwrap_or_default();
        applied.extend(item.id.clone());
        context.applied_to_names.extend(to.as_slice().iter().map(|to| (to.clone(), applied.clone())));
    }
    to.as_slice().to_vec()
}

/// Maps the names that stand in the document outside of selections.
pub(super) fn map_document(item: &Item, document: &mut Document, context: &mut Context<'_>) -> Result<(), String> {
    let fields = document.fields_mut();
    *fields = fields.iter().flat_map(|field| map_name(item, field, context)).collect();
    let Document::Correlation(rule, _) = document else { return Ok(()) };
    let map_one = |field: &mut String, what: &str, context: &mut Context<'_>| {
        let [to] = <[String; 1]>::try_from(map_name(item, field, context)).map_err(|to| {
            format!("`{field}` becomes {} fields, and stands where there can be one: {what}", to.len())
        })?;
        *field = to;
        Ok::<_, String>(())
    };
    for alias in &mut rule.aliases {
        alias.mapping.values_mut().try_for_each(|field| map_one(field, "in an alias", context))?;
    }
    if let CorrelationCondition::Threshold { field: Some(fields), .. } = &mut rule.condition {
        fields.iter_mut().try_for_each(|field| map_one(field, "in the condition", context))?;
    }
    let aliases = &rule.aliases;
    let mut map = |field: &String| {
        let is_alias = aliases.iter().any(|alias| alias.alias == *field);
        if is_alias { vec![field.clone()] } else { map_name(item, field, context) }
    };
    rule.group_by = rule.group_by.iter().flat_map(&mut map).collect();
    Ok(())
}

/// Maps an item's field, and the fields that its values name.
pub(super) fn map_item(
    step: &Item,
    item: &mut DetectionItem,
    context: &mut Context<'_>,
) -> Result<Option<Change>, String> {
    let mut changed = false;
    if item.modifiers.contains(&Modifier::FieldRef) {
        changed = item.change_values(|value| {
            let name = value.to_string();
            let concerned = step.concerns_name(Some(&name), context);
            let text = |name: String| SigmaValue::String(SigmaString::from_raw(&name));
            Ok(concerned.then(|| map_name(step, &name, context).into_iter().map(text).collect()))
        })?;
    }
    let field = item.field.as_deref();
    let Some(to) = target(&step.transformation, field).filter(|_| step.concerns_name(field, context)) else {
        return Ok(changed.then_some(Change::Keep));
    };
    context.mapped.extend(item.field.iter().chain(to.as_slice()).cloned());
    if item.field.is_none() && item.has_plain_values() {
        // A keyword is found anywhere in a text; in a field it still should be.
        let texts = item.values.iter_mut().filter(|value| matches!(value, SigmaValue::String(_)));
        texts.for_each(|value| add_wildcards(value, true, true));
    }
    Ok(Some(match to {
        OneOrMore::One(to) => {
            item.field = Some(to);
            Change::Keep
        }
        OneOrMore::More(to) => {
            // As in pySigma, what was applied to the item is not known of those that take its place.
            let named = |to| DetectionItem { field: Some(to), applied: BTreeSet::new(), ..item.clone() };
            Change::Replace(Node::Any(to.into_iter().map(|to| Node::Item(named(to))).collect()))
        }
    }))
}
