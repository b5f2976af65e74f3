//! Mappings: which events belong to which log sources, and what Sigma calls their fields.
//!
//! They are data: `content/mappings/*.yaml`, each of which explains the format at its top.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{finding::nearest, load::RuleSource};

macro_rules! builtin {
    ($($name:literal),+ $(,)?) => {
        [$((concat!($name, ".yaml"), include_str!(concat!("../../../content/mappings/", $name, ".yaml")))),+]
    };
}

/// The mappings that ship with the product, in the order in which events are held against them, save for those that say `before`.
const BUILTIN: [(&str, &str); 60] = builtin![
    "windows",
    "windows_nested",
    "splunk_windows",
    "windows_provider",
    "get_winevent",
    "winlogbeat",
    "winlogbeat_6",
    "evtx",
    "velociraptor",
    "evtxecmd",
    "chainsaw",
    "otel_windows",
    "wazuh_windows",
    "wazuh_sysmon_linux",
    "wazuh_audit",
    "endpoint_telemetry",
    "file_hash",
    "network_traffic",
    "defender_xdr",
    "crowdstrike",
    "cloudtrail",
    "wazuh_aws",
    "azure_diagnostics",
    "azure_log_analytics",
    "azure_graph",
    "okta",
    "okta_ecs",
    "github",
    "wazuh_github",
    "kubernetes",
    "bitbucket",
    "google_cloud",
    "wazuh_google_cloud",
    "google_workspace",
    "m365_audit",
    "wazuh_m365",
    "m365_alert",
    "onelogin",
    "duo",
    "opencanary",
    "fortigate",
    "zeek",
    "zeek_plain",
    "zeek_ecs",
    "suricata",
    "wazuh_suricata",
    "laurel",
    "auditd",
    "ocsf_api",
    "ocsf",
    "ecs",
    "auditbeat",
    "w3c_web",
    "w3c_proxy",
    "nginx",
    "cef",
    "syslog",
    "syslog_journald",
    "syslog_ecs",
    "wazuh_syslog"
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
    /// A `like` or `before` that names no mapping read before.
    #[error("mapping {path} names {name}, which has not been read before it")]
    Other {
        /// The file.
        path: String,
        /// What it names.
        name: String,
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
        let mut list: Vec<Mapping> = Vec::new();
        let mut paths: Vec<String> = Vec::new();
        for (path, text) in files {
            let mut mapping: Mapping = yaml_serde::from_str(text)
                .map_err(|error| MappingError::Syntax { path: path.to_owned(), reason: error.to_string() })?;
            let known = |name: &String| {
                let at = paths.iter().position(|known: &String| known == name);
                at.ok_or_else(|| MappingError::Other { path: path.to_owned(), name: name.clone() })
            };
            let like = mapping.like.as_ref().map(known).transpose()?;
            let at = mapping.before.as_ref().map(known).transpose()?.unwrap_or(paths.len());
            if let Some(like) = like.and_then(|at| list.get(at)) {
                mapping.take_over(like);
            }
            if !mapping.sources.iter().all(|source| mapping.can_look_up(source)) {
                return Err(MappingError::When { path: path.to_owned(), by: mapping.by.join(", ") });
            }
            paths.insert(at, path.to_owned());
            list.insert(at, mapping);
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

    /// Which name of a log source that no mapping gives was probably meant otherwise: `category`, and the name that is near.
    pub fn meant(&self, wanted: &RuleSource) -> Option<(&'static str, &str)> {
        if self.give(wanted) {
            return None;
        }
        let sources = || self.list.iter().flat_map(|mapping| &mapping.sources);
        let products = self.list.iter().filter_map(|mapping| match &mapping.product {
            Product::Named(name) => Some(name),
            Product::In { otherwise, .. } => Some(otherwise),
            Product::None => None,
        });
        let products: Vec<_> = products.chain(sources().filter_map(|source| source.product.as_ref())).collect();
        let parts: [(_, _, Vec<&String>); 3] = [
            ("product", &wanted.product, products),
            ("service", &wanted.service, sources().filter_map(|source| source.service.as_ref()).collect()),
            ("category", &wanted.category, sources().filter_map(|source| source.category.as_ref()).collect()),
        ];
        parts.into_iter().find_map(|(part, written, known)| {
            // Of short names many are near each other.
            let written = written.as_ref().filter(|written| !known.contains(written) && written.len() > 4)?;
            nearest(written, known.into_iter().map(String::as_str)).map(|name| (part, name))
        })
    }
}

/// One mapping, as its file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mapping {
    pub(crate) events: Events,
    /// The mapping whose product, sources and fields this one has, too.
    like: Option<String>,
    /// The mapping that events are held against only after this one, though it was read before.
    before: Option<String>,
    #[serde(default)]
    pub(crate) product: Product,
    #[serde(default)]
    pub(crate) by: Vec<String>,
    /// Where the fields of `by` are, if not under their own names.
    #[serde(default)]
    pub(crate) at: BTreeMap<String, Vec<ValueAt>>,
    /// Whether upper and lower case are the same in the names of its events' fields.
    #[serde(default)]
    pub(crate) any_case: bool,
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
        self.any_case |= other.any_case;
        self.sources.extend_from_slice(&other.sources);
        for (field, paths) in &other.fields {
            self.fields.entry(field.clone()).or_insert_with(|| paths.clone());
        }
    }

    /// Where a field of `by` is.
    pub(crate) fn places(&self, by: &str) -> Vec<ValueAt> {
        self.at.get(by).cloned().unwrap_or_else(|| vec![ValueAt::Whole(by.to_owned())])
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
    pub(crate) has: Vec<Has>,
}

/// A key that events of a mapping have.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Has {
    /// At this path.
    At(String),
    /// At any one of these.
    AtAny(Vec<String>),
}

impl Has {
    pub(crate) fn paths(&self) -> &[String] {
        match self {
            Self::At(path) => std::slice::from_ref(path),
            Self::AtAny(paths) => paths,
        }
    }
}

/// Where a value that tells log sources apart is.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ValueAt {
    /// All that is at this path.
    Whole(String),
    /// What stands behind the first such text there, or all of it where there is none.
    Behind { path: String, behind: String },
}

impl ValueAt {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Whole(path) | Self::Behind { path, .. } => path,
        }
    }

    /// What of the text at the path counts.
    pub(crate) fn of<'t>(&self, text: &'t str) -> &'t str {
        match self {
            Self::Whole(_) => text,
            Self::Behind { behind, .. } => text.split_once(&**behind).map_or(text, |(_, rest)| rest),
        }
    }
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
            ("events: {type: x}\nbefore: other.yaml", "has not been read before"),
        ] {
            let error = Mappings::read([("m.yaml", text)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
