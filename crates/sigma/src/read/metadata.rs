//! What rules, correlations and filters say about themselves.

use std::collections::HashMap;

use rsigma_parser::{Level, LogSource, Related, Status};

use super::Notes;
use crate::{
    finding::{Meant, nearest},
    yaml::{Data, Node, Scalar, Typed},
};

/// The keys that Sigma gives a document, and this product's own `examples`.
const KEYS: [&str; 24] = [
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "author",
    "references",
    "date",
    "modified",
    "logsource",
    "detection",
    "correlation",
    "filter",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "generate",
    "action",
    "examples",
];

/// Keys that the parser's own extensions use; nothing is near these.
const OTHER_KEYS: [&str; 2] = ["custom_attributes", "sigma-version"];

const LEVELS: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

const STATUSES: [&str; 5] = ["stable", "test", "experimental", "deprecated", "unsupported"];

/// The longest title that the specification allows, in characters.
const LONGEST_TITLE: usize = 256;

/// The major version of the specification from which on a field may have array selectors.
pub(super) const WITH_ARRAYS: u32 = 3;

/// What all kinds of documents have.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) title: String,
    pub(super) sigma_version: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) related: Vec<Related>,
    pub(super) taxonomy: Option<String>,
    pub(super) status: Option<Status>,
    pub(super) description: Option<String>,
    pub(super) license: Option<String>,
    pub(super) author: Option<String>,
    pub(super) references: Vec<String>,
    pub(super) date: Option<String>,
    pub(super) modified: Option<String>,
    pub(super) fields: Vec<String>,
    pub(super) falsepositives: Vec<String>,
    pub(super) level: Option<Level>,
    pub(super) tags: Vec<String>,
    pub(super) scope: Vec<String>,
    pub(super) custom_attributes: HashMap<String, yaml_serde::Value>,
}

impl Metadata {
    pub(super) fn read(document: &Node, notes: &mut Notes) -> Self {
        Self {
            title: title(document, notes),
            sigma_version: version(document, notes),
            id: label(document, "id", notes),
            name: label(document, "name", notes),
            related: related(document, notes),
            taxonomy: label(document, "taxonomy", notes),
            status: status(document, notes),
            description: words(document, "description"),
            license: words(document, "license"),
            author: words(document, "author"),
            references: texts(document, "references", notes),
            date: date(document, "date", notes),
            modified: date(document, "modified", notes),
            fields: texts(document, "fields", notes),
            falsepositives: texts(document, "falsepositives", notes),
            level: level(document, notes),
            tags: texts(document, "tags", notes),
            scope: texts(document, "scope", notes),
            custom_attributes: custom_attributes(document, notes),
        }
    }
}

fn title(document: &Node, notes: &mut Notes) -> String {
    let Some(title) = document.get("title") else {
        notes.error(document.at, "title", "the rule has no title; write `title: …`");
        return String::new();
    };
    match title.scalar() {
        Some(Scalar { text, value: Typed::Text, .. }) if !text.trim().is_empty() => {
            if text.chars().count() > LONGEST_TITLE {
                let message =
                    format!("the title is longer than {LONGEST_TITLE} characters; say the rest in `description`");
                notes.warn(title.at, "title", message);
            }
            return text.clone();
        }
        Some(scalar @ Scalar { value: Typed::Bool(_) | Typed::Int(_) | Typed::Float(_), .. }) => {
            let message =
                format!("the title is {}, and must be a text; write `title: '{}'`", title.kind(), scalar.text);
            notes.error(title.at, "title", message);
        }
        _ => notes.error(title.at, "title", format!("the title is {}, and must be a text", described(title))),
    }
    String::new()
}

/// What a value is; an empty text is said to be that.
fn described(node: &Node) -> &'static str {
    if node.text().is_some_and(|text| text.trim().is_empty()) { "empty" } else { node.kind() }
}

fn version(document: &Node, notes: &mut Notes) -> Option<u32> {
    let node = document.get("sigma-version")?;
    let written = node.scalar().map(|scalar| scalar.text.trim_start_matches('v'));
    let major = written.and_then(|written| written.split('.').next()).and_then(|major| major.parse().ok());
    match major {
        Some(major) if major > WITH_ARRAYS => {
            notes.error(
                node.at,
                "sigma-version",
                format!("rules of Sigma {major} are not understood; {WITH_ARRAYS} is the newest"),
            );
        }
        Some(_) => {}
        None => {
            notes.warn(node.at, "sigma-version", "`sigma-version` is a number such as 2 or a version such as 2.1.0");
        }
    }
    major
}

