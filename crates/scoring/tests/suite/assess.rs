//! Assessments of events, over the public interface.

use cybervault_model::{
    ActionKind, Assessment, ContributionKind, Decoder, Evidence, Incoming, Level, Severity, TenantId, Timestamp,
    Verdict,
    json::{Element, Limits, Node},
};
use cybervault_scoring::{Attack, AttackTable, Hit, Scorer, Weights, fields, score, to_ocsf};
use proptest::prelude::*;

fn scorer() -> Scorer {
    Scorer::new(Weights::default()).unwrap()
}

/// Assesses an event with this payload, whose fields have Sigma's names.
fn assess(payload: &str, hits: Vec<Hit<'_>>) -> Assessment {
    let record = format!(r#"{{"type":"log","event_id":"e1","payload":{payload}}}"#);
    let mut decoder = Decoder::new(Limits::default());
    let incoming = Incoming { key: Some(b"acme"), value: record.as_bytes(), ..Incoming::default() };
    let decoded = decoder.decode(&incoming).unwrap();
    let event = decoded.event();
    let value = |at| event.payload.get(fields().nth(at)?);
    let values = |at| match value(at).map(Element::node) {
        Some(Node::String(text)) => vec![text.into()],
        _ => Vec::new(),
    };
    let tenant_id = TenantId::new(event.tenant_id).unwrap();
    scorer().assess(&tenant_id, &event, Some(Timestamp::from_millis(0)), hits, &values, "rules-1")
}

fn hit<'a>(id: &'a str, level: Level, attack: &'a Attack) -> Hit<'a> {
    Hit { kind: ContributionKind::Rule, id, title: "Something bad", level, attack, evidence: Vec::new() }
}

fn tags(tags: &[&str]) -> Attack {
    let tags: Vec<String> = tags.iter().map(|&tag| tag.to_owned()).collect();
    AttackTable::embedded().refs(&tags)
}

const WORKSTATION: &str = r#"{"Computer":"ws1","User":"ACME\\eve","Image":"C:\\Users\\eve\\svchost.exe",
    "SourceIp":"10.0.0.5","DestinationIp":"198.51.100.42","TargetFilename":"C:\\Users\\eve\\x.exe"}"#;

fn recommended(payload: &str, level: Level, with: &[&str]) -> Vec<String> {
    let with = tags(with);
    let assessment = assess(payload, vec![hit("r", level, &with)]);
    assessment.recommended_actions.iter().map(|action| format!("{} {}", action.kind.as_str(), action.target)).collect()
}

#[test]
fn one_hit_has_the_severity_of_its_level_and_more_of_them_add_up() {
    for (levels, points, severity, verdict) in [
        (&[][..], 0, Severity::Informational, Verdict::Benign),
        (&[Level::Informational], 2, Severity::Informational, Verdict::Benign),
        (&[Level::Low], 15, Severity::Low, Verdict::Suspicious),
        (&[Level::Medium], 40, Severity::Medium, Verdict::Suspicious),
        (&[Level::High], 70, Severity::High, Verdict::Malicious),
        (&[Level::Critical], 92, Severity::Critical, Verdict::Malicious),
        (&[Level::Medium, Level::High], 82, Severity::High, Verdict::Malicious),
        (&[Level::High, Level::High], 91, Severity::Critical, Verdict::Malicious),
    ] {
        let ids: Vec<String> = (0..levels.len()).map(|number| format!("r{number}")).collect();
        let none = Attack::default();
        let hits = levels.iter().zip(&ids).map(|(&level, id)| hit(id, level, &none)).collect();
        let assessment = assess("{}", hits);
        assert_eq!(
            (assessment.risk_score.get(), assessment.severity, assessment.verdict),
            (points, severity, verdict),
            "{levels:?}"
        );
    }
}

#[test]
fn an_assessment_says_what_when_who_and_what_to_do() {
    let with = tags(&["attack.command-and-control", "attack.t1571"]);
    let assessment = assess(WORKSTATION, vec![hit("r1", Level::High, &with)]);
    assert_eq!(assessment.key(), "acme|ws1");
    assert_eq!(assessment.occurred_at, Some(Timestamp::from_millis(0)));
    assert_eq!(&*assessment.mitre_attack[0].technique, "Non-Standard Port");
    let isolate = &assessment.recommended_actions[0];
    assert_eq!((isolate.kind, isolate.reversible), (ActionKind::IsolateHost, true));
    assert_eq!(isolate.reason, "Something bad (high): Command and Control");
}

#[test]
fn another_event_under_the_same_id_has_a_finding_of_its_own() {
    let none = Attack::default();
    let of = |payload: &str| assess(payload, vec![hit("r1", Level::High, &none)]);
    let (first, other) = (of(WORKSTATION), of("{}"));
    assert_eq!(first.event_id, other.event_id);
    assert_ne!(first.assessment_id, other.assessment_id);
    assert_eq!(first, of(WORKSTATION), "the same event always has the same");
    // What is found in it is no part of the id: other rules find other things in the same event.
    assert_eq!(first.assessment_id, assess(WORKSTATION, Vec::new()).assessment_id);
}

