use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cybervault_model::{
    ActionMode, Assessment, Decision, DecisionVerdict, Encoding, QuotaRejection, RejectionReason, ResponseAction,
    Timestamp, avro::NoRegistry,
};
use cybervault_response::Guard;
use cybervault_stream::{Failure, Headers, Outbox, Record, Stage, State, StateLimits, headers};

use super::*;
use crate::{
    config::{Config, Emit},
    content::Sources,
    live::Live,
    shares::ShareBoard,
    sources::SourceBoard,
};

const NOON: i64 = 1_795_608_000_000;
const BEACON: &str = r#"{"event_id":"e1","tenant_id":"acme-health","type":"endpoint_telemetry","payload":{"hostname":"ws-1",
    "user":"ACME\\eve","process_name":"svchost.exe","process_path":"C:\\Users\\eve\\svchost.exe","signed":false,
    "network_connections":[{"dst_ip":"198.51.100.42","port":4444,"protocol":"TCP"}]}}"#;

/// A file on the list of known bad ones, which is quarantined once a person has approved it.
const MALWARE: &str = r#"{"event_id":"e2","tenant_id":"acme-health","type":"file_hash","payload":{"hostname":"ws-0114",
    "file_name":"Invoice_8841.docm","file_path":"C:\\Users\\m.ito\\Downloads\\Invoice_8841.docm",
    "hash_sha256":"40e90883db108dd6b8a5c5fc740db49bd2066f9eba76b5cacadedc18325407c2"}}"#;

fn live() -> Arc<Live> {
    // One partition, which is every tenant's home.
    let mut config = Config::default();
    config.topics.partitions = 1;
    Arc::new(Live::load(&config, Sources::of(&config, true).unwrap()).unwrap())
}

fn assess(emit: Emit) -> Assess {
    let topics = AssessTopics {
        assessments: "assessments".into(),
        rejections: "rejections".into(),
        usage: "usage".into(),
        signals: "signals".into(),
    };
    let unpacker = Config::default().limits.unpacker();
    let labels = (TenantLabels::new(2), SourceBoard::default());
    Assess::new(live(), unpacker, topics, (Encoding::Json, emit), labels, ShareBoard::default())
}

fn state() -> State {
    State::new(StateLimits::default())
}

fn record<'a>(value: &'a [u8], key: &'a str, headers: &'a [(&'a str, &'a [u8])]) -> Record<'a> {
    Record {
        topic: "telemetry.events",
        partition: 0,
        offset: 7,
        timestamp: Timestamp::from_millis(NOON),
        key: Some(key.as_bytes()),
        value,
        is_tombstone: false,
        headers: Headers::new(headers),
    }
}

/// (topic, key, value)
type Written = (String, String, String);

fn written(out: &Outbox) -> Vec<Written> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    out.records().map(|(topic, key, value)| (topic.to_owned(), text(key), text(value.unwrap()))).collect()
}

#[test]
fn an_event_with_findings_becomes_an_assessment_and_one_without_only_where_all_are_wanted() {
    let benign = br#"{"tenant_id":"acme-health","type":"endpoint_telemetry","payload":{"process_name":"a.exe"}}"#;
    for (value, emit, expected) in
        [(BEACON.as_bytes(), Emit::Findings, 1), (benign, Emit::Findings, 0), (benign, Emit::All, 1)]
    {
        let (mut stage, mut out) = (assess(emit), Outbox::default());
        stage.process(&record(value, "acme-health|ws-1", &[]), &mut state(), &mut out).unwrap();
        let written = written(&out);
        assert_eq!(written.len(), expected);
        for (topic, key, value) in written {
            let assessment: Assessment = serde_json::from_str(&value).unwrap();
            assert_eq!((&*topic, key), ("assessments", assessment.key()));
            assert_eq!(assessment.occurred_at, Some(Timestamp::from_millis(NOON)));
            assert_eq!(assessment.contributions.is_empty(), emit == Emit::All);
        }
    }
}