/// A text by which others refer to the rule.
fn label(document: &Node, key: &'static str, notes: &mut Notes) -> Option<String> {
    let node = document.get(key)?;
    match node.scalar() {
        Some(Scalar { value: Typed::Null, .. }) => None,
        Some(Scalar { text, value: Typed::Text, .. }) if text.trim().is_empty() => {
            notes.warn(node.at, "metadata", format!("`{key}` is empty; leave it out, or say what it is"));
            None
        }
        Some(Scalar { text, value: Typed::Text, .. }) => Some(text.clone()),
        Some(Scalar { text, .. }) => {
            let message = format!("`{key}` is {}, and is taken as a text; write `{key}: '{text}'`", node.kind());
            notes.warn(node.at, "metadata", message);
            Some(text.clone())
        }
        None => {
            notes.error(node.at, "metadata", format!("`{key}` is {}, and must be a text", node.kind()));
            None
        }
    }
}

/// A text that only people read.
fn words(document: &Node, key: &str) -> Option<String> {
    let scalar = document.get(key)?.scalar()?;
    (scalar.value != Typed::Null).then(|| scalar.text.clone())
}

/// A list of texts; one alone is taken as a list of one.
fn texts(document: &Node, key: &'static str, notes: &mut Notes) -> Vec<String> {
    let Some(node) = document.get(key) else { return Vec::new() };
    let list = match &node.data {
        Data::List(list) => &list[..],
        Data::Scalar(scalar) if scalar.value == Typed::Null => return Vec::new(),
        Data::Scalar(scalar) => {
            notes.warn(node.at, "metadata", format!("`{key}` is a list; write `{key}: ['{}']`", scalar.text));
            return vec![scalar.text.clone()];
        }
        Data::Map(_) => {
            notes.warn(
                node.at,
                "metadata",
                format!("`{key}` is a list of texts, and this is a map, which is passed over"),
            );
            return Vec::new();
        }
    };
    let mut texts = Vec::with_capacity(list.len());
    for element in list {
        match element.scalar() {
            Some(scalar) if scalar.value != Typed::Null => texts.push(scalar.text.clone()),
            _ => {
                let message = format!("`{key}` is a list of texts; {} in it is passed over", element.kind());
                notes.warn(element.at, "metadata", message);
            }
        }
    }
    texts
}

fn date(document: &Node, key: &'static str, notes: &mut Notes) -> Option<String> {
    let node = document.get(key)?;
    let text = words(document, key)?;
    // The second form is that of rules before 2024.
    let is_date = text.replace('/', "-").parse::<jiff::civil::Date>().is_ok();
    if !is_date {
        notes.warn(node.at, "metadata", format!("`{key}: {text}` is no date; write it as 2026-01-31"));
    }
    Some(text)
}

fn level(document: &Node, notes: &mut Notes) -> Option<Level> {
    let node = document.get("level")?;
    if node.is_null() {
        return None;
    }
    let Some(written) = node.text() else {
        let message = format!("the level is {}; write one of {}", node.kind(), LEVELS.join(", "));
        notes.error(node.at, "level", message);
        return None;
    };
    let lower = written.trim().to_lowercase();
    let Ok(level) = lower.parse() else {
        let meant = Meant(nearest(written, LEVELS));
        notes.error(node.at, "level", format!("`{written}` is no level; write one of {}{meant}", LEVELS.join(", ")));
        return None;
    };
    if lower != written {
        notes.warn(node.at, "level", format!("the level `{written}` is taken as `{lower}`; write it in lower case"));
    }
    Some(level)
}

fn status(document: &Node, notes: &mut Notes) -> Option<Status> {
    let node = document.get("status")?;
    if node.is_null() {
        return None;
    }
    let written = node.text().unwrap_or_default();
    let lower = written.trim().to_lowercase();
    let status = lower.parse().ok();
    if status.is_none() {
        let meant = Meant(nearest(written, STATUSES));
        let message = format!("the status is none of {}, and is passed over{meant}", STATUSES.join(", "));
        notes.warn(node.at, "status", message);
    } else if lower != written {
        notes.warn(node.at, "status", format!("the status `{written}` is taken as `{lower}`; write it in lower case"));
    }
    status
}

