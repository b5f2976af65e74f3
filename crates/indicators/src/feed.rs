//! Feeds: lists of indicators in the forms in which they are handed around.

mod csv;
mod misp;
mod plain;
mod stix;

use std::io::{self, BufRead};

use cybervault_model::{Level, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Kind, value::Value};

/// The form of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A value a line; `#` and `;` begin comments.
    Plain,
    /// Comma-separated, with a header that names the columns.
    Csv,
    /// Events as MISP exports them.
    Misp,
    /// A bundle of STIX 2.1.
    Stix,
}

/// How a feed is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// What findings call it.
    pub name: String,
    /// Its form; without one it is told from how it begins.
    pub format: Option<Format>,
    /// What the values are that do not say it themselves; without one it is told from how each looks.
    pub kind: Option<Kind>,
    /// The confidence in entries that do not say it themselves, 0 to 100.
    pub confidence: Option<u8>,
    /// How much each of its findings weighs, whatever the confidence.
    pub level: Option<Level>,
}

/// Why a feed can't be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Its bytes can't be had.
    #[error("can't be read: {0}")]
    Read(String),
    /// It has not the form that it should have.
    #[error("{0}")]
    Form(String),
    /// There are too many indicators in all.
    #[error("there are more than {0} indicators")]
    TooMany(u64),
}

impl From<io::Error> for FeedError {
    fn from(error: io::Error) -> Self {
        Self::Read(error.to_string())
    }
}

/// An entry of a feed.
#[derive(Debug)]
pub(crate) struct Listed<'t> {
    pub(crate) value: Value,
    pub(crate) title: Option<&'t str>,
    pub(crate) confidence: Option<u8>,
    pub(crate) level: Option<Level>,
    pub(crate) valid_until: Option<Timestamp>,
}

impl Listed<'_> {
    pub(crate) fn new(value: Value) -> Self {
        Self { value, title: None, confidence: None, level: None, valid_until: None }
    }
}

/// Takes an entry, or what is wrong with one.
type Take<'t> = dyn FnMut(Result<Listed<'_>, String>) -> Result<(), FeedError> + 't;

/// Reads the feed, handing each entry to `take`.
pub(crate) fn read(feed: &Feed, from: &mut impl BufRead, take: &mut Take<'_>) -> Result<(), FeedError> {
    let mut lines = Lines::new(from);
    let format = match feed.format {
        Some(format) => format,
        None => lines.guess()?,
    };
    match format {
        Format::Plain => plain::read(feed, &mut lines, take),
        Format::Csv => csv::read(feed, &mut lines, take),
        Format::Misp => misp::read(lines, take),
        Format::Stix => stix::read(lines, take),
    }
}

/// The longest line that is read.
const MAX_LINE: usize = 64 * 1024;

/// A feed's lines, the first of which can be looked at beforehand.
struct Lines<'r, R> {
    from: &'r mut R,
    line: Vec<u8>,
    number: u64,
}

impl<'r, R: BufRead> Lines<'r, R> {
    fn new(from: &'r mut R) -> Self {
        Self { from, line: Vec::new(), number: 0 }
    }

    /// What the feed's beginning looks like.
    fn guess(&mut self) -> Result<Format, FeedError> {
        let start = self.from.fill_buf()?;
        let start = String::from_utf8_lossy(start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start)).into_owned();
        Ok(match start.trim_start().as_bytes().first() {
            // STIX says so soon; a MISP event has no `type` at its top.
            Some(b'{' | b'[') if start.contains("\"bundle") => Format::Stix,
            Some(b'{' | b'[') => Format::Misp,
            _ if csv::has_header(&start) => Format::Csv,
            _ => Format::Plain,
        })
    }

    /// The next line, without its end. None at the feed's end.
    fn next(&mut self) -> Result<Option<&str>, FeedError> {
        use std::io::Read;
        self.line.clear();
        let limit = MAX_LINE as u64 + 1;
        if (&mut *self.from).take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.line.len() > MAX_LINE {
            return Err(FeedError::Form(format!("line {} is longer than {MAX_LINE} bytes", self.number)));
        }
        let line = std::str::from_utf8(&self.line);
        let line = line.map_err(|_| FeedError::Form(format!("line {} is no UTF-8", self.number)))?;
        let line = if self.number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        Ok(Some(line.trim()))
    }
}

/// A time as feeds write it: RFC 3339, with a space for its `T` too, or a day.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.replacen(' ', "T", 1).trim_end_matches("TUTC").to_owned(),
    };
    Timestamp::parse(&whole).or_else(|| Timestamp::parse(&format!("{whole}Z")))
}

/// The kind that has this name in most feeds.
fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "sha256" => Kind::Sha256,
        "sha1" => Kind::Sha1,
        "md5" => Kind::Md5,
        "imphash" => Kind::Imphash,
        "ip" | "ip-src" | "ip-dst" => Kind::Ip,
        "domain" | "hostname" => Kind::Domain,
        "url" => Kind::Url,
        _ => return None,
    })
}

/// As much of a text as is shown where something is wrong with it.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A value that can't be used, in words.
fn unusable(text: &str, kind: Option<Kind>) -> String {
    let shown = short(text);
    match kind {
        Some(kind) => format!("`{shown}` is no {}", kind.as_str()),
        None => format!("`{shown}` is no hash, address, network, domain or URL"),
    }
}
