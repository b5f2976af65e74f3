//! A request as a part of its sender's trace, and of ours.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use cybervault_model::TraceContext;
use cybervault_stream::{JournalRecord, span_context};
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan},
    trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};

use super::{RequestId, edge::known};

tokio::task_local! {
    /// What records carry on that the request of this task writes.
    static CARRIED: Option<Carried>;
}

/// The values of a record's trace headers.
#[derive(Clone, Debug)]
struct Carried {
    parent: Vec<u8>,
    state: Option<Vec<u8>>,
}

impl Carried {
    fn of(trace: &TraceContext<'_>) -> Self {
        Self { parent: trace.parent().to_vec(), state: trace.state.map(|state| state.as_bytes().to_vec()) }
    }
}

/// A request's trace.
pub(super) struct RequestTrace {
    span: Option<BoxedSpan>,
    carried: Option<Carried>,
}

impl RequestTrace {
    /// Takes up the trace of a request's headers; where `spans` are gathered, with a span for the request.
    pub(super) fn begin(headers: &HeaderMap, method: &Method, route: Option<&str>, spans: bool) -> Self {
        // The one header may come in several lines.
        let state: Vec<&[u8]> = headers.get_all(TraceContext::STATE).iter().map(HeaderValue::as_bytes).collect();
        let state = (!state.is_empty()).then(|| state.join(&b','));
        let mut parents = headers.get_all(TraceContext::PARENT).iter();
        let sent = match (parents.next(), parents.next()) {
            (Some(parent), None) => TraceContext::read(parent.as_bytes(), state.as_deref()),
            _ => None,
        };
        // Who asks whether we live has a trace of its own, or none is needed.
        let is_probe = sent.is_none() && matches!(route, Some("/livez" | "/readyz"));
        let span = (spans && !is_probe).then(|| begin(method, route, sent.as_ref()));
        let recorded = span.as_ref().filter(|span| span.is_recording()).map(Span::span_context);
        let carried = match (recorded, sent) {
            (Some(ours), sent) => {
                let trace_id = u128::from_be_bytes(ours.trace_id().to_bytes());
                let span_id = u64::from_be_bytes(ours.span_id().to_bytes());
                Some(sent.map_or(TraceContext::new(trace_id, span_id, true), |sent| sent.step(span_id)))
            }
            (None, sent) => sent,
        };
        Self { carried: carried.as_ref().map(Carried::of), span }
    }

    /// Answers the request: what is written for it belongs to its trace.
    pub(super) async fn follow<T>(&mut self, answer: impl Future<Output = T>) -> T {
        CARRIED.scope(self.carried.take(), answer).await
    }

    /// The head of the answer is there.
    pub(super) fn end(self, id: &RequestId, status: StatusCode) {
        let Some(mut span) = self.span else { return };
        span.set_attribute(KeyValue::new("cybervault.request_id", id.0.clone()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// A request's span, by OpenTelemetry's conventions for HTTP. Without its path: that names entities and users.
fn begin(method: &Method, route: Option<&str>, sent: Option<&TraceContext<'_>>) -> BoxedSpan {
    let known = known(method);
    let name = match (known.unwrap_or("HTTP"), route) {
        (method, Some(route)) => format!("{method} {route}"),
        (method, None) => method.to_owned(),
    };
    let method = KeyValue::new("http.request.method", known.unwrap_or("_OTHER"));
    let route = route.map(|route| KeyValue::new("http.route", route.to_owned()));
    let builder =
        SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes([method].into_iter().chain(route));
    let parent = sent.map_or_else(Context::new, |sent| Context::new().with_remote_span_context(span_context(sent)));
    global::tracer("cybervault").build_with_context(builder, &parent)
}

/// Goes on in the request's trace wherever `work` is done.
pub(super) fn carrying<F: Future>(work: F) -> impl Future<Output = F::Output> {
    CARRIED.scope(CARRIED.try_with(Clone::clone).unwrap_or_default(), work)
}

/// Gives records the trace of the request that they are written for.
pub(super) fn carry_on(records: &mut [JournalRecord]) {
    // Outside of a request there is none.
    let Ok(Some(carried)) = CARRIED.try_with(Clone::clone) else { return };
    for record in records {
        record.headers.push((TraceContext::PARENT, carried.parent.clone()));
        if let Some(state) = &carried.state {
            record.headers.push((TraceContext::STATE, state.clone()));
        }
    }
}
