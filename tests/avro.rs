//! Avro through a real schema registry: events in, results out, in Confluent's wire format.

use apache_avro::{
    Schema,
    reader::datum::GenericDatumReader,
    types::{Record as AvroRecord, Value},
    writer::datum::GenericDatumWriter,
};
use cybervault_model::avro::Subject;
use cybervault_stream::{RegistrySettings, SchemaRegistry};
use cybervault_testkit::{PATIENCE, Registry, topic::Record};

use crate::support::{Fleet, attack, unlimited};

/// A value behind the byte 0 and its schema's id.
fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

#[test]
fn events_and_assessments_travel_in_confluents_wire_format() {
    let (registry, fleet) = (Registry::start(), Fleet::new("avro", &unlimited(["acme"])));
    let settings = RegistrySettings { timeout: PATIENCE, ..RegistrySettings::new(registry.url()) };
    let client = SchemaRegistry::new(&settings).unwrap();
    let id = client.register(&format!("{}-value", fleet.topic("telemetry.events")), Subject::TelemetryEvent).unwrap();

    let schema = Schema::parse_str(Subject::TelemetryEvent.schema_json()).unwrap();
    let mut event = AvroRecord::new(&schema).unwrap();
    event.put("event_id", Some("e-1"));
    event.put("tenant_id", None::<String>);
    event.put("type", "endpoint_telemetry");
    event.put("occurred_at", Value::Union(0, Box::new(Value::Null)));
    event.put("source", Value::Union(0, Box::new(Value::Null)));
    event.put("payload", attack("e-1", "ws-9")["payload"].to_string());
    let body = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(event).unwrap();
    let headers = vec![("content-type".to_owned(), b"application/avro".to_vec())];
    let unknown = Record { headers: headers.clone(), ..Record::new("acme", framed(id + 1_000_000, &body)) };
    fleet.send([unknown, Record { headers, ..Record::new("acme", framed(id, &body)) }]);

    let url = format!("kafka.schema_registry.url={}", registry.url());
    let mut worker = fleet.worker("w1", &[&url, "output.encoding=avro"]);
    let found = fleet.wait_for(&mut worker, "threat.assessments", 1);
    assert_eq!(found[0].value[0], 0);
    // The same schema again has the same id.
    let subject = format!("{}-value", fleet.topic("threat.assessments"));
    let written = client.register(&subject, Subject::Assessment).unwrap();
    assert_eq!(found[0].value[1..5], written.to_be_bytes());
    let schema = Schema::parse_str(Subject::Assessment.schema_json()).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let Value::Record(fields) = reader.read_value(&mut &found[0].value[5..]).unwrap() else {
        panic!("an assessment is a record");
    };
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).unwrap().1.clone();
    assert_eq!((field("tenant_id"), field("event_id")), (Value::String("acme".into()), Value::String("e-1".into())));

    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", 1);
    assert_eq!(dead[0].header("error.reason"), Some("unknown_schema_id"));
}