#[test]
fn quotas_are_kept_in_the_state_and_decided_on_the_records_time() {
    let event = br#"{"tenant_id":"pixel-games","type":"x","payload":{}}"#;
    let mut state = state();
    let mut send = |millis: i64| {
        // A stage of its own each time: all that is known is in the state.
        let (mut stage, mut out) = (assess(Emit::Findings), Outbox::default());
        let record = Record { timestamp: Timestamp::from_millis(millis), ..record(event, "pixel-games", &[]) };
        stage.process(&record, &mut state, &mut out).unwrap();
        let mut rejections = written(&out).into_iter().map(|(topic, key, value)| {
            assert_eq!((&*topic, &*key), ("rejections", "pixel-games"));
            serde_json::from_str::<QuotaRejection>(&value).unwrap()
        });
        rejections.next()
    };
    // 20 a second and 15 %: 23 at one instant.
    assert_eq!((0..23).filter_map(|_| send(NOON)).count(), 0);
    let rejection = send(NOON).unwrap();
    assert_eq!((rejection.reason, rejection.retry_after_ms), (RejectionReason::EventsPerSecond, Some(50)));
    assert_eq!((&*rejection.origin.topic, rejection.origin.offset), ("telemetry.events", 7));
    assert!(send(NOON + 49).is_some());
    assert!(send(NOON + 50).is_none());
}

#[test]
fn unknown_and_suspended_tenants_are_rejected_and_have_no_state() {
    for (tenant, reason) in [("nobody", RejectionReason::UnknownTenant), ("old-mill", RejectionReason::SuspendedTenant)]
    {
        let (mut stage, mut out, mut state) = (assess(Emit::All), Outbox::default(), state());
        stage.process(&record(b"{}", tenant, &[]), &mut state, &mut out).unwrap();
        let rejection: QuotaRejection = serde_json::from_str(&written(&out)[0].2).unwrap();
        assert_eq!((&*rejection.tenant_id, rejection.reason, rejection.retry_after_ms), (tenant, reason, None));
        assert!(state.is_empty());
    }
}

