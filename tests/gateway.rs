//! The REST API over a real Kafka: what goes in comes out on the topics and in the view, and nobody sees another's.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use cybervault_testkit::{
    eventually,
    topic::{self, Record},
};
use serde_json::{Value, json};

use crate::support::{
    Fleet, PATIENCE, attack,
    gateway::{Api, Gateway, key},
};

const TENANTS: &str = "tenants:\n- {tenant_id: acme, plan: enterprise}\n- {tenant_id: globex, plan: enterprise}\n\
                       - {tenant_id: small, plan: starter}\n- {tenant_id: gone, plan: starter, status: suspended}\n";

fn fleet(test: &str) -> (Fleet, String) {
    let fleet = Fleet::new(test, TENANTS);
    let playbooks = fleet.playbooks();
    (fleet, playbooks)
}

fn without(mut value: Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field);
    value
}

#[test]
fn an_analysed_event_is_on_the_topics_before_it_is_answered_and_its_action_can_be_approved() {
    let (fleet, playbooks) = fleet("analyze");
    let mut worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    let health = api.get("/v3/system/health");
    assert_eq!(
        (&health.json()["status"], &health.json()["environment"]),
        (&json!("operational"), &json!("production"))
    );

    let mut stream = api.stream(None);
    let sent = [("content-type", "application/json"), ("x-request-id", "mine-1"), ("idempotency-key", "k1")];
    let event = attack("e1", "ws-7").to_string();
    let reply = api.call("POST", "/v3/threats/analyze", &sent, Some(event.as_bytes()));
    assert_eq!((reply.status, reply.headers["x-request-id"].as_str()), (201, "mine-1"), "{}", reply.text);
    let found = reply.json();
    assert!(found["risk_score"].as_u64().unwrap() > 50 && !found["contributions"].as_array().unwrap().is_empty());

    // Committed already, with what the stream would have said of the same event.
    let assessments = fleet.read("threat.assessments");
    let value: Value = serde_json::from_slice(&assessments[0].value).unwrap();
    assert_eq!(without(found.clone(), "created_at"), value);
    assert_eq!(assessments[0].header("request_id"), Some("mine-1"));
    let events = fleet.read("telemetry.api");
    assert_eq!((events.len(), events[0].header("tenant_id")), (1, Some("acme")));
    assert_eq!(events[0].value, event.as_bytes());
    fleet.send([Record::new("acme", attack("e2", "ws-7").to_string())]);
    let both = fleet.wait_for(&mut worker, "threat.assessments", 2);
    let streamed: Value =
        serde_json::from_slice(&both.iter().find(|one| one.header("request_id").is_none()).unwrap().value).unwrap();
    assert_eq!(streamed["contributions"], found["contributions"]);

    // Location leads to it at once, and the view has it soon.
    let location = &reply.headers["location"];
    // Which incident it is of is known somewhat later.
    assert_eq!(without(api.get(location).json(), "incident_id"), found);
    let listed = eventually("both in the list", PATIENCE, || {
        let listed = api.get("/v3/threats/assessments?sort=created_at:asc").json();
        (listed["data"].as_array().unwrap().len() == 2).then_some(listed)
    });
    assert_eq!(without(listed["data"][0].clone(), "incident_id"), found);

    // The same request again is answered, not done, again.
    let again = api.call("POST", "/v3/threats/analyze", &sent, Some(event.as_bytes()));
    assert_eq!(
        (again.status, again.json(), again.headers.contains_key("idempotent-replayed")),
        (201, found.clone(), true)
    );
    let other = api.call("POST", "/v3/threats/analyze", &sent, Some(attack("e9", "ws-7").to_string().as_bytes()));
    assert_eq!((other.status, other.code()), (422, "idempotency_mismatch".to_owned()));
    assert_eq!(fleet.read("telemetry.api").len(), 1);

    // The playbook's action comes to the view, is approved by the API, and approved on the topic.
    let action = eventually("an action that waits", PATIENCE, || {
        let path = format!(
            "/v3/response/actions?filter={}",
            encoded(&json!({"state": "proposed", "assessment_id": found["assessment_id"]}))
        );
        api.get(&path).json()["data"].get(0).cloned()
    });
    let path = format!("/v3/response/actions/{}", action["action_id"].as_str().unwrap());
    let approved = api.post(&format!("{path}/approve"), &json!({"comment": "do it"}));
    let expected = if approved.status == 202 { "submitted" } else { "approved" };
    assert!([200, 202].contains(&approved.status) && approved.json()["status"] == expected, "{}", approved.text);
    worker.wait_until("approved on the topic", PATIENCE, || {
        let actions = fleet.read("response.actions");
        actions.iter().any(|record| {
            let value: Value = serde_json::from_slice(&record.value).unwrap();
            value["action_id"] == action["action_id"] && value["state"] == "approved"
        })
    });
    eventually("approved in the view", PATIENCE, || {
        let shown = api.get(&path).json();
        (shown["action"]["state"] == "approved" && shown["history"].as_array().unwrap().len() == 2).then_some(())
    });
    let late = api.post(&format!("{path}/deny"), &json!({}));
    assert_eq!((late.status, late.code()), (409, "action_not_pending".to_owned()));

    // The stream told it all, and goes on where it ended.
    let (first, kind, data) = stream.next().unwrap();
    assert_eq!((kind.as_str(), &data), ("assessment", &found));
    drop(stream);
    let resumed: Vec<_> = api.stream(Some(&first)).take(3).collect();
    assert!(resumed.iter().all(|(id, ..)| *id != first));
    assert!(resumed.iter().any(|(_, kind, _)| kind == "action"));

    // What is known of the host, and what it comes to.
    let entity = api.get("/v3/entities/host/ws-7").json();
    assert_eq!((&entity["findings"], entity["actions"].as_array().unwrap().is_empty()), (&json!(2), false));
    let report = api.get("/v3/compliance/reports?framework=soc2").json();
    assert_eq!(report["controls"].as_array().unwrap().len(), 3);
    assert!(api.get("/v3/compliance/reports?format=csv").text.starts_with("framework,control,"));
    assert!(api.get("/v3/rules?limit=5").json()["has_more"].as_bool().unwrap());

    // A batch answers each by itself.
    let batch = api.post(
        "/v3/threats/analyze/batch",
        &json!({"events": [attack("b1", "ws-8"), {"type": "file_hash"}, attack("b2", "ws-8")]}),
    );
    let statuses: Vec<_> =
        batch.json()["results"].as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!((batch.status, statuses), (200, vec![201, 400, 201]));
    assert_eq!(fleet.read("telemetry.api").len(), 3);

    // The view comes back from the topics.
    let store = format!("gateway.store.file={}", fleet.path("gateway.db").display());
    assert!(fleet.command(&["gateway", "rebuild"], &[&store]).status.success());
    eventually("the view is built anew", PATIENCE, || {
        let listed = api.get("/v3/threats/assessments").json();
        (listed["data"].as_array().unwrap().len() == 4).then_some(())
    });
}

