//! Mappings: which events belong to which log sources, and what Sigma calls their fields.
//!
//! They are data: `content/mappings/*.yaml`, each of which explains the format at its top.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::load::RuleSource;

macro_rules! builtin {
    ($($name:literal),+ $(,)?) => {
        [$((concat!($name, ".yaml"), include_str!(concat!("../../../content/mappings/", $name, ".yaml")))),+]
    };
}

/// The mappings that ship with the product, in the order in which events are held against them.
const BUILTIN: [(&str, &str); 35] = builtin![
    "windows",
    "winlogbeat",
    "winlogbeat_6",
    "evtx",
    "endpoint_telemetry",
    "file_hash",
    "network_traffic",
    "cloudtrail",
    "azure_diagnostics",
    "azure_log_analytics",
    "azure_graph",
    "okta",
    "github",
    "kubernetes",
    "bitbucket",
    "google_cloud",
    "google_workspace",
    "m365_audit",
    "m365_alert",
    "onelogin",
    "duo",
    "opencanary",
    "fortigate",
    "zeek",
    "suricata",
    "laurel",
    "auditd",
    "ocsf_api",
    "ocsf",
    "ecs",
    "w3c_web",
    "w3c_proxy",
    "nginx",
    "syslog",
    "syslog_journald"
];

/// A mapping that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// Not the YAML that a mapping is.
    #[error("mapping {path} can't be read: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser says.
        reason: String,
    },
    /// A `like` that names no mapping read before.
    #[error("mapping {path} is to be like {like}, which has not been read before it")]
    Like {
        /// The file.
        path: String,
        /// What `like` names.
        like: String,
    },
    /// A `when` that can't be looked up.
    #[error("mapping {path}: a source's `when` must name the first, or all, of `by` ({by}), in one value or a list")]
    When {
        /// The file.
        path: String,
        /// What `by` lists.
        by: String,
    },
}

/// A set of mappings. The first one that an event fits is used.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    pub(crate) list: Vec<Mapping>,
}

impl Mappings {
    /// Those that ship with the product: the envelope's own kinds, and the logs that vendors write.
    pub fn builtin() -> Self {
        // A test reads all of them, so none fails here.
        Self::read(BUILTIN).unwrap_or_default()
    }

    /// Reads mappings from `(path, text)` pairs.
    ///
    /// # Errors
    /// When one of them is no mapping.
    pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MappingError> {
        let mut list = Vec::new();
        let mut paths = Vec::new();
        for (path, text) in files {
            let mut mapping: Mapping = yaml_serde::from_str(text)
                .map_err(|error| MappingError::Syntax { path: path.to_owned(), reason: error.to_string() })?;
            if let Some(like) = &mapping.like {
                let known = paths.iter().position(|known| known == like).and_then(|at| list.get(at));
                let known = known.ok_or_else(|| MappingError::Like { path: path.to_owned(), like: like.clone() })?;
                mapping.take_over(known);
            }
            paths.push(path.to_owned());
            if !mapping.sources.iter().all(|source| mapping.can_look_up(source)) {
                return Err(MappingError::When { path: path.to_owned(), by: mapping.by.join(", ") });
            }
            list.push(mapping);
        }
        Ok(Self { list })
    }

    /// Whether some event that one of the mappings is for can belong to a log source that rules for `wanted` are for.
    pub fn give(&self, wanted: &RuleSource) -> bool {
        let of_mapping = |mapping: &Mapping| {
            mapping.sources.iter().any(|source| {
                let product = match (&source.product, &mapping.product) {
                    (Some(name), _) | (None, Product::Named(name)) => Some(name.clone()),
                    (None, Product::In { .. }) => wanted.product.clone(),
                    (None, Product::None) => None,
                };
                let (service, category) = (source.service.clone(), source.category.clone());
                wanted.covers(&RuleSource { product, service, category })
            })
        };
        self.list.iter().any(of_mapping)
    }
}

