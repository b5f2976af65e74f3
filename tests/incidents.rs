//! Findings that belong together become incidents: exactly once whoever is killed, and people's words on them come to everybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use cybervault_incident::{Grouping, Settings, Store};
use cybervault_model::{Encoding, Incident, Timestamp};
use cybervault_testkit::{
    eventually, poll,
    topic::{self, Record},
};
use serde_json::{Value, json};

use crate::support::{
    Fleet, PATIENCE, attack,
    gateway::{Gateway, key},
    samples, score, unlimited,
};

const KILLS: u32 = 12;
const EVENTS: u32 = 24_000;
const TENANTS: u32 = 6;

/// A number that looks random and is the same on every run (SplitMix64).
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn read(record: &Record) -> Value {
    serde_json::from_slice(&record.value).unwrap()
}

/// What was told, by tenant, in the order of the topic.
fn told(fleet: &Fleet) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut told: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for record in fleet.read("threat.incidents") {
        told.entry(record.key.unwrap_or_default()).or_default().push(record.value);
    }
    told
}

/// A comment on the latest incident that is told by now, as a person would write one at any time.
fn comment(fleet: &Fleet, n: u32) {
    let Some(record) = fleet.read("threat.incidents").pop() else { return };
    let incident = read(&record);
    let decision = json!({"decision_id": format!("id_{n}"), "incident_id": incident["incident_id"],
        "tenant_id": incident["tenant_id"], "type": "comment", "decided_by": "kim", "comment": format!("seen, {n}")});
    let tenant = incident["tenant_id"].as_str().unwrap();
    topic::write(&fleet.bootstrap, &fleet.topic("incident.decisions"), [Record::new(tenant, decision.to_string())]);
}

/// State that no worker ever loses.
#[derive(Debug, Default)]
struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for Memory {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    fn put(&mut self, key: &[u8], value: &[u8], _: Option<Timestamp>) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    fn expired(&mut self, _: Timestamp, _: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }
}

/// What one pass over the log tells, by tenant: each tenant's records are in one partition, in its order.
fn pass(candidates: &[Record]) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let grouping = Grouping::new(Settings { count_every_ms: 1_500, max_active: 40, ..Settings::default() }).unwrap();
    let mut store = Memory::default();
    let mut told: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for record in candidates {
        let at = Timestamp::from_millis(record.header("at").unwrap().parse().unwrap());
        let value = &record.value;
        let mut tell = |incident: &Incident| {
            let mut bytes = Vec::new();
            Encoding::Json.encode(incident, &mut bytes).unwrap();
            told.entry(record.key.clone().unwrap()).or_default().push(bytes);
        };
        match record.header("kind") {
            Some("finding") => _ = grouping.find(&serde_json::from_slice(value).unwrap(), &mut store, &mut tell),
            Some("decision") => _ = grouping.decide(&serde_json::from_slice(value).unwrap(), at, &mut store, &mut tell),
            Some("due") => grouping.look(&serde_json::from_slice(value).unwrap(), at, &mut store, &mut tell),
            kind => panic!("a candidate of kind {kind:?}"),
        }
    }
    told
}

