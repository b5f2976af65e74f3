//! SCRAM over TLS, and no more granted than the table in docs/operations.md says.

use cybervault_testkit::{Kafka, User, Worker, eventually, topic::Record};
use serde_json::json;

use crate::support::{self, Fleet, unlimited};

const INPUTS: [&str; 10] = [
    "detection.signals",
    "telemetry.events",
    "quota.usage",
    "quota.shares",
    "threat.assessments",
    "response.decisions",
    "response.candidates",
    "threat.incidents",
    "incident.decisions",
    "incident.candidates",
];
const OUTPUTS: [&str; 10] = [
    "detection.signals",
    "threat.assessments",
    "quota.rejections",
    "quota.usage",
    "quota.shares",
    "response.actions",
    "response.candidates",
    "threat.incidents",
    "incident.candidates",
    "telemetry.dlq",
];

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

/// Hands in `value`, and waits until that many assessments are there.
fn assessed(fleet: &Fleet, worker: &mut Worker, n: usize) {
    let payload = json!({"os": "windows", "hostname": format!("ws-{n}"),
        "process_path": r"C:\Windows\System32\svchost.exe",
        "network_connections": [{"dst_ip": "198.51.100.42", "port": 4444, "protocol": "TCP"}]});
    let event = json!({"event_id": format!("e-{n}"), "type": "endpoint_telemetry", "payload": payload});
    fleet.send([Record::new("acme", event.to_string())]);
    fleet.wait_for(worker, "threat.assessments", n);
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
    // One after the other, the ACL that is wanting is named.
    let wanting = |acl: &str| {
        let mut worker = fleet.worker("w0", &["worker.roles=[assess]"]);
        let status = worker.wait(support::PATIENCE);
        assert!(!status.success());
        assert!(worker.log().contains(&format!("grant the user the ACL `{acl}")), "{acl}: {}", worker.log());
    };
    wanting(&format!("Read on topic {}", fleet.topic("telemetry.events")));
    let (state, ids) = (fleet.topic("state."), format!("cybervault.{}", fleet.prefix));
    let (inputs, outputs) = (INPUTS.map(|name| fleet.topic(name)), OUTPUTS.map(|name| fleet.topic(name)));
    kafka.grant(&inputs.iter().map(|topic| ("TOPIC", &**topic, "READ")).collect::<Vec<_>>());
    wanting(&format!("Write on topic {}", fleet.topic("quota.rejections")));
    kafka.grant(&outputs.iter().map(|topic| ("TOPIC", &**topic, "WRITE")).collect::<Vec<_>>());
    kafka.grant(&[("TOPIC", &state, "READ"), ("TOPIC", &state, "WRITE")]);
    wanting(&format!("Write on transactional id {ids}assess.w0."));
    kafka.grant(&[("TRANSACTIONAL_ID", &ids, "WRITE")]);
    wanting(&format!("Read on group {ids}assess"));

    grant(&kafka, &fleet);
    let mut worker = fleet.worker("w1", &[]);
    assessed(&fleet, &mut worker, 1);
    fleet.send([Record::new("acme", "no json")]);
    fleet.wait_for(&mut worker, "telemetry.dlq", 1);
    worker.wait_until("candidates", support::PATIENCE, || !fleet.read("response.candidates").is_empty());
    worker.terminate();
    assert!(worker.wait(support::PATIENCE).success());

    // It starts again, on the state that it has left; another takes partitions over and gives them back.
    let mut worker = fleet.worker("w1", &[]);
    assessed(&fleet, &mut worker, 2);
    let mut other = fleet.worker("w2", &[]);
    eventually("partitions of its own", support::PATIENCE, || {
        (Fleet::metric(&other, "cybervault_assigned_partitions", r#"stage="assess""#) > 0.0).then_some(())
    });
    assessed(&fleet, &mut worker, 3);
    other.terminate();
    assert!(other.wait(support::PATIENCE).success());
    assessed(&fleet, &mut worker, 4);

    // Replaying takes the two that the table names for it.
    let refused = fleet.command(&["replay"], &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("Read on topic {}", fleet.topic("telemetry.dlq"))), "{said}");
    let (dead, events) = (fleet.topic("telemetry.dlq"), fleet.topic("telemetry.events"));
    let decisions = fleet.topic("response.decisions");
    kafka.grant(&[("TOPIC", &dead, "READ"), ("TOPIC", &events, "WRITE"), ("TOPIC", &decisions, "WRITE")]);
    let replayed = fleet.command(&["replay"], &[]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    fleet.wait_for(&mut worker, "telemetry.dlq", 2);

    // A wrong password is said, and never shown.
    let worker = fleet.worker("w2", &["kafka.client.sasl.password_file=/etc/hostname"]);
    eventually("a word on the password", support::PATIENCE, || {
        worker.log().contains("SASL authentication error").then_some(())
    });
    assert!(!worker.log().contains("for-tests-only"));
}
