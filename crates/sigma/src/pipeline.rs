//! Processing pipelines in pySigma's YAML: what is done to rules before they are compiled.
//!
//! A pipeline is a list of items; each has a transformation and conditions on the rule, the detection item and the field
//! name under which it applies. Here is what the files say; `apply` does it to rules. What a pipeline does to the text of
//! a query (`postprocessing`, `finalizers`) has no meaning here and is passed over.

mod apply;
mod detection;
mod expression;
mod fields;
mod placeholders;
mod python;
mod read;
mod rule;
mod values;
mod when;

use std::collections::BTreeMap;

use rsigma_parser::SigmaValue;
use serde::Deserialize;
use yaml_serde::Value;

use self::{
    python::{Pattern, Replacement},
    when::{FieldCondition, ItemCondition, RuleCondition, When},
};

/// A file with a pipeline, read by the caller.
#[derive(Clone, Copy, Debug)]
pub struct PipelineFile<'a> {
    /// Its path, as it is to be reported.
    pub path: &'a str,
    /// Its content: YAML, one document.
    pub text: &'a str,
}

/// A pipeline that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pipeline {path}{}: {reason}", line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct PipelineError {
    /// The file.
    pub path: String,
    /// The line, from 1, of the item that is to blame, where that is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// Pipelines joined into one: their items, those of the lowest priority first.
#[derive(Clone, Debug, Default)]
pub struct Pipelines {
    items: Vec<Item>,
    vars: BTreeMap<String, Vec<Value>>,
    /// What they were read from, to be part of a rule pack's version.
    pub(crate) sources: Vec<(String, String)>,
}

impl Pipelines {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// One step.
#[derive(Clone, Debug)]
struct Item {
    /// The name by which later conditions refer to it.
    id: Option<String>,
    transformation: Transformation,
    rule: When<RuleCondition>,
    item: When<ItemCondition>,
    field: When<FieldCondition>,
}

/// What a step does. Names and parameters are pySigma's.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Transformation {
    FieldNameMapping {
        mapping: FieldMap,
    },
    FieldNamePrefixMapping {
        mapping: FieldMap,
    },
    FieldNamePrefix {
        prefix: String,
    },
    FieldNameSuffix {
        suffix: String,
    },
    DropDetectionItem {},
    HashesFields {
        valid_hash_algos: Vec<String>,
        #[serde(default)]
        field_prefix: String,
        #[serde(default)]
        drop_algo_prefix: bool,
        #[serde(default = "hash_fields")]
        field_to_parse: Vec<String>,
    },
    ExtractFields {
        regex: Pattern,
        field_prefix: Option<String>,
        #[serde(default)]
        preserve_unmatched: bool,
    },
    WildcardPlaceholders {
        include: Option<Vec<String>>,
        exclude: Option<Vec<String>>,
    },
    ValuePlaceholders {
        include: Option<Vec<String>>,
        exclude: Option<Vec<String>>,
    },
    AddCondition {
        conditions: yaml_serde::Mapping,
        name: Option<String>,
        #[serde(default)]
        template: bool,
        #[serde(default)]
        negated: bool,
    },
    ChangeLogsource {
        category: Option<String>,
        product: Option<String>,
        service: Option<String>,
    },
    AddField {
        field: OneOrMore,
    },
    RemoveField {
        field: OneOrMore,
    },
    SetField {
        fields: Vec<String>,
    },
    ReplaceString {
        regex: Pattern,
        replacement: Replacement,
        #[serde(default)]
        skip_special: bool,
        #[serde(default)]
        interpret_special: bool,
    },
    MapString {
        mapping: BTreeMap<String, OneOrMore>,
    },
    SetState {
        key: String,
        val: Value,
    },
    Regex {
        #[serde(default)]
        method: RegexMethod,
    },
    SetValue {
        #[serde(default)]
        value: Value,
        force_type: Option<Kind>,
    },
    ConvertType {
        target_type: Kind,
    },
    RuleFailure {
        message: String,
    },
    DetectionItemFailure {
        message: String,
    },
    StrictFieldMappingFailure {},
    SetCustomAttribute {
        attribute: String,
        value: Value,
    },
    Nest {
        items: Vec<Item>,
    },
    Case {
        #[serde(default)]
        method: Case,
    },
}

fn hash_fields() -> Vec<String> {
    vec!["Hashes".to_owned(), "Hash".to_owned()]
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RegexMethod {
    Plain,
    IgnoreCaseFlag,
    #[default]
    IgnoreCaseBrackets,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Str,
    Num,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    #[default]
    Lower,
    Upper,
    #[serde(rename = "snake_case")]
    Snake,
}

/// A text or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
    }
}

/// What fields become, in the order of the file; `None` is a keyword, which has no field.
#[derive(Clone, Debug)]
struct FieldMap(Vec<(Option<String>, OneOrMore)>);

/// A value as YAML has it.
fn sigma_value(value: &Value) -> SigmaValue {
    SigmaValue::from_yaml(value)
}
