//! One record, or one batch of them, never stops the others; and what it becomes once it is decompressed has a bound.

use cybervault_testkit::topic::{self, Record};
use serde_json::json;

use crate::support::{Fleet, attack, count, unlimited};

/// The memory that a worker may take whatever it is sent.
const MOST_MEMORY: u64 = 400 << 20;

fn good(fleet: &Fleet, count: usize) {
    fleet.send((0..count).map(|n| Record::new("acme", attack(&format!("good-{n}"), "ws-1").to_string())));
}

/// JSON of so many bytes that compresses well.
fn long(bytes: usize) -> Vec<u8> {
    let mut value = br#"{"event_id":"long","type":"vendor","payload":{"text":""#.to_vec();
    value.resize(bytes - 3, b'x');
    value.extend_from_slice(br#""}}"#);
    value
}

#[test]
fn a_record_that_is_too_large_for_a_dead_letter_is_told_by_its_ends_its_size_and_its_hash() {
    let fleet = Fleet::new("toolarge", &unlimited(["acme"]));
    good(&fleet, 3);
    let value = long(6_000_000);
    topic::write_one_batch(
        &fleet.bootstrap,
        &fleet.topic("telemetry.events"),
        "zstd",
        [Record::new("acme", value.clone())],
    );
    good(&fleet, 3);
    let mut worker = fleet.worker("w1", &[]);
    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", 1);
    fleet.wait_for(&mut worker, "threat.assessments", 6);
    let letter = &dead[0];
    assert_eq!(letter.header("error.reason"), Some("too_large"));
    assert_eq!(letter.header("origin.value.bytes"), Some("6000000"));
    assert_eq!(letter.header("origin.value.sha256").map(str::len), Some(64));
    let head: usize = letter.header("origin.value.head_bytes").unwrap().parse().unwrap();
    assert!(head > 1000 && value.starts_with(&letter.value[..head]) && value.ends_with(&letter.value[head..]));
    // It is not whole, so it is not sent back; where all of it is can be asked for.
    let replayed = fleet.command(&["replay"], &[]);
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("0 sent back"), "{replayed:?}");
    let (partition, offset) = (letter.header("origin.partition").unwrap(), letter.header("origin.offset").unwrap());
    let fetched = fleet.command(&["dead", "fetch", "telemetry.events", partition, offset], &[]);
    assert!(fetched.status.success() && fetched.stdout == value, "{}", String::from_utf8_lossy(&fetched.stderr));
    let shown = fleet.command(&["dead", "show"], &[]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("not whole"), "{shown:?}");
}

#[test]
fn a_dead_letter_that_its_topic_refuses_is_cut_until_it_fits() {
    let fleet = Fleet::new("refused", &unlimited(["acme"]));
    fleet.alter("telemetry.dlq", "max.message.bytes", "300000");
    // Bytes that don't compress, so that the topic's limit is met.
    let mut state = 7_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((state >> 40) % 90).unwrap())
    })
    .take(1_500_000)
    .collect();
    good(&fleet, 2);
    fleet.send([Record::new("acme", json!({"payload": noise}).to_string())]);
    good(&fleet, 2);
    let mut worker = fleet.worker("w1", &[]);
    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", 1);
    assert!(dead[0].header("origin.value.bytes").is_some());
    fleet.wait_for(&mut worker, "threat.assessments", 4);
}

#[test]
fn batches_that_grow_beyond_all_bounds_are_stepped_over_and_told_and_memory_stays_within_its_own() {
    let fleet = Fleet::new("bombs", &unlimited(["acme"]));
    let topic = fleet.topic("telemetry.events");
    good(&fleet, 10);
    for codec in ["zstd", "gzip", "lz4"] {
        // Between two of one kind, so that the end of each is found.
        topic::write_one_batch(&fleet.bootstrap, &topic, codec, [Record::new("acme", long(300_000_000))]);
        good(&fleet, 10);
    }
    let mut worker = fleet.worker("w1", &["limits.max_lone_batch_bytes=100000000"]);
    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", 3);
    fleet.wait_for(&mut worker, "threat.assessments", 40);
    for letter in &dead {
        assert_eq!(letter.header("error.reason"), Some("unreadable_batch"));
        assert_eq!(letter.header("origin.offset"), letter.header("origin.last_offset"));
    }
    assert_eq!(Fleet::metric(&worker, "cybervault_dead_letters_total", r#"stage="assess""#), 3.0);
    assert_eq!(Fleet::metric(&worker, "cybervault_stage_records_total", r#"stage="assess""#), 43.0);
    let memory = worker.peak_memory().unwrap_or_default();
    assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
}

#[test]
fn a_batch_that_is_too_large_to_be_read_with_others_is_read_alone_and_nothing_of_it_is_lost() {
    const EVENTS: usize = 80_000;
    let fleet = Fleet::new("lonebatch", &unlimited(["acme"]));
    let padding = "x".repeat(900);
    let events = (0..EVENTS).map(|n| {
        let event = json!({"event_id": format!("event-{n}"), "type": "vendor", "payload": {"padding": padding}});
        Record::new("acme", event.to_string())
    });
    good(&fleet, 10);
    topic::write_one_batch(&fleet.bootstrap, &fleet.topic("telemetry.events"), "zstd", events);
    good(&fleet, 10);
    let mut worker = fleet.worker("w1", &["emit=all"]);
    let found = fleet.wait_for(&mut worker, "threat.assessments", EVENTS + 20);
    let ids = count(found.iter().map(|record| {
        let assessment: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        (record.partition, assessment["event_id"].to_string())
    }));
    let twice = ids.iter().filter(|(_, count)| **count > 1).filter(|((_, id), _)| !id.contains("good")).count();
    assert_eq!((twice, ids.len()), (0, EVENTS + 10));
    assert_eq!(Fleet::metric(&worker, "cybervault_batches_read_alone_total", r#"outcome="read""#), 1.0);
    assert_eq!(fleet.read("telemetry.dlq"), []);
}
