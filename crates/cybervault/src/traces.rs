//! Traces: who gathers the spans that stages and gateway make, and sends them to a collector.

mod collector;
mod queue;

use std::{env, time::Duration};

use anyhow::Context;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, SdkProvidedResourceDetector, TelemetryResourceDetector},
    trace::{Sampler, SdkTracerProvider, SpanExporter},
};

pub(crate) use self::queue::describe;
use self::{collector::Collector, queue::SpanQueue};
use crate::config::Config;

/// How long the end of a process may wait for the collector.
const FLUSH: Duration = Duration::from_secs(3);

/// Spans are gathered while this lives; what is left is sent at its end.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to gather spans, where the configuration or OpenTelemetry's own variables say where to. Before the stages and
    /// the gateway start.
    ///
    /// # Errors
    /// When what says so can't be used.
    pub(crate) fn start(config: &Config) -> anyhow::Result<Option<Self>> {
        config.check_tracing()?;
        let Some((url, from)) = config.tracing.target() else { return Ok(None) };
        let (collector, heard) = Collector::new();
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_endpoint(&url)
            // `OTEL_EXPORTER_OTLP_HEADERS` is added to them.
            .with_headers(config.tracing.headers().into_iter().collect())
            .build()
            .with_context(|| format!("spans can't be sent to {url}; see `tracing` in the configuration"))?;
        let resource = resource(&config.worker.instance());
        exporter.set_resource(&resource);
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.tracing.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource)
            .with_span_processor(SpanQueue::start(exporter, heard, config.tracing.queue)?)
            .build();
        global::set_tracer_provider(provider.clone());
        tracing::info!(url, from, sample_ratio = config.tracing.sample_ratio, "gathering traces");
        Ok(Some(Self(provider)))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

/// What the spans are about, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
fn resource(instance: &str) -> Resource {
    let ours = [
        KeyValue::new("service.name", "cybervault"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ];
    let builder = Resource::builder_empty()
        .with_attributes(ours)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    // This one makes up a name where none is set.
    if env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty()) {
        return builder.with_detector(Box::new(SdkProvidedResourceDetector)).build();
    }
    builder.build()
}
