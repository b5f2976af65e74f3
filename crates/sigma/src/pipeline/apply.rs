//! Pipelines applied to a rule.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rsigma_parser::{CorrelationRule, Detections, LogSource, SigmaRule};
use yaml_serde::Value;

use super::{
    Item, Pipelines, Transformation,
    detection::{Change, DetectionItem, Section},
    fields, placeholders, rule, values,
};

/// What items leave behind for later ones, and what they all may use.
#[derive(Debug)]
pub(super) struct Context<'p> {
    pub(super) vars: &'p BTreeMap<String, Vec<Value>>,
    pub(super) state: BTreeMap<String, Value>,
    /// The ids of items that were applied to the rule.
    pub(super) applied: BTreeSet<String>,
    /// The ids of items that have changed a field's name outside of selections.
    pub(super) applied_to_names: BTreeMap<String, BTreeSet<String>>,
    /// Every field that has been mapped, and what it became.
    pub(super) mapped: BTreeSet<String>,
}

/// What a pipeline is applied to.
#[derive(Debug)]
pub(super) enum Document {
    Rule(Box<SigmaRule>),
    /// With the log sources of the rules that it refers to.
    Correlation(Box<CorrelationRule>, Vec<LogSource>),
}

impl Document {
    pub(super) fn log_sources(&self) -> &[LogSource] {
        match self {
            Self::Rule(rule) => std::slice::from_ref(&rule.logsource),
            Self::Correlation(_, sources) => sources,
        }
    }

    pub(super) fn tags(&self) -> &[String] {
        match self {
            Self::Rule(rule) => &rule.tags,
            Self::Correlation(rule, _) => &rule.tags,
        }
    }

    pub(super) fn fields_mut(&mut self) -> &mut Vec<String> {
        match self {
            Self::Rule(rule) => &mut rule.fields,
            Self::Correlation(rule, _) => &mut rule.fields,
        }
    }

    pub(super) fn custom_attributes_mut(&mut self) -> &mut HashMap<String, Value> {
        match self {
            Self::Rule(rule) => &mut rule.custom_attributes,
            Self::Correlation(rule, _) => &mut rule.custom_attributes,
        }
    }
}

/// A rule on its way through the items.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) document: Document,
    /// The rule's own selections and conditions, then those of the filters for it, which are changed alike.
    pub(super) sections: Vec<Section>,
}

impl Subject {
    /// Whether any detection item passes.
    pub(super) fn any_item(&self, test: &mut impl FnMut(&DetectionItem) -> bool) -> bool {
        let nodes = self.sections.iter().flat_map(|section| section.selections.values().flatten());
        nodes.into_iter().any(|node| node.any(test))
    }
}

impl Pipelines {
    /// Applies every item to a rule and the filters for it.
    ///
    /// # Errors
    /// With what an item says where it refuses the rule or can't do what it should.
    pub(crate) fn apply(
        &self,
        mut rule: SigmaRule,
        filters: Vec<Detections>,
    ) -> Result<(SigmaRule, Vec<Detections>), String> {
        let empty =
            Detections { named: HashMap::new(), conditions: vec![], condition_strings: vec![], timeframe: None };
        let own = std::mem::replace(&mut rule.detection, empty);
        let sections = std::iter::once(own).chain(filters).map(Section::of).collect();
        let subject = self.run(Document::Rule(Box::new(rule)), sections)?;
        let Document::Rule(mut rule) = subject.document else { return Err("a rule became something else".to_owned()) };
        let mut sections = subject.sections.into_iter().map(Section::into_detections);
        if let Some(own) = sections.next() {
            rule.detection = own?;
        }
        Ok((*rule, sections.collect::<Result<_, _>>()?))
    }

