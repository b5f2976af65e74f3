//! A partition that can't be read stops no other: one whose state has no place yet, and one that an operator steps over.

use cybervault_testkit::{
    eventually,
    topic::{self, Record},
};

use crate::support::{Fleet, PARTITIONS, PATIENCE, attack, unlimited};

fn event(n: usize, partition: i32) -> Record {
    Record { partition: Some(partition), ..Record::new("acme", attack(&format!("event-{n}"), "ws-1").to_string()) }
}

#[test]
fn partitions_added_to_the_input_alone_are_held_back_until_their_state_has_a_place_and_the_others_go_on() {
    let fleet = Fleet::new("added", &unlimited(["acme"]));
    let refresh = ["kafka.client.topic.metadata.refresh.interval.ms=1000"];
    let mut worker = fleet.worker("w1", &refresh);
    fleet.send([event(0, 0)]);
    fleet.wait_for(&mut worker, "threat.assessments", 1);
    let events = fleet.topic("telemetry.events");
    topic::add_partitions(&fleet.bootstrap, &[&events], 6);
    let held_back = |worker: &cybervault_testkit::Worker| {
        Fleet::metric(worker, "cybervault_held_back_partitions", r#"stage="assess""#)
    };
    eventually("held back", PATIENCE, || (held_back(&worker) == 2.0).then_some(()));
    fleet.send([event(1, PARTITIONS), event(2, PARTITIONS + 1), event(3, 1)]);
    fleet.wait_for(&mut worker, "threat.assessments", 2);
    let lag = |partition: i32| {
        let labels = format!(r#"stage="assess",topic="{events}",partition="{partition}""#);
        Fleet::metric(&worker, "cybervault_consumer_lag_records", &labels)
    };
    eventually("the lag of what is held back", PATIENCE, || (lag(PARTITIONS) == 1.0 && lag(1) == 0.0).then_some(()));
    assert!(worker.log().contains("--alter --topic"), "the log says what to do");
    assert_eq!(Fleet::answer(&worker, "/livez"), "alive\n");

    // A worker that starts now goes on with the old partitions as well.
    worker.kill();
    let mut worker = fleet.worker("w1", &refresh);
    fleet.send([event(4, 2)]);
    fleet.wait_for(&mut worker, "threat.assessments", 3);
    topic::add_partitions(&fleet.bootstrap, &[&fleet.topic("state.assess")], 6);
    fleet.wait_for(&mut worker, "threat.assessments", 5);
    eventually("nothing is held back", PATIENCE, || (held_back(&worker) == 0.0).then_some(()));
}

#[test]
fn an_operator_steps_over_a_record_only_while_nobody_works_and_it_is_recorded() {
    let fleet = Fleet::new("skip", &unlimited(["acme"]));
    let skip = |offset: &str, more: &[&str]| {
        let command: Vec<&str> =
            ["skip", "telemetry.events", "0", offset].into_iter().chain(more.iter().copied()).collect();
        let done = fleet.command(&command, &[]);
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let mut worker = fleet.worker("w1", &[]);
    fleet.send([event(0, 0)]);
    fleet.wait_for(&mut worker, "threat.assessments", 1);
    let (done, said) = skip("1", &[]);
    assert!(!done && said.contains("at work"), "{said}");
    worker.terminate();
    assert!(worker.wait(PATIENCE).success(), "{}", worker.log());
    fleet.send([event(1, 0), event(2, 0), event(3, 0)]);
    // A member of the group is missed only after its session, where it is to come back.
    eventually("the group has no members", PATIENCE, || (!skip("0", &[]).1.contains("at work")).then_some(()));
    for (offset, more, expected) in [
        ("0", &[][..], "stands at 1"),
        ("9", &[], "no offset 9 yet"),
        ("2", &[], "--from 1"),
        ("2", &["--from", "0"], "--from 1"),
    ] {
        let (done, said) = skip(offset, more);
        assert!(!done && said.contains(expected), "{said}");
    }
    let (done, said) = skip("2", &["--from", "1", "--reason", "ticket 4711"]);
    assert!(done, "{said}");
    let mut worker = fleet.worker("w1", &[]);
    fleet.wait_for(&mut worker, "threat.assessments", 2);
    let dead = fleet.read("telemetry.dlq");
    let told: Vec<_> = ["error.reason", "error.message", "origin.offset", "origin.last_offset"]
        .map(|name| dead[0].header(name))
        .into();
    assert_eq!((dead.len(), told), (1, vec![Some("skipped"), Some("ticket 4711"), Some("1"), Some("2")]));
}
