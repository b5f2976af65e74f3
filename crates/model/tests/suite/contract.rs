//! schemas/ is the contract: what is written follows it, and what was written before can still be read.

use std::{collections::HashMap, fmt::Debug, fs, path::PathBuf, sync::Arc};

use apache_avro::{
    Schema, from_value, reader::datum::GenericDatumReader, schema_compatibility::Compatibility,
    schema_compatibility::SchemaCompatibility,
};
use cybervault_model::{
    ActionKind, ActionMode, ActionState, Assessment, AttackRef, ContentType, Contribution, ContributionKind,
    CorrelatedEvent, CorrelatedEvents, Decision, DecisionVerdict, EncodeError, Encoding, Entity, EntityKind,
    EntityRole, Evidence, Guardrail, Incident, IncidentChange, IncidentDecision, IncidentDecisionKind, IncidentEntity,
    IncidentRule, IncidentStatus, IncidentTactic, IncidentVerdict, IncidentWord, LeftOut, Origin, Plan, QuotaOverride,
    QuotaRejection, RecommendedAction, Record, RejectionReason, ResponseAction, SchemaIds, Score, Severity, Signal,
    SignalField, SignalValue, Target, TargetKind, Tenant, TenantId, TenantStatus, TimelineEntry, Timestamp, Verdict,
    avro::{Lookup, NoRegistry, Subject, WriterSchema, WriterSchemas},
    decode_value,
};
use proptest::prelude::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

fn schema(json: &str) -> Schema {
    Schema::parse_str(json).unwrap()
}

fn reads_all_of(reader: &Schema, writer: &Schema) -> bool {
    matches!(SchemaCompatibility::can_read(writer, reader), Ok(Compatibility::Full))
}

#[test]
fn every_schema_reads_what_its_baseline_wrote() {
    for subject in Subject::ALL {
        let baseline = folder().join("baseline").join(subject.name()).with_extension("avsc");
        let baseline = schema(&fs::read_to_string(baseline).unwrap());
        assert!(reads_all_of(&schema(subject.schema_json()), &baseline), "{} broke with its baseline", subject.name());
    }
    let files = fs::read_dir(folder()).unwrap().filter_map(Result::ok);
    assert_eq!(files.filter(|file| file.path().extension().is_some_and(|e| e == "avsc")).count(), Subject::ALL.len());
}

#[test]
fn an_incompatible_change_would_be_found() {
    let json = Subject::QuotaRejection.schema_json();
    let before = schema(json);
    for (from, to, compatible) in [
        (r#"["null", "long"], "default": null"#, r#"["null", "long", "string"], "default": null"#, true),
        (r#"{ "name": "bytes", "#, r#"{ "name": "x", "type": "int", "default": 0 }, { "name": "bytes", "#, true),
        (r#"{ "name": "bytes", "#, r#"{ "name": "x", "type": "int" }, { "name": "bytes", "#, false),
        (r#""name": "bytes", "type": "long""#, r#""name": "bytes", "type": "string""#, false),
        (r#""unknown_tenant", "#, "", false),
    ] {
        assert!(json.contains(from), "{from}");
        let after = schema(&json.replacen(from, to, 1));
        assert_eq!(reads_all_of(&after, &before), compatible, "{from} -> {to}");
    }
}

/// Who makes types from the schemas in one language gets one type a name.
#[test]
fn a_name_means_the_same_in_every_schema() {
    /// A type that is said in full where it comes first is what its name means where it comes again.
    fn by_name(json: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match json {
            Value::Object(fields) if fields.contains_key("fields") || fields.contains_key("symbols") => {
                fields["name"].clone()
            }
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), by_name(value))).collect(),
            Value::Array(items) => items.iter().map(by_name).collect(),
            other => other.clone(),
        }
    }
    fn collect(json: &serde_json::Value, named: &mut HashMap<String, serde_json::Value>) {
        if json.get("fields").or_else(|| json.get("symbols")).is_some() {
            let name = json["name"].as_str().unwrap().to_owned();
            let said = serde_json::Value::Object(
                json.as_object().unwrap().iter().map(|(key, value)| (key.clone(), by_name(value))).collect(),
            );
            let known = named.entry(name.clone()).or_insert_with(|| said.clone());
            assert_eq!(*known, said, "{name}");
        }
        match json {
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, named)),
            serde_json::Value::Object(fields) => fields.values().for_each(|field| collect(field, named)),
            _ => {}
        }
    }
    let mut named = HashMap::new();
    for subject in Subject::ALL {
        collect(&serde_json::from_str(subject.schema_json()).unwrap(), &mut named);
    }
    assert!(named.contains_key("Plan") && named.contains_key("Target"));
}

/// A registry with one schema, under id 7.
#[derive(Debug)]
struct Registry(Arc<WriterSchema>);

