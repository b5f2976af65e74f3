//! File, environment and flags laid over each other, and checked.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cybervault_response::Guard;
use cybervault_scoring::Scorer;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Config, Secret,
    keys::{Keys, UnknownKey},
    secret::is_secret,
};

/// The keys that hold a secret, beside options of the Kafka client.
const SECRETS: [&[&str]; 3] =
    [&["kafka", "schema_registry", "password"], &["gateway", "store", "postgres"], &["tracing", "otlp_headers"]];

/// Keys that there were, and what to do without them.
const REMOVED: [(&str, &str); 1] = [(
    "quota.partitioning",
    "a quota now holds for the whole fleet, by whatever events are keyed; remove it, and run workers with the role `quota` beside \
     `assess` (docs/quotas.md)",
)];

/// The prefix of the environment's variables.
const PREFIX: &str = "CYBERVAULT_";

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It is no YAML.
    #[error("the configuration {} is not YAML: {source}", path.display())]
    Yaml { path: PathBuf, source: yaml_serde::Error },
    /// It has a key that does not exist.
    #[error("{origin}: there is no key `{key}`{}", nearest.as_ref().map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
    UnknownKey { origin: String, key: String, nearest: Option<String> },
    /// It has a key that there is no longer.
    #[error("{origin}: `{key}` is gone: {instead}")]
    RemovedKey { origin: String, key: String, instead: &'static str },
    /// A value has the wrong form.
    #[error("{origin}: `{key}`: {problem}")]
    Value { origin: String, key: String, problem: String },
    /// A secret stands where everyone reads it.
    #[error("{origin}: `{key}` is a secret and must not stand there; {instead}")]
    LiteralSecret { origin: String, key: String, instead: String },
    /// A secret's file can't be read.
    #[error("`{key}`: can't read the secret from {path}: {source}")]
    SecretFile { key: String, path: String, source: io::Error },
    /// A flag is not of the form `KEY=VALUE`.
    #[error("--set {0}: write it as KEY=VALUE")]
    Flag(String),
}

