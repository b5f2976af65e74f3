//! Pipeline files read and checked.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use yaml_serde::{Mapping, Value};

use super::{
    FieldMap, Item, OneOrMore, PipelineError, PipelineFile, Pipelines, Transformation,
    expression::Expression,
    rule::selection,
    values::fixed_value,
    when::{FieldCondition, ItemCondition, Op, RuleCondition, When},
};

impl Pipelines {
    /// Reads pipelines. Their order does not matter: what has the lowest priority comes first, then what has the first path.
    ///
    /// # Errors
    /// When one of them is no pipeline, or has a transformation or condition that is unknown or has no meaning here.
    pub fn read<'a>(files: impl IntoIterator<Item = PipelineFile<'a>>) -> Result<Self, PipelineError> {
        let mut read = Vec::new();
        for file in files {
            read.push((file, read_one(file.text).map_err(|error| failure(file.path, &error))?));
        }
        read.sort_by_key(|(file, pipeline)| (pipeline.priority, file.path));
        let mut joined = Self::default();
        for (file, pipeline) in read {
            joined.sources.push((file.path.to_owned(), file.text.to_owned()));
            joined.items.extend(pipeline.transformations);
            let listed = pipeline.vars.into_iter().map(|(name, value)| match value {
                Value::Sequence(list) => (name, list),
                value => (name, vec![value]),
            });
            joined.vars.extend(listed);
        }
        Ok(joined)
    }
}

/// A pipeline's document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[expect(dead_code, reason = "for people")]
    #[serde(default)]
    name: IgnoredAny,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    vars: BTreeMap<String, Value>,
    #[serde(default)]
    transformations: Vec<Item>,
    /// These three are about the text of queries.
    #[expect(dead_code, reason = "for others")]
    #[serde(default)]
    postprocessing: IgnoredAny,
    #[expect(dead_code, reason = "for others")]
    #[serde(default)]
    finalizers: IgnoredAny,
    #[expect(dead_code, reason = "for others")]
    #[serde(default)]
    allowed_backends: IgnoredAny,
}

fn read_one(text: &str) -> Result<Document, yaml_serde::Error> {
    let document: Document = yaml_serde::from_str(text)?;
    let plain = |value: &Value| matches!(value, Value::String(_) | Value::Number(_));
    for (name, value) in &document.vars {
        let fine = value.as_sequence().map_or_else(|| plain(value), |list| list.iter().all(plain));
        if !fine {
            let reason = format!("the variable `{name}` must be a text, a number, or a list of these");
            return Err(yaml_serde::Error::custom(reason));
        }
    }
    Ok(document)
}

fn failure(path: &str, error: &yaml_serde::Error) -> PipelineError {
    let line = error.location().map(|location| location.line());
    let reason = error.to_string();
    // The place is told apart.
    let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason).to_owned();
    PipelineError { path: path.to_owned(), line, reason }
}

/// Transformations that other tools have, and why they can't be had here.
const REFUSED: [(&str, &str); 5] = [
    ("field_name_transform", "it needs a function in Python; use field_name_mapping"),
    (
        "query_expression_placeholders",
        "it puts a piece of a query in place of a value, and there is no query here; use value_placeholders",
    ),
    ("file_placeholders", "pipelines read no files; put the values into `vars` and use value_placeholders"),
    ("http_placeholders", "pipelines don't go to the network; put the values into `vars` and use value_placeholders"),
    ("command_placeholders", "pipelines run no commands; put the values into `vars` and use value_placeholders"),
];

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ItemVisitor)
    }
}

/// Reads an item key by key, so that what is wrong is reported with its line.
struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transformation with its conditions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut id = None;
        let (mut rule, mut item, mut field) = (Conditions::default(), Conditions::default(), Conditions::default());
        let mut parameters = Mapping::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => id = Some(map.next_value()?),
                "rule_conditions" => rule.list = map.next_value()?,
                "rule_cond_op" => rule.op = Some(map.next_value()?),
                "rule_cond_expr" => rule.expression = Some(map.next_value()?),
                "rule_cond_not" => rule.negated = map.next_value()?,
                "detection_item_conditions" => item.list = map.next_value()?,
                "detection_item_cond_op" => item.op = Some(map.next_value()?),
                "detection_item_cond_expr" => item.expression = Some(map.next_value()?),
                "detection_item_cond_not" => item.negated = map.next_value()?,
                "field_name_conditions" => field.list = map.next_value()?,
                "field_name_cond_op" => field.op = Some(map.next_value()?),
                "field_name_cond_expr" => field.expression = Some(map.next_value()?),
                "field_name_cond_not" => field.negated = map.next_value()?,
                _ => drop(parameters.insert(Value::String(key), map.next_value()?)),
            }
        }
        let transformation = transformation(parameters).map_err(A::Error::custom)?;
        let build =
            || Ok(Item { id, transformation, rule: rule.joined()?, item: item.joined()?, field: field.joined()? });
        build().map_err(|reason: String| A::Error::custom(reason))
    }
}

