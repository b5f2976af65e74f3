//! `cybervault tail`.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use cybervault_model::{
    Assessment, ContentType, Decision, DecodeError, QuotaRejection, Record, ResponseAction, Signal,
    avro::WriterSchemas, decode_value,
};
use cybervault_stream::{Follower, OwnedRecord, Start};
use serde_json::{Map, Value, json};

use super::Answer;
use crate::{
    cli::{Begin, TailArgs},
    config::{Config, ConfigError},
    pipeline,
};

pub(super) fn run(args: &TailArgs, config: &Config) -> anyhow::Result<Answer> {
    let topic = full_name(&args.topic, config)?;
    let start = match args.from {
        Begin::Beginning => Start::Beginning,
        Begin::End => Start::End,
    };
    let schemas = pipeline::schemas(pipeline::registry(config)?);
    let mut follower = Follower::open(&config.kafka(), &[&topic], start)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left = args.max.unwrap_or(u64::MAX);
    while left > 0 {
        // Written out once nothing more is at hand.
        let record = match follower.next(Duration::ZERO)? {
            Some(record) => Some(record),
            None => {
                out.flush()?;
                follower.next(Duration::from_millis(250))?
            }
        };
        let Some(record) = record else { continue };
        left -= 1;
        let value = readable(&record, config, &*schemas);
        if args.json {
            writeln!(out, "{}", whole(&record, &value))?;
        } else {
            writeln!(out, "{value}")?;
        }
    }
    out.flush()?;
    Ok(Answer::Yes)
}

/// The one of our topics that `name` means: its full name, its name without the prefix, or the end of it.
fn full_name(name: &str, config: &Config) -> Result<String, ConfigError> {
    let prefix = &config.kafka.topic_prefix;
    let names: Vec<&str> = config.topics.names.all().map(|(_, name)| name).collect();
    let means = |full: &str| {
        let of_prefix = full.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        of_prefix || name.strip_prefix(&**prefix) == Some(full)
    };
    let wrong =
        |problem| Err(ConfigError::Value { origin: "command line".to_owned(), key: "TOPIC".to_owned(), problem });
    match *names.iter().copied().filter(|full| means(full)).collect::<Vec<_>>() {
        [one] => Ok(format!("{prefix}{one}")),
        // Somebody else's topic.
        [] if name.contains('.') => Ok(name.to_owned()),
        [] => wrong(format!("no topic is called `{name}`; there are {}", names.join(", "))),
        ref several => wrong(format!("`{name}` may mean {}", several.join(" or "))),
    }
}

/// The value as JSON where it is any, or Avro that can be read; else as text.
fn readable(record: &OwnedRecord, config: &Config, schemas: &dyn WriterSchemas) -> Value {
    let content_type = record.header(ContentType::HEADER).map(str::as_bytes);
    if matches!(ContentType::from_header(content_type), Ok(ContentType::Avro)) {
        let is = |topic: &str| record.topic.strip_prefix(&*config.kafka.topic_prefix) == Some(topic);
        let names = &config.topics.names;
        let found = if is(&names.threat_assessments) {
            avro::<Assessment>(record, schemas)
        } else if is(&names.detection_signals) {
            avro::<Signal>(record, schemas)
        } else if is(&names.response_actions) {
            avro::<ResponseAction>(record, schemas)
        } else if is(&names.quota_rejections) {
            avro::<QuotaRejection>(record, schemas)
        } else if is(&names.response_decisions) {
            avro::<Decision>(record, schemas)
        } else {
            return text(&record.value);
        };
        return found.unwrap_or_else(|error| json!({ "error": error.to_string() }));
    }
    serde_json::from_slice(&record.value).unwrap_or_else(|_| text(&record.value))
}

fn avro<T: Record>(record: &OwnedRecord, schemas: &dyn WriterSchemas) -> Result<Value, DecodeError> {
    let value: T = decode_value(&record.value, record.header(ContentType::HEADER).map(str::as_bytes), schemas)?;
    Ok(serde_json::to_value(value).unwrap_or_default())
}

fn whole(record: &OwnedRecord, value: &Value) -> Value {
    let headers: Map<String, Value> = record.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": record.key.as_deref().map(text),
        "headers": headers,
        "value": value,
    })
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}
