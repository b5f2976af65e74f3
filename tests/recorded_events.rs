//! The real thing: recorded Windows events, as they are, through public rules on a real broker.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
};

use cybervault_testkit::{data, eventually, topic::Record};

use crate::support::{Fleet, PATIENCE, assert_same_assessments, score, unlimited};

const EVENTS: usize = 100_000;

#[test]
fn recorded_windows_events_come_out_as_an_offline_pass_scores_them() {
    let (Some(rules), Some(events)) = (data::public_rules().unwrap(), data::recorded_events().unwrap()) else {
        eprintln!("skipped: there are no recorded events and public rules beside the project");
        return;
    };
    let fleet = Fleet::new("recorded", &unlimited(["acme"]));
    let file = fleet.path("events.ndjson");
    let mut lines = File::create(&file).unwrap();
    let mut values = Vec::with_capacity(EVENTS);
    // Every third event: of all recordings something.
    for line in BufReader::new(File::open(events).unwrap()).split(b'\n').step_by(3).take(EVENTS) {
        let line = line.unwrap();
        lines.write_all(&line).unwrap();
        lines.write_all(b"\n").unwrap();
        values.push(line);
    }
    lines.flush().unwrap();
    assert_eq!(values.len(), EVENTS);
    let rules = rules.to_str().unwrap().to_owned();
    let worker = fleet.worker("w1", &[&format!("rules_dir={rules}"), "worker.roles=[assess]"]);
    fleet.send(values.into_iter().map(|value| Record::new("acme", value)));
    let expected = score(&file, &["--tenant", "acme", "--rules", &rules]);
    let found = eventually("all assessments", PATIENCE, || {
        Some(fleet.read("threat.assessments")).filter(|found| found.len() >= expected.len())
    });
    assert_same_assessments(&expected, &found);
    let (loaded, failed) =
        (Fleet::metric(&worker, "cybervault_rules_loaded", ""), Fleet::metric(&worker, "cybervault_rules_failed", ""));
    eprintln!("{EVENTS} events, {} assessments; {loaded} public rules loaded, {failed} failed", found.len());
    assert!(loaded > 3_000.0 && fs::metadata(&file).unwrap().len() > 0);
    // The last finding need not be in the last batch.
    let processed = eventually("all events committed", PATIENCE, || {
        let dead = fleet.read("telemetry.dlq").len() as f64;
        let admitted = Fleet::metric(&worker, "cybervault_events_total", r#"outcome="admitted""#);
        Some(admitted + dead).filter(|processed| *processed >= EVENTS as f64)
    });
    assert_eq!(processed, EVENTS as f64);
}
