//! What makes a rule true: predicates joined by and, or, not.

use std::collections::HashMap;

use rsigma_parser::{ConditionExpr, Detection, Quantifier};

use crate::{
    modifier::{LowerError, Step, lower_item, lower_keyword},
    predicate::{Predicate, Scope},
    read::selects,
};

/// How many predicates one rule may have, counted after its selections are put into its condition.
const MAX_PREDICATES: usize = 200_000;

/// A truth value of predicates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Is(Predicate),
    Not(Box<Expr>),
    All(Vec<Expr>),
    /// True where at least one is; never without any.
    Any(Vec<Expr>),
    AtLeast(usize, Vec<Expr>),
}

impl Expr {
    pub(crate) fn all(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 { parts.swap_remove(0) } else { Self::All(parts) }
    }

    pub(crate) fn any(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 { parts.swap_remove(0) } else { Self::Any(parts) }
    }

    /// The number of predicates in it.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Is(_) => 1,
            Self::Not(inner) => inner.size(),
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => parts.iter().map(Self::size).sum(),
        }
    }
}

/// Puts a rule's named selections into its conditions; several conditions are alternatives.
pub(crate) fn lower_conditions(
    named: &HashMap<String, Detection>,
    conditions: &[ConditionExpr],
) -> Result<Expr, LowerError> {
    let mut selections = Vec::with_capacity(named.len());
    for (name, detection) in named {
        let expr = lower_detection(detection).map_err(|mut error| {
            error.message = format!("selection `{name}`: {}", error.message);
            error.within(Step::Selection(name.clone()))
        })?;
        selections.push((name.as_str(), expr));
    }
    // A map's order differs from run to run; evidence and tests should not.
    selections.sort_by_key(|(name, _)| *name);
    if conditions.is_empty() {
        return Err(LowerError::new("condition", "the rule has no condition"));
    }
    let mut budget = MAX_PREDICATES;
    let parts: Result<Vec<_>, _> =
        conditions.iter().map(|condition| lower_condition(condition, &selections, &mut budget)).collect();
    Ok(Expr::any(parts?))
}

fn lower_condition(
    condition: &ConditionExpr,
    selections: &[(&str, Expr)],
    budget: &mut usize,
) -> Result<Expr, LowerError> {
    let mut take = |expr: &Expr| match budget.checked_sub(expr.size()) {
        Some(left) => {
            *budget = left;
            Ok(expr.clone())
        }
        None => {
            let message =
                format!("the condition stands for more than {MAX_PREDICATES} comparisons; make several rules of it");
            Err(LowerError::new("condition", message))
        }
    };
    match condition {
        ConditionExpr::Identifier(name) => match selections.iter().find(|(known, _)| known == name) {
            Some((_, expr)) => take(expr),
            None => {
                let message = format!("the condition names `{name}`, which is no selection");
                Err(LowerError::new("unknown-selection", message))
            }
        },
        ConditionExpr::Not(inner) => Ok(Expr::Not(Box::new(lower_condition(inner, selections, budget)?))),
        ConditionExpr::And(parts) => {
            let parts: Result<Vec<_>, _> = parts.iter().map(|part| lower_condition(part, selections, budget)).collect();
            Ok(Expr::all(parts?))
        }
        ConditionExpr::Or(parts) => {
            let parts: Result<Vec<_>, _> = parts.iter().map(|part| lower_condition(part, selections, budget)).collect();
            Ok(Expr::any(parts?))
        }
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen: Result<Vec<_>, _> =
                selections.iter().filter(|(name, _)| selects(pattern, name)).map(|(_, expr)| take(expr)).collect();
            let chosen = chosen?;
            match quantifier {
                Quantifier::Any | Quantifier::Count(1) => Ok(Expr::any(chosen)),
                // An `all` of nothing would be true of every event.
                Quantifier::All if chosen.is_empty() => {
                    let message = format!("the condition asks for all of `{pattern}`, which is no selection");
                    Err(LowerError::new("unknown-selection", message))
                }
                Quantifier::All => Ok(Expr::all(chosen)),
                Quantifier::Count(0) => {
                    Err(LowerError::new("condition", "the condition asks for 0 of something: always true"))
                }
                Quantifier::Count(count) => Ok(Expr::AtLeast(usize::try_from(*count).unwrap_or(usize::MAX), chosen)),
            }
        }
    }
}

fn lower_detection(detection: &Detection) -> Result<Expr, LowerError> {
    let joined = |parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr| {
        if parts.is_empty() { Err(LowerError::new("empty-selection", "it is empty")) } else { Ok(join(parts)) }
    };
    let part = |(at, part): (usize, Result<Expr, LowerError>)| part.map_err(|error| error.within(Step::Part(at)));
    let parts = |parts: &[Detection]| -> Result<Vec<_>, _> {
        parts.iter().map(lower_detection).enumerate().map(part).collect()
    };
    match detection {
        Detection::AllOf(items) => {
            let parts: Result<Vec<_>, _> = items.iter().map(lower_item).enumerate().map(part).collect();
            joined(parts?, Expr::all)
        }
        Detection::And(all) => joined(parts(all)?, Expr::all),
        Detection::AnyOf(any) => joined(parts(any)?, Expr::any),
        Detection::Keywords(values) => {
            let keyword = |value| Ok(Expr::Is(Predicate { scope: Scope::Anywhere, test: lower_keyword(value)? }));
            let parts: Result<Vec<_>, _> = values.iter().map(keyword).enumerate().map(part).collect();
            joined(parts?, Expr::any)
        }
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
            Err(LowerError::new("array-selector", "array selectors (sigma-version 3) are not supported"))
        }
    }
}