fn related(document: &Node, notes: &mut Notes) -> Vec<Related> {
    let Some(node) = document.get("related").filter(|node| !node.is_null()) else { return Vec::new() };
    let Some(list) = node.list() else {
        notes.warn(node.at, "metadata", "`related` is a list of maps with `id` and `type`, and is passed over");
        return Vec::new();
    };
    let mut related = Vec::new();
    for element in list {
        let (id, kind) = (element.get("id").and_then(Node::text), element.get("type").and_then(Node::text));
        match (id, kind.map(str::parse)) {
            (Some(id), Some(Ok(relation_type))) => related.push(Related { id: id.to_owned(), relation_type }),
            _ => {
                let message = "`related` names rules by `id` and `type` (derived, obsolete, merged, renamed, similar); \
                     what has not both is passed over";
                notes.warn(element.at, "metadata", message);
            }
        }
    }
    related
}

fn custom_attributes(document: &Node, notes: &mut Notes) -> HashMap<String, yaml_serde::Value> {
    let mut attributes = HashMap::new();
    for (key, value) in document.map().unwrap_or_default() {
        let name = key.scalar().map_or("", |key| &*key.text);
        if KEYS.contains(&name) || OTHER_KEYS.contains(&name) {
            continue;
        }
        if let Some(meant) = nearest(name, KEYS) {
            let message = format!("`{name}` means nothing to Sigma and is passed over; did you mean `{meant}`?");
            notes.warn(key.at, "unknown-key", message);
        }
        attributes.insert(name.to_owned(), value.to_value());
    }
    for (key, value) in document.get("custom_attributes").and_then(Node::map).unwrap_or_default() {
        attributes.extend(key.scalar().map(|key| (key.text.clone(), value.to_value())));
    }
    attributes
}

/// The keys of a log source that decide on events.
const SOURCE_KEYS: [&str; 3] = ["category", "product", "service"];

/// Reads a log source; `None` where there is none, which is warned of.
pub(super) fn log_source(document: &Node, notes: &mut Notes) -> Option<LogSource> {
    const EVERY: &str = "so it is tried on every event of every product; write `logsource: {product: …, category: …}`";
    let Some((key, node)) = document.entry("logsource") else {
        notes.warn(document.at, "logsource", format!("there is no `logsource`, {EVERY}"));
        return None;
    };
    if node.is_null() {
        notes.warn(key.at, "logsource", format!("`logsource` is empty, {EVERY}"));
        return None;
    }
    let Some(entries) = node.map() else {
        let message = format!("`logsource` is {}; write `logsource: {{product: …, category: …}}`", node.kind());
        notes.error(node.at, "logsource", message);
        return None;
    };
    let mut source = LogSource::default();
    let mut is_bound = false;
    for (key, value) in entries {
        let name = key.scalar().map_or("", |key| &*key.text);
        let place = match name {
            "category" => &mut source.category,
            "product" => &mut source.product,
            "service" => &mut source.service,
            "definition" => &mut source.definition,
            other => {
                if let Some(meant) = nearest(other, SOURCE_KEYS) {
                    let message = format!(
                        "`{other}` decides nothing, so the rule is tried on more events than meant; \
                         did you mean `{meant}`?"
                    );
                    notes.warn(key.at, "logsource", message);
                }
                source.custom.extend(value.text().map(|text| (other.to_owned(), text.to_owned())));
                continue;
            }
        };
        match value.scalar() {
            Some(Scalar { value: Typed::Null, .. }) => {}
            Some(Scalar { text, value: Typed::Text, .. }) => {
                is_bound |= name != "definition";
                *place = Some(text.trim().to_owned());
            }
            // It is for people.
            _ if name == "definition" => {}
            Some(Scalar { text, .. }) => {
                let message = format!("`{name}` is {}, and must be a text; write `{name}: '{text}'`", value.kind());
                notes.error(value.at, "logsource", message);
            }
            None => {
                let message = format!(
                    "`{name}` is {}, and must be one text; write a rule for each, or leave `{name}` out",
                    value.kind()
                );
                notes.error(value.at, "logsource", message);
            }
        }
    }
    if !is_bound {
        notes.warn(key.at, "logsource", format!("`logsource` names no category, product or service, {EVERY}"));
    }
    Some(source)
}