/// The data of a list's first page.
fn listed(api: &Api, path: &str) -> Vec<Value> {
    api.get(path).json()["data"].as_array().unwrap().clone()
}

#[test]
fn what_was_found_stays_whatever_is_sent_under_the_same_event_id() {
    const ALL: &str = "/v3/threats/assessments?sort=created_at:asc";
    let (fleet, playbooks) = fleet("evidence");
    let mut worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let api = gateway.api(&key(&fleet, "acme", &[]).1);
    let harmless = |id: &str| {
        json!({"event_id": id, "type": "endpoint_telemetry",
            "payload": {"hostname": "ws-7", "process_name": "notepad.exe", "os": "windows"}})
    };

    // The stream finds something.
    let streamed = attack("e1", "ws-7");
    fleet.send([Record::new("acme", streamed.to_string())]);
    let found = eventually("the finding", PATIENCE, || listed(&api, ALL).first().cloned());
    // Which incident it is of is known somewhat later.
    let found = without(found, "incident_id");
    assert!(["high", "critical"].contains(&found["severity"].as_str().unwrap()));

    // The same event by the API is answered with it, however it is written down; another one under its id is refused.
    let rewritten = r#" { "type": "endpoint_telemetry", "payload": PAYLOAD, "occurred_at": "2026-11-02T10:00:00+01:00", "event_id": "\u0065\u0031" } "#
        .replace("PAYLOAD", &serde_json::to_string_pretty(&streamed["payload"]).unwrap());
    let json_type = [("content-type", "application/json")];
    let again = api.call("POST", "/v3/threats/analyze", &json_type, Some(rewritten.as_bytes()));
    assert_eq!((again.status, without(again.json(), "incident_id")), (201, found.clone()));
    assert!(again.headers["location"].ends_with(found["assessment_id"].as_str().unwrap()));
    let other = api.post("/v3/threats/analyze", &harmless("e1"));
    assert_eq!((other.status, other.code()), (409, "event_conflict".to_owned()));
    assert!(fleet.read("telemetry.api").is_empty());
    assert_eq!(fleet.read("threat.assessments").len(), 1);

    // Ids are told apart by every letter.
    assert_eq!(api.post("/v3/threats/analyze", &harmless("E1")).status, 201);

    // A batch: each by itself, and the first of an id counts within it, too.
    let events = [harmless("b1"), harmless("b1"), attack("b1", "ws-8"), harmless("e1"), harmless("b2")];
    let batch = api.post("/v3/threats/analyze/batch", &json!({ "events": events })).json();
    let statuses: Vec<_> =
        batch["results"].as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 409, 409, 201]);
    assert_eq!(batch["results"][0], batch["results"][1]);
    assert_eq!(batch["results"][2]["error"]["code"], "event_conflict");
    assert_eq!(fleet.read("telemetry.api").len(), 3);

    // Whoever is first: of two that come at once, one.
    for n in 0..10 {
        let id = format!("race-{n}");
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| api.post("/v3/threats/analyze", &attack(&id, "ws-9")));
            let two = scope.spawn(|| api.post("/v3/threats/analyze", &harmless(&id)));
            (one.join().unwrap(), two.join().unwrap())
        });
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{} {}", one.text, two.text);
        // The same twice at once is one finding.
        let id = format!("twice-{n}");
        let (one, two) = thread::scope(|scope| {
            let one = scope.spawn(|| api.post("/v3/threats/analyze", &attack(&id, "ws-9")));
            let two = scope.spawn(|| api.post("/v3/threats/analyze", &attack(&id, "ws-9")));
            (one.join().unwrap(), two.join().unwrap())
        });
        assert_eq!((one.status, two.status, one.json()), (201, 201, two.json()));
    }
    eventually("all of them in the view", PATIENCE, || (listed(&api, ALL).len() == 4 + 20).then_some(()));

    // The stream delivers another event under the id, then the first one again: two findings, both as they were.
    let second = json!({"event_id": "e1", "type": "endpoint_telemetry", "occurred_at": "2026-11-02T09:00:00Z",
        "payload": {"hostname": "ws-7", "os": "windows", "process_path": r"C:\Windows\System32\vssadmin.exe",
            "process_name": "vssadmin.exe", "command_line": "vssadmin.exe delete shadows /all /quiet"}});
    fleet.send([Record::new("acme", second.to_string()), Record::new("acme", streamed.to_string())]);
    let of_e1 = format!("{ALL}&filter={}", encoded(&json!({"event_id": "e1"})));
    let both = eventually("a finding of its own", PATIENCE, || {
        let both = listed(&api, &of_e1);
        (both.len() == 2).then_some(both)
    });
    let timeless = |all: Vec<Value>| all.into_iter().map(|one| without(one, "incident_id")).collect::<Vec<_>>();
    let both = timeless(both);
    assert_eq!(both[0], found);
    assert_ne!(both[1]["assessment_id"], found["assessment_id"]);
    let mut same = Vec::new();
    worker.wait_until("the first one's assessment again", PATIENCE, || {
        same = fleet.read("threat.assessments");
        same.retain(|record| String::from_utf8_lossy(&record.value).contains(found["assessment_id"].as_str().unwrap()));
        same.len() == 2
    });
    assert_eq!(same[0].value, same[1].value, "a replay has the same bytes");

    // Whoever can write to the topic can't rewrite what the view has, neither lower nor higher.
    let mut forged: Value = serde_json::from_slice(&same[0].value).unwrap();
    for (severity, score) in [("informational", 1), ("critical", 100)] {
        (forged["severity"], forged["risk_score"]) = (json!(severity), json!(score));
        let record = Record { headers: same[0].headers.clone(), ..Record::new("acme|ws-7", forged.to_string()) };
        topic::write(&fleet.bootstrap, &fleet.topic("threat.assessments"), [record]);
    }
    eventually("both are counted", PATIENCE, || {
        let others = Fleet::metric(&gateway.process, "cybervault_view_repeats_total", "says=\"other\"");
        (others >= 2.0).then_some(())
    });
    assert_eq!(timeless(listed(&api, &of_e1)), both);
    let shown = api.get(&format!("/v3/threats/assessments/{}", found["assessment_id"].as_str().unwrap())).json();
    assert_eq!(without(shown, "incident_id"), found);
    assert_eq!(
        api.get("/v3/entities/host/ws-7").json()["max_risk_score"],
        both.iter().map(|one| one["risk_score"].as_u64().unwrap()).max().unwrap()
    );
}

