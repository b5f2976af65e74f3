//! Traces: whose trace a record belongs to is carried on from topic to topic, and a collector is told of what was done.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use cybervault_model::hex;
use cybervault_testkit::{eventually, topic::Record};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::json;

use crate::support::{
    Fleet, PATIENCE,
    gateway::{Gateway, key},
    unlimited,
};

const STATE: &str = "vendor=opaque,other=1";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{PARENT}-{flags}")
}

/// The same digit all through.
fn trace_id(digit: char) -> String {
    digit.to_string().repeat(32)
}

/// (trace, span, flags) of a record's `traceparent`.
fn place(record: &Record) -> Option<(&str, &str, &str)> {
    let mut parts = record.header("traceparent")?.split('-').skip(1);
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// An event with findings, for one of which a playbook wants something done.
fn finding(event_id: &str) -> String {
    let payload = json!({"hostname": "ws-0114", "file_name": "Invoice_8841.docm",
        "file_path": r"C:\Users\m.ito\Downloads\Invoice_8841.docm",
        "hash_sha256": "40e90883db108dd6b8a5c5fc740db49bd2066f9eba76b5cacadedc18325407c2"});
    json!({"event_id": event_id, "type": "file_hash", "payload": payload}).to_string()
}

fn record(tenant: &str, value: String, parent: Option<&str>) -> Record {
    let headers = parent.map(|parent| ("traceparent".to_owned(), parent.as_bytes().to_vec()));
    let state = parent.map(|_| ("tracestate".to_owned(), STATE.as_bytes().to_vec()));
    Record { headers: headers.into_iter().chain(state).collect(), ..Record::new(tenant, value) }
}

fn assessment<'r>(all: &'r [Record], event_id: &str) -> &'r Record {
    let named = format!("\"event_id\":\"{event_id}\"");
    all.iter().find(|record| String::from_utf8_lossy(&record.value).contains(&named)).expect(event_id)
}

/// Takes spans by OTLP over HTTP.
struct Collector {
    endpoint: String,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    resource: HashMap<String, String>,
    headers: HeaderMap,
}

impl Collector {
    fn start() -> Self {
        let taken = Arc::<Mutex<Taken>>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        thread::spawn(move || runtime.block_on(async { axum::serve(listener, router).await }));
        Self { endpoint, taken }
    }

    /// The first span that `fits`, once there is one.
    fn wait_for(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Span {
        eventually(what, PATIENCE, || self.taken.lock().unwrap().spans.iter().find(|span| fits(span)).cloned())
    }
}

async fn take(State(taken): State<Arc<Mutex<Taken>>>, headers: HeaderMap, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut taken = taken.lock().unwrap();
    taken.headers = headers;
    for group in request.resource_spans {
        let attributes = group.resource.map_or_else(Vec::new, |resource| resource.attributes);
        taken.resource.extend(attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))));
        taken.spans.extend(group.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key == name).map(text)
}

/// Whether a span is a record's of this stage, in this trace.
fn is_record(span: &Span, stage: &str, trace: &str) -> bool {
    hex(&span.trace_id) == trace && attribute(span, "cybervault.stage").as_deref() == Some(stage)
}

