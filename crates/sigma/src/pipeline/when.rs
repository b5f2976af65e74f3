//! Conditions under which an item applies.

use std::{cmp::Ordering, fmt};

use rsigma_parser::{Modifier, SigmaValue};
use serde::Deserialize;
use yaml_serde::Value;

use super::{
    apply::Context,
    detection::{DetectionItem, string_text},
    expression::Expression,
    python::Pattern,
    sigma_value,
};

/// Conditions, and how they are joined.
#[derive(Clone, Debug)]
pub(super) struct When<C> {
    pub(super) conditions: Vec<C>,
    pub(super) expression: Expression,
    pub(super) negated: bool,
}

impl<C: fmt::Debug> When<C> {
    pub(super) fn holds(&self, mut test: impl FnMut(&C) -> Result<bool, String>) -> Result<bool, String> {
        let count = self.conditions.len();
        let holds = self.expression.holds(count, &mut |at| test(&self.conditions[at]))?;
        Ok(holds != self.negated)
    }
}

/// A condition on the rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RuleCondition {
    Logsource {
        category: Option<String>,
        product: Option<String>,
        service: Option<String>,
    },
    ContainsDetectionItem {
        field: String,
        value: Value,
    },
    ContainsField {
        field: String,
    },
    ProcessingItemApplied {
        processing_item_id: String,
    },
    ProcessingState {
        key: String,
        val: Value,
        #[serde(default)]
        op: Op,
    },
    IsSigmaRule {},
    IsSigmaCorrelationRule {},
    RuleAttribute {
        attribute: String,
        value: Value,
        #[serde(default)]
        op: Op,
    },
    Tag {
        tag: String,
    },
}

/// A condition on a detection item: one line of a selection.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ItemCondition {
    MatchString {
        cond: AnyAll,
        pattern: Pattern,
        #[serde(default)]
        negate: bool,
    },
    MatchValue {
        cond: AnyAll,
        value: Value,
    },
    ContainsWildcard {
        cond: AnyAll,
    },
    IsNull {
        cond: AnyAll,
    },
    ProcessingItemApplied {
        processing_item_id: String,
    },
    ProcessingState {
        key: String,
        val: Value,
        #[serde(default)]
        op: Op,
    },
}

/// A condition on a field's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FieldCondition {
    IncludeFields(Names),
    ExcludeFields(Names),
    ProcessingItemApplied {
        processing_item_id: String,
    },
    ProcessingState {
        key: String,
        val: Value,
        #[serde(default)]
        op: Op,
    },
}

/// Field names, or regular expressions for them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "NamesAsWritten")]
pub(super) enum Names {
    Plain(Vec<String>),
    Patterns(Vec<Pattern>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesAsWritten {
    fields: Vec<String>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Plain,
    Re,
}

impl TryFrom<NamesAsWritten> for Names {
    type Error = String;

    fn try_from(written: NamesAsWritten) -> Result<Self, String> {
        Ok(match written.mode {
            Mode::Plain => Self::Plain(written.fields),
            Mode::Re => Self::Patterns(written.fields.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?),
        })
    }
}

impl Names {
    fn have(&self, field: Option<&str>) -> bool {
        let Some(field) = field else { return false };
        match self {
            Self::Plain(names) => names.iter().any(|name| name == field),
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches_start(field)),
        }
    }
}

/// How many of an item's values must meet a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnyAll {
    Any,
    All,
}

impl AnyAll {
    fn of(self, values: &[SigmaValue], test: impl Fn(&SigmaValue) -> bool) -> bool {
        match self {
            Self::Any => values.iter().any(test),
            Self::All => values.iter().all(test),
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Op {
    #[default]
    Eq,
    Ne,
    Gte,
    Gt,
    Lte,
    Lt,
    In,
    NotIn,
}

impl Op {
    /// Whether an order is one that is asked for.
    pub(super) fn takes(self, order: Ordering) -> bool {
        match self {
            Self::Eq | Self::In => order.is_eq(),
            Self::Ne | Self::NotIn => order.is_ne(),
            Self::Gte => order.is_ge(),
            Self::Gt => order.is_gt(),
            Self::Lte => order.is_le(),
            Self::Lt => order.is_lt(),
        }
    }

    /// Compares a state's value with what a condition wants; what can't be ordered is only unequal.
    fn compares(self, state: &Value, wanted: &Value) -> bool {
        let order = match (state, wanted) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) if a == b => Some(Ordering::Equal),
            _ => None,
        };
        order.map_or(self == Self::Ne, |order| self.takes(order))
    }
}

impl ItemCondition {
    pub(super) fn holds(&self, item: &DetectionItem, context: &Context<'_>) -> bool {
        // What is no text here has been made something else by a modifier.
        let text = |value: &SigmaValue| match value {
            SigmaValue::String(text) if item.has_plain_values() => Some(string_text(&text.parts)),
            _ => None,
        };
        match self {
            Self::MatchString { cond, pattern, negate } => {
                let test = |value: &_| text(value).is_some_and(|text| pattern.matches_start(&text)) != *negate;
                cond.of(&item.values, test)
            }
            Self::MatchValue { cond, value } => {
                let wanted = sigma_value(value);
                cond.of(&item.values, |value| item.has_plain_values() && same_value(value, &wanted))
            }
            Self::ContainsWildcard { cond } => {
                let has = |value: &SigmaValue| match value {
                    SigmaValue::String(text) => item.has_plain_values() && text.contains_wildcards(),
                    _ => false,
                };
                cond.of(&item.values, has)
            }
            Self::IsNull { cond } => cond.of(&item.values, |value| *value == SigmaValue::Null),
            Self::ProcessingItemApplied { processing_item_id } => item.applied.contains(processing_item_id),
            Self::ProcessingState { key, val, op } => context.state_is(key, *op, val),
        }
    }
}

impl FieldCondition {
    pub(super) fn holds_for_name(&self, field: Option<&str>, context: &Context<'_>) -> bool {
        match self {
            Self::IncludeFields(names) => names.have(field),
            Self::ExcludeFields(names) => !names.have(field),
            Self::ProcessingItemApplied { processing_item_id } => {
                let applied = field.and_then(|field| context.applied_to_names.get(field));
                applied.is_some_and(|applied| applied.contains(processing_item_id))
            }
            Self::ProcessingState { key, val, op } => context.state_is(key, *op, val),
        }
    }

    pub(super) fn holds_for_item(&self, item: &DetectionItem, context: &Context<'_>) -> bool {
        if let Self::ProcessingItemApplied { processing_item_id } = self {
            return item.applied.contains(processing_item_id);
        }
        let refers = item.modifiers.contains(&Modifier::FieldRef);
        self.holds_for_name(item.field.as_deref(), context)
            || refers && item.values.iter().any(|value| self.holds_for_name(Some(&value.to_string()), context))
    }
}

impl Context<'_> {
    pub(super) fn state_is(&self, key: &str, op: Op, wanted: &Value) -> bool {
        self.state.get(key).is_some_and(|state| op.compares(state, wanted))
    }
}

/// Whether two values are equal, of the same kind. Texts are compared with their wildcards, however they were written.
pub(super) fn same_value(a: &SigmaValue, b: &SigmaValue) -> bool {
    match (a, b) {
        (SigmaValue::String(a), SigmaValue::String(b)) => a.parts == b.parts,
        #[expect(clippy::cast_precision_loss, reason = "as numbers are compared everywhere here")]
        (SigmaValue::Integer(a), SigmaValue::Float(b)) | (SigmaValue::Float(b), SigmaValue::Integer(a)) => {
            *a as f64 == *b
        }
        (a, b) => a == b,
    }
}
