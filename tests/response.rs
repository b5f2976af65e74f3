//! From a finding to an action that a person approves.
#![allow(clippy::unwrap_used)]

mod support;

use cybervault_testkit::topic::{self, Record};
use serde_json::{Value, json};

use support::{Fleet, unlimited};

const PLAYBOOK: &str = "
id: isolate
title: Isolate a host
when: {min_severity: high}
actions: [{type: isolate_host, target: host}]
mode: approval
expires_after: 1h
";

#[test]
fn a_proposed_action_waits_for_a_decision_and_takes_it_once() {
    let fleet = Fleet::new("decision", &unlimited(["acme", "other"]));
    std::fs::create_dir(fleet.path("playbooks")).unwrap();
    std::fs::write(fleet.path("playbooks/isolate.yaml"), PLAYBOOK).unwrap();
    let playbooks = format!("playbooks_dir={}", fleet.path("playbooks").display());
    let mut worker = fleet.worker("w1", &[&playbooks]);
    let payload = json!({"hostname": "ws-7", "process_name": "powershell.exe", "os": "windows",
        "process_path": r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        "command_line": "powershell.exe -NoProfile -EncodedCommand SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAKQA="});
    let event = json!({"event_id": "e1", "type": "endpoint_telemetry", "payload": payload});
    fleet.send([Record::new("acme", event.to_string())]);
    let actions = |worker: &mut _, count| -> Vec<Value> {
        let records = fleet.wait_for(worker, "response.actions", count);
        records.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect()
    };
    let proposed = &actions(&mut worker, 1)[0];
    assert_eq!((&proposed["state"], &proposed["type"]), (&json!("proposed"), &json!("isolate_host")));
    assert_eq!(proposed["target"]["value"], "ws-7");

    let decide = |tenant: &str, verdict: &str| {
        let decision = json!({"action_id": proposed["action_id"], "tenant_id": tenant, "verdict": verdict,
            "decided_by": "kim@acme.example"});
        let decision = Record::new(proposed["action_id"].as_str().unwrap(), decision.to_string());
        topic::write(&fleet.bootstrap, &fleet.topic("response.decisions"), [decision]);
    };
    // Another tenant's word on it counts for nothing, and neither does a second one.
    decide("other", "deny");
    decide("acme", "approve");
    decide("acme", "deny");
    let after = actions(&mut worker, 2);
    let approved = after.iter().find(|action| action["state"] == "approved").unwrap();
    assert_eq!(approved["decided_by"], "kim@acme.example");
    assert_eq!(approved["idempotency_key"], proposed["idempotency_key"]);
    worker.wait_until("all decisions taken", support::PATIENCE, || fleet.read("response.candidates").len() == 4);
    assert_eq!(fleet.read("response.actions").len(), 2);
}
