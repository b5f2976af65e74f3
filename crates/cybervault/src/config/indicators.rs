//! Lists of known hashes, addresses, domains and URLs.

use std::path::PathBuf;

use cybervault_indicators::{Feed, Format, Kind};
use cybervault_model::Level;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lists of known hashes, addresses, domains and URLs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Indicators {
    /// The lists. Read again when they change.
    pub(crate) feeds: Vec<FeedFile>,
}

/// A list of indicators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedFile {
    /// The file, also `.gz` and `.zst`.
    pub(crate) path: PathBuf,
    /// What findings call it. Default: the file's name.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Its form. Default: told from how it begins.
    #[serde(default)]
    pub(crate) format: Option<Format>,
    /// What the values are that do not say it themselves. Default: told from how each looks; 32 digits are an MD5.
    #[serde(default)]
    pub(crate) kind: Option<Kind>,
    /// The confidence in entries that do not say it themselves: 70 and more weigh as `high`, 30 and more as `medium`, 1 and
    /// more as `low`. Default: as `high`.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub(crate) confidence: Option<u8>,
    /// How much its findings weigh, whatever the confidence.
    #[serde(default)]
    pub(crate) level: Option<Level>,
}

impl FeedFile {
    /// A file with everything told from its content.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, name: None, format: None, kind: None, confidence: None, level: None }
    }

    /// How it is to be read.
    pub(crate) fn feed(&self) -> Feed {
        let file_name = || self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Feed {
            name: self.name.clone().unwrap_or_else(file_name),
            format: self.format,
            kind: self.kind,
            confidence: self.confidence,
            level: self.level,
        }
    }
}
