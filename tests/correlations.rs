//! Correlations through the command line: what `score` and `rules` say of them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

const RULES: &str = "title: Door refused
id: 3c1f6a51-6c3d-4d55-8a07-6b1a3d8f0a01
name: refused
status: test
logsource: {product: door}
detection: {s: {state: refused}, condition: s}
level: low
examples:
  - {match: true, event: {type: door, source: {product: door}, payload: {state: refused}}}
---
title: Door opened
id: 3c1f6a51-6c3d-4d55-8a07-6b1a3d8f0a02
name: opened
status: test
logsource: {product: door}
detection: {s: {state: opened}, condition: s}
level: low
---
title: Refused again and again
id: 3c1f6a51-6c3d-4d55-8a07-6b1a3d8f0a03
name: again
status: test
tags: [attack.credential-access, attack.t1110]
correlation:
  type: event_count
  rules: refused
  group-by: [user]
  timespan: 1m
  condition: {gte: 3}
generate: true
level: high
examples:
  - match: true
    at: 3
    events: &three
      - {type: door, occurred_at: '2026-11-02T09:00:00Z', source: {product: door}, payload: {state: refused, user: eve}}
      - {type: door, occurred_at: '2026-11-02T09:00:10Z', source: {product: door}, payload: {state: refused, user: EVE}}
      - {type: door, occurred_at: '2026-11-02T09:00:20Z', source: {product: door}, payload: {state: refused, user: eve}}
  - match: false
    events:
      - {type: door, occurred_at: '2026-11-02T09:00:00Z', source: {product: door}, payload: {state: refused, user: eve}}
      - {type: door, occurred_at: '2026-11-02T09:00:10Z', source: {product: door}, payload: {state: refused, user: eve}}
      - {type: door, occurred_at: '2026-11-02T09:01:20Z', source: {product: door}, payload: {state: refused, user: eve}}
---
title: Refused, then opened
id: 3c1f6a51-6c3d-4d55-8a07-6b1a3d8f0a04
status: test
correlation:
  type: temporal_ordered
  rules: [again, opened]
  group-by: [user]
  timespan: 5m
level: critical
";

fn event(id: &str, time: &str, state: &str, user: &str) -> String {
    let event = json!({
        "event_id": id, "tenant_id": "acme", "type": "door", "occurred_at": format!("2026-11-02T{time}Z"),
        "source": {"product": "door"}, "payload": {"state": state, "user": user, "Computer": "gate-1"},
    });
    format!("{event}\n")
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cybervault")).args(args).env_clear().output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    output.stdout.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
}

/// A folder with the rules, and events of one who is refused and then let in.
fn folder() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("doors.yml"), RULES).unwrap();
    let events = folder.path().join("events.ndjson");
    let text: String = [
        event("e1", "09:00:00", "refused", "eve"),
        event("e2", "09:00:05", "refused", "bob"),
        event("e3", "09:00:20", "refused", "Eve"),
        event("e4", "09:00:10", "refused", "eve"),
        event("e5", "09:02:00", "opened", "eve"),
    ]
    .concat();
    fs::write(&events, text).unwrap();
    let paths = [&rules, &events].map(|path| path.display().to_string());
    let [rules, events] = paths;
    (folder, rules, events)
}

#[test]
fn score_tells_which_correlations_an_event_makes_true() {
    let (_folder, rules, events) = folder();
    let output = run(&["score", "--rules", &rules, "--output", "hits", &events]);
    let hits = lines(&output);
    let id = |number: u32| format!("3c1f6a51-6c3d-4d55-8a07-6b1a3d8f0a0{number}");
    let group = |rule: u32| json!([{"rule": id(rule), "tenant": "acme", "group": {"user": "eve"}}]);
    // Told are the rules of the correlation that says so, and nothing that only feeds another.
    assert_eq!(hits.len(), 5, "{hits:?}");
    assert_eq!(hits[0], json!({"line": 1, "rules": [id(1)]}));
    assert_eq!(hits[3], json!({"line": 4, "rules": [id(1)]}));
    assert_eq!(hits[4], json!({"line": 5, "rules": [], "correlations": group(4)}));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 correlation"), "{output:?}");
}

