//! Playbooks on incidents.

use cybervault_model::{Incident, TenantId, Timestamp};
use cybervault_response::{Candidate, Playbooks, parse_playbook};
use serde_json::{Value, json};

fn playbook(when: &str) -> Result<Playbooks, String> {
    let text = format!(
        "{{id: p, title: P, when: {when}, mode: approval, actions: [{{type: isolate_host, target: host}}, \
         {{type: disable_user, target: user}}, {{type: notify, target: tenant}}]}}"
    );
    let playbook = parse_playbook("p.yaml", &text).map_err(|error| error.to_string())?;
    Playbooks::compile(vec![playbook]).map_err(|error| error.to_string())
}

fn incident(change: &[(&str, Value)]) -> Incident {
    let at = "2026-11-02T09:00:00.000Z";
    let entity = |kind: &str, value: &str, role: &str, joins: bool| json!({"kind": kind, "value": value, "roles": [role], "joins": joins, "findings": 1, "first_at": at, "last_at": at});
    let mut incident = json!({
        "incident_id": "inc_1", "tenant_id": "acme", "revision": 1, "changes": ["opened"], "title": "It", "status": "open",
        "severity": "high", "risk_score": 90, "findings": 3, "first_at": at, "last_at": at, "opened_at": at, "updated_at": at,
        "tactics": [{"tactic_id": "TA0002", "tactic": "Execution", "first_at": at}, {"tactic_id": "TA0006", "tactic": "Credential Access", "first_at": at}],
        "mitre_attack": [{"tactic_id": "TA0006", "tactic": "Credential Access", "technique_id": "T1003.001", "technique": "LSASS Memory"}],
        "entities": [entity("host", "ws-1", "affected", true), entity("host", "dc-1", "target", true), entity("user", "ACME\\eve", "actor", true),
            entity("user", "SYSTEM", "actor", false), entity("host", "ws-2", "affected", true)],
        "timeline": [], "rules": [], "recommended_actions": [], "decisions": [], "gained": ["ta_1", "ta_2"], "merged": [],
        "left_out": {"entities": 0, "rules": 0, "timeline": 0, "decisions": 0, "gained": 0},
    });
    for (field, value) in change {
        incident[field] = value.clone();
    }
    serde_json::from_value(incident).unwrap()
}

fn asked(when: &str, incident: &Incident) -> Vec<String> {
    let candidates = playbook(when).unwrap().select_for_incident(incident, Timestamp::from_millis(7));
    candidates.iter().map(|candidate| format!("{} {}", candidate.kind.as_str(), candidate.target)).collect()
}

#[test]
fn a_playbook_on_incidents_acts_where_all_that_it_says_holds() {
    const ALL: [&str; 4] = ["isolate_host ws-1", "isolate_host ws-2", r"disable_user ACME\eve", "notify acme"];
    for (when, acts) in [
        ("{incident: {}}", true),
        ("{incident: {min_severity: high, tactics_at_least: 2, techniques: [T1003], entities_at_least: 4}}", true),
        ("{incident: {min_severity: critical}}", false),
        ("{incident: {tactics_at_least: 3}}", false),
        ("{incident: {techniques: [T1059]}}", false),
        ("{incident: {entities_at_least: 5}}", false),
        ("{incident: {}, tenants: {exclude: [ac*]}}", false),
        ("{min_severity: low}", false),
    ] {
        let expected = if acts { ALL.to_vec() } else { vec![] };
        assert_eq!(asked(when, &incident(&[])), expected, "{when}");
    }
}

#[test]
fn nothing_is_asked_for_a_count_a_word_or_what_is_done_with() {
    for change in [
        [("changes", json!(["counted"]))],
        [("changes", json!(["decision"]))],
        [("status", json!("closed"))],
        [("merged_into", json!("inc_2"))],
    ] {
        assert_eq!(asked("{incident: {}}", &incident(&change)), [""; 0], "{change:?}");
    }
    assert!(!asked("{incident: {}}", &incident(&[("changes", json!(["decision", "host"]))])).is_empty());
}

#[test]
fn the_same_is_asked_once_an_incident_and_target_however_often_it_is_told() {
    let playbooks = playbook("{incident: {}}").unwrap();
    let ids = |incident: &Incident| -> Vec<String> {
        let candidates = playbooks.select_for_incident(incident, Timestamp::from_millis(7));
        assert!(candidates.iter().all(|one| one.incident_id.as_deref() == Some(&*incident.incident_id)));
        candidates.iter().map(Candidate::action_id).collect()
    };
    let first = ids(&incident(&[]));
    assert_eq!(
        first,
        ids(&incident(&[("revision", json!(2)), ("gained", json!(["ta_9"])), ("changes", json!(["host"]))]))
    );
    let other = ids(&incident(&[("incident_id", json!("inc_2"))]));
    assert!(first.iter().all(|id| !other.contains(id)));
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), first.len());
    // A candidate of an assessment that an earlier version wrote reads as ever.
    let mut old =
        serde_json::to_value(&playbooks.select_for_incident(&incident(&[]), Timestamp::from_millis(7))[0]).unwrap();
    old.as_object_mut().unwrap().remove("incident_id");
    let old: Candidate = serde_json::from_value(old).unwrap();
    assert_eq!((old.incident_id, old.tenant_id), (None, TenantId::new("acme").unwrap()));
}

#[test]
fn beside_incident_only_tenants_may_be_given() {
    let error = playbook("{incident: {}, min_severity: high}").unwrap_err();
    assert!(error.contains("write the other conditions inside of incident"), "{error}");
    assert!(playbook("{incident: {min_risk: 3}}").unwrap_err().contains("unknown field"));
}
