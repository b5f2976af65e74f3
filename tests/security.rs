//! SCRAM over TLS, and no more granted than the table in docs/operations.md says.

use cybervault_testkit::{Kafka, User, eventually, topic::Record};
use serde_json::json;

use crate::support::{self, Fleet, unlimited};

const INPUTS: [&str; 4] = ["telemetry.events", "threat.assessments", "response.decisions", "response.candidates"];
const OUTPUTS: [&str; 5] =
    ["threat.assessments", "quota.rejections", "response.actions", "response.candidates", "telemetry.dlq"];

/// What docs/operations.md says under "Permissions", without what `topics apply` needs.
fn grant(kafka: &Kafka, fleet: &Fleet) {
    let (state, ids) = (fleet.topic("state."), format!("cybervault.{}", fleet.prefix));
    let (inputs, outputs) = (INPUTS.map(|name| fleet.topic(name)), OUTPUTS.map(|name| fleet.topic(name)));
    let mut grants = vec![("TOPIC", &*state, "READ"), ("TOPIC", &*state, "WRITE")];
    grants.extend(inputs.iter().map(|topic| ("TOPIC", &**topic, "READ")));
    grants.extend(outputs.iter().map(|topic| ("TOPIC", &**topic, "WRITE")));
    grants.extend([("GROUP", &*ids, "READ"), ("TRANSACTIONAL_ID", &*ids, "WRITE")]);
    kafka.grant(&grants);
}

#[test]
fn a_worker_works_over_sasl_and_tls_with_what_it_is_granted_and_says_what_is_missing() {
    if support::is_secured_already() {
        return;
    }
    let kafka = Kafka::secured();
    let fleet = Fleet::secured(&kafka, User::Worker, "secured", &unlimited(["acme"]));

    // Without a grant.
    let refused = fleet.command(&["topics", "apply"], &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");

    grant(&kafka, &fleet);
    let payload = json!({"os": "windows", "hostname": "ws-1", "process_path": r"C:\Windows\System32\svchost.exe",
        "network_connections": [{"dst_ip": "198.51.100.42", "port": 4444, "protocol": "TCP"}]});
    let event = json!({"event_id": "e-1", "type": "endpoint_telemetry", "payload": payload});
    fleet.send([Record::new("acme", event.to_string()), Record::new("acme", "no json")]);
    let mut worker = fleet.worker("w1", &[]);
    fleet.wait_for(&mut worker, "threat.assessments", 1);
    fleet.wait_for(&mut worker, "telemetry.dlq", 1);
    worker.wait_until("candidates", support::PATIENCE, || !fleet.read("response.candidates").is_empty());
    worker.terminate();
    assert!(worker.wait(support::PATIENCE).success());

    // A wrong password is said, and never shown.
    let worker = fleet.worker("w2", &["kafka.client.sasl.password_file=/etc/hostname"]);
    eventually("a word on the password", support::PATIENCE, || {
        worker.log().contains("SASL authentication error").then_some(())
    });
    assert!(!worker.log().contains("for-tests-only"));
}
