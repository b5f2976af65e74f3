//! The samples, played as if their senders were at work now.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use cybervault_model::Timestamp;
use cybervault_stream::{Health, KafkaSettings, Publisher};
use rust_embed::RustEmbed;
use serde::Deserialize;

use crate::stage::TENANT_HEADER;

/// The folder content/samples, inside the binary.
#[derive(RustEmbed)]
#[folder = "../../content/samples"]
#[include = "*.ndjson"]
struct Files;

/// Not a tenant's file: lines that no decoder takes, to be sent as they are.
const MALFORMED: &str = "malformed";

/// The embedded broker drops what it can't keep: no more than this many events may wait there.
const MAX_WAITING: u64 = 5_000;

/// One event to be sent.
#[derive(Debug)]
struct Sample {
    /// Milliseconds since the first.
    at: i64,
    /// Who sends it; nobody known, where it is malformed.
    tenant: Option<String>,
    value: Vec<u8>,
}

/// All samples, in the order of their times.
#[derive(Debug)]
pub(super) struct Samples(Vec<Sample>);

/// Where a line says when it happened.
#[derive(Deserialize)]
struct Times<'a> {
    occurred_at: Option<&'a str>,
    #[serde(rename = "@timestamp")]
    timestamp: Option<&'a str>,
}

impl Samples {
    /// Reads what ships with the product.
    pub(super) fn load() -> anyhow::Result<Self> {
        let (mut samples, mut malformed) = (Vec::new(), Vec::new());
        for path in Files::iter() {
            let file = Files::get(&path).with_context(|| format!("no sample {path}"))?;
            let tenant = path.split('.').next().unwrap_or_default();
            for line in file.data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                if tenant == MALFORMED {
                    malformed.push(line.to_vec());
                    continue;
                }
                let times: Times<'_> = serde_json::from_slice(line).with_context(|| format!("sample {path}"))?;
                let at = times.occurred_at.or(times.timestamp).and_then(Timestamp::parse);
                let at = at.with_context(|| format!("a line of sample {path} has no time"))?.as_millis();
                samples.push(Sample { at, tenant: Some(tenant.to_owned()), value: line.to_vec() });
            }
        }
        samples.sort_by_key(|sample| sample.at);
        let first = samples.first().context("no samples")?.at;
        samples.iter_mut().for_each(|sample| sample.at -= first);
        // The malformed ones have no times: they are strewn in.
        let step = samples.len() / (malformed.len() + 1);
        for (n, value) in malformed.into_iter().enumerate() {
            let place = step * (n + 1) + n;
            samples.insert(place, Sample { at: samples[place].at, tenant: None, value });
        }
        Ok(Self(samples))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// From the first to the last, at their own pace.
    pub(super) fn duration(&self) -> Duration {
        let last = self.0.last().map_or(0, |sample| sample.at);
        Duration::from_millis(u64::try_from(last).unwrap_or(0))
    }
}

/// Sends samples to a topic.
#[derive(Debug)]
pub(super) struct Player<'a> {
    pub(super) samples: &'a Samples,
    pub(super) kafka: &'a KafkaSettings,
    pub(super) topic: &'a str,
    pub(super) speed: f64,
    /// Where the stage that reads them says how far it is.
    pub(super) health: &'a Health,
    pub(super) stop: &'a AtomicBool,
}

impl Player<'_> {
    /// Sends all samples and returns how many went out, which are fewer when told to stop. `sent_before` were sent to the
    /// same stage before. Records carry the time at which the sender would have sent them, `begin` on: at ten times the
    /// speed a quota still decides as it would at the sender's own.
    pub(super) fn play(&self, begin: Timestamp, sent_before: u64) -> anyhow::Result<u64> {
        let publisher = Publisher::new(self.kafka)?;
        let started = Instant::now();
        let mut sent = 0;
        for sample in &self.samples.0 {
            let due = Duration::from_millis(u64::try_from(sample.at).unwrap_or(0)).div_f64(self.speed);
            while started.elapsed() < due || self.waiting(sent_before + sent) > MAX_WAITING {
                if self.is_stopped() {
                    return Ok(sent);
                }
                thread::sleep(
                    due.saturating_sub(started.elapsed()).clamp(Duration::from_millis(1), Duration::from_millis(50)),
                );
            }
            let at = Some(begin.plus_millis(sample.at));
            match &sample.tenant {
                Some(tenant) => {
                    let headers = [(TENANT_HEADER, tenant.as_bytes())];
                    publisher.send(self.topic, tenant.as_bytes(), &sample.value, &headers, at)?;
                }
                None => publisher.send(self.topic, b"", &sample.value, &[], at)?,
            }
            sent += 1;
        }
        publisher.flush(Duration::from_secs(30))?;
        Ok(sent)
    }

    fn waiting(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.health.records(crate::pipeline::ASSESS))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_in_order_and_among_them_are_malformed_ones() {
        let samples = Samples::load().unwrap();
        assert!(samples.len() >= 5_000);
        assert!(samples.0.is_sorted_by_key(|sample| sample.at));
        let malformed = samples.0.iter().filter(|sample| sample.tenant.is_none()).count();
        assert!((5..100).contains(&malformed), "{malformed}");
        assert!((200..300).contains(&samples.duration().as_secs()));
    }
}
