//! What must not be read by everyone who sees the configuration.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in a secret's place wherever it is shown.
const MASK: &str = "********";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// A secret of that text.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Whether an option of librdkafka holds a secret: all of its passwords and secrets, keys as text, and the options that
/// may have any of these inside.
pub(crate) fn is_secret(option: &str) -> bool {
    const OTHERS: [&str; 3] = ["ssl.key.pem", "sasl.oauthbearer.config", "sasl.oauthbearer.assertion.private.key.pem"];
    let of_file = option.ends_with("_file") || option.ends_with(".location") || option.ends_with(".file");
    let named = ["password", "secret", "passphrase"].iter().any(|word| option.contains(word));
    !of_file && (named || OTHERS.contains(&option))
}

/// Options of librdkafka, by their own names.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientOptions(BTreeMap<String, String>);

impl ClientOptions {
    /// As the client takes them.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    /// Sets one.
    pub(crate) fn set(&mut self, name: String, value: String) {
        self.0.insert(name, value);
    }

    /// Takes out the options `NAME_file`, as (`NAME`, path).
    pub(crate) fn take_files(&mut self) -> Vec<(String, String)> {
        let files: Vec<String> = self.0.keys().filter(|name| name.ends_with("_file")).cloned().collect();
        files
            .into_iter()
            .filter_map(|name| {
                let path = self.0.remove(&name)?;
                Some((name.trim_end_matches("_file").to_owned(), path))
            })
            .collect()
    }

    fn shown(&self) -> BTreeMap<&str, &str> {
        self.0.iter().map(|(name, value)| (&**name, if is_secret(name) { MASK } else { value })).collect()
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for ClientOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClientOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// librdkafka takes text; YAML makes numbers and truths of what is not quoted.
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an option of librdkafka is a text, a number, `true` or `false`")]
        enum Scalar {
            Truth(bool),
            Whole(i64),
            Number(f64),
            Text(String),
        }
        let options = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        let text = |value| match value {
            Scalar::Truth(truth) => truth.to_string(),
            Scalar::Whole(number) => number.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text,
        };
        Ok(Self(options.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }
}

impl JsonSchema for ClientOptions {
    fn schema_name() -> Cow<'static, str> {
        "ClientOptions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] }
        })
    }
}
