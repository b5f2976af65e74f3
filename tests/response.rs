//! From a finding to an action that a person approves.

use cybervault_testkit::topic::{self, Record};
use serde_json::{Value, json};

use crate::support::{self, Fleet, attack, unlimited};

#[test]
fn a_proposed_action_waits_for_a_decision_and_takes_it_once() {
    let fleet = Fleet::new("decision", &unlimited(["acme", "other"]));
    let playbooks = fleet.playbooks();
    let mut worker = fleet.worker("w1", &[&playbooks]);
    fleet.send([Record::new("acme", attack("e1", "ws-7").to_string())]);
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