#[test]
fn each_tenant_has_a_sandbox_of_its_own_that_nothing_leads_out_of() {
    let (fleet, playbooks) = fleet("sandboxes");
    let _worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let sandbox_of = |tenant: &str| gateway.api(&key(&fleet, tenant, &["--kind", "test"]).1);
    let (acme, globex, live) = (sandbox_of("acme"), sandbox_of("globex"), gateway.api(&key(&fleet, "acme", &[]).1));
    let ids = |api: &Api, path: &str, field: &str| -> Vec<String> {
        listed(api, path).iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
    };
    // The same in both, and nothing shared.
    for (path, field) in [("/v3/threats/assessments", "assessment_id"), ("/v3/response/actions", "action_id")] {
        let (of_acme, of_globex) = (ids(&acme, path, field), ids(&globex, path, field));
        assert_eq!(of_acme.len(), of_globex.len());
        assert!(!of_acme.is_empty() && of_acme.iter().all(|id| !of_globex.contains(id)));
        assert!(ids(&live, path, field).is_empty());
        for id in &of_acme {
            assert_eq!(acme.get(&format!("{path}/{id}")).status, 200);
            assert_eq!(globex.get(&format!("{path}/{id}")).status, 404);
            assert_eq!(live.get(&format!("{path}/{id}")).status, 404);
        }
    }
    let cursor = acme.get("/v3/threats/assessments?limit=1").json()["next_cursor"].as_str().unwrap().to_owned();
    for other in [&globex, &live] {
        assert_eq!(other.get(&format!("/v3/threats/assessments?limit=1&cursor={cursor}")).code(), "invalid_parameter");
    }

    // What one has just brought is there for it alone, and an id is taken where it was taken.
    let posted = [&acme, &globex, &live].map(|api| api.post("/v3/threats/analyze", &attack("e1", "ws-7")).json());
    assert_eq!([0, 1, 2].map(|n| posted[n]["tenant_id"].clone()), ["acme", "globex", "acme"].map(Value::from));
    assert_eq!(acme.post("/v3/threats/analyze", &attack("e1", "ws-8")).code(), "event_conflict");
    assert_eq!(acme.post("/v3/threats/analyze", &attack("sandbox-0", "ws-8")).code(), "event_conflict");
    assert_eq!(live.post("/v3/threats/analyze", &attack("sandbox-0", "ws-8")).status, 201);
    let of_globex = format!("/v3/threats/assessments/{}", posted[1]["assessment_id"].as_str().unwrap());
    assert_eq!([&acme, &globex, &live].map(|api| api.get(&of_globex).status), [404, 200, 404]);

    // A sandbox hears nothing of what lands in production, not even of its own tenant.
    let mut production = live.stream(None);
    let heard = thread::scope(|scope| {
        let (told, hears) = std::sync::mpsc::channel();
        let acme = &acme;
        // It ends with the gateway.
        scope.spawn(move || {
            let mut stream = acme.stream(None);
            told.send(()).unwrap();
            stream.next().map(|_| told.send(()))
        });
        hears.recv().unwrap();
        live.post("/v3/threats/analyze", &attack("e2", "ws-7"));
        assert!(production.any(|(_, _, data)| data["event_id"] == "e2"));
        let heard = hears.try_recv().is_ok();
        drop(gateway);
        heard
    });
    assert!(!heard);
}

/// A playbook that only says what it would do.
const DRY_RUN: &str = "
id: only-said
title: Only said
when: {min_severity: high}
actions: [{type: isolate_host, target: host}]
mode: dry_run
";

