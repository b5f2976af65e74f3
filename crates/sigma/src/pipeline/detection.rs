//! A rule's selections in a form that can be rewritten item by item.

use std::collections::{BTreeMap, BTreeSet};

use rsigma_parser::{
    ConditionExpr, Detection, Detections, FieldSpec, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart,
};

/// A line of a selection.
///
/// As in pySigma, `contains`, `startswith` and `endswith` are wildcards in its values by now: transformations and conditions
/// see these. What other modifiers make of a value is left to the compiler, and its texts are no texts to pipelines.
#[derive(Clone, Debug)]
pub(super) struct DetectionItem {
    /// `None` for keywords.
    pub(super) field: Option<String>,
    pub(super) modifiers: Vec<Modifier>,
    pub(super) values: Vec<SigmaValue>,
    /// The ids of the pipeline's items that have changed it.
    pub(super) applied: BTreeSet<String>,
}

/// A selection.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Item(DetectionItem),
    All(Vec<Self>),
    Any(Vec<Self>),
    /// What no pipeline knows of.
    Fixed(Detection),
}

/// What becomes of an item.
pub(super) enum Change {
    /// It stays, or was changed in place.
    Keep,
    Drop,
    Replace(Node),
}

impl DetectionItem {
    pub(super) fn new(field: Option<String>, values: Vec<SigmaValue>) -> Self {
        Self { field, modifiers: Vec::new(), values, applied: BTreeSet::new() }
    }

    fn of(item: rsigma_parser::DetectionItem) -> Self {
        let mut item = Self { modifiers: item.field.modifiers, ..Self::new(item.field.name, item.values) };
        item.write_out_wildcards();
        item
    }

    /// Makes wildcards of `contains`, `startswith` and `endswith`.
    fn write_out_wildcards(&mut self) {
        let has = |modifier: Modifier| self.modifiers.contains(&modifier);
        let before = has(Modifier::Contains) || has(Modifier::EndsWith);
        let after = has(Modifier::Contains) || has(Modifier::StartsWith);
        let positional =
            |modifier: &Modifier| matches!(modifier, Modifier::Contains | Modifier::StartsWith | Modifier::EndsWith);
        let others = self.modifiers.iter().filter(|modifier| !positional(modifier));
        if !others.clone().all(is_plain) || !(before || after) {
            return;
        }
        self.modifiers = others.copied().collect();
        for value in &mut self.values {
            add_wildcards(value, before, after);
        }
    }

    /// Whether the values are what the rule says, not something that a modifier makes of them.
    pub(super) fn has_plain_values(&self) -> bool {
        self.modifiers.iter().all(is_plain)
    }

    /// Changes the texts among the values, each into any number; true if there was any to change.
    pub(super) fn change_texts(
        &mut self,
        mut change: impl FnMut(&SigmaString) -> Result<Option<Vec<SigmaValue>>, String>,
    ) -> Result<bool, String> {
        if !self.has_plain_values() {
            return Ok(false);
        }
        self.change_values(|value| match value {
            SigmaValue::String(text) => change(text),
            _ => Ok(None),
        })
    }

    /// Changes values, each into any number; true if any was changed.
    pub(super) fn change_values(
        &mut self,
        mut change: impl FnMut(&SigmaValue) -> Result<Option<Vec<SigmaValue>>, String>,
    ) -> Result<bool, String> {
        let mut changed = false;
        let mut values = Vec::with_capacity(self.values.len());
        for value in &self.values {
            match change(value)? {
                Some(new) => {
                    changed = true;
                    values.extend(new);
                }
                None => values.push(value.clone()),
            }
        }
        if changed {
            self.set_values(values)?;
        }
        Ok(changed)
    }

    /// Replaces the values. A field without any is one that must be null.
    pub(super) fn set_values(&mut self, mut values: Vec<SigmaValue>) -> Result<(), String> {
        if values.is_empty() {
            if self.field.is_none() {
                return Err("no keyword is left of a list".to_owned());
            }
            values.push(SigmaValue::Null);
        }
        // `all` of one value is that value; the compiler takes it for a slip.
        if values.len() == 1 && self.values.len() != 1 {
            self.modifiers.retain(|modifier| *modifier != Modifier::All);
        }
        self.values = values;
        Ok(())
    }

