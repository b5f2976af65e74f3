//! Playbooks: which assessments they act on, those that ship with the product, and their schema.

use std::{fs, path::PathBuf};

use cybervault_model::{
    ActionKind, ActionMode, Assessment, AttackRef, Contribution, ContributionKind, Entity, EntityKind,
    RecommendedAction, Score, Severity, Target, TargetKind, TenantId, Timestamp, Verdict,
};
use cybervault_response::{Candidate, Playbook, Playbooks, parse_playbook};

fn workspace(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn shipped() -> Vec<Playbook> {
    let mut files: Vec<_> =
        fs::read_dir(workspace("content/playbooks")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let playbook = parse_playbook(&file.display().to_string(), &fs::read_to_string(file).unwrap()).unwrap();
            assert_eq!(
                file.file_stem().unwrap().to_str(),
                Some(playbook.id.as_str()),
                "a file is named after its playbook"
            );
            playbook
        })
        .collect()
}

fn assessment(severity: Severity, attack: &[(&str, &str, &str)], entities: &[(EntityKind, &str)]) -> Assessment {
    Assessment {
        assessment_id: "ta_1".to_owned(),
        tenant_id: TenantId::new("acme").unwrap(),
        event_id: "e1".to_owned(),
        occurred_at: None,
        risk_score: Score::MAX,
        severity,
        verdict: Verdict::Malicious,
        contributions: vec![Contribution {
            kind: ContributionKind::Rule,
            id: "rule-1".to_owned(),
            title: "Something bad".to_owned(),
            level: severity,
            weight: 0.9,
            evidence: Vec::new(),
        }],
        mitre_attack: attack
            .iter()
            .map(|&(tactic_id, tactic, technique_id)| AttackRef {
                tactic_id: tactic_id.into(),
                tactic: tactic.into(),
                technique_id: technique_id.into(),
                technique: "".into(),
            })
            .collect(),
        entities: entities.iter().map(|&(kind, value)| Entity { kind, value: value.to_owned() }).collect(),
        recommended_actions: Vec::new(),
        rules_version: "1".to_owned(),
        replaced_characters: None,
        correlated: None,
    }
}

fn select(playbooks: Vec<Playbook>, assessment: &Assessment) -> Vec<Candidate> {
    Playbooks::compile(playbooks).unwrap().select(assessment, Timestamp::from_millis(0))
}

/// One playbook with `when` as its conditions.
fn playbook(when: &str) -> Playbook {
    let text = format!(
        "{{id: p, title: P, mode: approval, when: {when}, actions: [{{type: isolate_host, target: host}}, \
         {{type: block_ip, target: ip}}, {{type: kill_process, target: process}}]}}"
    );
    parse_playbook("inline", &text).unwrap()
}

const POWERSHELL: (&str, &str, &str) = ("TA0002", "Execution", "T1059.001");

#[test]
fn a_playbook_acts_where_all_its_conditions_hold() {
    let found = assessment(Severity::High, &[POWERSHELL], &[(EntityKind::Host, "WS01"), (EntityKind::User, "eve")]);
    for (when, applies) in [
        ("{}", true),
        ("{min_severity: high}", true),
        ("{min_severity: critical}", false),
        ("{techniques: [T1059]}", true),
        ("{techniques: [t1059.001]}", true),
        ("{techniques: [T105]}", false),
        ("{techniques: [T1059.003, T1059.001]}", true),
        ("{tactics: [execution]}", true),
        ("{tactics: [TA0002]}", true),
        ("{tactics: [lateral_movement]}", false),
        ("{rules: [rule-1]}", true),
        ("{rules: [rule-2]}", false),
        ("{entities: [{kind: host, glob: 'ws*'}]}", true),
        ("{entities: [{kind: user, glob: 'ws*'}]}", false),
        ("{tenants: {include: ['ac*']}}", true),
        ("{tenants: {include: ['ac*'], exclude: [acme]}}", false),
        ("{min_severity: high, techniques: [T1003]}", false),
    ] {
        assert_eq!(!select(vec![playbook(when)], &found).is_empty(), applies, "{when}");
    }
    let disabled = Playbook { enabled: false, ..playbook("{}") };
    assert!(select(vec![disabled], &found).is_empty());
}

