//! Events in Avro: both framings, senders with other schemas, and records made to cost much.

use std::sync::Arc;

use apache_avro::{Schema, rabin::Rabin, types::Value, writer::datum::GenericDatumWriter};
use cybervault_model::{
    DecodeError, Decoder, EventKind, Incoming, Source,
    avro::{Lookup, Subject, UnreadableSchema, WriterSchema, WriterSchemas},
    json::{Limits, Node},
};
use proptest::{collection::vec, prelude::*, sample::Index};

const PAYLOAD: &str = r#"{"pid":4892,"path":"C:\\a é","list":[1,{}]}"#;

fn event_in_ours() -> Vec<u8> {
    let some = |text: &str| Value::Union(1, Box::new(Value::String(text.to_owned())));
    let none = Value::Union(0, Box::new(Value::Null));
    let source = vec![
        ("product".to_owned(), some("windows")),
        ("service".to_owned(), none.clone()),
        ("category".to_owned(), some("")),
    ];
    let record = Value::Record(vec![
        ("event_id".to_owned(), some("e1")),
        ("tenant_id".to_owned(), none),
        ("type".to_owned(), Value::String("endpoint_telemetry".to_owned())),
        ("occurred_at".to_owned(), Value::Union(1, Box::new(Value::TimestampMillis(1_591_757_456_537)))),
        ("source".to_owned(), Value::Union(1, Box::new(Value::Record(source)))),
        ("payload".to_owned(), Value::String(PAYLOAD.to_owned())),
    ]);
    write(Subject::TelemetryEvent.schema_json(), record)
}