#[test]
fn of_two_decisions_the_first_counts_and_the_other_is_told_whose_that_was() {
    let (fleet, playbooks) = fleet("decide");
    std::fs::write(fleet.path("playbooks").join("only-said.yaml"), DRY_RUN).unwrap();
    let worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let [one, two] = ["one", "two"].map(|name| gateway.api(&key(&fleet, "acme", &["--name", name]).1));
    let actions = |filter: Value| listed(&one, &format!("/v3/response/actions?limit=200&filter={}", encoded(&filter)));
    let waiting = || actions(json!({"state": "proposed", "mode": {"ne": "dry_run"}}));
    let state_of =
        |id: &Value| one.get(&format!("/v3/response/actions/{}", id.as_str().unwrap())).json()["action"].clone();
    let path_of =
        |action: &Value, word: &str| format!("/v3/response/actions/{}/{word}", action["action_id"].as_str().unwrap());
    fleet.send((0..10).map(|n| Record::new("acme", attack(&format!("e{n}"), &format!("ws-{n}")).to_string())));
    let all = eventually("ten actions that wait", PATIENCE, || Some(waiting()).filter(|all| all.len() == 10));

    // At once: what the answers say is what came of it, whoever was first.
    for action in &all[..5] {
        let (approved, denied) = thread::scope(|scope| {
            let approve = scope.spawn(|| one.post(&path_of(action, "approve"), &json!({"comment": "yes"})));
            let deny = scope.spawn(|| two.post(&path_of(action, "deny"), &json!({"comment": "no"})));
            (approve.join().unwrap(), deny.join().unwrap())
        });
        let settled = eventually("what came of it", PATIENCE, || {
            Some(state_of(&action["action_id"])).filter(|action| action["state"] != "proposed")
        });
        let mut taken = 0;
        for (reply, verdict, state, name) in
            [(&approved, "approve", "approved", "one ("), (&denied, "deny", "denied", "two (")]
        {
            let told = reply.json();
            match reply.status {
                200 => {
                    taken += 1;
                    assert_eq!((&told["verdict"], &told["status"]), (&json!(verdict), &json!(state)), "{}", reply.text);
                    assert_eq!((&settled["state"], &told["decided_by"]), (&json!(state), &settled["decided_by"]));
                    assert!(told["decided_by"].as_str().unwrap().starts_with(name), "{}", reply.text);
                }
                409 => {
                    assert_eq!(reply.code(), "action_not_pending");
                    let details = &told["error"]["details"];
                    assert_ne!(settled["state"], state, "{}", reply.text);
                    assert_eq!(details["state"], settled["state"]);
                    assert_eq!(details["decided_by"], settled["decided_by"]);
                    assert_eq!(details["decided_at"], settled["updated_at"]);
                    assert!(
                        told["error"]["message"].as_str().unwrap().contains(settled["decided_by"].as_str().unwrap())
                    );
                }
                // This machine was slow: it says where to ask.
                202 => {
                    assert_eq!((&told["status"], reply.headers.contains_key("location")), (&json!("submitted"), true));
                }
                other => panic!("{other}: {}", reply.text),
            }
        }
        assert!(taken < 2, "both were first: {} {}", approved.text, denied.text);
        let late = one.post(&path_of(action, "approve"), &json!({}));
        assert_eq!((late.status, late.code()), (409, "action_not_pending".to_owned()));
    }

    // A dry run is only said: no word on it goes anywhere.
    let decisions = fleet.read("response.decisions").len();
    let said = eventually("what is only said", PATIENCE, || actions(json!({"mode": "dry_run"})).pop());
    for word in ["approve", "deny"] {
        let reply = one.post(&path_of(&said, word), &json!({}));
        assert_eq!((reply.status, reply.code()), (409, "action_not_pending".to_owned()));
        assert_eq!(reply.json()["error"]["details"]["mode"], "dry_run");
    }
    assert_eq!(fleet.read("response.decisions").len(), decisions);

    // One word on several, each answered by itself.
    let ids: Vec<&Value> = [&all[5], &all[6], &all[0]].map(|action| &action["action_id"]).into();
    let several = json!({"verdict": "deny", "action_ids": [ids[0], ids[1], ids[2], "ra_none"], "comment": "a test"});
    let reply = one.post("/v3/response/decisions", &several);
    let results = reply.json()["results"].clone();
    let statuses: Vec<u64> = results.as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert!(
        statuses[..2].iter().all(|status| [200, 202].contains(status)) && statuses[2..] == [409, 404],
        "{}",
        reply.text
    );
    for id in &ids[..2] {
        let denied = eventually("denied", PATIENCE, || Some(state_of(id)).filter(|action| action["state"] == "denied"));
        assert_eq!(denied["reason"], "a test");
    }
    for (body, code) in [
        (json!({"verdict": "deny", "action_ids": []}), "invalid_request"),
        (json!({"verdict": "deny", "action_ids": ["a", "a"]}), "invalid_request"),
        (json!({"verdict": "deny", "action_ids": vec!["a"; 101]}), "invalid_request"),
        (json!({"verdict": "deny", "action_ids": ["a"], "comment": "x".repeat(1_001)}), "invalid_request"),
        (json!({"verdict": "maybe", "action_ids": ["a"]}), "invalid_json"),
    ] {
        assert_eq!(one.post("/v3/response/decisions", &body).code(), code);
    }
    let reader = gateway.api(&key(&fleet, "acme", &["--kind", "read"]).1);
    assert_eq!(reader.post("/v3/response/decisions", &several).code(), "invalid_scope");
    let other = gateway.api(&key(&fleet, "globex", &[]).1).post("/v3/response/decisions", &several).json();
    assert!(other["results"].as_array().unwrap().iter().all(|one| one["status"] == 404));

    // Nobody takes it now: it is sent, and the answer says where to ask.
    drop(worker);
    let reply = one.post(&path_of(&all[7], "approve"), &json!({}));
    assert_eq!(
        (reply.status, reply.headers.get("retry-after").map(String::as_str)),
        (202, Some("1")),
        "{}",
        reply.text
    );
    assert_eq!(one.get(&reply.headers["location"]).json()["action"]["state"], "proposed");
    let _worker = fleet.worker("w1", &[&playbooks]);
    eventually("taken after all", PATIENCE, || {
        (one.get(&reply.headers["location"]).json()["action"]["state"] == "approved").then_some(())
    });
}