impl Registry {
    fn of(subject: Subject) -> Self {
        Self(Arc::new(WriterSchema::parse(subject.schema_json()).unwrap()))
    }
}

impl WriterSchemas for Registry {
    fn by_id(&self, id: u32) -> Lookup {
        if id == 7 { Lookup::Found(self.0.clone()) } else { Lookup::Unknown("no such id".to_owned()) }
    }
}

fn comes_back_in_every_form<T: Record + PartialEq + Debug>(value: &T) {
    let registry = Registry::of(T::SUBJECT);
    let ids = SchemaIds::from_iter([(T::SUBJECT, 7)]);
    for encoding in [Encoding::Json, Encoding::AvroSingleObject, Encoding::AvroConfluent(ids)] {
        let mut bytes = b"before".to_vec();
        encoding.encode(value, &mut bytes).unwrap();
        let bytes = bytes.strip_prefix(b"before").unwrap();
        let content_type = Some(encoding.content_type().as_str().as_bytes());
        assert_eq!(&decode_value::<T>(bytes, content_type, &registry).unwrap(), value, "{encoding:?}");
        if encoding.content_type() == ContentType::Avro {
            let header = if bytes[0] == 0 { 5 } else { 10 };
            assert_eq!(&by_the_reference::<T>(&bytes[header..]), value);
            for end in 0..bytes.len() {
                assert!(decode_value::<T>(&bytes[..end], content_type, &registry).is_err(), "{end} bytes of {value:?}");
            }
        }
    }
}

/// What other consumers will read.
fn by_the_reference<T: Record>(mut body: &[u8]) -> T {
    let schema = schema(T::SUBJECT.schema_json());
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let value = from_value(&reader.read_value(&mut body).unwrap()).unwrap();
    assert!(body.is_empty());
    value
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z|]{1,8}", "\\PC{0,12}"]
}

fn tenant_ids() -> impl Strategy<Value = TenantId> {
    "[a-zA-Z0-9._-]{1,64}".prop_map(|id| TenantId::new(&id).unwrap())
}

fn times() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis()).prop_map(Timestamp::from_millis)
}

fn targets() -> impl Strategy<Value = Target> {
    let kind = prop::sample::select(vec![TargetKind::Host, TargetKind::Process, TargetKind::Tenant]);
    (kind, texts(), prop::option::of(texts())).prop_map(|(kind, value, host)| Target { kind, value, host })
}

fn contributions() -> impl Strategy<Value = Contribution> {
    let kind = prop::sample::select(vec![ContributionKind::Rule, ContributionKind::EntityRisk]);
    let evidence = prop::collection::vec((texts(), texts()), 0..3);
    (kind, texts(), texts(), prop::sample::select(Severity::ALL.to_vec()), 0.0..1.0, evidence).prop_map(
        |(kind, id, title, level, weight, evidence)| {
            let evidence = evidence.into_iter().map(|(field, value)| Evidence { field, value }).collect();
            Contribution { kind, id, title, level, weight, evidence }
        },
    )
}

prop_compose! {
    fn assessments()(
        [assessment_id, event_id, text] in [texts(), texts(), texts()],
        tenant_id in tenant_ids(),
        occurred_at in prop::option::of(times()),
        score in 0_u8..=100,
        contributions in prop::collection::vec(contributions(), 0..3),
        attack in prop::collection::vec(texts(), 0..2),
        entities in prop::collection::vec(texts(), 0..2),
        targets in prop::collection::vec(targets(), 0..2),
        correlated in prop::option::of((times(), prop::option::of(texts()))),
    ) -> Assessment {
        let attack_ref = |tactic: String| AttackRef {
            tactic_id: "TA0002".into(), tactic: tactic.into(), technique_id: "".into(), technique: text.as_str().into(),
        };
        let action = |target| RecommendedAction {
            kind: ActionKind::QuarantineFile, target, reason: text.clone(), reversible: true,
        };
        Assessment {
            assessment_id,
            tenant_id,
            event_id,
            occurred_at,
            risk_score: Score::try_from(score).unwrap(),
            severity: Severity::ALL[usize::from(score % 5)],
            verdict: if score > 50 { Verdict::Malicious } else { Verdict::Benign },
            contributions,
            mitre_attack: attack.into_iter().map(attack_ref).collect(),
            entities: entities.into_iter().map(|value| Entity { kind: EntityKind::Hash, value }).collect(),
            recommended_actions: targets.into_iter().map(action).collect(),
            rules_version: text.clone(),
            replaced_characters: Some(u32::from(score)).filter(|count| *count > 0),
            correlated: correlated.map(|(occurred_at, value)| CorrelatedEvents {
                count: 7,
                events: vec![CorrelatedEvent { event_id: text.clone(), occurred_at, rules: vec![text.clone()], value }],
            }),
        }
    }
}