fn transformation(parameters: Mapping) -> Result<Transformation, String> {
    let kind = parameters.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == kind) {
        return Err(format!("`{kind}` is not to be had: {reason}"));
    }
    let parsed: Transformation = yaml_serde::from_value(Value::Mapping(parameters))
        .map_err(|error| if kind.is_empty() { error.to_string() } else { format!("`{kind}`: {error}") })?;
    match parsed.check() {
        Ok(()) => Ok(parsed),
        Err(reason) => Err(format!("`{kind}`: {reason}")),
    }
}

impl Transformation {
    /// Whether its parameters go together.
    fn check(&self) -> Result<(), String> {
        let fine = |fine: bool, reason: &str| if fine { Ok(()) } else { Err(reason.to_owned()) };
        match self {
            Self::WildcardPlaceholders { include, exclude } | Self::ValuePlaceholders { include, exclude } => {
                fine(include.is_none() || exclude.is_none(), "`include` and `exclude` exclude each other")
            }
            Self::ExtractFields { regex, .. } => {
                fine(regex.has_named_groups(), "the regular expression has no named group")
            }
            Self::ChangeLogsource { category: None, product: None, service: None } => {
                fine(false, "it says neither category nor product nor service")
            }
            Self::FieldNamePrefixMapping { mapping } => {
                fine(mapping.0.iter().all(|(from, _)| from.is_some()), "null is no prefix")
            }
            Self::AddCondition { conditions, .. } => selection(conditions).map(drop),
            Self::SetValue { value, force_type } => fixed_value(value, *force_type).map(drop),
            _ => Ok(()),
        }
    }
}

/// Conditions as a file has them.
struct Conditions<C> {
    list: Listed<C>,
    op: Option<LinkOp>,
    expression: Option<String>,
    negated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LinkOp {
    And,
    Or,
}

impl<C> Default for Conditions<C> {
    fn default() -> Self {
        Self { list: Listed { names: Vec::new(), conditions: Vec::new() }, op: None, expression: None, negated: false }
    }
}

impl<C: Check> Conditions<C> {
    fn joined(self) -> Result<When<C>, String> {
        let Listed { names, conditions } = self.list;
        conditions.iter().try_for_each(Check::check)?;
        let expression = match (self.expression, self.op) {
            (Some(_), Some(_)) => return Err("an expression and an operator exclude each other".to_owned()),
            (Some(text), None) if names.len() == conditions.len() => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                Expression::parse(&text, &names)?
            }
            (Some(text), None) => return Err(format!("`{text}` wants the conditions to be a map of names")),
            (None, Some(LinkOp::Or)) => Expression::Any,
            (None, _) => Expression::All,
        };
        Ok(When { conditions, expression, negated: self.negated })
    }
}

/// What can't be seen from a condition's form.
trait Check {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

const NOT_IN_A_LIST: &str = "`in` and `not_in` are for attributes that are lists; a state is one value";

impl Check for RuleCondition {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Logsource { category: None, product: None, service: None } => {
                Err("the condition `logsource` says neither category nor product nor service".to_owned())
            }
            Self::ProcessingState { op: Op::In | Op::NotIn, .. } => Err(NOT_IN_A_LIST.to_owned()),
            _ => Ok(()),
        }
    }
}

impl Check for ItemCondition {
    fn check(&self) -> Result<(), String> {
        let is_wrong = matches!(self, Self::ProcessingState { op: Op::In | Op::NotIn, .. });
        if is_wrong { Err(NOT_IN_A_LIST.to_owned()) } else { Ok(()) }
    }
}

impl Check for FieldCondition {
    fn check(&self) -> Result<(), String> {
        let is_wrong = matches!(self, Self::ProcessingState { op: Op::In | Op::NotIn, .. });
        if is_wrong { Err(NOT_IN_A_LIST.to_owned()) } else { Ok(()) }
    }
}

/// A list of conditions, or a map of them by name.
struct Listed<C> {
    names: Vec<String>,
    conditions: Vec<C>,
}

impl<'de, C: DeserializeOwned> Deserialize<'de> for Listed<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListedVisitor(PhantomData))
    }
}

struct ListedVisitor<C>(PhantomData<C>);

impl<'de, C: DeserializeOwned> Visitor<'de> for ListedVisitor<C> {
    type Value = Listed<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of conditions, or a map of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut conditions = Vec::new();
        while let Some(condition) = seq.next_element()? {
            conditions.push(condition);
        }
        Ok(Listed { names: Vec::new(), conditions })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut listed = Listed { names: Vec::new(), conditions: Vec::new() };
        while let Some((name, condition)) = map.next_entry()? {
            listed.names.push(name);
            listed.conditions.push(condition);
        }
        Ok(listed)
    }
}

impl<'de> Deserialize<'de> for FieldMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mapping = Mapping::deserialize(deserializer)?;
        let entry = |(from, to): (Value, Value)| {
            let from: Option<String> = yaml_serde::from_value(from).map_err(D::Error::custom)?;
            let to: OneOrMore = yaml_serde::from_value(to)
                .map_err(|_| D::Error::custom("a field is mapped to a name or a list of names"))?;
            Ok((from, to))
        };
        mapping.into_iter().map(entry).collect::<Result<_, _>>().map(Self)
    }
}