fn encoded(filter: &Value) -> String {
    filter.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn nobody_sees_anything_of_another_tenant_and_a_key_does_no_more_than_it_may() {
    let (fleet, playbooks) = fleet("crossing");
    let _worker = fleet.worker("w1", &[&playbooks]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (acme, globex) = (gateway.api(&key(&fleet, "acme", &[]).1), gateway.api(&key(&fleet, "globex", &[]).1));
    let own = acme.post("/v3/threats/analyze", &attack("secret-event", "ws-7")).json();
    let action = eventually("an action", PATIENCE, || acme.get("/v3/response/actions").json()["data"].get(0).cloned());
    let cursor = {
        acme.post("/v3/threats/analyze", &attack("e2", "ws-7"));
        eventually("two pages", PATIENCE, || {
            acme.get("/v3/threats/assessments?limit=1").json()["next_cursor"].as_str().map(str::to_owned)
        })
    };
    let key_id = acme.get("/v3/keys").json()["data"][0]["key_id"].as_str().unwrap().to_owned();
    let (assessment_id, action_id) = (own["assessment_id"].as_str().unwrap(), action["action_id"].as_str().unwrap());

    for (method, path) in [
        ("GET", format!("/v3/threats/assessments/{assessment_id}")),
        ("GET", format!("/v3/response/actions/{action_id}")),
        ("POST", format!("/v3/response/actions/{action_id}/approve")),
        ("POST", format!("/v3/response/actions/{action_id}/deny")),
        ("GET", "/v3/entities/host/ws-7".to_owned()),
        ("POST", format!("/v3/keys/{key_id}/rotate")),
        ("DELETE", format!("/v3/keys/{key_id}")),
    ] {
        let reply = globex.call(method, &path, &[], None);
        assert_eq!((reply.status, reply.code()), (404, "not_found".to_owned()), "{method} {path}");
    }
    for path in ["/v3/threats/assessments", "/v3/response/actions", "/v3/compliance/reports", "/v3/quota", "/v3/keys"] {
        let reply = globex.get(path);
        assert!(
            reply.status == 200 && !reply.text.contains("acme") && !reply.text.contains("secret"),
            "{}",
            reply.text
        );
    }
    let stolen = globex.get(&format!("/v3/threats/assessments?limit=1&cursor={cursor}"));
    assert_eq!((stolen.status, stolen.code()), (400, "invalid_parameter".to_owned()));

    // Fields that are not the sender's to set.
    for field in ["tenant_id", "risk_score", "assessment_id"] {
        let mut event = attack("e3", "ws-7");
        event[field] = json!("acme");
        assert_eq!(globex.post("/v3/threats/analyze", &event).code(), "invalid_event", "{field}");
    }
    let own_key = json!({"kind": "live", "name": "x", "tenant_id": "acme"});
    assert_eq!(globex.post("/v3/keys", &own_key).code(), "invalid_json");

    // Scopes: a read key reads, a narrow one does one thing, a sandbox sees neither.
    let read = gateway.api(&key(&fleet, "acme", &["--kind", "read"]).1);
    assert_eq!(read.get("/v3/threats/assessments").status, 200);
    for (method, path) in
        [("POST", "/v3/threats/analyze"), ("POST", "/v3/response/actions/x/approve"), ("GET", "/v3/keys")]
    {
        let reply = read.call(method, path, &[], None);
        assert_eq!((reply.status, reply.code()), (403, "invalid_scope".to_owned()), "{path}");
    }
    let issuer = gateway.api(&key(&fleet, "acme", &["--scopes", "admin"]).1);
    let more = issuer.post("/v3/keys", &json!({"kind": "live", "name": "more"}));
    assert_eq!((more.status, more.code()), (403, "invalid_scope".to_owned()), "nobody hands on what they have not");

    let sandbox = gateway.api(&key(&fleet, "acme", &["--kind", "test"]).1);
    let before = fleet.read("telemetry.api").len();
    let first = sandbox.post("/v3/threats/analyze", &attack("s1", "ws-7"));
    assert_eq!((first.status, first.json()["tenant_id"].as_str()), (201, Some("acme")));
    assert_eq!(first.json(), sandbox.post("/v3/threats/analyze", &attack("s1", "ws-7")).json());
    assert_eq!(sandbox.get("/v3/threats/assessments").text, sandbox.get("/v3/threats/assessments").text);
    let waiting = sandbox.get("/v3/response/actions").json();
    let id = waiting["data"][0]["action_id"].as_str().unwrap();
    let approved = sandbox.call("POST", &format!("/v3/response/actions/{id}/approve"), &[], None);
    assert_eq!((approved.status, &approved.json()["status"]), (200, &json!("approved")));
    assert_eq!(sandbox.get("/v3/response/actions").json(), waiting);
    assert_eq!(sandbox.get(&format!("/v3/threats/assessments/{assessment_id}")).status, 404);
    assert_eq!(fleet.read("telemetry.api").len(), before);
}

#[test]
fn whatever_goes_wrong_is_told_in_one_form() {
    let (fleet, playbooks) = fleet("errors");
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let (api, nobody) = (gateway.api(&secret), gateway.api(""));
    let json_type = [("content-type", "application/json")];
    let mut typo = secret.clone();
    typo.replace_range(20..21, if &secret[20..21] == "a" { "b" } else { "a" });
    let suspended = gateway.api(&key(&fleet, "gone", &[]).1);
    let deep = format!(r#"{{"type":"file_hash","payload":{}{}}}"#, r#"{"a":"#.repeat(100) + "1", "}".repeat(100));
    let large = format!(r#"{{"type":"file_hash","payload":{{"x":"{}"}}}}"#, "x".repeat(2 << 20));
    for (reply, status, code) in [
        (nobody.get("/v3/quota"), 401, "missing_api_key"),
        (gateway.api(&typo).get("/v3/quota"), 401, "invalid_api_key"),
        (gateway.api("x").get("/v3/quota"), 401, "invalid_api_key"),
        (suspended.get("/v3/quota"), 403, "tenant_suspended"),
        (api.get("/v3/nothing"), 404, "not_found"),
        (api.get("/v3/threats/assessments/ta_0"), 404, "not_found"),
        (api.call("DELETE", "/v3/quota", &[], None), 405, "method_not_allowed"),
        (api.call("BREW", "/v3/quota", &[], None), 405, "method_not_allowed"),
        (api.call("POST", "/v3/threats/analyze", &[], Some(b"{}")), 415, "unsupported_media_type"),
        (api.call("POST", "/v3/threats/analyze", &json_type, Some(large.as_bytes())), 413, "payload_too_large"),
        (api.call("POST", "/v3/threats/analyze", &json_type, Some(b"{\"type\":")), 400, "invalid_json"),
        (api.call("POST", "/v3/threats/analyze", &json_type, Some(b"\xff\xfe")), 400, "invalid_json"),
        (api.call("POST", "/v3/threats/analyze", &json_type, Some(deep.as_bytes())), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!([])), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!({"type": "file_hash", "payload": 1})), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!({"type": "gossip", "payload": {}})), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!({"type": "file_hash"})), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!(["file_hash", {}])), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!({"type": ["file_hash"], "payload": {}})), 400, "invalid_event"),
        (api.post("/v3/threats/analyze", &json!({"type": "file_hash", "payload": []})), 400, "invalid_event"),
        (
            api.post("/v3/threats/analyze", &json!({"type": "file_hash", "payload": {}, "source": []})),
            400,
            "invalid_event",
        ),
        (
            api.post("/v3/threats/analyze", &json!({"type": "file_hash", "payload": {}, "occurred_at": 7})),
            400,
            "invalid_event",
        ),
        (api.post("/v3/threats/analyze/batch", &json!({"events": []})), 400, "invalid_request"),
        (api.post("/v3/threats/analyze/batch", &json!([[]])), 400, "invalid_json"),
        (api.post("/v3/threats/analyze/batch", &json!({"events": {}})), 400, "invalid_json"),
        (api.post("/v3/keys", &json!(["live", "x"])), 400, "invalid_json"),
        (api.post("/v3/keys", &json!({"kind": "dead", "name": "x"})), 400, "invalid_json"),
        (api.post("/v3/keys", &json!({"kind": "live", "name": 7})), 400, "invalid_json"),
        (api.post("/v3/keys", &json!({"kind": "live", "name": "x", "scopes": "admin"})), 400, "invalid_json"),
        (api.post("/v3/keys", &json!({"kind": "live", "name": "x", "scopes": ["x"]})), 400, "invalid_json"),
        (api.post("/v3/keys/key_1/rotate", &json!({"overlap_seconds": "1"})), 400, "invalid_json"),
        (api.post("/v3/keys/key_1/rotate", &json!([1])), 400, "invalid_json"),
        (api.post("/v3/response/actions/ra_1/approve", &json!(["x"])), 400, "invalid_json"),
        (api.post("/v3/response/actions/ra_1/approve", &json!({"comment": {}})), 400, "invalid_json"),
        (api.get("/v3/threats/assessments?filter=%5B%5B%22verdict%22%2C%22x%22%5D%5D"), 400, "invalid_parameter"),
        (api.get(&format!("/v3/threats/assessments?filter={}", "x".repeat(9_000))), 414, "uri_too_long"),
        (api.get("/v3/entities/host/%ff"), 400, "invalid_request"),
        (api.post("/v3/response/actions/ra_1/approve", &json!({"verdict": "deny"})), 400, "invalid_json"),
        (api.get("/v3/threats/assessments?limit=201"), 400, "invalid_parameter"),
        (api.get("/v3/threats/assessments?sort=tenant_id:asc"), 400, "invalid_parameter"),
        (api.get("/v3/threats/assessments?colour=red"), 400, "invalid_parameter"),
        (api.get("/v3/threats/assessments?cursor=AAAA"), 400, "invalid_parameter"),
        (api.get("/v3/threats/assessments?filter=%7B%22tenant_id%22%3A%22globex%22%7D"), 400, "invalid_parameter"),
        (api.get("/v3/entities/planet/mars"), 400, "invalid_parameter"),
        (api.get("/v3/compliance/reports?from=yesterday"), 400, "invalid_parameter"),
        (api.call("GET", "/v3/stream", &[("last-event-id", "1")], None), 400, "invalid_parameter"),
    ] {
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{}", reply.text);
        let docs = reply.json()["error"]["docs_url"].as_str().unwrap().to_owned();
        let path = docs.strip_prefix(&gateway.base).unwrap_or_else(|| panic!("not absolute: {docs}"));
        assert_eq!(nobody.get(path).status, 200, "{docs}");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        let spoken = [
            "struct",
            "enum",
            "variant",
            "sequence",
            " map",
            "u32",
            "u64",
            "i64",
            "f64",
            "::",
            "Option",
            "expected a ",
        ];
        assert!(!spoken.iter().any(|word| message.contains(word)), "told in the terms of the program: {message}");
    }
    let named = api.get("/v3/threats/assessments?filter=%7B%22shoe_size%22%3A1%7D");
    assert!(named.text.contains("shoe_size"), "{}", named.text);

    // What bidirectional controls would hide is told by its number.
    let hidden = api.post("/v3/keys", &json!({"kind": "live", "name": "x", "\u{202e}eman": 1}));
    assert!(hidden.text.contains("‹U+202E›") && !hidden.text.contains('\u{202e}'), "{}", hidden.text);

    // A body or a head that ends never, a head that is a bomb or none, a length that is said twice, no host or two.
    let address = gateway.base.strip_prefix("http://").unwrap();
    let raw = |text: String| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.take(16_384).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let bare = "POST /v3/threats/analyze HTTP/1.1\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let head = format!("{bare}host: x\r\nauthorization: Bearer {secret}\r\n");
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(80 << 10));
    // Chunks count where both are said (RFC 9112, section 6.3), and nothing behind them is read.
    let length_and_chunks =
        "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v3/quota HTTP/1.1\r\n\r\n";
    for (what, sent, status, code) in [
        ("a slow body", format!("{head}content-length: 100\r\n\r\n{{"), 408, "request_timeout"),
        ("a slow head", "GET / HTTP/1.1\r\nhost: x\r\n".to_owned(), 408, "request_timeout"),
        ("many header fields", format!("{head}{many}\r\n"), 431, "headers_too_large"),
        ("a long address", long, 414, "uri_too_long"),
        ("what is no HTTP", "hello\r\n\r\n".to_owned(), 400, "invalid_request"),
        ("a bad length", format!("{head}content-length: ten\r\n\r\n"), 400, "invalid_request"),
        ("two lengths", format!("{head}content-length: 4\r\ncontent-length: 5\r\n\r\nabcde"), 400, "invalid_request"),
        ("a length and chunks", format!("{head}{length_and_chunks}"), 400, "invalid_json"),
        ("no host", format!("{bare}\r\n"), 400, "invalid_request"),
        ("two hosts", format!("{head}host: y\r\n\r\n"), 400, "invalid_request"),
        ("what is no host", format!("{bare}host: a b\r\n\r\n"), 400, "invalid_request"),
        ("after a good one", "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n\0\r\n\r\n".to_owned(), 400, "invalid_request"),
    ] {
        let answer = raw(sent);
        let last = answer.rfind("HTTP/1.1 ").map_or(&*answer, |at| &answer[at..]);
        assert!(last.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        let (head, body) = last.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("x-request-id: req_"), "{what}: {answer}");
        let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {answer}"));
        assert_eq!(error["error"]["code"], code, "{what}");
        assert!(error["error"]["docs_url"].as_str().unwrap().starts_with("http://"), "{what}: {error}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1 + usize::from(what == "after a good one"),
            "{what}: {answer}"
        );
    }
    assert_eq!(api.get("/v3/system/health").status, 200);
}

