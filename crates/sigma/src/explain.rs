//! Why a rule is true of an event, or is not: each line of each selection made a rule of its own and tried by the matcher.

use std::collections::BTreeMap;

use cybervault_model::TelemetryEvent;
use rsigma_parser::{Detection, DetectionItem, Modifier, SigmaValue};
use serde::Serialize;

use crate::{
    condition::{Expr, lower_conditions},
    finding::{Place, RuleFinding},
    load::{Found, Rule, RuleFile, RuleMeta, RulePack, RuleSource, find_rule},
    mapping::Mappings,
    matcher::Matcher,
    modifier::{LowerError, lower_item},
    pipeline::Pipelines,
    read::modifier_name,
    route::Routing,
    scratch::Scratch,
};

/// How many single values of a rule are tried; the rest are told of together.
const MAX_VALUES: usize = 5_000;

/// How many of a field's values in the event are shown.
const MAX_SHOWN: usize = 8;

/// Where the rule as a whole stands.
const WHOLE: usize = 0;

/// One rule, taken apart.
#[derive(Debug)]
pub struct Explainer {
    matcher: Matcher,
    meta: RuleMeta,
    conditions: Vec<String>,
    selections: Vec<Selection>,
}

/// A selection; numbers are places in the matcher's rules.
#[derive(Debug)]
struct Selection {
    name: String,
    whole: usize,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    alternative: usize,
    field: Option<String>,
    modifiers: String,
    all: bool,
    whole: usize,
    values: Vec<(String, Option<usize>)>,
}

/// What is to be said of an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Whether the rule is true of it.
    pub fires: bool,
    /// Whether the rule is tried on events of its log sources. If not, the rest is what it would be if every rule were tried
    /// on every event.
    pub tried: bool,
    /// The event's log sources, `product/service/category` with `-` for what there is not.
    pub log_sources: Vec<String>,
    /// The rule's.
    pub wanted: String,
    /// What joins the selections.
    pub conditions: Vec<String>,
    /// Each selection, sorted by name; a filter's with its title before.
    pub selections: Vec<ExplainedSelection>,
}

/// What is to be said of a selection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedSelection {
    /// The name.
    pub name: String,
    /// Whether it is true.
    pub holds: bool,
    /// Its lines.
    pub lines: Vec<ExplainedLine>,
}

/// What is to be said of a line of a selection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedLine {
    /// From 0: which of the selection's alternatives it is part of, where it has several.
    pub alternative: usize,
    /// The field; none for keywords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The modifiers, `|` between.
    pub modifiers: String,
    /// Whether all values must be met, not just one.
    pub all: bool,
    /// Whether it is true.
    pub holds: bool,
    /// The values that are met.
    pub met: Vec<String>,
    /// How many are not.
    pub unmet: usize,
    /// The first of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_unmet: Option<String>,
    /// What the event has of the field: the first few values.
    pub found: Vec<String>,
}

