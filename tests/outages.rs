//! What the gateway does while something that it needs is away, and that it goes on by itself afterwards.

use std::process::Command;

use cybervault_testkit::{Kafka, eventually, topic};
use serde_json::{Value, json};

use crate::support::{
    self, Fleet, PATIENCE, attack,
    gateway::{Api, Gateway, key},
};

const TENANTS: &str = "tenants:\n- {tenant_id: acme, plan: enterprise}\n";

fn problems(api: &Api) -> Vec<String> {
    let health = api.get("/v3/system/health").json();
    let problems = health["problems"].as_array().unwrap();
    let degraded = health["status"] == "degraded";
    assert_eq!(degraded, !problems.is_empty(), "{health}");
    problems.iter().map(|problem| problem["part"].as_str().unwrap().to_owned()).collect()
}

fn count(api: &Api, path: &str) -> usize {
    let (mut found, mut cursor) = (0, String::new());
    loop {
        let page = api.get(&format!("{path}?limit=200{cursor}")).json();
        found += page["data"].as_array().unwrap().len();
        match page["next_cursor"].as_str().filter(|_| page["has_more"] == true) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn findings(fleet: &Fleet, from: usize, to: usize) {
    let events =
        (from..to).map(|n| topic::Record::new("acme", attack(&format!("e{n}"), &format!("ws-{n}")).to_string()));
    fleet.send(events);
}

#[test]
fn a_gateway_whose_disk_was_full_says_so_and_lands_everything_once_there_is_room() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no prlimit (util-linux), by which the disk gets room again");
        return;
    }
    const FINDINGS: usize = 2_000;
    let fleet = Fleet::new("full", TENANTS);
    let gateway = Gateway::start_cramped(&fleet, "g1", 1_024, &[]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    let mut worker = fleet.worker("w1", &[]);
    findings(&fleet, 0, FINDINGS);
    fleet.wait_for(&mut worker, "threat.assessments", FINDINGS);
    eventually("the gateway says what is wrong", PATIENCE, || {
        problems(&api).iter().any(|part| part == "view" || part == "store").then_some(())
    });
    let ready = gateway.api("").call("GET", "/readyz", &[], None);
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("view: ") || ready.text.contains("store: "), "{}", ready.text);

    gateway.may_grow();
    eventually("everything has landed", PATIENCE, || {
        (problems(&api).is_empty() && count(&api, "/v3/threats/assessments") == FINDINGS).then_some(())
    });
    assert_eq!(gateway.api("").call("GET", "/readyz", &[], None).status, 200);
}

#[test]
fn partitions_that_are_added_to_the_result_topics_are_read_by_a_gateway_that_runs() {
    let fleet = Fleet::new("added", TENANTS);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    let mut worker = fleet.worker("w1", &[]);
    findings(&fleet, 0, 50);
    fleet.wait_for(&mut worker, "threat.assessments", 50);
    worker.terminate();
    assert!(worker.wait(PATIENCE).success());
    eventually("the first findings", PATIENCE, || (count(&api, "/v3/threats/assessments") == 50).then_some(()));

    let results = fleet.topic("threat.assessments");
    topic::add_partitions(&fleet.bootstrap, &[&results], 16);
    // A worker that starts now writes to all of them.
    let mut worker = fleet.worker("w1", &[]);
    findings(&fleet, 50, 450);
    let found = fleet.wait_for(&mut worker, "threat.assessments", 450);
    assert!(found.iter().any(|record| record.partition >= Some(support::PARTITIONS)), "nothing on the new partitions");
    eventually("all findings", PATIENCE, || (count(&api, "/v3/threats/assessments") == 450).then_some(()));
    assert_eq!(problems(&api), Vec::<String>::new());
}

#[test]
fn without_kafka_the_gateway_says_so_refuses_what_it_can_not_write_and_comes_back_by_itself() {
    let mut kafka = Kafka::owned();
    let fleet = Fleet::on(&kafka, "gone", TENANTS);
    let gateway = Gateway::start(&fleet, "g1", &[]);
    let (_, secret) = key(&fleet, "acme", &[]);
    let api = gateway.api(&secret);
    let analyze = |n: u32| api.post("/v3/threats/analyze", &without_time(attack(&format!("e{n}"), "ws-1")));
    assert_eq!(analyze(1).status, 201);
    eventually("it has landed", PATIENCE, || (count(&api, "/v3/threats/assessments") == 1).then_some(()));

    kafka.stop();
    // At once, whatever it knows by now: long before the 20 s after which any request is given up.
    let refused = analyze(2);
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    eventually("it is degraded", PATIENCE, || problems(&api).contains(&"kafka".to_owned()).then_some(()));
    let ready = gateway.api("").call("GET", "/readyz", &[], None);
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("kafka: Kafka does not answer, since 20"), "{}", ready.text);
    // What is there can still be looked at, and says that it is old.
    assert_eq!(count(&api, "/v3/threats/assessments"), 1);
    let page = console(&gateway, &secret);
    assert!(page.contains("Kafka does not answer") && page.contains("may be old"), "{page}");

    kafka.restart();
    eventually("it is ready again", PATIENCE, || {
        (gateway.api("").call("GET", "/readyz", &[], None).status == 200).then_some(())
    });
    eventually("it takes events again", PATIENCE, || (analyze(3).status == 201).then_some(()));
    let found = || -> Vec<Value> { api.get("/v3/threats/assessments").json()["data"].as_array().unwrap().clone() };
    eventually("they land", PATIENCE, || found().iter().any(|one| one["event_id"] == "e3").then_some(()));
    let page = console(&gateway, &secret);
    assert!(!page.contains("may be old"), "{page}");
}

fn without_time(mut event: Value) -> Value {
    event["occurred_at"] = json!(null);
    event
}

/// The live page, as a browser with this key sees it.
fn console(gateway: &Gateway, secret: &str) -> String {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let agent: ureq::Agent = config.build().into();
    let host = gateway.base.trim_start_matches("http://");
    let signed_in = agent
        .post(format!("{}/sign-in", gateway.base))
        .header("origin", &gateway.base)
        .header("host", host)
        .header("content-type", "application/x-www-form-urlencoded")
        .send(format!("key={secret}"))
        .unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut page = agent.get(format!("{}/", gateway.base)).header("cookie", cookie).call().unwrap();
    page.body_mut().read_to_string().unwrap()
}