/// Bodies may come packed, and what they become is bounded.
#[test]
fn packed_bodies_are_taken_and_a_bomb_is_not() {
    let (fleet, playbooks) = fleet("packed");
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let api = gateway.api(&key(&fleet, "acme", &[]).1);
    let gzip = |body: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    };
    let zstd = |body: &[u8]| zstd::encode_all(body, 3).unwrap();
    let call = |coding: &str, body: &[u8]| {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        api.call("POST", "/v3/threats/analyze", &headers, Some(body))
    };
    let event = |id: &str| attack(id, "ws-7").to_string().into_bytes();
    for (coding, packed) in [("gzip", gzip(&event("g"))), ("zstd", zstd(&event("z"))), ("identity", event("i"))] {
        let reply = call(coding, &packed);
        assert_eq!(reply.status, 201, "{coding}: {}", reply.text);
    }
    let bomb = vec![b' '; 40 << 20];
    for (coding, packed, status, code) in [
        ("gzip", gzip(&bomb), 413, "payload_too_large"),
        ("zstd", zstd(&bomb), 413, "payload_too_large"),
        ("gzip", event("x"), 400, "invalid_request"),
        ("br", event("x"), 415, "unsupported_media_type"),
        ("gzip, zstd", event("x"), 415, "unsupported_media_type"),
    ] {
        let reply = call(coding, &packed);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{coding}: {}", reply.text);
        if status == 415 {
            assert_eq!(reply.headers["accept-encoding"], "gzip, zstd");
        }
    }
    assert_eq!(fleet.read("telemetry.api").len(), 3);
}

