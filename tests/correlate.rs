//! Correlations on the stream: the same findings as `score`'s, whatever happens to the workers.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, thread, time::Duration};

use cybervault_testkit::{eventually, topic, topic::Record};
use serde_json::{Value, json};

use crate::support::{BINARY, Fleet, PATIENCE, is_correlated, unlimited};

const RULES: &str = "title: Refused
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b01
name: refused
logsource: {product: door}
detection: {s: {state: refused}, condition: s}
level: informational
---
title: Opened
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b02
name: opened
logsource: {product: door}
detection: {s: {state: opened}, condition: s}
level: low
---
title: Forced
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b03
name: forced
logsource: {product: door}
detection: {s: {state: opened, force: true}, condition: s}
level: medium
---
title: Refused again and again
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b04
name: again
correlation:
  type: event_count
  rules: refused
  group-by: [user]
  timespan: 1m
  condition: {gte: 3}
generate: true
level: high
---
title: Refused, then opened
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b05
correlation:
  type: temporal_ordered
  rules: [again, opened]
  group-by: [user]
  timespan: 5m
generate: true
level: critical
tags: [attack.credential-access, attack.t1110]
---
title: Many doors of one user
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b06
correlation:
  type: value_count
  rules: [opened, forced]
  group-by: [user]
  timespan: 2m
  condition: {field: Computer, gte: 4}
generate: true
level: medium
---
title: Heavy
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b07
correlation:
  type: value_sum
  rules: opened
  group-by: [Computer]
  timespan: 1m
  condition: {field: weight, gt: 60.5}
generate: true
level: low
---
title: Opened, and not forced, while one is refused
id: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b08
correlation:
  type: temporal
  rules: [again, opened, forced]
  group-by: [Computer]
  timespan: 30s
  condition: again and opened and not forced
generate: true
level: low
";

/// Numbers that look random and are the same on every run (SplitMix64).
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An event of one of two tenants, whose users and doors have the same names.
fn event(n: u64) -> (&'static str, Value) {
    let random = scatter(n);
    let pick = |shift: u64, below: u64| (random >> shift) % below;
    let tenant = ["acme", "globex"][usize::try_from(pick(0, 2)).unwrap()];
    // Half a second apart, and one in eight a while late.
    let late = if pick(8, 8) == 0 { pick(16, 20_000) } else { 0 };
    let time = 1_793_000_000_000 + 500 * n - late;
    let state = if pick(32, 3) == 0 { "opened" } else { "refused" };
    let user = format!("{}ve{}", if pick(36, 2) == 0 { "E" } else { "e" }, pick(40, 9));
    let event = json!({
        "event_id": format!("event-{n}"), "tenant_id": tenant, "type": "door", "source": {"product": "door"},
        "occurred_at": cybervault_model::Timestamp::from_millis(i64::try_from(time).unwrap()),
        "payload": {
            "state": state, "user": user, "Computer": format!("gate-{}", pick(48, 6)),
            "force": pick(52, 4) == 0, "weight": if pick(56, 2) == 0 { json!(pick(57, 100)) } else { json!("12.5") },
        },
    });
    (tenant, event)
}

fn record(n: u64) -> Record {
    let (tenant, event) = event(n);
    Record::new(tenant, serde_json::to_vec(&event).unwrap())
}

fn rules(fleet: &Fleet, text: &str) -> (PathBuf, String) {
    let folder = fleet.path("rules");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("doors.yml"), text).unwrap();
    let setting = format!("rules_dir={}", folder.display());
    (folder, setting)
}

/// What `score` finds in these events with the correlations of a folder, sorted.
fn score(fleet: &Fleet, rules: &PathBuf, events: impl Iterator<Item = u64>) -> Vec<String> {
    let file = fleet.path("events.ndjson");
    fs::write(&file, events.map(|n| event(n).1.to_string() + "\n").collect::<String>()).unwrap();
    let output = Command::new(BINARY).arg("score").arg("--rules").arg(rules).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| is_correlated(line));
    sorted(lines.map(<[u8]>::to_vec))
}

fn sorted(values: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    let mut values: Vec<String> = values.map(|value| String::from_utf8(value).unwrap()).collect();
    values.sort_unstable();
    values
}

fn found(fleet: &Fleet) -> Vec<String> {
    sorted(fleet.correlated().into_iter().map(|record| record.value))
}

