//! Traces.

use std::{collections::BTreeMap, path::PathBuf};

use axum::http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Where spans of one signal go, beside the collector's address.
const PATH: &str = "/v1/traces";

/// Traces, by OpenTelemetry: spans of batches, of records whose sender's trace is recorded, and of requests. Off until it
/// is said where they go. The trace headers of records and requests are carried on either way.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tracing {
    /// The collector, `http://collector:4318`: spans go to its `/v1/traces`, by OTLP over HTTP. Without it the variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says so, and without that there are no spans.
    pub(crate) otlp_endpoint: Option<String>,
    /// HTTP headers that the collector asks for, as `name=value,name=value`. They are secret: only by environment,
    /// `CYBERVAULT_TRACING__OTLP_HEADERS` or `OTEL_EXPORTER_OTLP_HEADERS`, or by `otlp_headers_file`.
    pub(crate) otlp_headers: Option<Secret>,
    /// A file with these headers in it.
    pub(crate) otlp_headers_file: Option<PathBuf>,
    /// Of the traces that begin here, batches and requests without `traceparent`, how many are recorded, 0 to 1. Those that
    /// come in are recorded where their sender does. Default: 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) sample_ratio: f64,
    /// How many records of a batch may have a span of their own. Default: 100.
    #[schemars(range(max = 10_000))]
    pub(crate) record_spans: usize,
    /// How many spans may wait for the collector; more are dropped, and counted. Default: 2,048.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) queue: usize,
    /// OpenTelemetry's own variables, as far as they say whether there are spans and where they go.
    #[serde(skip)]
    standard: BTreeMap<String, String>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers: None,
            otlp_headers_file: None,
            sample_ratio: 1.0,
            record_spans: 100,
            queue: 2_048,
            standard: BTreeMap::new(),
        }
    }
}

impl Tracing {
    /// Takes down a variable of the environment, if it is one of OpenTelemetry's.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        const NOTED: [&str; 4] = [
            "OTEL_SDK_DISABLED",
            "OTEL_TRACES_EXPORTER",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        // An empty one is as good as none, says OpenTelemetry's specification.
        if NOTED.contains(&name) && !value.trim().is_empty() {
            self.standard.insert(name.to_owned(), value.trim().to_owned());
        }
    }

    fn said(&self, name: &str) -> Option<&str> {
        self.standard.get(name).map(String::as_str)
    }

    /// Whether spans are gathered.
    pub(crate) fn is_on(&self) -> bool {
        self.target().is_some()
    }

    /// The URL that spans are sent to, and the key or variable that says so.
    pub(crate) fn target(&self) -> Option<(String, &'static str)> {
        let is_off = self.said("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || self.said("OTEL_TRACES_EXPORTER").is_some_and(|value| value.eq_ignore_ascii_case("none"));
        if is_off {
            return None;
        }
        let below = |base: &str| format!("{}{PATH}", base.trim_end_matches('/'));
        if let Some(base) = &self.otlp_endpoint {
            return Some((below(base), "tracing.otlp_endpoint"));
        }
        let (whole, base) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        self.said(whole).map(|url| (url.to_owned(), whole)).or_else(|| Some((below(self.said(base)?), base)))
    }

    /// The configured headers, as (name, value).
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let text = self.otlp_headers.as_ref().map_or("", Secret::reveal);
        pairs(text).flatten().collect()
    }

    /// What is wrong with the section, as (key, problem).
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(("tracing.sample_ratio", format!("{} is out of range: it must be 0 to 1", self.sample_ratio)));
        }
        if let Some(base) = &self.otlp_endpoint {
            check_url(base).map_err(|problem| ("tracing.otlp_endpoint", problem))?;
        }
        let text = self.otlp_headers.as_ref().map_or("", Secret::reveal);
        if let Some(at) = pairs(text).position(|pair| pair.is_none()) {
            let problem = format!("entry {} is no `name=value` of an HTTP header; separate them with commas", at + 1);
            return Err(("tracing.otlp_headers", problem));
        }
        Ok(())
    }

    /// The same of where OpenTelemetry's own variables say that spans go.
    pub(super) fn check_target(&self) -> Result<(), (&'static str, String)> {
        match self.target() {
            Some((url, from)) => check_url(&url).map_err(|problem| (from, problem)),
            None => Ok(()),
        }
    }
}

fn check_url(text: &str) -> Result<(), String> {
    // What stands before an `@` may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let wrong =
        || format!("`{shown}` is no address of a collector: use http(s)://host:port, and headers for credentials");
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let is_bare = !text.contains(['@', '?', '#']);
    if is_http && has_host && is_bare { Ok(()) } else { Err(wrong()) }
}

/// The entries of `name=value,name=value`; `None` for what is none.
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').filter(|entry| !entry.trim().is_empty()).map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_fine = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
        is_fine.then(|| (name.to_owned(), value.to_owned()))
    })
}