#[test]
fn an_assessment_of_a_correlation_shows_the_events_that_made_it_true() {
    let (_folder, rules, events) = folder();
    let found = lines(&run(&["score", "--rules", &rules, &events]));
    let [.., correlation] = &found[..] else { panic!("{found:?}") };
    let contribution = &correlation["contributions"][0];
    assert_eq!(
        (&contribution["kind"], &contribution["title"]),
        (&json!("correlation"), &json!("Refused, then opened"))
    );
    assert_eq!(contribution["evidence"], json!([{"field": "user", "value": "eve"}]));
    assert_eq!(correlation["severity"], "critical");
    assert_eq!(correlation["entities"][0], json!({"kind": "host", "value": "gate-1"}));
    let expected = json!({"count": 2, "events": [
        {"event_id": "e4", "occurred_at": "2026-11-02T09:00:20.000Z", "rules": ["Refused again and again"]},
        {"event_id": "e5", "occurred_at": "2026-11-02T09:02:00.000Z", "rules": ["Door opened"]},
    ]});
    assert_eq!(correlation["correlated"], expected);
    let again = lines(&run(&["score", "--rules", &rules, &events]));
    assert_eq!(again, found);
    let ids: std::collections::HashSet<_> =
        found.iter().map(|found| found["assessment_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), found.len());
    let finding = lines(&run(&["score", "--rules", &rules, "--output", "ocsf", &events])).pop().unwrap();
    assert_eq!(finding["finding_info"]["related_events"], json!([{"uid": "e4"}, {"uid": "e5"}]));
    let (first, last) = (&finding["finding_info"]["first_seen_time"], &finding["finding_info"]["last_seen_time"]);
    assert_eq!(last.as_i64().unwrap() - first.as_i64().unwrap(), 100_000);
}

#[test]
fn what_a_correlation_can_not_count_is_told_at_the_end() {
    let (folder, rules, _) = folder();
    let events = folder.path().join("timeless.ndjson");
    let timeless = r#"{"type":"door","source":{"product":"door"},"payload":{"state":"refused","user":"eve"}}"#;
    fs::write(
        &events,
        format!("{timeless}\n{}{}", event("e1", "12:00:00", "refused", "x"), event("e2", "09:00:00", "refused", "x")),
    )
    .unwrap();
    let output = run(&["score", "--rules", &rules, events.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("1 event without a time") && told.contains("1 event later than"), "{told}");
}

#[test]
fn rules_are_checked_counted_and_tried_with_their_correlations() {
    let (_folder, rules, _) = folder();
    let checked = run(&["rules", "check", &rules]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        String::from_utf8_lossy(&checked.stdout).contains("2 of 2 rules can be used, and 2 correlations over them")
    );
    let stats = &lines(&run(&["rules", "stats", "--json", &rules]))[0];
    assert_eq!(stats["correlation_types"], json!({"event_count": 1, "temporal_ordered": 1}));
    assert_eq!((&stats["levels"], &stats["silent"]), (&json!({"critical": 1, "high": 1, "low": 2}), &json!(1)));
    let coverage: Value = serde_json::from_slice(&run(&["rules", "coverage", &rules]).stdout).unwrap();
    assert_eq!(coverage["techniques"][0]["techniqueID"], "T1110");
    let tested = &lines(&run(&["rules", "test", "--json", &rules]))[0];
    assert_eq!(
        (&tested["rules"], &tested["examples"], &tested["without_examples"], &tested["failed"]),
        (&json!(4), &json!(3), &json!(2), &json!([]))
    );
}

#[test]
fn an_example_of_events_that_comes_out_otherwise_is_told() {
    let (folder, rules, _) = folder();
    let path = Path::new(&rules).join("doors.yml");
    let wrong = RULES.replace("at: 3", "at: 2").replace("'2026-11-02T09:01:20Z'", "'2026-11-02T09:00:30Z'");
    fs::write(&path, wrong).unwrap();
    let output = run(&["rules", "test", &rules]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("example 1: the correlation becomes true with event 3, and should with event 2"), "{told}");
    assert!(told.contains("example 2: the correlation becomes true with event 3, and should not"), "{told}");
    drop(folder);
}

#[test]
fn a_correlation_is_explained_event_by_event() {
    let (_folder, rules, events) = folder();
    let explain = |more: &[&str], id: &str| {
        let mut args = vec!["score", "--rules", &rules, "--explain", id, &events];
        args.extend(more);
        run(&args)
    };
    let again = "3c1f6a51-6c3d-4d55-8a07-6b1a3d8f0a03";
    let told = String::from_utf8_lossy(&explain(&[], again).stdout).into_owned();
    for part in [
        "line 1: does not become true: Refused again and again",
        "not true      user = eve: 1 in the time frame (Door refused), event_count 1; asked for: gte 3",
        "line 4: becomes true",
        "none of the rules that it is over is true of the event",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = lines(&explain(&["--json"], again));
    assert_eq!((told.len(), &told[3]["fires"], &told[3]["groups"][0]["becomes_true"]), (5, &json!(true), &json!(true)));
    assert_eq!(
        told[4],
        json!({
            "line": 5, "rule": again, "title": "Refused again and again", "fires": false, "is_fed": false, "groups": [],
        })
    );
}

/// The cases that others use, too, where they are at hand.
#[test]
fn the_conformance_cases_come_out_right() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases/correlation");
    let Ok(folders) = fs::read_dir(&cases) else {
        eprintln!("skipped: {} is not there", cases.display());
        return;
    };
    let mut count = 0;
    for folder in folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let expected: Value = serde_json::from_slice(&fs::read(folder.join("expect.json")).unwrap()).unwrap();
        let events = fs::read_to_string(folder.join("events.ndjson")).unwrap();
        let ids: Vec<Value> =
            events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event_id"].clone()).collect();
        let path = folder.display().to_string();
        let hits = lines(&run(&["score", "--rules", &path, "--output", "hits", &format!("{path}/events.ndjson")]));
        let mut found: Vec<(Value, Value)> = Vec::new();
        for hit in &hits {
            let at = ids[usize::try_from(hit["line"].as_u64().unwrap()).unwrap() - 1].clone();
            let correlations = hit["correlations"].as_array().into_iter().flatten();
            found.extend(correlations.map(|correlation| (lower(correlation), at.clone())));
        }
        for fires in expected["fires"].as_array().into_iter().flatten() {
            let wanted = lower(&json!({"rule": fires["rule"], "tenant": fires["tenant"], "group": fires["group"]}));
            let is_at = |at: &Value| {
                fires["at_event"] == *at || fires["at_event"].as_array().is_some_and(|any| any.contains(at))
            };
            let place = found.iter().position(|(correlation, at)| *correlation == wanted && is_at(at));
            let place = place.unwrap_or_else(|| panic!("{path}: {fires} is not in {found:?}"));
            found.remove(place);
        }
        assert!(expected["fires"].is_null() || found.is_empty(), "{path}: {found:?} are too many");
        let told: Vec<&Value> = hits.iter().flat_map(|hit| hit["rules"].as_array().unwrap()).collect();
        for (key, is_told) in [("silent", false), ("loud", true)] {
            for id in expected[key].as_array().into_iter().flatten() {
                let of_correlation = hits.iter().flat_map(|hit| hit["correlations"].as_array().into_iter().flatten());
                let is_found = told.contains(&id) || of_correlation.map(|found| &found["rule"]).any(|rule| rule == id);
                assert_eq!(is_found, is_told, "{path}: {key} {id}");
            }
        }
        let checked = &lines(&run(&["rules", "check", "--json", &path]))[0];
        let refused = expected["ids"].as_array().map_or(0, Vec::len);
        assert_eq!(checked["failed"].as_array().unwrap().len(), refused, "{path}: {}", checked["failed"]);
        count += 1;
    }
    assert!(count > 30, "{count}");
}

/// Groups are compared as texts, without case.
fn lower(correlation: &Value) -> Value {
    let mut correlation = correlation.clone();
    for value in correlation["group"].as_object_mut().unwrap().values_mut() {
        *value = value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase().into();
    }
    correlation
}
