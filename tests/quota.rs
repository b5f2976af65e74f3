//! Quotas, decided on record time and kept over restarts.

use cybervault_testkit::topic::Record;
use serde_json::{Value, json};

use crate::support::{Fleet, PATIENCE};

/// One second's worth and 15 % burst: 115 events at one instant, then one every 10 ms.
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
    let rejected = values(&fleet.wait_for(&mut worker, "quota.rejections", 85));
    assert_eq!(rejected[0]["reason"], "events_per_second");
    assert_eq!(rejected[0]["tenant_id"], "small");
    assert_eq!(rejected[0]["retry_after_ms"], 10);
    assert_eq!(rejected[0]["origin"]["offset"], 115);
    worker.terminate();
    assert!(worker.wait(PATIENCE).success());

    // The state is read back: at the same instant nothing more is admitted, a little later a little is.
    let mut worker = fleet.worker("w1", &[]);
    fleet.send((200..210).map(|n| event("small", n, AT)));
    fleet.wait_for(&mut worker, "quota.rejections", 95);
    fleet.send((210..220).map(|n| event("small", n, AT + 50)));
    fleet.wait_for(&mut worker, "quota.rejections", 100);
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
    let rejected = values(&fleet.wait_for(&mut worker, "quota.rejections", 85 + 2));
    let offsets = rejected.iter().filter(|value| value["tenant_id"] == "small").map(|value| &value["origin"]["offset"]);
    assert!(offsets.clone().all(|offset| offset.as_i64().unwrap() >= 6_000));
    let reason = |tenant: &str| rejected.iter().find(|value| value["tenant_id"] == tenant).unwrap()["reason"].clone();
    assert_eq!((reason("gone"), reason("stranger")), (json!("suspended_tenant"), json!("unknown_tenant")));
}