fn write(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn confluent(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

fn single_object(body: &[u8]) -> Vec<u8> {
    let fingerprint = Schema::parse_str(Subject::TelemetryEvent.schema_json()).unwrap().fingerprint::<Rabin>();
    [&[0xC3, 0x01], &fingerprint.bytes[..], body].concat()
}

/// Knows one schema, under id 7; id 8 is out of reach.
#[derive(Debug)]
struct Registry(Arc<WriterSchema>);

impl WriterSchemas for Registry {
    fn by_id(&self, id: u32) -> Lookup {
        match id {
            7 => Lookup::Found(self.0.clone()),
            8 => Lookup::Unavailable("connection refused".to_owned()),
            _ => Lookup::Unknown("no such id".to_owned()),
        }
    }
}

fn decoder(schema: &str) -> Decoder {
    let registry = Registry(Arc::new(WriterSchema::parse(schema).unwrap()));
    Decoder::new(Limits { max_bytes: 2000, max_depth: 8 }).with_schemas(Arc::new(registry))
}

fn record(value: &[u8]) -> Incoming<'_> {
    Incoming { key: Some(b"acme|host"), value, content_type: Some(b"application/avro"), ..Incoming::default() }
}

#[test]
fn both_framings_say_all_about_their_payload() {
    let mut decoder = decoder(Subject::TelemetryEvent.schema_json());
    for value in [confluent(7, &event_in_ours()), single_object(&event_in_ours())] {
        let record = record(&value);
        let decoded = decoder.decode(&record).unwrap();
        let event = decoded.event();
        assert_eq!((event.event_id().as_str(), event.tenant_id), ("e1", "acme"));
        assert_eq!(event.kind, EventKind::EndpointTelemetry);
        assert_eq!(event.occurred_at().unwrap().to_string(), "2020-06-10T02:50:56.537Z");
        assert_eq!(event.source, Source { product: Some("windows"), service: None, category: None });
        assert_eq!(event.payload.get("path").unwrap().node(), Node::String("C:\\a é"));
        assert_eq!(event.bytes, value);
    }
}

#[test]
fn a_senders_own_schema_is_read_by_its_field_names() {
    const THEIRS: &str = r#"{"type":"record","name":"E","namespace":"org.example","fields":[
        {"name":"new","type":{"type":"array","items":{"type":"map","values":["null","double",
            {"type":"fixed","name":"F","size":3}]}}},
        {"name":"payload","type":"bytes"},
        {"name":"again","type":"F"},
        {"name":"occurred_at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"type","type":{"type":"enum","name":"T","symbols":["a","file_hash"]}}]}"#;
    let body = [
        &[1, 2, 2, 2, b'k', 4, b'1', b'2', b'3', 0, 0][..], // one block of one map, its size given
        &[4, b'{', b'}'],
        b"456",
        &[0xd0, 0x0f], // 1000 µs
        &[2],
    ]
    .concat();
    // An enum is no text to borrow.
    let value = confluent(7, &body);
    assert_eq!(decoder(THEIRS).decode(&record(&value)).unwrap_err().reason(), "not_avro");
    let theirs = THEIRS.replace(r#"{"type":"enum","name":"T","symbols":["a","file_hash"]}"#, r#""string""#);
    let value = confluent(7, &[&body[..body.len() - 1], &[18], b"file_hash"].concat());
    let mut decoder = decoder(&theirs);
    let record = record(&value);
    let decoded = decoder.decode(&record).unwrap();
    assert_eq!(decoded.event().kind, EventKind::FileHash);
    assert_eq!(decoded.event().occurred_at().unwrap().as_millis(), 1);
    assert_eq!(decoded.event().sent_id, None);
}

#[test]
fn what_can_not_be_read_says_why_and_only_a_lost_registry_is_worth_a_retry() {
    let ours = event_in_ours();
    let longer = [&ours[..], b"x"].concat();
    let mut not_json = ours.clone();
    *not_json.last_mut().unwrap() = b'x';
    for (value, reason) in [
        (confluent(7, &longer), "not_avro"),
        (confluent(7, b""), "not_avro"),
        (b"\xc3\x02".to_vec(), "not_avro"),
        (b"{}".to_vec(), "not_avro"),
        (b"".to_vec(), "not_avro"),
        (confluent(7, &not_json), "not_json"),
        (confluent(9, &ours), "unknown_schema_id"),
        (confluent(8, &ours), "registry_unavailable"),
        (b"\xc3\x01\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(), "unknown_schema_id"),
        (confluent(7, &[0; 2000]), "too_large"),
    ] {
        let error = decoder(Subject::TelemetryEvent.schema_json()).decode(&record(&value)).unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert_eq!(error.is_retriable(), matches!(error, DecodeError::RegistryUnavailable { .. }));
    }
}

#[test]
fn schemas_that_would_let_a_small_record_cost_much_are_refused() {
    let nested = |depth| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth));
    let wide = |level: usize| {
        // Each record holds the one before twice, so references written out double with every level.
        let fields = (0..level).fold(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#.to_owned(), |inner, n| {
            let name = if n == 0 { "R".to_owned() } else { format!("R{}", n - 1) };
            format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"{name}"}}]}}"#)
        });
        WriterSchema::parse(&fields)
    };
    let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    let empty = r#"{"type":"array","items":{"type":"record","name":"N","fields":[{"name":"n","type":"null"}]}}"#;
    assert_eq!(WriterSchema::parse(list).unwrap_err(), UnreadableSchema::Recursive("L".to_owned()));
    assert_eq!(WriterSchema::parse(empty).unwrap_err(), UnreadableSchema::EmptyItems);
    assert_eq!(WriterSchema::parse(&nested(64)).unwrap_err(), UnreadableSchema::TooLarge);
    assert_eq!(wide(15).unwrap_err(), UnreadableSchema::TooLarge);
    assert!(WriterSchema::parse(&nested(60)).is_ok() && wide(5).is_ok());
    assert!(matches!(WriterSchema::parse("{").unwrap_err(), UnreadableSchema::Invalid(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn broken_records_are_survived(edits in vec((any::<Index>(), vec(any::<u8>(), 0..3)), 1..5)) {
        let mut body = event_in_ours();
        for (at, piece) in edits {
            let at = at.index(body.len());
            body.splice(at..(at + 1).min(body.len()), piece);
            if body.is_empty() {
                break;
            }
        }
        if let Ok(decoded) = decoder(Subject::TelemetryEvent.schema_json()).decode(&record(&confluent(7, &body))) {
            decoded.event().occurred_at();
        }
    }
}