fn assert_same(found: &[String], expected: &[String]) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "finding {at}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn the_stream_finds_what_score_finds_in_the_same_events() {
    const EVENTS: u64 = 4_000;
    let fleet = Fleet::new("correlate", &unlimited(["acme", "globex"]));
    let (folder, rules) = rules(&fleet, RULES);
    let expected = score(&fleet, &folder, 0..EVENTS);
    let of =
        |tenant: &str| expected.iter().filter(|line| line.contains(&format!("\"tenant_id\":\"{tenant}\""))).count();
    assert!(of("acme") > 50 && of("globex") > 50, "{} and {}", of("acme"), of("globex"));
    for number in 4..=8 {
        let id = format!("5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b0{number}");
        assert!(expected.iter().any(|line| line.contains(&format!("\"id\":\"{id}\""))), "nothing of {id}");
    }
    // Runners of their own for some of the partitions each.
    let mut worker = fleet.worker("w1", &[&rules, "worker.runners=2"]);
    fleet.send((0..EVENTS).map(record));
    let mut all = Vec::new();
    worker.wait_until("all findings", PATIENCE, || {
        all = found(&fleet);
        all.len() >= expected.len()
    });
    assert_same(&all, &expected);
    assert_eq!(fleet.read("telemetry.dlq"), []);

    // A signal says whose it is, and is where its key says; an event has one for each group, not one for each correlation.
    let signals = fleet.read("detection.signals");
    assert!(signals.len() > usize::try_from(EVENTS).unwrap() && signals.len() < 2 * usize::try_from(EVENTS).unwrap());
    let mut places: BTreeMap<Vec<u8>, i32> = BTreeMap::new();
    for signal in &signals {
        let (key, partition) = (signal.key.clone().unwrap(), signal.partition.unwrap());
        assert_eq!(*places.entry(key.clone()).or_insert(partition), partition);
        let value: Value = serde_json::from_slice(&signal.value).unwrap();
        assert!(String::from_utf8(key).unwrap().starts_with(&format!("{}|", value["tenant_id"].as_str().unwrap())));
    }
    assert!(places.values().collect::<std::collections::BTreeSet<_>>().len() > 1);
    // Rules that only feed are not told: those of low and medium level are, since their correlations say so.
    assert!(Fleet::metric(&worker, "cybervault_correlation_signals_total", "taken") > 0.0);
    assert_eq!(Fleet::metric(&worker, "cybervault_correlation_signals_total", "unmatched"), 0.0);
    assert!(Fleet::metric(&worker, "cybervault_correlation_groups", "") > 0.0);
}

/// Tenants that share all names: what one does never counts for the other.
#[test]
fn two_tenants_never_meet() {
    let fleet = Fleet::new("apart", &unlimited(["acme", "globex"]));
    let (_, rules) = rules(&fleet, RULES);
    let mut worker = fleet.worker("w1", &[&rules]);
    let send = |tenant: &str, numbers: std::ops::Range<u64>| {
        fleet.send(numbers.map(|n| {
            let event = json!({
                "event_id": format!("{tenant}-{n}"), "tenant_id": tenant, "type": "door", "source": {"product": "door"},
                "occurred_at": format!("2026-11-02T09:00:{n:02}Z"),
                "payload": {"state": "refused", "user": "eve", "Computer": "gate-1"},
            });
            Record::new(tenant, event.to_string())
        }));
    };
    // Two each are none of three, in whatever order they come; then one completes its own.
    send("acme", 0..2);
    send("globex", 0..2);
    fleet.wait_for(&mut worker, "threat.assessments", 4);
    send("acme", 2..3);
    worker.wait_until("the finding of acme", PATIENCE, || !fleet.correlated().is_empty());
    send("globex", 3..4);
    worker.wait_until("the finding of globex", PATIENCE, || fleet.correlated().len() >= 2);
    let mut findings: Vec<(String, String)> = fleet
        .correlated()
        .iter()
        .map(|record| {
            let finding: Value = serde_json::from_slice(&record.value).unwrap();
            let events = finding["correlated"]["events"].as_array().unwrap();
            let ids: Vec<_> = events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
            (finding["tenant_id"].as_str().unwrap().to_owned(), ids.join(" "))
        })
        .collect();
    findings.sort_unstable();
    let expected = [("acme", "acme-0 acme-1 acme-2"), ("globex", "globex-0 globex-1 globex-3")];
    assert_eq!(findings, expected.map(|(tenant, ids)| (tenant.to_owned(), ids.to_owned())));
}