/// One mapping, as its file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mapping {
    pub(crate) events: Events,
    /// The mapping whose product, sources and fields this one has, too.
    like: Option<String>,
    #[serde(default)]
    pub(crate) product: Product,
    #[serde(default)]
    pub(crate) by: Vec<String>,
    /// Where the fields of `by` are, if not under their own names.
    #[serde(default)]
    pub(crate) at: BTreeMap<String, Vec<String>>,
    /// Objects in which fields are found under their own names, too.
    #[serde(default)]
    pub(crate) inside: Vec<String>,
    #[serde(default)]
    pub(crate) fields: FieldPaths,
    #[serde(default)]
    pub(crate) sources: Vec<Source>,
}

impl Mapping {
    fn take_over(&mut self, other: &Self) {
        if matches!(self.product, Product::None) {
            self.product = other.product.clone();
        }
        self.by.clone_from(&other.by);
        self.sources.extend_from_slice(&other.sources);
        for (field, paths) in &other.fields {
            self.fields.entry(field.clone()).or_insert_with(|| paths.clone());
        }
    }

    /// Where a field of `by` is.
    pub(crate) fn places<'m>(&'m self, by: &'m String) -> &'m [String] {
        self.at.get(by).map_or(std::slice::from_ref(by), Vec::as_slice)
    }

    /// Whether `source` asks for the first of `by`, or for all, or for nothing.
    fn can_look_up(&self, source: &Source) -> bool {
        let known = source.when.keys().all(|key| self.by.contains(key));
        known
            && (source.when.is_empty()
                || self.by.iter().take(source.when.len()).all(|key| source.when.contains_key(key)))
    }
}

/// Which events a mapping is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Events {
    /// Those in an envelope of this type, …
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// … or those without an envelope that have all of these keys.
    #[serde(default)]
    pub(crate) has: Vec<String>,
}

/// The product that a mapping's sources have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Product {
    #[default]
    None,
    /// Always this one.
    Named(String),
    /// The one that a field of the event names.
    In { from: String, otherwise: String },
}

/// Where Sigma's fields are found.
pub(crate) type FieldPaths = BTreeMap<String, Vec<FieldPath>>;

/// One place where a field is found.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum FieldPath {
    /// At this path, dots between keys; lists on the way are gone through.
    At(String),
    /// At this path, with more to know about it.
    With {
        path: String,
        /// A text that belongs in front of the value.
        #[serde(default)]
        before: String,
        /// Only where the field has not been found otherwise.
        #[serde(default)]
        otherwise: bool,
    },
}

impl FieldPath {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::At(path) | Self::With { path, .. } => path,
        }
    }

    pub(crate) fn before(&self) -> &str {
        match self {
            Self::At(_) => "",
            Self::With { before, .. } => before,
        }
    }

    pub(crate) fn is_otherwise(&self) -> bool {
        matches!(self, Self::With { otherwise: true, .. })
    }
}

/// A log source, and which of the mapping's events belong to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// Instead of the mapping's.
    pub(crate) product: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) category: Option<String>,
    /// Values of the mapping's `by` fields; any one of each.
    #[serde(default)]
    pub(crate) when: BTreeMap<String, Values>,
    /// At least one of these keys is there, with a value that is not null or empty.
    #[serde(default)]
    pub(crate) present: Vec<String>,
    /// Fields that only events of this source have.
    #[serde(default)]
    pub(crate) fields: FieldPaths,
}

/// One value or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Values {
    Number(i64),
    Text(String),
    Several(Vec<Values>),
}

impl Values {
    /// The values' text forms.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            Self::Number(number) => vec![number.to_string()],
            Self::Text(text) => vec![text.clone()],
            Self::Several(values) => values.iter().flat_map(Self::texts).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mappings_that_ship_can_be_read() {
        assert_eq!(Mappings::read(BUILTIN).unwrap().list.len(), BUILTIN.len());
    }

    #[test]
    fn a_mapping_that_can_not_be_looked_up_is_refused() {
        for (text, expected) in [
            ("events: {type: x}\nsources: [{when: {A: 1}}]", "must name the first"),
            ("events: {type: x}\nby: [A, B]\nsources: [{when: {B: 1}}]", "must name the first"),
            ("events: {type: x}\nsources: []\nfoo: 1", "unknown field `foo`"),
            ("events: {type: x}\nlike: other.yaml", "has not been read before"),
        ] {
            let error = Mappings::read([("m.yaml", text)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
