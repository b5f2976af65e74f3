//! Which keys the configuration has, as its JSON Schema says: the types are the only place where they are listed.

use schemars::schema_for;
use serde_json::{Map, Value};

use super::Config;

/// The configuration's keys.
pub(super) struct Keys(Value);

/// A key that does not exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownKey {
    /// With dots between levels.
    pub(super) path: String,
    /// The one that may have been meant.
    pub(super) nearest: Option<String>,
}

impl Keys {
    /// Those of [`Config`].
    pub(super) fn of_config() -> Self {
        Self(schema_for!(Config).to_value())
    }

    /// The first key in `value` that does not exist.
    pub(super) fn find_unknown(&self, value: &Value) -> Option<UnknownKey> {
        self.find_unknown_in(value, &self.0, "")
    }

    fn find_unknown_in(&self, value: &Value, schema: &Value, path: &str) -> Option<UnknownKey> {
        let schema = self.resolve(schema);
        match value {
            Value::Object(object) => {
                let known = schema.get("properties")?.as_object()?;
                object.iter().find_map(|(name, value)| {
                    let path = join(path, name);
                    match known.get(name) {
                        Some(schema) => self.find_unknown_in(value, schema, &path),
                        None => Some(UnknownKey { nearest: self.nearest(name, known, &path), path }),
                    }
                })
            }
            Value::Array(items) => {
                let schema = schema.get("items")?;
                items
                    .iter()
                    .enumerate()
                    .find_map(|(at, item)| self.find_unknown_in(item, schema, &format!("{path}[{at}]")))
            }
            _ => None,
        }
    }

    /// The nearest of the keys beside it, else the one of that name elsewhere.
    fn nearest(&self, name: &str, beside: &Map<String, Value>, path: &str) -> Option<String> {
        let near = |known: &str| {
            let distance = strsim::damerau_levenshtein(&name.to_lowercase(), known);
            (distance <= 1 + known.len() / 4).then_some(distance)
        };
        let parent = path.rfind('.').map_or("", |dot| &path[..dot]);
        let beside = beside.keys().filter_map(|known| Some((near(known)?, join(parent, known)))).min();
        beside.map(|(_, path)| path).or_else(|| {
            let mut all = Vec::new();
            self.collect(&self.0, "", &mut all);
            let last = |path: &str| path.rsplit('.').next().and_then(near);
            all.into_iter().filter_map(|path| Some((last(&path)?, path))).min().map(|(_, path)| path)
        })
    }

    fn collect(&self, schema: &Value, path: &str, all: &mut Vec<String>) {
        let Some(known) = self.resolve(schema).get("properties").and_then(Value::as_object) else { return };
        for (name, schema) in known {
            let path = join(path, name);
            self.collect(schema, &path, all);
            all.push(path);
        }
    }

    /// The key that an environment variable names by its `segments`, in lower case, and whether its value is a text.
    pub(super) fn find(&self, segments: &[String]) -> Result<(Vec<String>, bool), UnknownKey> {
        let mut schema = self.resolve(&self.0);
        let mut path: Vec<String> = Vec::new();
        for (at, name) in segments.iter().enumerate() {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else {
                // librdkafka's options have dots where a variable can't; `sasl.password_file` is ours.
                let name = segments[at..].join("_").replace('_', ".");
                let name = name.strip_suffix(".file").map_or(name.clone(), |option| format!("{option}_file"));
                path.push(name);
                return Ok((path, true));
            };
            let Some(found) = known.get(name) else {
                let path = join(&path.join("."), name);
                return Err(UnknownKey { nearest: self.nearest(name, known, &path), path });
            };
            path.push(name.clone());
            schema = self.resolve(found);
        }
        Ok((path, is_text(schema)))
    }

    /// Follows references, and looks through `null` beside something else.
    fn resolve<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        loop {
            let reference = schema.get("$ref").and_then(Value::as_str).and_then(|to| self.0.pointer(&to[1..]));
            let optional = || {
                let any = schema.get("anyOf")?.as_array()?;
                any.iter().find(|one| one.get("type").and_then(Value::as_str) != Some("null"))
            };
            match reference.or_else(optional) {
                Some(next) => schema = next,
                None => return schema,
            }
        }
    }
}

/// Whether only a text fits: `12` is then not a number.
fn is_text(schema: &Value) -> bool {
    match (schema.get("type"), schema.get("oneOf")) {
        (Some(Value::String(kind)), _) => kind == "string",
        (Some(Value::Array(kinds)), _) => kinds.iter().all(|kind| kind == "string" || kind == "null"),
        (_, Some(Value::Array(variants))) => variants.iter().all(is_text),
        _ => false,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