#[test]
fn a_senders_trace_goes_through_all_stages_and_the_collector_sees_it() {
    let collector = Collector::start();
    let fleet = Fleet::new("traces", &unlimited(["acme"]));
    let events = fleet.topic("telemetry.events");
    let [found, unsampled, dead, rejected] = ['1', '2', '3', '4'].map(trace_id);
    fleet.send([
        record("acme", finding("sampled"), Some(&traceparent(&found, "01"))),
        record("acme", finding("unsampled"), Some(&traceparent(&unsampled, "00"))),
        record("acme", finding("malformed"), Some("00-nothing-01")),
        record("acme", finding("without"), None),
        record("acme", "not json".to_owned(), Some(&traceparent(&dead, "01"))),
        record("nobody", finding("rejected"), Some(&traceparent(&rejected, "01"))),
    ]);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hush"),
        ("OTEL_SERVICE_NAME", "detection"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let mut worker = fleet.worker_in("w1", &["log.level=debug"], &environment);

    let assessments = fleet.wait_for(&mut worker, "threat.assessments", 4);
    let sampled = assessment(&assessments, "sampled");
    let (trace, span, flags) = place(sampled).unwrap();
    assert_eq!((trace, flags, sampled.header("tracestate")), (&*found, "01", Some(STATE)));
    assert_ne!(span, PARENT);
    // Nobody records it: it goes on as it came.
    let passed = assessment(&assessments, "unsampled");
    assert_eq!(place(passed), Some((&*unsampled, PARENT, "00")));
    assert_eq!(passed.header("tracestate"), Some(STATE));
    for event_id in ["malformed", "without"] {
        let record = assessment(&assessments, event_id);
        assert_eq!((record.header("traceparent"), record.header("tracestate")), (None, None), "{event_id}");
    }
    let letter = fleet.wait_for(&mut worker, "telemetry.dlq", 1).remove(0);
    let rejection = fleet.wait_for(&mut worker, "quota.rejections", 1).remove(0);
    assert_eq!(place(&letter).map(|(trace, _, flags)| (trace, flags)), Some((&*dead, "01")));
    assert_eq!(letter.headers.iter().filter(|(name, _)| name == "traceparent").count(), 1);
    assert_eq!(place(&rejection).map(|(trace, _, flags)| (trace, flags)), Some((&*rejected, "01")));
    worker.wait_until("an action of the trace", PATIENCE, || {
        fleet.read("response.actions").iter().any(|action| place(action).is_some_and(|(trace, ..)| trace == found))
    });

    let record_span = collector.wait_for("the record's span", |span| is_record(span, "assess", &found));
    assert_eq!((hex(&record_span.span_id), hex(&record_span.parent_span_id)), (span.to_owned(), PARENT.to_owned()));
    assert_eq!((&*record_span.name, record_span.kind), (&*format!("process {events}"), SpanKind::Consumer as i32));
    for name in ["messaging.destination.partition.id", "messaging.kafka.offset"] {
        assert!(attribute(&record_span, name).is_some(), "{name} in {record_span:?}");
    }
    let batch = record_span.links[0].span_id.clone();
    let batch = collector.wait_for("the batch's span", |span| span.span_id == batch);
    assert!(batch.parent_span_id.is_empty() && batch.trace_id != record_span.trace_id);
    assert!(batch.links.iter().any(|link| hex(&link.trace_id) == found), "{batch:?}");
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", &*events),
        ("cybervault.stage", "assess"),
    ] {
        assert_eq!(attribute(&batch, name).as_deref(), Some(value), "{name}");
    }
    assert!(attribute(&batch, "messaging.consumer.group.name").is_some_and(|group| group.ends_with("assess")));
    assert!(attribute(&batch, "messaging.batch.message_count").unwrap().parse::<u32>().unwrap() >= 1);
    let failed = collector.wait_for("the dead letter's span", |span| is_record(span, "assess", &dead));
    assert_eq!(attribute(&failed, "error.type").as_deref(), Some("not_json"));
    assert_eq!(failed.status.map(|status| status.code), Some(StatusCode::Error as i32));
    // Each stage hangs below the one before it.
    let select = collector.wait_for("the next stage's span", |span| is_record(span, "respond_select", &found));
    assert_eq!(select.parent_span_id, record_span.span_id);
    let guard = collector.wait_for("the last stage's span", |span| is_record(span, "respond_guard", &found));
    assert_eq!(guard.parent_span_id, select.span_id);

    worker.terminate();
    assert!(worker.wait(PATIENCE).success());
    let taken = collector.taken.lock().unwrap();
    assert!(!taken.spans.iter().any(|span| hex(&span.trace_id) == unsampled));
    let resource = |name: &str| taken.resource.get(name).map(String::as_str);
    assert_eq!((resource("service.name"), resource("service.instance.id")), (Some("detection"), Some("w1")));
    assert_eq!(resource("deployment.environment.name"), Some("test"));
    assert_eq!(taken.headers["x-api-key"], "hush");
    assert!(!worker.log().contains("hush"), "{}", worker.log());
}

