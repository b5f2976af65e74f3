//! State and internal records that earlier versions wrote, as they lie on Kafka: fixtures/records-VERSION.ndjson.

use std::{fs, path::Path};

use cybervault_testkit::topic::{self, Record};
use serde_json::{Value, json};

use crate::support::{self, Fleet};

const TENANTS: &str = "tenants:\n- {tenant_id: small, plan: starter, quota: {events_per_second: 100, burst_percent: 15}}\n\
                       - {tenant_id: acme, plan: enterprise}\n";
/// When the events came that filled the bucket of `small`.
const AT: i64 = 1_780_000_000_000;
/// What waited for a person.
const PENDING: &str = "ra_c5ca631a2afba2a4bb27f6c41c9ecfe1";
/// What a playbook asks for, not looked at yet.
const CANDIDATE_OF: &str = "ta_5a4097761e1c9bee58363af717d63cb0";

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn records(file: &str) -> Vec<(String, Record)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(file);
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let headers = line["headers"].as_array().unwrap().iter();
            let headers = headers.map(|header| (header[0].as_str().unwrap().to_owned(), bytes(&header[1])));
            let partition = line["partition"].as_i64().map(|partition| i32::try_from(partition).unwrap());
            let record = Record {
                partition,
                headers: headers.collect(),
                ..Record::new(bytes(&line["key"]), bytes(&line["value"]))
            };
            (line["topic"].as_str().unwrap().to_owned(), record)
        })
        .collect()
}

#[test]
fn state_and_internal_records_of_version_0_1_0_are_taken_up() {
    let fleet = Fleet::new("upgrade", TENANTS);
    for (name, record) in records("records-0.1.0.ndjson") {
        topic::write(&fleet.bootstrap, &fleet.topic(&name), [record]);
    }
    let event = |n: usize| {
        let value = json!({"event_id": format!("e{n}"), "type": "endpoint_telemetry", "payload": {"hostname": "ws-1"}});
        Record { timestamp: Some(AT), ..Record::new("small", value.to_string()) }
    };
    fleet.send((0..10).map(event));
    let decision =
        json!({"action_id": PENDING, "tenant_id": "acme", "verdict": "approve", "decided_by": "kim@acme.example"});
    topic::write(&fleet.bootstrap, &fleet.topic("response.decisions"), [Record::new(PENDING, decision.to_string())]);

    // A full bucket stays full, but for a partition's part of a share interval, which it had not.
    let mut worker = fleet.worker("w1", &[]);
    fleet.wait_for(&mut worker, "quota.rejections", 6);
    // The candidate becomes an action; what was pending is approved, or expired by the time this runs.
    let mut actions = Vec::new();
    worker.wait_until("both actions", support::PATIENCE, || {
        let read = fleet.read("response.actions");
        actions = read.iter().map(|record| serde_json::from_slice::<Value>(&record.value).unwrap()).collect();
        actions.len() >= 2
    });
    let of = |field: &str, id: &str| actions.iter().find(|action| action[field] == id).unwrap();
    assert_eq!(of("assessment_id", CANDIDATE_OF)["state"], "proposed");
    let decided = of("action_id", PENDING)["state"].as_str().unwrap();
    assert!(["approved", "expired"].contains(&decided), "{decided}");
}
