//! `cybervault doctor` against a broker with users: what it finds wrong, and that it finds nothing wrong where nothing is.

use std::collections::BTreeSet;

use cybervault_testkit::{Kafka, User};
use serde_json::Value;

use crate::support::{self, Fleet, unlimited};

fn doctor(fleet: &Fleet, args: &[&str], settings: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = fleet.command(&[&["doctor", "--json"], args].concat(), settings);
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), told["findings"].as_array().unwrap().clone())
}

fn find<'a>(findings: &'a [Value], what: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["what"].as_str().unwrap().contains(what));
    found.unwrap_or_else(|| panic!("nothing about {what} in {findings:#?}"))
}

#[test]
fn the_doctor_finds_what_is_missing_and_what_is_refused() {
    if support::is_secured_already() {
        return;
    }
    let kafka = Kafka::secured();
    let admin = Fleet::secured(&kafka, User::Admin, "doctor", &unlimited(["acme"]));

    let (code, findings) = doctor(&admin, &["--probe"], &[]);
    let wrong: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] == "wrong").collect();
    assert_eq!((code, wrong), (Some(0), vec![]), "{findings:#?}");
    assert_eq!(find(&findings, "permissions")["verdict"], "fine");
    // The suites' topic has the sender's clock.
    assert_eq!(find(&findings, "telemetry.events")["verdict"], "risky");
    assert_eq!(find(&findings, "brokers")["is"], "1");
    assert_eq!(find(&findings, "version")["verdict"], "fine");

    let (code, findings) = doctor(&admin, &[], &["kafka.topic_prefix=elsewhere."]);
    assert_eq!(code, Some(1));
    assert_eq!(find(&findings, "elsewhere.state.assess")["verdict"], "wrong");

    // Topics as they should be, where the broker's clock can be read; and nothing left behind of the probe.
    let settings = ["kafka.topic_prefix=sound.", "topics.replication=1"];
    assert!(admin.command(&["topics", "apply"], &settings).status.success());
    let (code, findings) = doctor(&admin, &["--probe"], &settings);
    assert_eq!((code, &find(&findings, "topic sound.telemetry.events")["verdict"]), (Some(0), &Value::from("fine")));
    assert_eq!(find(&findings, "clock")["verdict"], "fine", "{findings:#?}");
    assert_eq!(cybervault_testkit::topic::read(&admin.bootstrap, "sound.threat.assessments"), []);

    // As a user who may see the topics, and do nothing else.
    let worker = admin.seen_by(&kafka, User::Worker);
    kafka.grant(&[("TOPIC", &worker.prefix, "DESCRIBE")]);
    let (code, findings) = doctor(&worker, &["--probe"], &[]);
    assert_eq!(code, Some(1));
    let refused = find(&findings, &format!("Read on topic {}", worker.topic("telemetry.events")));
    assert!(refused["is"].as_str().unwrap().contains("authoriz"), "{refused}");
    find(&findings, "Write on transactional id cybervault.");
    // What can't be tried without that is not passed over.
    let group = format!("permission Read on group cybervault.{}assess", worker.prefix);
    assert_eq!(find(&findings, &group)["verdict"], "unseen");

    // With the transactional ids, all else that is wanting is named, each by its ACL, and nothing but that.
    let ids = format!("cybervault.{}", worker.prefix);
    kafka.grant(&[("TRANSACTIONAL_ID", &ids, "WRITE")]);
    let (_, findings) = doctor(&worker, &["--probe"], &[]);
    let wanting = |findings: &[Value]| -> BTreeSet<String> {
        let whats = findings.iter().filter(|finding| finding["verdict"] == "wrong").map(|finding| &finding["what"]);
        whats.map(|what| what.as_str().unwrap().trim_start_matches("permission ").to_owned()).collect()
    };
    let inputs = [
        "telemetry.events",
        "quota.usage",
        "quota.shares",
        "detection.signals",
        "threat.assessments",
        "response.decisions",
        "response.candidates",
        "threat.incidents",
        "incident.decisions",
        "incident.candidates",
    ];
    let outputs = [
        "detection.signals",
        "threat.assessments",
        "quota.rejections",
        "quota.usage",
        "quota.shares",
        "telemetry.sources",
        "response.actions",
        "response.candidates",
        "threat.incidents",
        "incident.candidates",
        "telemetry.dlq",
    ];
    let states = ["state.assess", "state.quota", "state.correlate", "state.response", "state.incidents"];
    let named = |operation: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{operation} on topic {}", worker.topic(name))).collect()
    };
    let groups =
        ["assess", "quota", "correlate", "respond_select", "respond_guard", "incident_select", "incident_group"]
            .map(|stage| format!("Read on group {ids}{stage}"));
    let expected = [
        named("Read", &inputs),
        named("Read", &states),
        named("Write", &outputs),
        named("Write", &states),
        groups.to_vec(),
    ];
    assert_eq!(wanting(&findings), expected.concat().into_iter().collect());

    // A topic that it may not even see is not called missing.
    let hidden = admin.seen_by(&kafka, User::Worker);
    let elsewhere = ["kafka.topic_prefix=sound."];
    let (code, findings) = doctor(&hidden, &[], &elsewhere);
    assert!(findings.iter().all(|finding| finding["is"] != "missing"), "{findings:#?}");
    let change = &find(&findings, "topic sound.telemetry.events")["change"];
    assert_eq!(
        (code, change),
        (Some(0), &Value::from("grant the user the ACL `Describe on topic sound.telemetry.events`"))
    );

    // With what the documentation says, nothing is wanting.
    let all = |names: &[&str]| -> Vec<String> { names.iter().map(|name| worker.topic(name)).collect() };
    let (reads, writes) = (all(&[&inputs[..], &states].concat()), all(&[&outputs[..], &states].concat()));
    let mut grants: Vec<(&str, &str, &str)> = reads.iter().map(|topic| ("TOPIC", &**topic, "READ")).collect();
    grants.extend(writes.iter().map(|topic| ("TOPIC", &**topic, "WRITE")));
    grants.push(("GROUP", &ids, "READ"));
    kafka.grant(&grants);
    let (code, findings) = doctor(&worker, &["--probe"], &[]);
    assert_eq!((code, wanting(&findings)), (Some(0), BTreeSet::new()), "{findings:#?}");

    // No password, and no tenants.
    let (code, findings) = doctor(&worker, &[], &["kafka.client.sasl.password_file=/etc/hostname"]);
    assert_eq!(code, Some(1));
    let said = find(&findings, "kafka")["is"].as_str().unwrap();
    assert!(said.contains("SASL authentication error"), "{said}");
}
