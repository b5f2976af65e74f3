//! Exactly once, with workers that are killed at full speed.

use std::{fs::File, io::Write, thread, time::Duration};

use cybervault_testkit::{eventually, topic::Record};
use serde_json::{Value, json};

use crate::support::{Fleet, PATIENCE, assert_same_assessments, count, samples, score, unlimited};

const KILLS: u32 = 32;
const EVENTS: u32 = 208_000;
const TENANTS: u32 = 40;

/// A number that looks random and is the same on every run (SplitMix64).
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn workers_killed_again_and_again_write_what_an_offline_pass_writes_once() {
    let tenants: Vec<String> = (0..TENANTS).map(|n| format!("tenant-{n:02}")).collect();
    let fleet = Fleet::new("kill", &unlimited(tenants.iter().map(String::as_str)));
    let samples = samples();
    let event = |n: u32| -> (String, Vec<u8>) {
        let mut event = samples[n as usize % samples.len()].clone();
        let tenant = format!("tenant-{:02}", scatter(u64::from(n)) % u64::from(TENANTS));
        event["event_id"] = json!(format!("event-{n}"));
        event["tenant_id"] = json!(tenant);
        (tenant, serde_json::to_vec(&event).unwrap())
    };
    let file = fleet.path("events.ndjson");
    let mut lines = std::io::BufWriter::new(File::create(&file).unwrap());
    for n in 0..EVENTS {
        lines.write_all(&event(n).1).unwrap();
        lines.write_all(b"\n").unwrap();
    }
    lines.flush().unwrap();

    // Small batches make for more transactions to be killed in; an assessment an event leaves none unaccounted for.
    let settings = ["batch.max_records=500", "emit=all"];
    let mut workers = ["w1", "w2"].map(|name| (name, fleet.worker(name, &settings)));
    let slice = EVENTS / KILLS;
    for kill in 0..KILLS {
        fleet.send((kill * slice..(kill + 1) * slice).map(|n| {
            let (tenant, value) = event(n);
            Record::new(tenant, value)
        }));
        // A random point of its work: also in the middle of a start, of a rebalance, of reading state back.
        let after = Duration::from_millis(50 + scatter(u64::from(kill)) % 900);
        thread::sleep(after);
        let (name, worker) = &mut workers[kill as usize % 2];
        worker.kill();
        *worker = fleet.worker(name, &settings);
    }

    let expected = score(&file, &["--all"]);
    assert_eq!(expected.len(), EVENTS as usize);
    let found = eventually("all assessments", PATIENCE, || {
        Some(fleet.read("threat.assessments")).filter(|found| found.len() >= expected.len())
    });
    assert_same_assessments(&expected, &found);
    assert_eq!(fleet.read("telemetry.dlq"), []);
    assert_eq!(fleet.read("quota.rejections"), []);

    // Actions follow from assessments in stages of their own, each of which was killed as well.
    let [mut first, mut second] = workers.map(|(_, worker)| worker);
    for worker in [&mut first, &mut second] {
        worker.terminate();
        assert!(worker.wait(PATIENCE).success(), "{}", worker.log());
    }
    let states = count(fleet.read("response.actions").iter().map(|record| {
        let action: Value = serde_json::from_slice(&record.value).unwrap();
        (action["action_id"].to_string(), action["state"].to_string())
    }));
    assert!(!states.is_empty());
    assert!(states.values().all(|count| *count == 1), "an action came to the same state twice");
}