    /// Parts the values in two items, joined as the values were; `modifier` goes with the first.
    pub(super) fn split(self, first: Vec<SigmaValue>, second: Vec<SigmaValue>, modifiers: [Vec<Modifier>; 2]) -> Node {
        let join = if self.modifiers.contains(&Modifier::All) { Node::All } else { Node::Any };
        let part = |values: Vec<SigmaValue>, mut modifiers: Vec<Modifier>| {
            if values.len() == 1 {
                modifiers.retain(|modifier| *modifier != Modifier::All);
            }
            Node::Item(Self { values, modifiers, ..self.clone() })
        };
        let [for_first, for_second] = modifiers;
        join(vec![part(first, for_first), part(second, for_second)])
    }
}

/// Whether a modifier leaves a value what it is.
fn is_plain(modifier: &Modifier) -> bool {
    matches!(modifier, Modifier::All | Modifier::Neq | Modifier::Cased | Modifier::Expand)
}

/// Adds wildcards where there are none yet; a number becomes a text.
pub(super) fn add_wildcards(value: &mut SigmaValue, before: bool, after: bool) {
    let any = StringPart::Special(SpecialChar::WildcardMulti);
    let mut parts = match *value {
        SigmaValue::String(ref mut text) => std::mem::take(&mut text.parts),
        SigmaValue::Null => return,
        ref other => vec![StringPart::Plain(other.to_string())],
    };
    if before && parts.first() != Some(&any) {
        parts.insert(0, any.clone());
    }
    if after && parts.last() != Some(&any) {
        parts.push(any);
    }
    *value = SigmaValue::String(string(parts));
}

/// A text of these parts.
pub(super) fn string(parts: Vec<StringPart>) -> SigmaString {
    SigmaString { original: string_text(&parts), parts }
}

/// How a text is written: wildcards as themselves, the characters `*` and `?` with a backslash.
pub(super) fn string_text(parts: &[StringPart]) -> String {
    let part = |part: &StringPart| match part {
        StringPart::Plain(text) => text.replace('*', r"\*").replace('?', r"\?"),
        StringPart::Special(SpecialChar::WildcardMulti) => "*".to_owned(),
        StringPart::Special(SpecialChar::WildcardSingle) => "?".to_owned(),
    };
    parts.iter().map(part).collect()
}

impl Node {
    pub(super) fn of(detection: Detection) -> Self {
        match detection {
            Detection::AllOf(items) => {
                Self::All(items.into_iter().map(|item| Self::Item(DetectionItem::of(item))).collect())
            }
            Detection::And(parts) => Self::All(parts.into_iter().map(Self::of).collect()),
            Detection::AnyOf(parts) => Self::Any(parts.into_iter().map(Self::of).collect()),
            Detection::Keywords(values) => Self::Item(DetectionItem::new(None, values)),
            other => Self::Fixed(other),
        }
    }

    /// The selection again; `None` where nothing is left of it.
    fn into_detection(self) -> Option<Detection> {
        let parts = |nodes: Vec<Self>| nodes.into_iter().filter_map(Self::into_detection).collect::<Vec<_>>();
        let joined =
            |parts: Vec<Detection>, join: fn(Vec<Detection>) -> Detection| (!parts.is_empty()).then(|| join(parts));
        match self {
            Self::Item(DetectionItem { field, modifiers, values, .. }) => {
                let field = FieldSpec::new(field, modifiers);
                Some(Detection::AllOf(vec![rsigma_parser::DetectionItem { field, values }]))
            }
            Self::All(nodes) => joined(parts(nodes), Detection::And),
            Self::Any(nodes) => joined(parts(nodes), Detection::AnyOf),
            Self::Fixed(detection) => Some(detection),
        }
    }

