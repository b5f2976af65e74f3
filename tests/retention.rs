//! What Kafka deletes before it was processed is told.

use cybervault_testkit::{
    eventually,
    topic::{self, Record},
};

use crate::support::{Fleet, PATIENCE, attack, unlimited};

#[test]
fn records_that_retention_deleted_unread_are_counted_and_the_others_processed() {
    let fleet = Fleet::new("retention", &unlimited(["acme"]));
    let events = |from: usize, to: usize| {
        fleet.send((from..to).map(|n| Record::new("acme", attack(&format!("e{n}"), "ws-1").to_string())));
    };
    let mut worker = fleet.worker("w1", &[]);
    events(0, 10);
    fleet.wait_for(&mut worker, "threat.assessments", 10);
    worker.terminate();
    assert!(worker.wait(PATIENCE).success());
    let deleted = |worker: &_| Fleet::metric(worker, "cybervault_records_deleted_unread_total", r#"stage="assess""#);
    assert_eq!(fleet.read("telemetry.events").len(), 10);

    events(10, 50);
    let partition = fleet.read("telemetry.events")[0].partition.unwrap();
    topic::delete_before(&fleet.bootstrap, &fleet.topic("telemetry.events"), partition, 30);
    let mut worker = fleet.worker("w1", &[]);
    fleet.wait_for(&mut worker, "threat.assessments", 10 + 20);
    eventually("the count", PATIENCE, || (deleted(&worker) == 20.0).then_some(()));
    assert!(worker.log().contains("records were deleted by retention before they were processed"));
}