/// Two workers with all stages, one of them killed again and again; then the same logs once more, by a worker that is let alone.
#[test]
fn workers_killed_again_and_again_find_what_one_finds_that_never_was() {
    const EVENTS: u64 = 24_000;
    const KILLS: u64 = 12;
    let tenants = unlimited(["acme", "globex"]);
    let fleet = Fleet::new("killed", &tenants);
    let (folder, rules) = rules(&fleet, RULES);
    // Small batches make for more transactions to be killed in.
    let settings = [&*rules, "batch.max_records=300"];
    let mut workers = ["w1", "w2"].map(|name| (name, fleet.worker(name, &settings)));
    let slice = EVENTS / KILLS;
    for kill in 0..KILLS {
        fleet.send((kill * slice..(kill + 1) * slice).map(record));
        thread::sleep(Duration::from_millis(50 + scatter(kill) % 1_500));
        let (name, worker) = &mut workers[usize::try_from(kill).unwrap() % 2];
        worker.kill();
        *worker = fleet.worker(name, &settings);
    }
    let expected = score(&fleet, &folder, 0..EVENTS);
    let all = eventually("all findings", PATIENCE, || Some(found(&fleet)).filter(|all| all.len() >= expected.len()));
    assert_same(&all, &expected);
    assert_eq!(fleet.read("telemetry.dlq"), []);
    let signals = fleet.read("detection.signals");
    for (_, worker) in &mut workers {
        worker.terminate();
        assert!(worker.wait(PATIENCE).success(), "{}", worker.log());
    }

    // The same events: the same signals, each once and in the same order wherever they meet.
    let copied = |name: &str, to: &Fleet| {
        let records = topic::read(&fleet.bootstrap, &fleet.topic(name));
        topic::write(&to.bootstrap, &to.topic(name), records);
    };
    let alone = Fleet::new("alone", &tenants);
    copied("telemetry.events", &alone);
    let mut worker = alone.worker("w1", &[&rules, "worker.roles=[assess]"]);
    let mut by_key: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let again = alone.wait_for(&mut worker, "detection.signals", signals.len());
    again.into_iter().for_each(|signal| by_key.entry(signal.key.unwrap()).or_default().push(signal.value));
    let mut first: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    signals.iter().for_each(|signal| first.entry(signal.key.clone().unwrap()).or_default().push(signal.value.clone()));
    assert!(first == by_key, "the signals differ");

    // The same signals: the same findings, in the same order where they have the same key.
    let second = Fleet::new("second", &tenants);
    copied("detection.signals", &second);
    let mut worker = second.worker("w1", &[&rules, "worker.roles=[correlate]"]);
    let mut again = Vec::new();
    worker.wait_until("all findings", PATIENCE, || {
        again = second.correlated();
        again.len() >= all.len()
    });
    assert_same(&sorted(again.iter().map(|record| record.value.clone())), &all);
}

/// What changes of the rules leaves the windows of those alone that did not change.
#[test]
fn windows_outlive_a_change_of_other_rules() {
    let fleet = Fleet::new("change", &unlimited(["acme"]));
    let (folder, rules) = rules(&fleet, RULES);
    let worker = fleet.worker("w1", &[&rules]);
    let send = |seconds: std::ops::Range<u32>| {
        fleet.send(seconds.map(|n| {
            let event = json!({
                "event_id": format!("e{n}"), "type": "door", "source": {"product": "door"},
                "occurred_at": format!("2026-11-02T09:00:{n:02}Z"),
                "payload": {"state": "refused", "user": "eve", "Computer": "gate-1"},
            });
            Record::new("acme", event.to_string())
        }));
    };
    send(0..2);
    let counted = |what: &str, name: &str, labels: &str, least: f64| {
        eventually(what, PATIENCE, || (Fleet::metric(&worker, name, labels) >= least).then_some(()));
    };
    counted("the signals", "cybervault_correlation_signals_total", "taken", 2.0);
    // One more correlation, another title, and a rule before all others.
    let more = "title: Once\nid: 5b1f6a51-6c3d-4d55-8a07-6b1a3d8f0b10\nname: once\nlogsource: {product: door}\n\
                detection: {s: {state: never}, condition: s}\n---\n";
    let changed = RULES.replace("title: Refused again and again", "title: Refused three times");
    fs::write(folder.join("doors.yml"), format!("{more}{changed}")).unwrap();
    counted("the change", "cybervault_reloads_total", "result=\"ok\"", 1.0);
    send(2..3);
    let found = eventually("the finding", PATIENCE, || fleet.correlated().pop());
    let finding: Value = serde_json::from_slice(&found.value).unwrap();
    assert_eq!(finding["contributions"][0]["title"], "Refused three times");
    assert_eq!(finding["correlated"]["count"], 3);
}
