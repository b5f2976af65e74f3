//! The spans of a stage: one a batch, and one a record whose sender's trace is recorded.
//!
//! They are made by OpenTelemetry's own interface, not by `tracing`'s: a record's span has its parent from a header, must
//! say its id at once, for what the record makes, and ends only once the batch has; and a thread that does 10^5 records a
//! second must not take each of them through a subscriber. Where nobody gathers spans there is no [`StageTracer`].

use std::{sync::Arc, time::SystemTime};

use cybervault_model::TraceContext;
use opentelemetry::{
    Context, KeyValue, global,
    global::{BoxedSpan, BoxedTracer},
    trace::{
        Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
        Tracer,
    },
};

use crate::{Failure, Record, RunnerSettings};

/// What a stage's spans have in common.
pub(crate) struct StageTracer {
    tracer: BoxedTracer,
    /// Attributes of all of them, by OpenTelemetry's conventions for messaging.
    attributes: Vec<KeyValue>,
    /// The batches' topic; of a batch from several there is no one destination.
    destination: Option<Arc<str>>,
    max_records: usize,
}

impl StageTracer {
    /// `None` where nobody gathers spans.
    pub(crate) fn new(settings: &RunnerSettings) -> Option<Self> {
        let max_records = settings.record_spans?;
        let destination = match &*settings.inputs {
            [input] => Some(input.clone()),
            _ => None,
        };
        let attributes = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.consumer.group.name", settings.group.clone()),
            KeyValue::new("cybervault.stage", settings.stage.clone()),
        ];
        Some(Self { tracer: global::tracer("cybervault"), attributes, destination, max_records })
    }

    fn builder(&self, destination: Option<&str>) -> SpanBuilder {
        let name = destination.map_or_else(|| "process".to_owned(), |topic| format!("process {topic}"));
        let destination = destination.map(|topic| KeyValue::new("messaging.destination.name", topic.to_owned()));
        SpanBuilder::from_name(name)
            .with_kind(SpanKind::Consumer)
            .with_attributes(self.attributes.iter().cloned().chain(destination))
    }

    /// The spans of a batch that begins now.
    pub(crate) fn begin(&self) -> BatchSpans {
        let batch = self.tracer.build_with_context(self.builder(self.destination.as_deref()), &Context::new());
        BatchSpans { batch, records: Vec::new(), left_out: 0, outcome: Outcome::Lost }
    }
}

/// What has become of a batch.
enum Outcome {
    Committed,
    GivenUp(&'static str),
    /// Nobody has said, since the session ended first.
    Lost,
}

/// The spans of one batch. They end with it: its records have not been processed before it is committed.
pub(crate) struct BatchSpans {
    batch: BoxedSpan,
    records: Vec<RecordSpan>,
    /// Records beyond the bound.
    left_out: u64,
    outcome: Outcome,
}

struct RecordSpan {
    span: BoxedSpan,
    ended: SystemTime,
    has_failed: bool,
}

impl BatchSpans {
    /// Begins the span of a record, if its sender's is recorded. Returns what the record's outputs carry on, and whether
    /// there is a span.
    pub(crate) fn begin<'a>(
        &mut self,
        tracer: &StageTracer,
        record: &Record<'_>,
        trace: TraceContext<'a>,
    ) -> (TraceContext<'a>, bool) {
        if !trace.is_sampled() {
            return (trace, false);
        }
        if self.records.len() >= tracer.max_records {
            self.left_out += 1;
            return (trace, false);
        }
        let sender = span_context(&trace);
        self.batch.add_link(sender.clone(), Vec::new());
        let mut builder = tracer.builder(Some(record.topic));
        if let Some(attributes) = &mut builder.attributes {
            attributes.push(KeyValue::new("messaging.destination.partition.id", record.partition.to_string()));
            attributes.push(KeyValue::new("messaging.kafka.offset", record.offset));
        }
        let mut span = tracer.tracer.build_with_context(builder, &Context::new().with_remote_span_context(sender));
        if !span.is_recording() {
            return (trace, false);
        }
        span.add_link(self.batch.span_context().clone(), Vec::new());
        let step = trace.step(u64::from_be_bytes(span.span_context().span_id().to_bytes()));
        self.records.push(RecordSpan { span, ended: SystemTime::now(), has_failed: false });
        (step, true)
    }

    /// The record whose span was begun last is processed.
    pub(crate) fn end(&mut self, failure: Option<&Failure>) {
        let Some(record) = self.records.last_mut() else { return };
        record.ended = SystemTime::now();
        if let Some(failure) = failure {
            let reason = match failure {
                Failure::Poison(poison) => poison.reason,
                Failure::Unavailable(_) => "unavailable",
            };
            fail(&mut record.span, reason);
            record.has_failed = true;
        }
    }

    /// All records are processed, and the transaction may begin.
    pub(crate) fn hand_over(&mut self, records: u64, outputs: usize) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.batch.set_attribute(KeyValue::new("messaging.batch.message_count", count(records)));
        self.batch.set_attribute(KeyValue::new("cybervault.batch.output_count", count(outputs as u64)));
        if self.left_out > 0 {
            self.batch.set_attribute(KeyValue::new("cybervault.batch.records_without_span", count(self.left_out)));
        }
        self.batch.add_event("processed", Vec::new());
    }

    /// The transaction is committed.
    pub(crate) fn committed(mut self) {
        self.outcome = Outcome::Committed;
    }

    /// The transaction was given up, and its records come again.
    pub(crate) fn given_up(mut self, reason: &'static str) {
        self.outcome = Outcome::GivenUp(reason);
    }
}

impl Drop for BatchSpans {
    fn drop(&mut self) {
        let problem = match self.outcome {
            Outcome::Committed => None,
            Outcome::GivenUp(reason) => Some(reason),
            Outcome::Lost => Some("session_ended"),
        };
        for record in &mut self.records {
            if let Some(reason) = problem.filter(|_| !record.has_failed) {
                fail(&mut record.span, reason);
            }
            record.span.end_with_timestamp(record.ended);
        }
        if let Some(reason) = problem {
            fail(&mut self.batch, reason);
        }
        self.batch.end();
    }
}

fn fail(span: &mut BoxedSpan, reason: &'static str) {
    span.set_attribute(KeyValue::new("error.type", reason));
    span.set_status(Status::error(reason));
}

/// A sender's place in a trace, as spans have it for a parent.
pub fn span_context(trace: &TraceContext<'_>) -> SpanContext {
    let state = trace.state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(
        TraceId::from_bytes(trace.trace_id.to_be_bytes()),
        SpanId::from_bytes(trace.span_id.to_be_bytes()),
        TraceFlags::default().with_sampled(trace.is_sampled()),
        true,
        state,
    )
}