impl Config {
    /// The configuration in `file`, changed by `environment` and then by `flags` (`KEY=VALUE`), and checked.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers { keys: Keys::of_config(), all: Value::Object(Map::new()), origins: Vec::new() };
        if let Some(path) = file {
            layers.add_file(path)?;
        }
        let mut standard = Vec::new();
        for (name, value) in environment {
            layers.add_variable(&name, &value)?;
            if name.starts_with("OTEL_") {
                standard.push((name, value));
            }
        }
        for flag in flags {
            layers.add_flag(flag)?;
        }
        let mut config = layers.read()?;
        standard.iter().for_each(|(name, value)| config.tracing.note(name, value));
        config.read_secrets()?;
        config.check()?;
        Ok(config)
    }

    fn read_secrets(&mut self) -> Result<(), ConfigError> {
        let read = |key: String, path: String| {
            let text = fs::read_to_string(&path);
            let text = text.map_err(|source| ConfigError::SecretFile { key: key.clone(), path, source })?;
            Ok((key, text.trim_end_matches(['\r', '\n']).to_owned()))
        };
        for (option, path) in self.kafka.client.take_files() {
            let (option, secret) = read(option, path)?;
            self.kafka.client.set(option, secret);
        }
        if let Some(registry) = &mut self.kafka.schema_registry
            && let Some(path) = &registry.password_file
        {
            let key = "kafka.schema_registry.password_file".to_owned();
            let (_, secret) = read(key, path.display().to_string())?;
            registry.password = Some(Secret::new(secret));
        }
        if let Some(path) = &self.gateway.store.postgres_file {
            let key = "gateway.store.postgres_file".to_owned();
            let (_, secret) = read(key, path.display().to_string())?;
            self.gateway.store.postgres = Some(Secret::new(secret));
        }
        if let Some(path) = &self.tracing.otlp_headers_file {
            let (_, secret) = read("tracing.otlp_headers_file".to_owned(), path.display().to_string())?;
            self.tracing.otlp_headers = Some(Secret::new(secret));
        }
        Ok(())
    }

    /// Checks what the form alone does not say.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: String| ConfigError::Value {
            origin: "configuration".into(),
            key: key.into(),
            problem,
        };
        let in_range = |key: &str, value: u64, min: u64, max: u64| {
            let fits = (min..=max).contains(&value);
            if fits { Ok(()) } else { Err(wrong(key, format!("{value} is out of range: it must be {min} to {max}"))) }
        };
        if self.kafka.bootstrap.trim().is_empty() {
            return Err(wrong(
                "kafka.bootstrap",
                "it names no broker: write `host:port`, more of them with commas between".into(),
            ));
        }
        if self.worker.roles.is_empty() {
            return Err(wrong(
                "worker.roles",
                "a worker needs at least one: assess, quota, correlate, respond, incidents".into(),
            ));
        }
        self.log.check().map_err(|problem| wrong("log.level", problem))?;
        in_range("topics.partitions", self.topics.partitions.into(), 1, 10_000)?;
        in_range("worker.runners", self.worker.runners.into(), 1, 64)?;
        in_range("batch.max_records", self.batch.max_records as u64, 1, 10_000_000)?;
        in_range("batch.max_bytes", self.batch.max_bytes as u64, 1, 1 << 31)?;
        in_range("batch.linger_ms", self.batch.linger_ms, 0, 60_000)?;
        in_range("limits.max_event_bytes", self.limits.max_event_bytes as u64, 1, 256 << 20)?;
        in_range("limits.max_depth", self.limits.max_depth as u64, 1, 1_000)?;
        in_range("limits.max_container_events", self.limits.max_container_events as u64, 1, 10_000_000)?;
        in_range("limits.max_container_depth", self.limits.max_container_depth as u64, 1, 32)?;
        in_range("limits.max_ahead_ms", self.limits.max_ahead_ms, 0, 3_600_000)?;
        in_range("correlation.lateness_ms", self.correlation.lateness_ms.into(), 0, 86_400_000)?;
        in_range("correlation.idle_ms", self.correlation.idle_ms, 0, 2_592_000_000)?;
        in_range("correlation.max_tenant_bytes", self.correlation.max_tenant_bytes as u64, 1 << 20, 1 << 40)?;
        in_range("correlation.max_bytes", self.correlation.max_bytes as u64, 1 << 20, 1 << 40)?;
        in_range("quota.share_interval_ms", self.quota.share_interval_ms, 50, 10_000)?;
        in_range("metrics.top_tenants", self.metrics.top_tenants as u64, 0, 10_000)?;
        let plans = [
            ("starter", self.gateway.rate_limits.starter),
            ("professional", self.gateway.rate_limits.professional),
            ("enterprise", self.gateway.rate_limits.enterprise),
        ];
        for (plan, rates) in plans {
            let key = |name| format!("gateway.rate_limits.{plan}.{name}");
            in_range(&key("read_per_minute"), rates.read_per_minute.into(), 1, 10_000_000)?;
            in_range(&key("write_per_minute"), rates.write_per_minute.into(), 1, 10_000_000)?;
            in_range(&key("burst_percent"), rates.burst_percent.into(), 0, 1_000)?;
        }
        let streams = self.gateway.streams;
        for (plan, limits) in
            [("starter", streams.starter), ("professional", streams.professional), ("enterprise", streams.enterprise)]
        {
            in_range(&format!("gateway.streams.{plan}.of_a_tenant"), limits.of_a_tenant.into(), 1, 4_096)?;
            in_range(&format!("gateway.streams.{plan}.of_a_key"), limits.of_a_key.into(), 1, 4_096)?;
        }
        let retention = &self.gateway.retention;
        for days in retention.tenants.values().chain([&retention.days]) {
            in_range("gateway.retention", (*days).into(), 1, 3_650)?;
        }
        in_range("state.max_entries", self.state.max_entries as u64, 1, u64::MAX)?;
        in_range("state.max_bytes", self.state.max_bytes as u64, 1, u64::MAX)?;
        if let Some(option) = self.kafka().reserved_options().next() {
            let problem = "the exactly-once contract or readiness depends on it, so it can't be set".to_owned();
            return Err(wrong(&format!("kafka.client.{option}"), problem));
        }
        self.kafka().check_options().map_err(|(option, problem)| {
            let problem = if is_secret(&option) { "the client does not take it".to_owned() } else { problem };
            wrong(&format!("kafka.client.{option}"), problem)
        })?;
        for feed in &self.indicators.feeds {
            in_range("indicators.feeds.confidence", feed.confidence.unwrap_or_default().into(), 0, 100)?;
        }
        in_range("tracing.record_spans", self.tracing.record_spans as u64, 0, 10_000)?;
        in_range("tracing.queue", self.tracing.queue as u64, 1, 1_000_000)?;
        self.tracing.check().map_err(|(key, problem)| wrong(key, problem))?;
        self.quota.plans.check().map_err(|error| wrong("quota.plans", error.to_string()))?;
        Guard::new(self.response.clone()).map_err(|error| wrong("response.never_touch", error.to_string()))?;
        self.incidents.check().map_err(|error| wrong("incidents", error.to_string()))?;
        Scorer::new(self.scoring).map_err(|error| wrong("scoring", error.to_string()))?;
        self.check_topic_names().map_err(|(key, problem)| wrong(&format!("topics.names.{key}"), problem))
    }

    /// Checks what OpenTelemetry's own variables say. Only who gathers traces has to mind them: they may be set for all that
    /// runs on a machine.
    pub(crate) fn check_tracing(&self) -> Result<(), ConfigError> {
        self.tracing.check_target().map_err(|(key, problem)| ConfigError::Value {
            origin: "environment".into(),
            key: key.into(),
            problem,
        })
    }

    /// Checks what Kafka's client says of its options together. It begins to look for the brokers, but does not wait for them.
    pub(crate) fn check_client(&self) -> Result<(), ConfigError> {
        self.kafka().check_together().map_err(|problem| ConfigError::Value {
            origin: "configuration".into(),
            key: "kafka.client".into(),
            problem,
        })
    }

    /// Kafka's own rule for names, and no name twice.
    fn check_topic_names(&self) -> Result<(), (&'static str, String)> {
        let names: Vec<_> = self.topics.names.all().collect();
        for (at, (key, name)) in names.iter().enumerate() {
            let full = format!("{}{name}", self.kafka.topic_prefix);
            let allowed = full.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            if name.is_empty() || !allowed || full.len() > 249 {
                let problem = format!("`{full}` is no topic name: use 1 to 249 letters, digits, `.`, `_` or `-`");
                return Err((key, problem));
            }
            if let Some((other, _)) = names[..at].iter().find(|(_, other)| other == name) {
                return Err((key, format!("`{name}` is also the name of `{other}`")));
            }
        }
        Ok(())
    }
}