impl Explainer {
    /// Takes the rule of this id, name or title apart, as `pipelines` change it.
    ///
    /// # Errors
    /// When there is no such rule, or it can't be used.
    pub fn new<'a>(
        files: impl IntoIterator<Item = RuleFile<'a>>,
        pipelines: &Pipelines,
        mappings: &Mappings,
        rule: &str,
    ) -> Result<Self, RuleFinding> {
        let Found { meta, rule, filters } = find_rule(files, pipelines, rule)?;
        let mut parts = Parts { meta: meta.clone(), rules: Vec::new(), values: 0 };
        // Its condition is not known yet.
        parts.add(Expr::Any(Vec::new()));
        let mut selections = Vec::new();
        let own = [(String::new(), rule.detection)];
        let mut whole = Vec::new();
        let mut conditions = Vec::new();
        for (title, detections) in own.into_iter().chain(filters) {
            let before = if title.is_empty() { title } else { format!("{title}: ") };
            let failed = |error: LowerError| RuleFinding {
                path: meta.path.clone(),
                line: None,
                column: None,
                code: error.code,
                message: error.message,
            };
            whole.push(lower_conditions(&detections.named, &detections.conditions).map_err(failed)?);
            conditions.extend(detections.conditions.iter().map(|condition| format!("{before}{condition}")));
            let sorted: BTreeMap<_, _> = detections.named.iter().collect();
            for (name, detection) in sorted {
                let alone = [(name.clone(), detection.clone())].into();
                let condition = rsigma_parser::ConditionExpr::Identifier(name.clone());
                let expr = lower_conditions(&alone, &[condition]).map_err(failed)?;
                let mut selection =
                    Selection { name: format!("{before}{name}"), whole: parts.add(expr), lines: vec![] };
                parts.lines(detection, &mut 0, &mut selection.lines);
                selections.push(selection);
            }
        }
        parts.rules[WHOLE].expr = Expr::all(whole);
        let pack = RulePack { rules: parts.rules, ..RulePack::default() };
        Ok(Self { matcher: Matcher::compile(&pack, mappings), meta, conditions, selections })
    }

    /// The rule.
    pub fn rule(&self) -> &RuleMeta {
        &self.meta
    }

    /// What a thread needs to call [`Self::explain`].
    pub fn scratch(&self) -> Scratch {
        self.matcher.scratch()
    }

    /// Says why the rule is true of the event, or is not.
    pub fn explain(&self, event: &TelemetryEvent<'_>, routing: Routing, scratch: &mut Scratch) -> Explanation {
        let sources = self.matcher.log_sources(event);
        let tried = routing == Routing::Off || sources.iter().any(|source| self.meta.logsource.covers(source));
        let routing = if tried { routing } else { Routing::Off };
        let mut true_ones = vec![false; self.matcher.rules().len()];
        for hit in self.matcher.matches(event, routing, scratch) {
            true_ones[hit.get()] = true;
        }
        let fields = self.matcher.fields(event, scratch);
        let line = |line: &Line| {
            let is_met = |value: &&(String, Option<usize>)| value.1.is_some_and(|rule| true_ones[rule]);
            let (met, unmet): (Vec<_>, Vec<_>) = line.values.iter().partition(is_met);
            let found = line.field.as_ref().map(|field| fields.values(field)).unwrap_or_default();
            ExplainedLine {
                alternative: line.alternative,
                field: line.field.clone(),
                modifiers: line.modifiers.clone(),
                all: line.all,
                holds: true_ones[line.whole],
                met: met.into_iter().map(|(value, _)| value.clone()).collect(),
                unmet: unmet.len(),
                first_unmet: unmet.first().map(|(value, _)| value.clone()),
                found: found.into_iter().take(MAX_SHOWN).map(Into::into).collect(),
            }
        };
        let selection = |selection: &Selection| ExplainedSelection {
            name: selection.name.clone(),
            holds: true_ones[selection.whole],
            lines: selection.lines.iter().map(line).collect(),
        };
        Explanation {
            fires: tried && true_ones[WHOLE],
            tried,
            log_sources: sources.iter().map(RuleSource::to_string).collect(),
            wanted: self.meta.logsource.to_string(),
            conditions: self.conditions.clone(),
            selections: self.selections.iter().map(selection).collect(),
        }
    }
}

/// The rules that parts of a rule become.
struct Parts {
    meta: RuleMeta,
    rules: Vec<Rule>,
    values: usize,
}

impl Parts {
    fn add(&mut self, expr: Expr) -> usize {
        self.rules.push(Rule { meta: self.meta.clone(), source_at: Place::START, expr });
        self.rules.len() - 1
    }

    /// Adds the lines of a selection; those of a list are alternatives.
    fn lines(&mut self, detection: &Detection, alternative: &mut usize, lines: &mut Vec<Line>) {
        match detection {
            Detection::AllOf(items) => {
                lines.extend(items.iter().filter_map(|item| self.line(item, *alternative)));
            }
            Detection::And(parts) => parts.iter().for_each(|part| self.lines(part, alternative, lines)),
            Detection::AnyOf(parts) => {
                for part in parts {
                    self.lines(part, alternative, lines);
                    *alternative += 1;
                }
            }
            Detection::Keywords(values) => {
                let field = rsigma_parser::FieldSpec::new(None, Vec::new());
                lines.extend(self.line(&DetectionItem { field, values: values.clone() }, *alternative));
            }
            // Rules with these can't be used.
            Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {}
        }
    }

    /// `None` only for what can't be compiled, and then the rule could not be either.
    fn line(&mut self, item: &DetectionItem, alternative: usize) -> Option<Line> {
        let whole = self.add(lower_item(item).ok()?);
        let single = |value: &SigmaValue| {
            let mut field = item.field.clone();
            field.modifiers.retain(|modifier| *modifier != Modifier::All);
            lower_item(&DetectionItem { field, values: vec![value.clone()] }).ok()
        };
        let mut values = Vec::with_capacity(item.values.len());
        for value in &item.values {
            self.values += 1;
            let rule = if item.values.len() == 1 {
                Some(whole)
            } else {
                single(value).filter(|_| self.values <= MAX_VALUES).map(|expr| self.add(expr))
            };
            values.push((value.to_string(), rule));
        }
        let names = item.field.modifiers.iter().filter(|modifier| **modifier != Modifier::All);
        Some(Line {
            alternative,
            field: item.field.name.clone(),
            modifiers: names.map(|modifier| modifier_name(*modifier)).collect::<Vec<_>>().join("|"),
            all: item.field.modifiers.contains(&Modifier::All),
            whole,
            values,
        })
    }
}