/// Requests that are made up from the document, by schemathesis, with limits out of their way: none may make the server fail, or be
/// answered otherwise than the document says, and every operation is really reached.
#[test]
fn requests_made_up_from_the_document_are_answered_as_it_says() {
    let Some(program) = python_tool("schemathesis") else { return };
    let (fleet, playbooks) = fleet("made-up");
    let _worker = fleet.worker("w1", &[&playbooks]);
    let limits = [("read_per_minute", 10_000_000), ("write_per_minute", 10_000_000), ("burst_percent", 100)]
        .map(|(name, value)| format!("gateway.rate_limits.enterprise.{name}={value}"));
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks, &limits[0], &limits[1], &limits[2]]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    // What paths may name, so that made-up requests find something there.
    let found = api.post("/v3/threats/analyze", &attack("e1", "ws-7")).json();
    api.post("/v3/threats/analyze", &attack("e2", "ws-8"));
    let actions = eventually("two actions", PATIENCE, || {
        let listed = api.get("/v3/response/actions").json()["data"].as_array().unwrap().clone();
        (listed.len() == 2).then_some(listed)
    });
    let (rotated, revoked) = (key(&fleet, "acme", &[]).0, key(&fleet, "acme", &[]).0);
    let named = |path: &str, name: &str, id: &str| {
        format!("[[operations]]\ninclude-path = \"{path}\"\n[operations.parameters]\n{name} = \"{id}\"\n")
    };
    let action = |n: usize| actions[n]["action_id"].as_str().unwrap();
    let config = format!(
        "[parameters]\nassessment_id = {}\naction_id = \"{}\"\nkind = \"host\"\nvalue = \"ws-7\"\n{}{}{}{}",
        found["assessment_id"],
        action(0),
        // An action is decided once, a key rotated and revoked once.
        named("/v3/response/actions/{action_id}/approve", "action_id", action(0)),
        named("/v3/response/actions/{action_id}/deny", "action_id", action(1)),
        named("/v3/keys/{key_id}/rotate", "key_id", &rotated),
        named("/v3/keys/{key_id}", "key_id", &revoked)
    );
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let run = |name: &str, config: &str| {
        std::fs::write(fleet.path("schemathesis.toml"), config).unwrap();
        let report = fleet.path(&format!("{name}.har"));
        let output = Command::new(&program)
            .arg("--config-file")
            .arg(fleet.path("schemathesis.toml"))
            .args(["run", &format!("{root}schemas/openapi.yaml"), "--url", &gateway.base])
            .args(["-H", &format!("Authorization: Bearer {secret}")])
            .args(["--checks", "not_a_server_error,response_schema_conformance,status_code_conformance"])
            // A stream has no end.
            .args(["--exclude-path", "/v3/stream", "--phases", "examples,coverage,fuzzing"])
            .args(["--max-examples", "20", "--generation-deterministic", "--no-color", "--report-har-path"])
            .arg(&report)
            .current_dir(fleet.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let entries = report["log"]["entries"].as_array().unwrap().iter();
        entries
            .map(|entry| {
                let url = entry["request"]["url"].as_str().unwrap().strip_prefix(&*gateway.base).unwrap().to_owned();
                (
                    entry["request"]["method"].as_str().unwrap().to_owned(),
                    url,
                    entry["response"]["status"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    // By names that exist, and by made-up ones.
    let mut all = run("known", &config);
    all.extend(run("made-up", ""));
    assert!(all.iter().all(|(.., status)| *status != 429), "a limit was in the way");
    for route in cybervault_gateway::api_routes().iter().filter(|route| route.path != "/v3/stream") {
        let shape: Vec<&str> = route.path.split('/').collect();
        let is_it = |url: &str| {
            let parts: Vec<&str> = url.split('?').next().unwrap().split('/').collect();
            parts.len() == shape.len() && shape.iter().zip(&parts).all(|(a, b)| a.starts_with('{') || a == b)
        };
        let met = all.iter().filter(|(method, url, _)| method == route.method && is_it(url));
        let statuses: Vec<u64> = met.map(|(.., status)| *status).collect();
        assert!(
            statuses.iter().any(|status| *status < 300),
            "{} {} was never reached: {statuses:?}",
            route.method,
            route.path
        );
    }
}

/// A client that a public generator makes of the document speaks with the sandbox, whose data is always there.
#[test]
fn a_client_generated_from_the_document_works() {
    let Some(generator) = python_tool("openapi-python-client") else { return };
    let (fleet, playbooks) = fleet("generated");
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let (sandbox, live) = (key(&fleet, "acme", &["--kind", "test"]).1, key(&fleet, "acme", &[]).1);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let package = fleet.path("cybervault_api");
    let run = |program: &Path, args: &[&str]| {
        let output = Command::new(program).args(args).env("PYTHONPATH", fleet.path("")).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
    };
    std::fs::write(fleet.path("generator.yaml"), "post_hooks: []\n").unwrap();
    run(
        &generator,
        &[
            "generate",
            "--fail-on-warning",
            "--meta=none",
            &format!("--path={root}schemas/openapi.yaml"),
            &format!("--config={}", fleet.path("generator.yaml").display()),
            &format!("--output-path={}", package.display()),
        ],
    );
    run(
        &generator.with_file_name("python"),
        &[&format!("{root}tests/fixtures/client.py"), &gateway.base, &sandbox, &live],
    );
}

/// A program that .ci/prerequisites has put into an environment of its own.
fn python_tool(name: &str) -> Option<PathBuf> {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/tools");
    let program = PathBuf::from(format!("{tools}/{name}/bin/{name}"));
    if !program.exists() {
        eprintln!("SKIPPED: there is no {name}; as root on Debian, .ci/prerequisites installs it");
        return None;
    }
    Some(program)
}

#[test]
fn a_revoked_key_is_refused_by_every_replica_within_a_second_and_limits_count_together() {
    let (fleet, playbooks) = fleet("replicas");
    let replicas = ["g1", "g2"].map(|name| Gateway::start(&fleet, name, &[&playbooks]));
    let (key_id, secret) = key(&fleet, "acme", &[]);
    let admin = replicas[0].api(&key(&fleet, "acme", &["--scopes", "admin"]).1);
    assert!(replicas.iter().all(|replica| replica.api(&secret).get("/v3/quota").status == 200));
    assert_eq!(admin.call("DELETE", &format!("/v3/keys/{key_id}"), &[], None).status, 204);
    // Within a second where a look-up takes its usual time, which `known_keys` bounds and this machine may not give.
    for replica in &replicas {
        eventually("refused", PATIENCE, || (replica.api(&secret).get("/v3/quota").status == 401).then_some(()));
    }

    // A stream ends with its key, however much there is to hear.
    let (key_id, secret) = key(&fleet, "acme", &[]);
    let (listening, writing) = (replicas[1].api(&secret), replicas[0].api(&key(&fleet, "acme", &[]).1));
    let mut heard = listening.stream(None);
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        // Something lands at all times until the stream has ended.
        scope.spawn(|| {
            for n in 0.. {
                if has_ended.load(Ordering::Relaxed) {
                    break;
                }
                writing.post("/v3/threats/analyze", &attack(&format!("steady-{n}"), "ws-1"));
            }
        });
        heard.next().unwrap();
        assert_eq!(admin.call("DELETE", &format!("/v3/keys/{key_id}"), &[], None).status, 204);
        heard.for_each(drop);
        has_ended.store(true, Ordering::Relaxed);
    });

    // Starter: 60 reads a minute and 15 % more at once, wherever they come in.
    let (_, secret) = key(&fleet, "small", &[]);
    let apis = replicas.each_ref().map(|replica| replica.api(&secret));
    let (began, mut granted) = (Instant::now(), 0);
    let refused = eventually("a refusal", PATIENCE, || {
        let reply = apis[granted % 2].get("/v3/quota");
        granted += usize::from(reply.status == 200);
        (reply.status != 200).then_some(reply)
    });
    // What came back meanwhile, one a second, was granted as well; and each replica holds a few of its own.
    let refilled = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((69..100 + refilled).contains(&granted), "{granted} and {refilled} refilled");
    assert_eq!((refused.status, refused.code()), (429, "rate_limited".to_owned()));
    let wait: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(refused.headers["ratelimit-policy"], "\"read\";q=60;w=60");
    assert!(refused.headers["ratelimit"].starts_with("\"read\";r=0;t="), "{:?}", refused.headers);
    // Writing is counted apart.
    let write = apis[0].call("POST", "/v3/threats/analyze", &[], None);
    assert_eq!(write.status, 415);

    // Whoever guesses keys is told to wait, and others are not.
    let guess = || replicas[0].api("cv_live_sk_guess").get("/v3/quota").status;
    // All at once: what comes back in a second must not be enough for them, however slow this machine is.
    eventually("a guesser is told to wait", PATIENCE, || {
        thread::scope(|scope| {
            let guesses: Vec<_> = (0..60).map(|_| scope.spawn(guess)).collect();
            guesses.into_iter().any(|guess| guess.join().unwrap() == 429).then_some(())
        })
    });
    assert_eq!(admin.get("/v3/keys").status, 200);
    // A key that is valid is not refused for where it comes from, though nobody has seen it before.
    let fresh = key(&fleet, "acme", &[]).1;
    thread::scope(|scope| {
        let guesses: Vec<_> = (0..60).map(|_| scope.spawn(guess)).collect();
        assert_eq!(replicas[0].api(&fresh).get("/v3/quota").status, 200);
        guesses.into_iter().for_each(|guess| drop(guess.join()));
    });
}