/// What was read so far, and from where.
struct Layers {
    keys: Keys,
    all: Value,
    /// (key, where it was set), for messages.
    origins: Vec<(String, String)>,
}

impl Layers {
    fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let value: Option<Value> =
            read_yaml(&text).map_err(|source| ConfigError::Yaml { path: path.into(), source })?;
        let origin = path.display().to_string();
        let value = match value {
            None => return Ok(()),
            Some(value @ Value::Object(_)) => value,
            Some(_) => {
                let problem = "it must be a mapping of sections".to_owned();
                return Err(ConfigError::Value { origin, key: String::new(), problem });
            }
        };
        if let Some(unknown) = self.keys.find_unknown(&value) {
            return Err(unknown_key(origin, unknown));
        }
        let client = value.pointer("/kafka/client").and_then(Value::as_object);
        if let Some(option) = client.and_then(|options| options.keys().find(|name| is_secret(name))) {
            return Err(literal_secret(origin, &["kafka", "client", option]));
        }
        for secret in SECRETS {
            if value.pointer(&format!("/{}", secret.join("/"))).is_some_and(|value| !value.is_null()) {
                return Err(literal_secret(origin, secret));
            }
        }
        self.origins.push((String::new(), origin));
        self.all = value;
        Ok(())
    }

    fn add_variable(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(()) };
        if name == "CYBERVAULT_CONFIG" || is_service_link(rest) {
            return Ok(());
        }
        let segments: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        let (path, is_text) = self.keys.find(&segments).map_err(|unknown| unknown_key(name.to_owned(), unknown))?;
        self.set(&path, is_text, value, name.to_owned())
    }

    fn add_flag(&mut self, flag: &str) -> Result<(), ConfigError> {
        let (key, value) = flag.split_once('=').ok_or_else(|| ConfigError::Flag(flag.to_owned()))?;
        let origin = format!("--set {key}");
        let (path, is_text) = match key.strip_prefix("kafka.client.") {
            Some(option) => (vec!["kafka".to_owned(), "client".to_owned(), option.to_owned()], true),
            None => {
                let segments: Vec<String> = key.split('.').map(str::to_owned).collect();
                self.keys.find(&segments).map_err(|unknown| unknown_key(origin.clone(), unknown))?
            }
        };
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        let secret = match *names {
            // Everyone on the machine sees a process's arguments.
            ["kafka", "client", option] => is_secret(option),
            _ => SECRETS.contains(&&*names),
        };
        if secret {
            return Err(literal_secret(origin, &names));
        }
        self.set(&path, is_text, value, origin)
    }

    fn set(&mut self, path: &[String], is_text: bool, text: &str, origin: String) -> Result<(), ConfigError> {
        let key = path.join(".");
        let value = if is_text {
            Value::String(text.to_owned())
        } else {
            read_yaml(text).map_err(|error| ConfigError::Value {
                origin: origin.clone(),
                key: key.clone(),
                problem: error.to_string(),
            })?
        };
        let mut at = &mut self.all;
        for name in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            let Value::Object(object) = at else { break };
            at = object.entry(name).or_insert(Value::Null);
        }
        *at = value;
        if let Some(unknown) = self.keys.find_unknown(&self.all) {
            return Err(unknown_key(origin, unknown));
        }
        self.origins.push((key, origin));
        Ok(())
    }

    fn read(self) -> Result<Config, ConfigError> {
        let Self { all, origins, .. } = self;
        serde_path_to_error::deserialize(all).map_err(|error| {
            let key = error.path().to_string();
            // The last to set this key or one above it.
            let set = origins.iter().rfind(|(set, _)| key.starts_with(&**set));
            let origin = set.map_or("configuration", |(_, origin)| origin).to_owned();
            ConfigError::Value { origin, key, problem: error.into_inner().to_string() }
        })
    }
}

