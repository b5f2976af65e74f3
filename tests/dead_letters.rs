//! What can't be processed is kept, told, and can be sent back.

use cybervault_testkit::topic::Record;

use crate::support::{Fleet, PATIENCE, attack, count, unlimited};

fn nested(depth: usize) -> String {
    let payload = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    format!(r#"{{"event_id":"deep","type":"vendor","payload":{payload}}}"#)
}

#[test]
fn every_kind_of_poison_is_told_and_every_record_is_accounted_for() {
    let fleet = Fleet::new("poison", &unlimited(["acme"]));
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.as_bytes().to_vec())];
    let poison: Vec<(&str, Record)> = vec![
        ("not_json", Record::new("acme", "{\"event_id\":")),
        ("not_json", Record::new("acme", "")),
        ("wrong_schema", Record::new("acme", r#"{"type":"endpoint_telemetry","payload":7}"#)),
        ("wrong_schema", Record::new("acme", "[]")),
        ("invalid_utf8", Record::new("acme", b"{\"a\":\"\xff\"}".to_vec())),
        ("too_deep", Record::new("acme", nested(100))),
        ("too_large", Record::new("acme", format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20)))),
        ("no_tenant", Record { key: None, ..Record::new("", attack("good", "ws-1").to_string()) }),
        (
            "tenant_mismatch",
            Record {
                headers: header("tenant_id", "other"),
                ..Record::new("acme", r#"{"tenant_id":"acme","type":"x","payload":{}}"#)
            },
        ),
        (
            "ambiguous_header",
            Record {
                headers: [header("tenant_id", "other"), header("tenant_id", "acme")].concat(),
                ..Record::new("acme", r#"{"type":"x","payload":{}}"#)
            },
        ),
        (
            "unknown_schema_id",
            Record {
                headers: header("content-type", "application/avro"),
                ..Record::new("acme", b"\x00\x00\x00\x00\x07abc".to_vec())
            },
        ),
    ];
    let mut sent = vec![Record::new("acme", attack("good", "ws-1").to_string())];
    for (_, record) in &poison {
        sent.extend([record.clone(), Record::new("acme", attack("good", "ws-1").to_string())]);
    }
    let (total, good) = (sent.len(), poison.len() + 1);
    fleet.send(sent);
    let mut worker = fleet.worker("w1", &[]);
    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", poison.len());
    fleet.wait_for(&mut worker, "threat.assessments", good);
    for (reason, record) in &poison {
        let letter = dead.iter().find(|letter| letter.value == record.value).expect("the untouched bytes");
        assert_eq!((letter.header("error.reason"), &letter.key), (Some(*reason), &record.key));
        assert_eq!(letter.header("origin.topic"), Some(&*fleet.topic("telemetry.events")));
        for name in ["error.message", "origin.partition", "origin.offset", "origin.timestamp"] {
            assert!(letter.header(name).is_some_and(|value| !value.is_empty()), "{name} of {reason}");
        }
    }
    let metric = |name, labels| Fleet::metric(&worker, name, labels);
    let admitted = metric("cybervault_events_total", r#"outcome="admitted""#);
    let dead = metric("cybervault_dead_letters_total", r#"stage="assess""#);
    assert_eq!((admitted, dead), (good as f64, poison.len() as f64));
    assert_eq!(metric("cybervault_stage_records_total", r#"stage="assess""#), total as f64);
}

#[test]
fn after_a_fix_dead_letters_are_sent_back_once() {
    let fleet = Fleet::new("replay", &unlimited(["acme"]));
    fleet.send([
        Record::new("acme", nested(20)),
        Record::new("acme", "not json"),
        Record::new("acme", attack("good", "ws-1").to_string()),
    ]);
    let mut strict = fleet.worker("w1", &["limits.max_depth=5"]);
    let dead = fleet.wait_for(&mut strict, "telemetry.dlq", 2);
    assert_eq!(count(dead.iter().filter_map(|letter| letter.header("error.reason"))), count(["too_deep", "not_json"]));
    strict.terminate();
    assert!(strict.wait(PATIENCE).success());

    let mut worker = fleet.worker("w1", &["emit=all"]);
    for _ in 0..2 {
        let replayed = fleet.command(&["replay", "--reason", "too_deep"], &[]);
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
        // The finding, and the event that was too deep: once, though it was asked for twice.
        fleet.wait_for(&mut worker, "threat.assessments", 2);
    }
    assert_eq!(fleet.read("telemetry.events").len(), 4);
    // What was not asked for was neither moved nor written anew, and is there for the next one.
    assert_eq!(fleet.read("telemetry.dlq").len(), 2);
    let replayed = fleet.command(&["replay", "--json"], &[]);
    let told: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!((&told["sent_back"], &told["filtered_out"]), (&1.into(), &0.into()), "{told}");
    assert_eq!(fleet.read("telemetry.events").len(), 5);
    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", 3);
    assert_eq!(count(dead.iter().filter_map(|letter| letter.header("error.reason")))["not_json"], 2);
}
