//! What log sources events belong to, from the worker's count to the gateway's page.

use cybervault_testkit::{eventually, topic::Record};
use serde_json::{Value, json};

use crate::support::{
    Fleet, PATIENCE,
    gateway::{Gateway, key},
    unlimited,
};

#[test]
fn a_tenant_is_told_of_events_that_no_rule_is_tried_on() {
    let fleet = Fleet::new("sources", &unlimited(["acme", "globex"]));
    let mut worker = fleet.worker("w1", &[]);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let (acme, globex) = (key(&fleet, "acme", &[]).1, key(&fleet, "globex", &[]).1);
    let unknown = |n: usize| Record::new("acme", json!({"reading": n, "secret": "s3cret"}).to_string());
    let known = json!({"Channel": "Foo-Bar/Admin", "EventID": 1}).to_string();
    // A header says what no envelope does.
    let told = Record {
        headers: vec![("log_source".to_owned(), b"zeek/dns".to_vec())],
        ..Record::new("acme", r#"{"query":"a.example"}"#.to_owned())
    };
    fleet.send((0..150).map(unknown).chain([Record::new("acme", known.clone()), told, Record::new("globex", known)]));

    let api = gateway.api(&acme);
    let mut found = Value::Null;
    worker.wait_until("all events are told of", PATIENCE, || {
        found = api.get("/v3/log-sources").json();
        found["events"] == 152
    });
    assert_eq!((&found["unknown"], &found["mostly_unknown"]), (&json!(150), &json!(true)));
    let names = |source: &Value| {
        ["product", "service", "category"].map(|name| source[name].as_str().unwrap_or("-").to_owned()).join("/")
    };
    let mut sources: Vec<_> = found["sources"].as_array().unwrap().iter().map(names).collect();
    sources.sort();
    assert_eq!(sources, ["windows/-/-", "zeek/dns/-"]);
    assert_eq!(found["unknown_keys"][0]["keys"], "reading, secret");
    assert!(!found.to_string().contains("s3cret"), "{found}");

    let others = eventually("the other tenant's event is told of", PATIENCE, || {
        Some(gateway.api(&globex).get("/v3/log-sources").json()).filter(|found| found["events"] == 1)
    });
    assert_eq!((&others["unknown"], &others["unknown_keys"]), (&json!(0), &json!([])));

    let metric = |labels: &str| Fleet::metric(&worker, "cybervault_log_source_events_total", labels);
    assert_eq!(metric(r#"tenant="acme",product="none""#), 150.0);
    assert_eq!(metric(r#"tenant="acme",product="windows""#), 1.0);
    // A report that is only begun when the events come may have too few of them: others follow.
    eventually("the log warns", PATIENCE, || {
        fleet.send((0..150).map(unknown));
        worker.log().contains("most events of this tenant are of no known log source").then_some(())
    });
}
