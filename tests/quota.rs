//! Quotas, decided on record time and kept over restarts.

use std::{
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use cybervault_testkit::{Worker, eventually, topic::Record};
use serde_json::{Value, json};

use crate::support::{self, Fleet, PATIENCE};

/// One second's worth and 15 % burst: 115 events at one instant over all partitions. At home, of four partitions, lie 985 of a thousand
/// parts, and a fourth of a share interval's worth: 119 at one instant, and then one every 10.2 ms.
const TENANTS: &str = "tenants:\n- {tenant_id: small, plan: starter, quota: {events_per_second: 100, burst_percent: 15}}\n\
                       - {tenant_id: gone, plan: starter, status: suspended}\n";
const AT: i64 = 1_780_000_000_000;

fn event(tenant: &str, n: usize, at: i64) -> Record {
    let payload = json!({"hostname": "ws-1", "process_name": "notepad.exe", "pid": n});
    let value = json!({"event_id": format!("e{n}"), "type": "endpoint_telemetry", "payload": payload});
    Record { timestamp: Some(at), ..Record::new(tenant, value.to_string()) }
}

fn values(records: &[Record]) -> Vec<Value> {
    records.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect()
}

#[test]
fn a_restart_refills_no_bucket() {
    let fleet = Fleet::new("refill", TENANTS);
    let mut worker = fleet.worker("w1", &[]);
    fleet.send((0..200).map(|n| event("small", n, AT)));
    let rejected = values(&fleet.wait_for(&mut worker, "quota.rejections", 81));
    assert_eq!(rejected[0]["reason"], "events_per_second");
    assert_eq!(rejected[0]["tenant_id"], "small");
    assert_eq!(rejected[0]["retry_after_ms"], 5);
    assert_eq!(rejected[0]["origin"]["offset"], 119);
    worker.terminate();
    assert!(worker.wait(PATIENCE).success());

    // The state is read back: at the same instant nothing more is admitted, a little later a little is.
    let mut worker = fleet.worker("w1", &[]);
    fleet.send((200..210).map(|n| event("small", n, AT)));
    fleet.wait_for(&mut worker, "quota.rejections", 91);
    fleet.send((210..220).map(|n| event("small", n, AT + 50)));
    fleet.wait_for(&mut worker, "quota.rejections", 96);
    let metric = |name, labels| Fleet::metric(&worker, name, labels);
    assert_eq!(metric("cybervault_events_total", r#"outcome="admitted""#), 5.0);
    assert_eq!(metric("cybervault_events_total", r#"outcome="rejected""#), 15.0);
}

#[test]
fn a_backlog_is_judged_by_when_it_was_sent_not_by_when_it_is_read() {
    let fleet = Fleet::new("backlog", TENANTS);
    // A minute at exactly the tenant's rate, then one instant with too much; all of it waits when the worker starts.
    fleet.send((0..6_000).map(|n| event("small", n, AT + n as i64 * 10)));
    fleet.send((6_000..6_200).map(|n| event("small", n, AT + 61_000)));
    fleet.send([event("gone", 0, AT), event("stranger", 0, AT)]);
    let mut worker = fleet.worker("w1", &[]);
    let rejected = values(&fleet.wait_for(&mut worker, "quota.rejections", 81 + 2));
    let offsets = rejected.iter().filter(|value| value["tenant_id"] == "small").map(|value| &value["origin"]["offset"]);
    assert!(offsets.clone().all(|offset| offset.as_i64().unwrap() >= 6_000));
    let reason = |tenant: &str| rejected.iter().find(|value| value["tenant_id"] == tenant).unwrap()["reason"].clone();
    assert_eq!((reason("gone"), reason("stranger")), (json!("suspended_tenant"), json!("unknown_tenant")));
}

#[test]
fn a_record_dated_far_ahead_costs_its_tenant_nothing_that_was_sent_honestly() {
    let now = || i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let fleet = Fleet::new("ahead", TENANTS);
    let worker = fleet.worker("w1", &[]);
    fleet.send([event("small", 0, now() + 59 * 60_000)]);
    let processed = |worker: &Worker| Fleet::metric(worker, "cybervault_stage_records_total", r#"stage="assess""#);
    eventually("the record from the future", PATIENCE, || (processed(&worker) >= 1.0).then_some(()));
    // At the tenant's rate for three seconds, by an honest clock.
    for batch in 0..30 {
        fleet.send((0..10).map(|n| event("small", 1 + batch * 10 + n, now())));
        thread::sleep(Duration::from_millis(100));
    }
    eventually("all of them", PATIENCE, || (processed(&worker) >= 301.0).then_some(()));
    assert_eq!(fleet.read("quota.rejections"), []);
    let held_back = Fleet::metric(&worker, "cybervault_record_times_held_back_total", r#"stage="assess""#);
    assert!(held_back >= 1.0, "{held_back}");
    assert_eq!(worker.log().matches("senders set the times by which quotas are decided").count(), 1);
}

#[test]
fn what_was_rejected_is_assessed_again_once_beside_a_fleet_that_goes_on() {
    let fleet = Fleet::new("again", TENANTS);
    let mut worker = fleet.worker("w1", &[]);
    let attack = |n: usize| Record {
        timestamp: Some(AT),
        ..Record::new("small", support::attack(&format!("e{n}"), &format!("ws-{n}")).to_string())
    };
    fleet.send((0..200).map(attack));
    fleet.wait_for(&mut worker, "quota.rejections", 81);
    fleet.wait_for(&mut worker, "threat.assessments", 119);

    // Another plan.
    std::fs::write(fleet.path("tenants.yaml"), support::unlimited(["small"])).unwrap();
    let again = |args: &[&str]| -> Value {
        let since = ["reprocess", "--json", "--since", "2026-05-28T00:00:00Z"];
        let output = fleet.command(&[&since[..], args].concat(), &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let told = again(&["--dry-run"]);
    assert_eq!((&told["offsets"], &told["written"]), (&json!(200), &json!(0)), "{told}");
    let told = again(&["--tenant", "nobody"]);
    assert_eq!((&told["of_other_tenants"], &told["written"]), (&json!(200), &json!(0)), "{told}");
    for (written, there) in [(81, 119), (0, 200)] {
        let told = again(&[]);
        let counts = [&told["events"], &told["written"], &told["there_already"], &told["rejected"]];
        assert_eq!(counts, [&json!(200), &json!(written), &json!(there), &json!(0)], "{told}");
    }
    let found = fleet.read("threat.assessments");
    let ids = support::count(values(&found).iter().map(|value| value["assessment_id"].to_string()));
    assert_eq!((found.len(), ids.len()), (200, 200));
    assert_eq!(found.iter().filter(|one| one.header("reprocessed") == Some("record-only")).count(), 81);
    assert_eq!(fleet.read("quota.rejections").len(), 81);
    // The fleet has gone on with what it had.
    fleet.send([attack(200)]);
    fleet.wait_for(&mut worker, "threat.assessments", 201);
}

/// The rate of the tenant that spreads.
const RATE: u64 = 200;

/// A sender by the clock, at three times the rate, and what became of what it sent.
struct Flood<'a> {
    fleet: &'a Fleet,
    sent: Vec<i64>,
}

impl Flood<'_> {
    /// Sends for about `millis`, each event to the partition that `choose` names.
    fn send(&mut self, millis: u64, choose: impl Fn(usize) -> i32) {
        let (began, already) = (Instant::now(), self.sent.len());
        while began.elapsed() < Duration::from_millis(millis) {
            let due =
                usize::try_from(began.elapsed().as_millis()).unwrap() * 3 * usize::try_from(RATE).unwrap() / 1_000;
            let at = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
            let first = self.sent.len();
            self.sent.extend((first..already + due).map(|_| at));
            self.fleet
                .send((first..self.sent.len()).map(|n| Record { partition: Some(choose(n)), ..event("wide", n, at) }));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// When each admitted event was sent, in order, once all that was sent is decided.
    fn admitted(&self, workers: &mut [Worker]) -> Vec<i64> {
        let mut admitted = Vec::new();
        let count = self.sent.len();
        workers[0].wait_until("a decision on each event", PATIENCE, || {
            let rejected = self.fleet.read("quota.rejections").len();
            admitted = values(&self.fleet.read("threat.assessments"));
            assert!(admitted.len() + rejected <= count, "{} + {rejected} of {count}", admitted.len());
            admitted.len() + rejected == count
        });
        let number = |value: &Value| value["event_id"].as_str().unwrap()[1..].parse::<usize>().unwrap();
        let mut times: Vec<i64> = admitted.iter().map(|value| self.sent[number(value)]).collect();
        times.sort_unstable();
        times
    }

    /// Goes on until there were two seconds in which nearly the whole rate was admitted.
    fn reaches_its_rate(&mut self, workers: &mut [Worker], choose: impl Fn(usize) -> i32 + Copy) {
        let until = Instant::now() + PATIENCE;
        loop {
            let first = self.sent.len();
            self.send(4_000, choose);
            let begin = self.sent[first];
            let admitted = self.admitted(workers);
            let best = (0..20).map(|step| {
                let (from, to) = (begin + step * 100, begin + step * 100 + 2_000);
                admitted.iter().filter(|at| (from..to).contains(*at)).count() as u64
            });
            let best = best.max().unwrap();
            if best * 100 >= 2 * RATE * 95 {
                return;
            }
            assert!(Instant::now() < until, "at most {best} of {} in two seconds", 2 * RATE);
        }
    }
}

#[test]
fn a_quota_holds_for_the_fleet_wherever_events_land_and_whoever_dies() {
    let tenants = format!("tenants:\n- {{tenant_id: wide, plan: starter, quota: {{events_per_second: {RATE}}}}}\n");
    let fleet = Fleet::wide("spread", &tenants, 12);
    let start = |name: &str| fleet.worker(name, &["emit=all"]);
    let mut workers: Vec<Worker> = ["w1", "w2", "w3"].map(start).into();
    let mut flood = Flood { fleet: &fleet, sent: Vec::new() };
    flood.reaches_its_rate(&mut workers, |_| 3);
    flood.reaches_its_rate(&mut workers, |n| i32::try_from(n % 12).unwrap());
    flood.reaches_its_rate(&mut workers, |_| 8);
    // One is killed while it goes on, and another comes in its place; and one more, to which partitions move.
    flood.send(1_000, |n| i32::try_from(n % 12).unwrap());
    workers[1].kill();
    flood.send(2_000, |n| i32::try_from(n % 5).unwrap());
    workers[1] = start("w2");
    workers.push(start("w4"));
    flood.send(2_000, |n| i32::try_from(n % 12).unwrap());
    flood.reaches_its_rate(&mut workers, |_| 5);
    let admitted = flood.admitted(&mut workers);
    assert_eq!(fleet.read("telemetry.dlq"), []);

    // Never more than the rate, the burst, one share interval, and one event a partition.
    let (cost, capacity) = (1_000_000 / RATE, 1_150_000 + 250_000 + 12 * 1_000_000 / RATE);
    let (mut ahead, mut last) = (0u64, i64::MIN);
    for (n, at) in admitted.into_iter().enumerate() {
        ahead = ahead.saturating_sub(at.abs_diff(last).saturating_mul(1_000)) + cost;
        last = at;
        assert!(ahead <= capacity, "event {n}: {ahead} us of the rate at once, more than {capacity}");
    }
}

#[test]
fn a_configuration_that_still_says_how_events_are_keyed_is_told_that_it_need_not() {
    let fleet = Fleet::new("keyed", TENANTS);
    let output = fleet.command(&["config", "check"], &["quota.partitioning=entity"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("`quota.partitioning` is gone"), "{told}");
}