#[test]
fn without_a_collector_headers_are_carried_on_all_the_same() {
    let fleet = Fleet::new("traces_off", &unlimited(["acme"]));
    let sent = traceparent(&trace_id('5'), "01");
    fleet.send([record("acme", finding("one"), Some(&sent)), record("acme", "not json".to_owned(), Some(&sent))]);
    let mut worker = fleet.worker("w1", &[]);
    for topic in ["threat.assessments", "telemetry.dlq"] {
        let written = fleet.wait_for(&mut worker, topic, 1).remove(0);
        assert_eq!(
            (written.header("traceparent"), written.header("tracestate")),
            (Some(&*sent), Some(STATE)),
            "{topic}"
        );
    }
    worker.wait_until("an action with the header", PATIENCE, || {
        fleet.read("response.actions").iter().any(|action| action.header("traceparent") == Some(&*sent))
    });
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    const EVENTS: usize = 300;
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fleet = Fleet::new("traces_lost", &unlimited(["acme"]));
    let sent = traceparent(&trace_id('6'), "01");
    fleet.send((0..EVENTS).map(|n| record("acme", finding(&n.to_string()), Some(&sent))));
    let endpoint = format!("tracing.otlp_endpoint=http://{nowhere}");
    let mut worker = fleet.worker("w1", &["worker.roles=[assess]", "tracing.queue=5", &endpoint]);
    let assessments = fleet.wait_for(&mut worker, "threat.assessments", EVENTS);
    assert!(assessments.iter().all(|record| place(record).is_some_and(|(trace, ..)| trace == trace_id('6'))));
    // Whether the queue was full meanwhile depends on who was faster.
    eventually("spans that nobody took are counted", PATIENCE, || {
        let dropped = Fleet::metric(&worker, "cybervault_trace_spans_dropped_total", "refused");
        (dropped > 0.0).then_some(())
    });
    assert_eq!(Fleet::metric(&worker, "cybervault_trace_spans_sent_total", ""), 0.0);
    // It still works, and its end does not wait for the collector for ever.
    fleet.send([record("acme", finding("last"), Some(&sent))]);
    fleet.wait_for(&mut worker, "threat.assessments", EVENTS + 1);
    worker.terminate();
    assert!(worker.wait(PATIENCE).success());
    assert!(worker.log().contains("the collector does not take them"), "{}", worker.log());
}

#[test]
fn a_request_and_what_is_written_for_it_belong_to_its_senders_trace() {
    let collector = Collector::start();
    let fleet = Fleet::new("traces_gateway", &unlimited(["acme"]));
    let endpoint = format!("tracing.otlp_endpoint={}", collector.endpoint);
    let gateway = Gateway::start(&fleet, "g1", &[&endpoint]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    let found = trace_id('7');
    let parent = traceparent(&found, "01");
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "req-of-mine"),
        ("traceparent", &*parent),
        ("tracestate", STATE),
    ];
    let analyze = "/v3/threats/analyze";
    assert_eq!(api.call("POST", analyze, &headers, Some(finding("asked").as_bytes())).status, 201);
    let span = collector.wait_for("the request's span", |span| hex(&span.trace_id) == found);
    assert_eq!((hex(&span.parent_span_id), span.kind), (PARENT.to_owned(), SpanKind::Server as i32));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", analyze),
        ("http.response.status_code", "201"),
        ("cybervault.request_id", "req-of-mine"),
    ] {
        assert_eq!(attribute(&span, name).as_deref(), Some(value), "{name}");
    }
    for topic in ["telemetry.api", "threat.assessments"] {
        let written = fleet.read(topic).remove(0);
        assert_eq!(place(&written), Some((&*found, &*hex(&span.span_id), "01")), "{topic}");
        assert_eq!(written.header("tracestate"), Some(STATE), "{topic}");
    }

    // A request without a trace begins one; one whose trace nobody records has no span, and is passed on.
    assert_eq!(api.call("POST", analyze, &headers[..1], Some(finding("new").as_bytes())).status, 201);
    let unsampled = traceparent(&trace_id('8'), "00");
    let headers = [headers[0], ("traceparent", &*unsampled)];
    assert_eq!(api.call("POST", analyze, &headers, Some(finding("unsampled").as_bytes())).status, 201);
    let assessments = fleet.read("threat.assessments");
    let (trace, begun, _) = place(assessment(&assessments, "new")).unwrap();
    let root = collector.wait_for("a span that begins a trace", |span| hex(&span.span_id) == begun);
    assert_eq!((hex(&root.trace_id), root.parent_span_id.is_empty()), (trace.to_owned(), true));
    assert_eq!(assessment(&assessments, "unsampled").header("traceparent"), Some(&*unsampled));
    assert!(!collector.taken.lock().unwrap().spans.iter().any(|span| hex(&span.trace_id) == trace_id('8')));
}