    /// Has `change` look at every item and puts what becomes of it in its place; `None` where nothing is left.
    pub(super) fn rewrite(
        self,
        change: &mut impl FnMut(&mut DetectionItem) -> Result<Change, String>,
    ) -> Result<Option<Self>, String> {
        let mut rewrite_all = |nodes: Vec<Self>| -> Result<Vec<Self>, String> {
            let mut kept = Vec::with_capacity(nodes.len());
            for node in nodes {
                kept.extend(node.rewrite(change)?);
            }
            Ok(kept)
        };
        Ok(match self {
            Self::Item(mut item) => match change(&mut item)? {
                Change::Keep => Some(Self::Item(item)),
                Change::Drop => None,
                Change::Replace(node) => Some(node),
            },
            Self::All(nodes) => Some(rewrite_all(nodes)?).filter(|nodes| !nodes.is_empty()).map(Self::All),
            Self::Any(nodes) => Some(rewrite_all(nodes)?).filter(|nodes| !nodes.is_empty()).map(Self::Any),
            fixed @ Self::Fixed(_) => Some(fixed),
        })
    }

    /// Whether any item passes.
    pub(super) fn any(&self, test: &mut impl FnMut(&DetectionItem) -> bool) -> bool {
        match self {
            Self::Item(item) => test(item),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().any(|node| node.any(test)),
            Self::Fixed(_) => false,
        }
    }
}

/// The selections and conditions of a rule, or of a filter that goes with it.
#[derive(Debug)]
pub(super) struct Section {
    /// `None` where nothing is left of a selection.
    pub(super) selections: BTreeMap<String, Option<Node>>,
    pub(super) conditions: Vec<ConditionExpr>,
    original: Detections,
}

impl Section {
    pub(super) fn of(mut detections: Detections) -> Self {
        let selections = detections.named.drain().map(|(name, detection)| (name, Some(Node::of(detection)))).collect();
        let conditions = std::mem::take(&mut detections.conditions);
        Self { selections, conditions, original: detections }
    }

    pub(super) fn into_detections(self) -> Result<Detections, String> {
        let Self { selections, conditions, original } = self;
        let selections: BTreeMap<_, _> =
            selections.into_iter().map(|(name, node)| (name, node.and_then(Node::into_detection))).collect();
        let gone: Vec<&str> =
            selections.iter().filter(|(_, node)| node.is_none()).map(|(name, _)| name.as_str()).collect();
        let names: Vec<&str> = selections.keys().map(String::as_str).collect();
        let conditions =
            conditions.into_iter().map(|condition| without(condition, &gone, &names)).collect::<Option<_>>();
        let conditions = conditions.ok_or("nothing is left of the rule's condition")?;
        let named = selections.into_iter().filter_map(|(name, node)| Some((name, node?))).collect();
        Ok(Detections { named, conditions, ..original })
    }
}

/// The condition without the selections that are gone; `None` where nothing is left.
fn without(condition: ConditionExpr, gone: &[&str], names: &[&str]) -> Option<ConditionExpr> {
    let parts = |parts: Vec<ConditionExpr>, join: fn(Vec<ConditionExpr>) -> ConditionExpr| {
        let parts: Vec<_> = parts.into_iter().filter_map(|part| without(part, gone, names)).collect();
        (!parts.is_empty()).then(|| join(parts))
    };
    match condition {
        ConditionExpr::And(all) => parts(all, ConditionExpr::And),
        ConditionExpr::Or(any) => parts(any, ConditionExpr::Or),
        ConditionExpr::Not(inner) => Some(ConditionExpr::Not(Box::new(without(*inner, gone, names)?))),
        ConditionExpr::Identifier(name) => (!gone.contains(&name.as_str())).then_some(ConditionExpr::Identifier(name)),
        ConditionExpr::Selector { quantifier, pattern } => {
            let mut chosen = names.iter().filter(|name| pattern.matches_detection_name(name)).peekable();
            let all_gone = chosen.peek().is_some() && chosen.all(|name| gone.contains(name));
            (!all_gone).then_some(ConditionExpr::Selector { quantifier, pattern })
        }
    }
}