#[test]
fn incidents_of_workers_killed_at_random_are_those_of_one_that_never_was() {
    let tenants: Vec<String> = (0..TENANTS).map(|n| format!("tenant-{n:02}")).collect();
    let fleet = Fleet::new("incidents", &unlimited(tenants.iter().map(String::as_str)));
    let samples = samples();
    let event = |n: u32| -> (String, Vec<u8>) {
        let mut event = samples[n as usize % samples.len()].clone();
        let tenant = format!("tenant-{:02}", scatter(u64::from(n)) % u64::from(TENANTS));
        event["event_id"] = json!(format!("event-{n}"));
        event["tenant_id"] = json!(tenant);
        (tenant, serde_json::to_vec(&event).unwrap())
    };
    let lines: Vec<Vec<u8>> = (0..EVENTS).map(|n| event(n).1).collect();
    std::fs::write(fleet.path("events.ndjson"), lines.join(&b'\n')).unwrap();
    let findings_of_one = score(&fleet.path("events.ndjson"), &[]).len();
    // Counts are told along soon, so that timers take part in it.
    let settings = ["batch.max_records=300", "incidents.count_every_ms=1500", "incidents.max_active=40"];
    let mut workers = ["w1", "w2"].map(|name| (name, fleet.worker(name, &settings)));
    let slice = EVENTS / KILLS;
    for kill in 0..KILLS {
        fleet.send((kill * slice..(kill + 1) * slice).map(|n| {
            let (tenant, value) = event(n);
            Record::new(tenant, value)
        }));
        thread::sleep(Duration::from_millis(50 + scatter(u64::from(kill)) % 1_500));
        comment(&fleet, kill);
        let (name, worker) = &mut workers[kill as usize % 2];
        worker.kill();
        *worker = fleet.worker(name, &settings);
    }
    // All findings are among the candidates, each once, and what was told is what one pass over their log tells.
    let (mut candidates, mut found, mut expected) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let settled = poll(PATIENCE, || {
        let assessments = topic::read(&fleet.bootstrap, &fleet.topic("threat.assessments")).len();
        candidates = fleet.read("incident.candidates");
        let findings = candidates.iter().filter(|record| record.header("kind") == Some("finding")).count();
        (found, expected) = (told(&fleet), pass(&candidates));
        (assessments >= findings_of_one && findings == assessments && found == expected).then_some(())
    });
    for (tenant, expected) in &expected {
        let found = found.get(tenant).map_or(&[][..], Vec::as_slice);
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            let [found, expected] = [found, expected].map(|value| String::from_utf8_lossy(value));
            assert_eq!(found, expected, "telling {n} of {}", String::from_utf8_lossy(tenant));
        }
        assert_eq!(found.len(), expected.len(), "tellings of {}", String::from_utf8_lossy(tenant));
    }
    assert!(settled.is_some() && found == expected);
    for (_, worker) in &mut workers {
        worker.terminate();
        assert!(worker.wait(PATIENCE).success(), "{}", worker.log());
    }

    // It was worth it: few incidents of many findings, each finding in one of them at most, and counts, timers and words took part.
    let kinds = |kind: &str| candidates.iter().filter(|record| record.header("kind") == Some(kind)).count();
    let mut gained = Vec::new();
    let mut changes = BTreeMap::new();
    for value in found.values().flatten() {
        let incident: Value = serde_json::from_slice(value).unwrap();
        gained.extend(incident["gained"].as_array().unwrap().iter().map(ToString::to_string));
        for change in incident["changes"].as_array().unwrap() {
            *changes.entry(change.as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    let count = gained.len();
    gained.sort();
    gained.dedup();
    assert_eq!(gained.len(), count, "a finding was gained twice");
    eprintln!(
        "incidents: {} findings, {} words, {} timers; {changes:?}",
        kinds("finding"),
        kinds("decision"),
        kinds("due")
    );
    assert!(kinds("due") > 0 && kinds("decision") > 0 && count > 200);
    for change in ["opened", "counted", "decision"] {
        assert!(changes.contains_key(change), "{change}: {changes:?}");
    }
    assert!(changes["opened"] < count / 10, "{changes:?} of {count} findings");
}

#[test]
fn an_incident_is_listed_streamed_and_worked_on_over_the_api() {
    let fleet = Fleet::new("incident-api", &unlimited(["acme", "globex"]));
    let playbooks = fleet.playbooks();
    std::fs::write(
        fleet.path("playbooks").join("whole.yaml"),
        "{id: whole, title: Tell of it, when: {incident: {min_severity: high}}, actions: [{type: notify, target: tenant}], mode: auto}",
    )
    .unwrap();
    let mut worker = fleet.worker("w1", &[&playbooks, "incidents.count_every_ms=1000"]);
    let gateway = Gateway::start(&fleet, "g1", &[&playbooks]);
    let api = gateway.api(&key(&fleet, "acme", &[]).1);
    let other = gateway.api(&key(&fleet, "globex", &[]).1);
    let mut stream = api.stream(None);
    for n in 0..3 {
        assert_eq!(api.post("/v3/threats/analyze", &attack(&format!("e{n}"), "ws-7")).status, 201);
    }
    let mut listed = Value::Null;
    worker.wait_until("the incident, with all three", PATIENCE, || {
        listed = api.get("/v3/incidents?filter=%7B%22entity%22%3A%22ws-7%22%7D").json();
        listed["data"][0]["findings"] == 3
    });
    let incident = &listed["data"][0];
    let id = incident["incident_id"].as_str().unwrap();
    assert_eq!((listed["data"].as_array().unwrap().len(), &incident["status"]), (1, &json!("open")));
    assert!(incident["title"].as_str().unwrap().contains("ws-7"), "{incident}");
    assert_eq!(incident["timeline"][0]["findings"], 3, "three of the same are one entry");
    let (.., data) = stream.find(|(_, event, _)| event == "incident").unwrap();
    assert_eq!(data["incident_id"], *id);
    // Each finding names it.
    let findings = api.get(&format!("/v3/threats/assessments?filter=%7B%22incident_id%22%3A%22{id}%22%7D")).json();
    assert_eq!(findings["data"].as_array().unwrap().len(), 3, "{findings}");
    assert!(findings["data"].as_array().unwrap().iter().all(|finding| finding["incident_id"] == *id));
    let one = findings["data"][0]["assessment_id"].as_str().unwrap();
    assert_eq!(api.get(&format!("/v3/threats/assessments/{one}")).json()["incident_id"], *id);
    // A playbook on incidents has acted once, however often it was told.
    worker.wait_until("the action", PATIENCE, || {
        fleet.read("response.actions").iter().any(|record| read(record)["playbook_id"] == "whole")
    });
    let actions = fleet.read("response.actions");
    let because: Vec<_> = actions.iter().map(read).filter(|action| action["playbook_id"] == "whole").collect();
    assert!(because.iter().all(|action| action["incident_id"] == *id), "{because:?}");
    assert_eq!(because.iter().filter(|action| action["state"] == "approved").count(), 1);

    // Words: each is taken, and told.
    let path = format!("/v3/incidents/{id}");
    let say = |what: &str, body: Value| api.post(&format!("{path}/{what}"), &body);
    // Where Kafka is too slow for the answer, whoever sent it sends it again under the same key.
    let send = |what: &str, key: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        eventually("the word is taken", PATIENCE, || {
            let reply = api.call("POST", &format!("{path}/{what}"), &headers, Some(body.as_bytes()));
            assert!([200, 202, 409, 503].contains(&reply.status), "{}", reply.text);
            (reply.status < 300).then_some(())
        });
    };
    for (what, body, field, expected) in [
        ("status", json!({"status": "in_progress", "comment": "mine"}), "status", json!("in_progress")),
        ("assign", json!({"assignee": "kim"}), "assignee", json!("kim")),
        ("verdict", json!({"verdict": "true_positive"}), "verdict", json!("true_positive")),
        ("status", json!({"status": "closed"}), "status", json!("closed")),
    ] {
        send(what, &format!("k-{expected}"), &body.to_string());
        eventually("it holds", PATIENCE, || (api.get(&path).json()[field] == expected).then_some(()));
    }
    // A comment under one Idempotency-Key is one comment, whoever sends it again.
    for _ in 0..2 {
        send("comment", "c1", r#"{"comment": "<b>seen</b>"}"#);
    }
    eventually("one comment", PATIENCE, || {
        let said = api.get(&path).json()["decisions"].clone();
        let comments = said.as_array().unwrap().iter().filter(|word| word["type"] == "comment").count();
        (comments == 1).then_some(())
    });
    let sent: BTreeSet<String> =
        fleet.read("incident.decisions").iter().map(|record| read(record)["decision_id"].to_string()).collect();
    assert_eq!(sent.len(), 5, "{sent:?}");
    for (what, body, code) in [
        ("status", json!({"status": "done"}), "invalid_json"),
        ("verdict", json!({}), "invalid_json"),
        ("comment", json!({"comment": " "}), "invalid_request"),
        ("comment", json!({"comment": "x".repeat(2_001)}), "invalid_request"),
        ("assign", json!({"who": "kim"}), "invalid_json"),
    ] {
        assert_eq!(say(what, body.clone()).code(), code, "{what} {body}");
    }
    // Nobody else's.
    assert_eq!(other.get(&path).status, 404);
    assert_eq!(other.post(&format!("{path}/status"), &json!({"status": "open"})).status, 404);
    let reader = gateway.api(&key(&fleet, "acme", &["--kind", "read"]).1);
    assert_eq!(reader.post(&format!("{path}/status"), &json!({"status": "open"})).status, 403);
    let ocsf = reader.get(&format!("{path}?format=ocsf")).json();
    assert_eq!(
        (&ocsf["class_uid"], &ocsf["status"], &ocsf["verdict"]),
        (&json!(2005), &json!("Closed"), &json!("True Positive"))
    );
    assert_eq!(reader.get(&format!("{path}?format=xml")).status, 400);
    // What is closed is listed where that is asked for, and something new opens it again.
    let open = api.get("/v3/incidents?filter=%7B%22status%22%3A%7B%22ne%22%3A%22closed%22%7D%7D").json();
    assert_eq!(open["data"], json!([]));
}