#[test]
fn what_contains_an_attack_follows_from_severity_tactic_and_entities() {
    let all_but_the_user = [
        "isolate_host ws1",
        "block_ip 198.51.100.42",
        r"kill_process C:\Users\eve\svchost.exe on ws1",
        r"quarantine_file C:\Users\eve\x.exe on ws1",
    ];
    assert_eq!(recommended(WORKSTATION, Level::High, &["attack.command-and-control"]), all_but_the_user);
    assert_eq!(recommended(WORKSTATION, Level::Medium, &["attack.exfiltration"]), ["block_ip 198.51.100.42"]);
    assert_eq!(
        recommended(WORKSTATION, Level::Critical, &["attack.t1003.001"]),
        [r"kill_process C:\Users\eve\svchost.exe on ws1", r"disable_user ACME\eve"]
    );
    assert_eq!(recommended(WORKSTATION, Level::High, &["attack.discovery"]), ["notify acme"]);
    assert_eq!(recommended(WORKSTATION, Level::Medium, &["attack.discovery"]), ["open_ticket acme"]);
    assert_eq!(recommended(WORKSTATION, Level::Low, &["attack.impact"]), [""; 0]);
}

#[test]
fn nothing_private_and_nothing_vital_is_recommended_as_a_target() {
    let inside =
        r#"{"DestinationIp":"10.0.0.9","Image":"C:\\Windows\\System32\\lsass.exe","User":"NT AUTHORITY\\SYSTEM"}"#;
    let with = ["attack.command-and-control", "attack.credential-access"];
    assert_eq!(recommended(inside, Level::Critical, &with), ["notify acme"]);
}

#[test]
fn a_finding_in_ocsfs_form_has_what_the_class_requires() {
    let with = tags(&["attack.execution", "attack.t1059.001"]);
    let mut found = hit("r1", Level::High, &with);
    found.evidence.push(Evidence { field: "Image".to_owned(), value: "powershell.exe".to_owned() });
    let finding = to_ocsf(&assess(WORKSTATION, vec![found]));
    assert_eq!(finding["class_uid"], 2004);
    assert_eq!(finding["type_uid"], 200_401);
    assert_eq!(finding["severity_id"], 4);
    assert_eq!(finding["risk_score"], 70);
    assert_eq!(finding["finding_info"]["analytic"]["uid"], "r1");
    assert_eq!(finding["finding_info"]["attacks"][0]["sub_technique"]["name"], "PowerShell");
    assert_eq!(finding["finding_info"]["attacks"][0]["tactic"]["uid"], "TA0002");
    assert_eq!(finding["evidences"][0]["data"]["fields"][0]["value"], "powershell.exe");
    assert_eq!(finding["metadata"]["tenant_uid"], "acme");
    assert_eq!(finding["observables"][0]["value"], "ws1");
}

#[test]
fn weights_that_make_no_sense_are_refused_by_name() {
    for (yaml, expected) in [
        ("levels: {high: 1.0}", "scoring.levels.high: a weight is at least 0 and below 1, not 1"),
        ("levels: {low: .nan}", "scoring.levels.low"),
        ("levels: {medium: 0.1}", "medium weighs less"),
        ("severity: {high: 95}", "scoring.severity: each threshold"),
        ("verdict: {suspicious: critical}", "scoring.verdict"),
    ] {
        let weights: Weights = yaml_serde::from_str(yaml).unwrap();
        let error = Scorer::new(weights).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(yaml_serde::from_str::<Weights>("level: {}").is_err());
}

fn hits() -> impl Strategy<Value = Vec<(u8, usize, u8, u8)>> {
    proptest::collection::vec((0..12u8, 0..5usize, 0..4u8, 0..3u8), 0..80)
}

proptest! {
    #[test]
    fn the_order_of_hits_changes_no_byte_and_the_score_can_be_made_again(
        (one, other) in hits().prop_flat_map(|hits| (Just(hits.clone()), Just(hits).prop_shuffle())),
    ) {
        let tag_sets = [
            tags(&["attack.execution", "attack.t1059.001"]),
            tags(&["attack.t1003", "attack.t1571"]),
            tags(&["attack.impact"]),
            tags(&[]),
        ];
        let assessed = |drawn: &[(u8, usize, u8, u8)]| {
            let ids: Vec<String> = drawn.iter().map(|(id, ..)| format!("r{id}")).collect();
            let hits = drawn.iter().zip(&ids).map(|(&(_, level, tagged, evidence), id)| {
                let mut hit = hit(id, Level::ALL[level], &tag_sets[usize::from(tagged)]);
                hit.evidence.push(Evidence { field: "f".to_owned(), value: evidence.to_string() });
                hit
            });
            assess(WORKSTATION, hits.collect())
        };
        let assessment = assessed(&one);
        prop_assert_eq!(score(&assessment.contributions), assessment.risk_score);
        prop_assert_eq!(
            serde_json::to_string(&assessment).unwrap(),
            serde_json::to_string(&assessed(&other)).unwrap()
        );
    }
}