/// Reads YAML in which no key stands twice: JSON's mapping would take the last one.
fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, yaml_serde::Error> {
    yaml_serde::from_str::<yaml_serde::Value>(text)?;
    yaml_serde::from_str(text)
}

fn unknown_key(origin: String, unknown: UnknownKey) -> ConfigError {
    let removed = REMOVED.iter().find(|(key, _)| *key == unknown.path);
    match removed {
        Some((_, instead)) => ConfigError::RemovedKey { origin, key: unknown.path, instead },
        None => ConfigError::UnknownKey { origin, key: unknown.path, nearest: unknown.nearest },
    }
}

fn literal_secret(origin: String, path: &[&str]) -> ConfigError {
    let key = path.join(".");
    let variable = path.join("__").replace('.', "_").to_uppercase();
    let instead = format!("set the environment variable {PREFIX}{variable}, or write `{key}_file: PATH`");
    ConfigError::LiteralSecret { origin, key, instead }
}

/// Kubernetes sets these for a service that is called `cybervault` or `cybervault-…`.
fn is_service_link(rest: &str) -> bool {
    !rest.contains("__")
        && (rest.contains("SERVICE_HOST")
            || rest.contains("SERVICE_PORT")
            || rest == "PORT"
            || rest.starts_with("PORT_")
            || rest.ends_with("_PORT")
            || rest.contains("_PORT_"))
}