#[test]
fn what_can_not_be_decoded_is_poison_with_its_reason_and_a_registry_that_is_away_is_not() {
    let avro: &[(&str, &[u8])] = &[("content-type", b"application/avro")];
    for (value, key, headers, expected) in [
        (&b"{"[..], "acme-health", &[][..], "not_json"),
        (b"17", "acme-health", &[], "wrong_schema"),
        (b"[]", "acme-health", &[], "wrong_schema"),
        (b"{\"a\":\"\xff\"}", "acme-health", &[], "invalid_utf8"),
        (b"{}", "a b", &[], "no_tenant"),
        (b"\x00\x00\x00\x00\x01x", "acme-health", avro, "unknown_schema_id"),
        (b"{}", "acme-health", &[("content-type", b"text/xml")], "unsupported_content_type"),
    ] {
        let (mut stage, mut out) = (assess(Emit::Findings), Outbox::default());
        match stage.process(&record(value, key, headers), &mut state(), &mut out) {
            Err(Failure::Poison(poison)) => assert_eq!(poison.reason, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn each_event_of_a_container_is_admitted_assessed_and_given_up_by_itself() {
    let event = r#"{"tenant_id":"pixel-games","type":"x","payload":{}}"#;
    let beacon = BEACON.replace("\"event_id\":\"e1\",", "");
    let value = format!("[{beacon},{beacon},{{\"a\":}},{}]", vec![event; 24].join(","));
    let mut both = Vec::new();
    for _ in 0..2 {
        let (mut stage, mut out) = (assess(Emit::Findings), Outbox::default());
        stage.process(&record(value.as_bytes(), "acme-health", &[]), &mut state(), &mut out).unwrap();
        let dead: Vec<_> =
            out.given_up().map(|(place, value, poison)| (place.to_owned(), value.to_vec(), poison.reason)).collect();
        assert_eq!(dead, [("/2".to_owned(), b"{\"a\":}".to_vec(), "not_json")]);
        both.push(written(&out));
    }
    assert_eq!(both[0], both[1]);
    let of = |topic: &str| -> Vec<String> {
        both[0].iter().filter(|(of, ..)| of == topic).map(|(.., value)| value.clone()).collect()
    };
    let ids: Vec<_> = of("assessments")
        .iter()
        .map(|value| serde_json::from_str::<Assessment>(value).unwrap().assessment_id)
        .collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    // 23 at one instant, and this is the 24th: the record is charged once for each of its events.
    let rejections = of("rejections");
    let rejection: QuotaRejection = serde_json::from_str(&rejections[0]).unwrap();
    assert_eq!((rejections.len(), rejection.origin.place.as_deref()), (1, Some("/26")));
    assert_eq!((rejection.bytes, rejection.origin.offset), (event.len() as u64, 7));
}

#[test]
fn a_container_of_too_many_events_is_given_up_as_it_came_and_an_empty_one_is_nothing() {
    let config = Config {
        limits: crate::config::EventLimits { max_container_events: 2, ..Default::default() },
        ..Config::default()
    };
    for (value, expected) in [("[{},{},{}]", Some("too_many_events")), ("[{},{}]", None), ("{\"records\":[]}", None)] {
        let topics = AssessTopics {
            assessments: "assessments".into(),
            rejections: "rejections".into(),
            usage: "usage".into(),
            signals: "signals".into(),
        };
        let output = (Encoding::Json, Emit::Findings);
        let labels = (TenantLabels::new(2), SourceBoard::default());
        let mut stage = Assess::new(live(), config.limits.unpacker(), topics, output, labels, ShareBoard::default());
        let mut out = Outbox::default();
        let failure = stage.process(&record(value.as_bytes(), "acme-health", &[]), &mut state(), &mut out);
        match (failure, expected) {
            (Ok(()), None) => assert!(out.is_empty() && out.given_up().next().is_none()),
            (Err(Failure::Poison(poison)), Some(expected)) => assert_eq!(poison.reason, expected),
            other => panic!("{value}: {other:?}"),
        }
    }
}

/// Lets `records` through the guard, and returns the events it writes.
fn guard(guard: &mut RespondGuard, state: &mut State, selected: &Outbox, kind: &str) -> Vec<ResponseAction> {
    let mut out = Outbox::default();
    for (_, key, value) in written(selected) {
        let headers = [(KIND_HEADER, kind.as_bytes()), (AT_HEADER, b"1795608001000")];
        guard.process(&record(value.as_bytes(), &key, &headers), state, &mut out).unwrap();
    }
    written(&out).iter().map(|(_, _, value)| serde_json::from_str(value).unwrap()).collect()
}

#[test]
fn an_assessment_leads_to_actions_and_a_decision_to_the_next_state() {
    let (mut stage, mut assessed) = (assess(Emit::Findings), Outbox::default());
    stage.process(&record(MALWARE.as_bytes(), "acme-health|ws-0114", &[]), &mut state(), &mut assessed).unwrap();
    let assessment = written(&assessed).remove(0).2;

    let mut select =
        RespondSelect::new(live(), Arc::new(NoRegistry), ("incidents".into(), "decisions".into()), "candidates".into());
    let mut selected = Outbox::default();
    let input = Record { topic: "assessments", ..record(assessment.as_bytes(), "acme-health|ws-0114", &[]) };
    select.process(&input, &mut state(), &mut selected).unwrap();
    assert!(written(&selected).iter().all(|(topic, key, _)| topic == "candidates" && key == "acme-health"));

    let mut respond = RespondGuard::new(Guard::new(Default::default()).unwrap(), "actions".into(), Encoding::Json);
    let mut state_of_guard = state();
    let actions = guard(&mut respond, &mut state_of_guard, &selected, "candidate");
    let waiting = actions.iter().find(|action| action.mode == ActionMode::Approval);
    let waiting = waiting.expect("one that waits");
    // The same again changes nothing.
    assert_eq!(guard(&mut respond, &mut state_of_guard, &selected, "candidate"), []);

    let decision = Decision {
        action_id: waiting.action_id.clone(),
        tenant_id: waiting.tenant_id.clone(),
        verdict: DecisionVerdict::Deny,
        decided_by: "alice".to_owned(),
        comment: None,
    };
    let decision = serde_json::to_vec(&decision).unwrap();
    let mut passed_on = Outbox::default();
    let mut decide = |tenant: &str| {
        let headers = [("tenant_id", tenant.as_bytes())];
        let record = Record { topic: "decisions", ..record(&decision, "any", &headers) };
        select.process(&record, &mut state(), &mut passed_on)
    };
    assert!(matches!(decide("harbor-bank"), Err(Failure::Poison(poison)) if poison.reason == "tenant_mismatch"));
    decide("acme-health").unwrap();
    let decided = guard(&mut respond, &mut state_of_guard, &passed_on, "decision");
    assert_eq!(decided.len(), 1);
    assert_eq!((&*decided[0].action_id, &*decided[0].decided_by), (&*waiting.action_id, "alice"));
    assert_eq!(decided[0].updated_at, Timestamp::from_millis(1_795_608_001_000));
}

#[test]
fn a_dead_letter_goes_back_only_to_an_input_and_what_is_left_out_stays() {
    let filter =
        ReplayFilter { reason: Some("not_json".to_owned()), tenant: None, inputs: vec!["telemetry.events".into()] };
    let stop = Arc::new(AtomicBool::new(false));
    let stretches = BTreeMap::from([(0, Stretch { oldest: 0, first: 7, last: 9 })]);
    let mut stage = Replay::new(filter, stretches, stop.clone());
    let mut state = state();
    let mut send = |offset: i64, reason: &[u8], topic: &[u8]| -> Vec<String> {
        let headers = [("tenant_id", &b"acme"[..]), (headers::REASON, reason), (headers::TOPIC, topic)];
        let mut out = Outbox::default();
        stage.process(&Record { offset, ..record(b"{", "acme", &headers) }, &mut state, &mut out).unwrap();
        stage.end_batch(&mut out);
        written(&out).into_iter().map(|(topic, ..)| topic).collect()
    };
    let nowhere = Vec::<String>::new();
    assert_eq!(send(7, b"not_json", b"telemetry.events"), ["telemetry.events"]);
    // Sent back once.
    assert_eq!(send(7, b"not_json", b"telemetry.events"), nowhere);
    assert_eq!(send(8, b"no_tenant", b"telemetry.events"), nowhere);
    assert!(!stop.load(Ordering::Relaxed));
    assert_eq!(send(9, b"not_json", b"somebody.elses"), nowhere);
    assert!(stop.load(Ordering::Relaxed));
    // It came after the beginning.
    assert_eq!(send(10, b"not_json", b"telemetry.events"), nowhere);
}

#[test]
fn of_two_headers_with_a_tenant_none_is_believed() {
    let value = br#"{"type":"x","payload":{}}"#;
    for headers in [
        [("tenant_id", &b"acme-health"[..]), ("tenant_id", b"pixel-games")],
        [("tenant_id", b"acme-health"), ("tenant_id", b"acme-health")],
        [("content-type", b"application/json"), ("content-type", b"application/avro")],
    ] {
        let (mut stage, mut out) = (assess(Emit::All), Outbox::default());
        let refused = stage.process(&record(value, "acme-health", &headers), &mut state(), &mut out).unwrap_err();
        assert!(matches!(refused, Failure::Poison(poison) if poison.reason == "ambiguous_header"));
        assert!(out.is_empty());
    }
}

#[test]
fn half_a_surrogate_pair_hides_no_event_and_is_told() {
    let hiding = BEACON.replace("ACME\\\\eve", "ACME\\\\e\\ud800ve");
    assert_ne!(hiding, BEACON);
    let (mut stage, mut out) = (assess(Emit::Findings), Outbox::default());
    stage.process(&record(hiding.as_bytes(), "acme-health|ws-1", &[]), &mut state(), &mut out).unwrap();
    let assessment: Assessment = serde_json::from_str(&written(&out)[0].2).unwrap();
    assert_eq!(assessment.replaced_characters, Some(1));
    assert!(assessment.entities.iter().any(|entity| entity.value.contains("e\u{fffd}ve")), "{:?}", assessment.entities);
}

#[test]
fn what_is_assessed_again_is_written_where_it_is_missing_and_acted_upon_only_where_that_is_asked_for() {
    let live = live();
    for (is_known, mark) in [(false, REPROCESSED.2), (false, REPROCESSED.1), (true, REPROCESSED.1)] {
        let (mut known, tally) = (KnownAssessments::default(), Arc::new(ReprocessTally::default()));
        let id = {
            let (mut stage, mut out) = (assess(Emit::Findings), Outbox::default());
            stage.process(&record(MALWARE.as_bytes(), "acme-health", &[]), &mut state(), &mut out).unwrap();
            serde_json::from_str::<Assessment>(&written(&out)[0].2).unwrap().assessment_id
        };
        if is_known {
            known.add(&id);
        }
        let again = Again { known: Arc::new(known), mark, tenant: None, tally: tally.clone() };
        let stop = Arc::new(AtomicBool::new(false));
        let stretches = BTreeMap::from([(0, 7..9)]);
        let mut stage = Reprocess::new(assess(Emit::Findings).again(again), tally.clone(), stretches, stop.clone());
        let mut out = Outbox::default();
        for (offset, value) in [(6, MALWARE), (7, MALWARE), (8, "no json"), (9, MALWARE)] {
            let record = Record { offset, ..record(value.as_bytes(), "acme-health", &[]) };
            stage.process(&record, &mut state(), &mut out).unwrap();
        }
        stage.end_batch(&mut out);
        assert!(stop.load(Ordering::Relaxed));
        let written = written(&out);
        assert_eq!(written.len(), usize::from(!is_known), "{written:?}");
        let Some((_, _, value)) = written.first() else { continue };
        let mut select = RespondSelect::new(
            live.clone(),
            Arc::new(NoRegistry),
            ("incidents".into(), "decisions".into()),
            "candidates".into(),
        );
        let (headers, mut selected) = ([("reprocessed", mark.as_bytes())], Outbox::default());
        select.process(&record(value.as_bytes(), "acme-health", &headers), &mut state(), &mut selected).unwrap();
        assert_eq!(selected.is_empty(), mark == REPROCESSED.2, "{mark}");
    }
}

/// A rule that only feeds, and the correlation over it.
const THREE: &str = "title: Refused\nname: refused\nlogsource: {product: door}\ndetection: {s: {state: refused}, condition: s}\n---\n\
                     title: Thrice\nid: thrice\nlevel: high\ncorrelation: {type: event_count, rules: refused, group-by: user, timespan: 1m, \
                     condition: {gte: 3}}\n";

fn live_with(rules: &std::path::Path) -> Arc<Live> {
    let config = Config { rules_dir: Some(rules.to_owned()), ..Config::default() };
    Arc::new(Live::load(&config, Sources::of(&config, true).unwrap()).unwrap())
}

/// The signals that `assess` writes of so many events.
fn signals(live: &Arc<Live>, count: u32) -> Vec<Written> {
    let topics = AssessTopics {
        assessments: "assessments".into(),
        rejections: "rejections".into(),
        usage: "usage".into(),
        signals: "signals".into(),
    };
    let (unpacker, labels) = (Config::default().limits.unpacker(), (TenantLabels::new(2), SourceBoard::default()));
    let output = (Encoding::Json, Emit::Findings);
    let mut stage = Assess::new(live.clone(), unpacker, topics, output, labels, ShareBoard::default());
    let (mut state, mut out) = (state(), Outbox::default());
    for n in 0..count {
        let event = format!(
            r#"{{"event_id":"e{n}","tenant_id":"acme-health","type":"door","source":{{"product":"door"}},"payload":{{"state":"refused","user":"Eve","Computer":"gate-1"}}}}"#
        );
        stage.process(&record(event.as_bytes(), "acme-health", &[]), &mut state, &mut out).unwrap();
    }
    written(&out)
}

fn correlate(live: &Arc<Live>) -> Correlate {
    let output = ("assessments".into(), Encoding::Json);
    Correlate::new(live.clone(), Arc::new(NoRegistry), output, Default::default(), TenantLabels::new(2))
}

/// Hands a signal to the stage, and returns what it writes.
fn hand_in(stage: &mut Correlate, state: &mut State, (at, (_, key, value)): (usize, &Written)) -> Vec<Written> {
    let mut out = Outbox::default();
    stage.begin_batch();
    let record = Record { topic: "signals", offset: i64::try_from(at).unwrap(), ..record(value.as_bytes(), key, &[]) };
    stage.process(&record, state, &mut out).unwrap();
    stage.end_batch(&mut out);
    written(&out)
}

#[test]
fn what_a_rule_only_feeds_is_a_signal_and_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("three.yml"), THREE).unwrap();
    let written = signals(&live_with(folder.path()), 1);
    let [(topic, key, value)] = &written[..] else { panic!("{written:?}") };
    let signal: cybervault_model::Signal = serde_json::from_str(value).unwrap();
    assert_eq!((&**topic, key), ("signals", &signal.key()));
    assert_eq!((&signal.meets, &signal.correlations), (&vec!["eve".to_owned()], &vec!["thrice".to_owned()]));
    assert_eq!(signal.occurred_at, Timestamp::from_millis(NOON));
    assert_eq!(signal.entities[0].value, "gate-1");
}

#[test]
fn a_correlation_is_found_by_whatever_worker_has_the_partition() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("three.yml"), THREE).unwrap();
    let live = live_with(folder.path());
    let signals = signals(&live, 3);
    assert_eq!(signals.len(), 3);
    let (mut first, mut state_of_first) = (correlate(&live), state());
    for signal in signals[..2].iter().enumerate() {
        assert_eq!(hand_in(&mut first, &mut state_of_first, signal), []);
    }
    let copied = || {
        let mut copy = state();
        state_of_first.iter().for_each(|(key, value)| copy.put(key, value, None));
        copy
    };
    let third = (2, &signals[2]);
    // Another worker reads the state back; the first one does, too, after the partition was another's for a while.
    let (mut second, mut here, mut there) = (correlate(&live), copied(), copied());
    let found = hand_in(&mut second, &mut there, third);
    let [(topic, key, value)] = &found[..] else { panic!("{found:?}") };
    let assessment: Assessment = serde_json::from_str(value).unwrap();
    assert_eq!((&**topic, key), ("assessments", &assessment.key()));
    assert_eq!(assessment.contributions[0].title, "Thrice");
    assert_eq!(assessment.correlated.unwrap().events.len(), 3);
    assert_eq!(hand_in(&mut first, &mut here, third), found);
    assert_eq!(here.iter().collect::<BTreeMap<_, _>>(), there.iter().collect::<BTreeMap<_, _>>());
    // Where there is no state, nothing is known, whatever the stage has seen before.
    assert_eq!(hand_in(&mut first, &mut state(), third), []);
    // Of a correlation that means something else by now, nothing is kept.
    std::fs::write(folder.path().join("three.yml"), THREE.replace("1m", "2m")).unwrap();
    live.reload(crate::live::Part::Rules, false);
    assert_eq!(hand_in(&mut first, &mut copied(), third), []);
    // What no correlation is over is passed over.
    std::fs::write(
        folder.path().join("three.yml"),
        THREE.replace("name: refused", "name: other\nid: x").replace("rules: refused", "rules: x"),
    )
    .unwrap();
    live.reload(crate::live::Part::Rules, false);
    assert_eq!(hand_in(&mut first, &mut state(), third), []);
}
