//! Our topics, read by Java's and Python's own clients as by ours: JSON, and Avro through a registry.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Output,
};

use cybervault_testkit::{Registry, eventually, reader, topic::Record};

use crate::support::{self, Fleet, samples, unlimited};

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers").join(name)
}

fn lines(output: &Output) -> BTreeSet<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A fleet that has assessed the bank's samples, and how many assessments there are.
fn assessed(test: &str, settings: &[&str]) -> (Fleet, usize) {
    let fleet = Fleet::new(test, &unlimited(["harbor-bank"]));
    let events: Vec<Record> = samples()
        .into_iter()
        .filter(|event| event["tenant_id"] == "harbor-bank")
        .map(|event| Record::new("harbor-bank", event.to_string()))
        .collect();
    let count = events.len();
    fleet.send(events);
    // Nobody adds what correlations find meanwhile.
    let worker = fleet.worker("w1", &[settings, &["worker.roles=[assess]"]].concat());
    eventually("all events", support::PATIENCE, || {
        let done = Fleet::metric(&worker, "cybervault_events_total", r#"outcome="admitted""#);
        (done >= count as f64).then_some(())
    });
    let found = fleet.read("threat.assessments").len();
    assert!(found > 10, "{found} assessments");
    (fleet, found)
}

#[test]
fn javas_and_pythons_clients_read_json() {
    let (fleet, count) = assessed("readers", &[]);
    let topic = fleet.topic("threat.assessments");
    let args = [&*fleet.bootstrap, &*topic, &*count.to_string()];
    let java = lines(&reader::java(&program("Reader.java"), &args));
    assert_eq!(java.len(), count);
    assert_eq!(lines(&reader::python(&program("reader.py"), &args)), java);
    let ours: BTreeSet<String> = fleet
        .read("threat.assessments")
        .iter()
        .map(|record| {
            let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap()).into_owned();
            format!("{key}\t{}\t{}", value["assessment_id"].as_str().unwrap(), value["risk_score"])
        })
        .collect();
    assert_eq!(java, ours);
}

#[test]
fn javas_and_pythons_clients_read_avro_by_the_registrys_schemas() {
    let registry = Registry::start();
    let url = format!("kafka.schema_registry.url={}", registry.url());
    let (fleet, count) = assessed("readers-avro", &[&url, "output.encoding=avro"]);
    let topic = fleet.topic("threat.assessments");
    let args = [&*fleet.bootstrap, &*topic, &*count.to_string(), registry.url()];
    let java = lines(&reader::java(&program("Reader.java"), &args));
    assert_eq!(java.len(), count);
    assert_eq!(lines(&reader::python(&program("reader.py"), &args)), java);
}