prop_compose! {
    fn actions()(
        [action_id, playbook_id, reason] in [texts(), texts(), texts()],
        tenant_id in tenant_ids(),
        target in targets(),
        guardrail in prop::option::of(prop::sample::select(vec![Guardrail::NeverTouch, Guardrail::PendingLimit])),
        [proposed_at, updated_at, expires_at] in [times(), times(), times()],
        reversible in any::<bool>(),
        place in prop::option::of(texts()),
    ) -> ResponseAction {
        ResponseAction {
            action_id, idempotency_key: "k".to_owned(), tenant_id, assessment_id: String::new(), incident_id: place, playbook_id,
            kind: ActionKind::Notify, target, mode: ActionMode::Auto, state: ActionState::Expired, reason, guardrail,
            decided_by: "clock".to_owned(), reversible, proposed_at, updated_at, expires_at,
        }
    }
}

prop_compose! {
    fn incidents()(
        [incident_id, text, name] in [texts(), texts(), texts()],
        tenant_id in tenant_ids(),
        [a, b] in [times(), times()],
        n in 0_u64..1 << 63,
        score in 0_u8..=100,
        target in targets(),
        verdict in prop::option::of(prop::sample::select(IncidentVerdict::ALL.to_vec())),
        status in prop::sample::select(IncidentStatus::ALL.to_vec()),
        some in prop::option::of(texts()),
        weight in 0.0..1.0,
        full in any::<bool>(),
    ) -> Incident {
        let severity = Severity::ALL[usize::from(score % 5)];
        let entity = IncidentEntity {
            kind: EntityKind::User, value: name.clone(), roles: vec![EntityRole::Actor, EntityRole::Indicator], joins: full,
            findings: n, first_at: a, last_at: b,
        };
        let rule = IncidentRule {
            kind: ContributionKind::Correlation, id: text.clone(), title: name.clone(), level: severity, weight, findings: n,
            first_at: b, last_at: a,
        };
        let entry = TimelineEntry {
            assessment_id: text.clone(), title: name.clone(), severity, rules: vec![text.clone()],
            tactics: vec!["TA0002".into()], entities: vec![Entity { kind: EntityKind::Ip, value: text.clone() }],
            further_entities: n, findings: n, first_at: a, last_at: b,
        };
        let word = IncidentWord {
            decision_id: text.clone(), kind: IncidentDecisionKind::Verdict, value: some.clone(), comment: some.clone(),
            by: name.clone(), at: a,
        };
        let action = RecommendedAction { kind: ActionKind::Notify, target, reason: name.clone(), reversible: false };
        let tactic = IncidentTactic { tactic_id: "TA0002".into(), tactic: "Execution".into(), first_at: b };
        let left_out = LeftOut { entities: n, rules: n, timeline: n, decisions: n, gained: n };
        fn one<T>(full: bool, item: T) -> Vec<T> {
            if full { vec![item] } else { Vec::new() }
        }
        Incident {
            incident_id, tenant_id, revision: n, changes: one(full, IncidentChange::Absorbed), title: name, status, verdict,
            assignee: some.clone(), severity, risk_score: Score::try_from(score).unwrap(), findings: n, first_at: a, last_at: b,
            opened_at: a, updated_at: b, tactics: one(full, tactic), mitre_attack: Vec::new(), entities: one(full, entity),
            timeline: one(full, entry), rules: one(full, rule), recommended_actions: one(full, action),
            decisions: one(full, word), gained: vec![text.clone()], merged: vec![text], merged_into: some, left_out,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_assessment_comes_back_in_every_form(assessment in assessments()) {
        comes_back_in_every_form(&assessment);
    }

    #[test]
    fn a_broken_assessment_is_survived(assessment in assessments(), edits in prop::collection::vec(any::<(u16, u8)>(), 1..4)) {
        let mut bytes = Vec::new();
        Encoding::AvroSingleObject.encode(&assessment, &mut bytes).unwrap();
        let body = bytes.len() - 10;
        for (at, byte) in edits {
            bytes[10 + usize::from(at) % body] = byte;
        }
        // Reading must end, whatever comes out.
        drop(decode_value::<Assessment>(&bytes, Some(b"application/avro"), &NoRegistry));
    }

    #[test]
    fn an_action_comes_back_in_every_form(action in actions()) {
        comes_back_in_every_form(&action);
    }

    #[test]
    fn a_rejection_comes_back_in_every_form(
        tenant_id in texts(), plan in prop::option::of(Just(Plan::Enterprise)), at in times(),
        retry_after_ms in prop::option::of(0_u64..1 << 40), bytes in 0_u64..1 << 63, offset in any::<i64>(),
        place in prop::option::of(texts()),
    ) {
        comes_back_in_every_form(&QuotaRejection {
            tenant_id, reason: RejectionReason::BytesPerSecond, plan, retry_after_ms, rejected_at: at, bytes,
            origin: Origin { topic: "telemetry.events".into(), partition: i32::MAX, offset, place },
        });
    }

    #[test]
    fn a_decision_comes_back_in_every_form(tenant_id in tenant_ids(), comment in prop::option::of(texts())) {
        comes_back_in_every_form(&Decision {
            action_id: "ra_1".to_owned(), tenant_id, verdict: DecisionVerdict::Deny, decided_by: "é".to_owned(), comment,
        });
    }

    #[test]
    fn a_signal_comes_back_in_every_form(
        tenant_id in tenant_ids(), occurred_at in times(), names in prop::collection::vec(texts(), 0..3),
        numbers in prop::collection::vec(prop::option::of(-1e9..1e9_f64), 0..3), event_id in texts(),
    ) {
        let value = |number: &Option<f64>| SignalValue { text: event_id.clone(), number: *number };
        let field = |name: &String| SignalField { name: name.clone(), values: numbers.iter().map(value).collect() };
        comes_back_in_every_form(&Signal {
            tenant_id, event_id: event_id.clone(), occurred_at, correlations: names.clone(), rules: names.clone(),
            meets: names.clone(), fields: names.iter().map(field).collect(),
            entities: names.iter().map(|value| Entity { kind: EntityKind::Host, value: value.clone() }).collect(),
            destinations: names,
        });
    }

    #[test]
    fn an_incident_comes_back_in_every_form(incident in incidents()) {
        comes_back_in_every_form(&incident);
    }

    #[test]
    fn a_word_on_an_incident_comes_back_in_every_form(
        tenant_id in tenant_ids(), some in prop::option::of(texts()),
        status in prop::option::of(prop::sample::select(IncidentStatus::ALL.to_vec())),
    ) {
        comes_back_in_every_form(&IncidentDecision {
            decision_id: "d".to_owned(), incident_id: "inc_1".to_owned(), tenant_id, kind: IncidentDecisionKind::Status,
            status, verdict: None, assignee: some.clone(), decided_by: "é".to_owned(), comment: some,
        });
    }

    #[test]
    fn a_tenant_comes_back_in_every_form(
        tenant_id in tenant_ids(), name in prop::option::of(texts()), rate in prop::option::of(0_u64..1 << 63),
        burst_percent in prop::option::of(any::<u32>()), quota in any::<bool>(),
    ) {
        let quota = quota.then_some(QuotaOverride { events_per_second: rate, bytes_per_second: None, burst_percent });
        comes_back_in_every_form(&Tenant {
            tenant_id, name, plan: Plan::Starter, status: TenantStatus::Suspended, quota,
        });
    }
}

#[test]
fn what_can_not_be_written_leaves_the_output_as_it_was() {
    let rejection = QuotaRejection {
        tenant_id: "acme".to_owned(),
        reason: RejectionReason::UnknownTenant,
        plan: None,
        retry_after_ms: None,
        rejected_at: Timestamp::default(),
        bytes: u64::MAX,
        origin: Origin { topic: "t".into(), partition: 0, offset: 0, place: None },
    };
    let mut out = b"before".to_vec();
    let too_large = Encoding::AvroSingleObject.encode(&rejection, &mut out);
    assert!(matches!(too_large, Err(EncodeError::Avro { .. })));
    let unregistered = Encoding::AvroConfluent(SchemaIds::default()).encode(&rejection, &mut out);
    assert!(matches!(unregistered, Err(EncodeError::NotRegistered("quota-rejection"))));
    assert_eq!(out, b"before");
}

#[test]
fn a_value_that_is_none_is_refused_with_its_reason() {
    let json = Some(&b"application/json"[..]);
    let avro = Some(&b"avro/binary"[..]);
    for (value, content_type, expected) in [
        (&b"{"[..], json, "not_json"),
        (b"\xff", json, "invalid_utf8"),
        (b"{\"action_id\":\"ra_1\"}", None, "wrong_schema"),
        (b"{}", avro, "not_avro"),
        (b"\x00\x00\x00\x00\x07x", avro, "unknown_schema_id"),
        (b"\xc3\x01\x00\x00\x00\x00\x00\x00\x00\x00x", avro, "unknown_schema_id"),
        (&[b' '; (1 << 20) + 1], None, "too_large"),
        (b"{}", Some(b"text/plain"), "unsupported_content_type"),
    ] {
        let error = decode_value::<Decision>(value, content_type, &NoRegistry).unwrap_err();
        assert_eq!(error.reason(), expected, "{error}");
    }
}