    /// Applies every item to a correlation rule; `sources` are the log sources of the rules that it refers to.
    ///
    /// # Errors
    /// As for rules.
    pub(crate) fn apply_to_correlation(
        &self,
        rule: CorrelationRule,
        sources: Vec<LogSource>,
    ) -> Result<CorrelationRule, String> {
        let subject = self.run(Document::Correlation(Box::new(rule), sources), Vec::new())?;
        match subject.document {
            Document::Correlation(rule, _) => Ok(*rule),
            Document::Rule(_) => Err("a correlation rule became something else".to_owned()),
        }
    }

    fn run(&self, document: Document, sections: Vec<Section>) -> Result<Subject, String> {
        let mut subject = Subject { document, sections };
        let mut context = Context {
            vars: &self.vars,
            state: BTreeMap::new(),
            applied: BTreeSet::new(),
            applied_to_names: BTreeMap::new(),
            mapped: BTreeSet::new(),
        };
        for item in &self.items {
            item.apply(&mut subject, &mut context)?;
        }
        Ok(subject)
    }
}

impl Item {
    fn apply(&self, subject: &mut Subject, context: &mut Context<'_>) -> Result<(), String> {
        let anyway = self.rule.conditions.is_empty();
        if anyway || self.rule.holds(|condition| condition.holds_for_rule(subject, context))? {
            self.transform(subject, context)?;
            context.applied.extend(self.id.clone());
        }
        Ok(())
    }

    fn transform(&self, subject: &mut Subject, context: &mut Context<'_>) -> Result<(), String> {
        match &self.transformation {
            Transformation::FieldNameMapping { .. }
            | Transformation::FieldNamePrefixMapping { .. }
            | Transformation::FieldNamePrefix { .. }
            | Transformation::FieldNameSuffix { .. } => {
                fields::map_document(self, &mut subject.document, context)?;
                self.each_item(subject, context, |item, context| fields::map_item(self, item, context))
            }
            Transformation::DropDetectionItem {} => self.each_item(subject, context, |_, _| Ok(Some(Change::Drop))),
            Transformation::DetectionItemFailure { message } => {
                self.each_item(subject, context, |_, _| Err(message.clone()))
            }
            placeholders @ (Transformation::WildcardPlaceholders { .. } | Transformation::ValuePlaceholders { .. }) => {
                self.each_item(subject, context, |item, context| placeholders::fill(placeholders, item, context))
            }
            Transformation::Nest { items } => items.iter().try_for_each(|item| item.apply(subject, context)),
            values @ (Transformation::HashesFields { .. }
            | Transformation::ExtractFields { .. }
            | Transformation::ReplaceString { .. }
            | Transformation::MapString { .. }
            | Transformation::Regex { .. }
            | Transformation::SetValue { .. }
            | Transformation::ConvertType { .. }
            | Transformation::Case { .. }) => self.each_item(subject, context, |item, _| values::change(values, item)),
            whole_rule => rule::transform(whole_rule, subject, context),
        }
    }

    /// Has `change` look at every detection item that meets the conditions; `None` from it says that there was nothing to do.
    fn each_item(
        &self,
        subject: &mut Subject,
        context: &mut Context<'_>,
        mut change: impl FnMut(&mut DetectionItem, &mut Context<'_>) -> Result<Option<Change>, String>,
    ) -> Result<(), String> {
        let mut change = |item: &mut DetectionItem| {
            let concerned = self.item.holds(|condition| Ok(condition.holds(item, context)))?
                && self.field.holds(|condition| Ok(condition.holds_for_item(item, context)))?;
            let changed = if concerned { change(item, context)? } else { None };
            if changed.is_some() {
                item.applied.extend(self.id.clone());
            }
            Ok(changed.unwrap_or(Change::Keep))
        };
        for section in &mut subject.sections {
            for node in section.selections.values_mut() {
                *node = node.take().map(|node| node.rewrite(&mut change)).transpose()?.flatten();
            }
        }
        Ok(())
    }

    /// Whether the conditions on names hold for a name that stands for itself.
    pub(super) fn concerns_name(&self, field: Option<&str>, context: &Context<'_>) -> bool {
        self.field.holds(|condition| Ok(condition.holds_for_name(field, context))).unwrap_or_default()
    }
}