#[test]
fn an_action_takes_the_recommended_target_else_the_first_that_may_be_touched_else_none() {
    let entities = [
        (EntityKind::Ip, "10.0.0.5"),
        (EntityKind::Ip, "198.51.100.42"),
        (EntityKind::Process, r"C:\Windows\System32\lsass.exe"),
    ];
    let mut found = assessment(Severity::High, &[], &entities);
    let targets = |found: &Assessment| -> Vec<String> {
        select(vec![playbook("{}")], found).iter().map(|candidate| candidate.target.to_string()).collect()
    };
    assert_eq!(targets(&found), ["198.51.100.42"]);
    found.recommended_actions.push(RecommendedAction {
        kind: ActionKind::BlockIp,
        target: Target { kind: TargetKind::Ip, value: "203.0.113.7".to_owned(), host: None },
        reason: String::new(),
        reversible: true,
    });
    found.entities.push(Entity { kind: EntityKind::Process, value: r"C:\x.exe".to_owned() });
    found.entities.push(Entity { kind: EntityKind::Host, value: "ws1".to_owned() });
    assert_eq!(targets(&found), ["ws1", "203.0.113.7", r"C:\x.exe on ws1"]);
}

#[test]
fn a_candidate_survives_its_topic_and_its_ids_depend_on_playbook_step_and_assessment() {
    let found = assessment(Severity::High, &[], &[(EntityKind::Host, "ws1"), (EntityKind::Process, "x.exe")]);
    let candidates = select(vec![playbook("{}")], &found);
    let json = serde_json::to_string(&candidates).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Candidate>>(&json).unwrap(), candidates);
    assert_eq!(candidates[0].action_id(), select(vec![playbook("{}")], &found)[0].action_id());
    assert_ne!(candidates[0].action_id(), candidates[1].action_id());
    assert_ne!(candidates[0].idempotency_key(), candidates[1].idempotency_key());
}

#[test]
fn a_playbook_that_is_wrong_is_refused_with_what_to_write() {
    let text = "{id: p, title: P, mode: auto, when: {}, actions: [{type: notify, target: tenant}]}";
    assert!(parse_playbook("inline", text).is_ok());
    for (from, to, expected) in [
        ("id: p", "id: P p", "1 to 64 of `a-z`"),
        ("mode: auto", "mode: soon", "inline: mode: unknown variant `soon`"),
        ("when: {}", "when: {severity: high}", "unknown field `severity`"),
        ("type: notify", "type: block_ip", "block_ip can't be done to a tenant"),
        ("title: P", "title: P, cap: {per_hour: 0}", "cap.per_hour is 0, and must be 1 to 1000"),
        ("title: P", "title: P, cool_down: soon", "write it like `30s`"),
        ("title: P", "title: P, expires_after: 0s", "expires_after is 0"),
        ("title: P", "title: P, never_touch: {addresses: [dc01]}", "`dc01` is neither an address nor a network"),
    ] {
        let error = parse_playbook("inline", &text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let twice = vec![parse_playbook("a", text).unwrap(), parse_playbook("b", text).unwrap()];
    assert!(Playbooks::compile(twice).unwrap_err().to_string().contains("the id `p`"));
}

#[test]
fn the_shipped_playbooks_answer_an_attack_and_leave_little_things_alone() {
    let playbooks = shipped();
    assert!(playbooks.len() >= 6);
    let entities = [
        (EntityKind::Host, "ws1"),
        (EntityKind::User, "eve"),
        (EntityKind::Ip, "198.51.100.42"),
        (EntityKind::Process, r"C:\Users\eve\svchost.exe"),
        (EntityKind::File, r"C:\Users\eve\svchost.exe"),
    ];
    let attack = [
        ("TA0011", "Command and Control", "T1571"),
        ("TA0006", "Credential Access", "T1003.001"),
        ("TA0040", "Impact", "T1486"),
    ];
    let candidates = select(playbooks.clone(), &assessment(Severity::Critical, &attack, &entities));
    for kind in [
        ActionKind::IsolateHost,
        ActionKind::BlockIp,
        ActionKind::KillProcess,
        ActionKind::QuarantineFile,
        ActionKind::DisableUser,
        ActionKind::Notify,
    ] {
        assert!(candidates.iter().any(|candidate| candidate.kind == kind), "{kind:?}");
    }
    assert!(select(playbooks.clone(), &assessment(Severity::Low, &attack, &entities)).is_empty());
    // What cannot be undone needs a person, as the product comes.
    let irreversible = candidates.iter().filter(|candidate| candidate.kind == ActionKind::KillProcess);
    assert!(irreversible.into_iter().all(|candidate| candidate.mode != ActionMode::Auto));
}

#[test]
fn the_schema_is_the_one_that_is_committed() {
    let path = workspace("schemas/playbook.schema.json");
    let schema = serde_json::to_value(schemars::schema_for!(Playbook)).unwrap();
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&schema).unwrap() + "\n").unwrap();
    }
    // The order of keys is not the same in every build: it is a feature of serde_json's that other crates turn on.
    let committed: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(committed == schema, "UPDATE_SCHEMAS=1 cargo test -p cybervault-response writes it");
}
