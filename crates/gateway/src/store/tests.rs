//! The store, on every database that it takes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use cybervault_model::{
    ActionKind, ActionMode, ActionState, Assessment, AttackRef, Contribution, ContributionKind, Entity, EntityKind,
    KeysCount, Origin, QuotaRejection, RejectionReason, ResponseAction, Score, Severity, SourceCount, SourceReport,
    Target, TargetKind, TenantId, Timestamp, Verdict, assessment_id,
};
use cybervault_testkit::Postgres;
use sqlx::Connection;

use super::*;
use crate::{
    key::{KeyKind, Scope, random_text},
    limit::Terms,
    list::ListQuery,
};

const AT: i64 = 1_780_000_000_000;

/// A test of each database: SQLite always, PostgreSQL where there is one.
async fn on_each<T: AsyncFn(Store)>(test: T) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Place::File(folder.path().join("a folder with 50%").join("store.db"));
    std::fs::create_dir(folder.path().join("a folder with 50%")).unwrap();
    test(Store::open(&sqlite).await.unwrap()).await;
    test(Store::open(&Place::Memory).await.unwrap()).await;
    if let Some(place) = postgres().await {
        // Two replicas at once.
        let (one, other) = tokio::join!(Store::open(&place), Store::open(&place));
        assert_eq!(one.as_ref().unwrap().cursor_key(), other.unwrap().cursor_key());
        test(one.unwrap()).await;
    }
}

async fn postgres() -> Option<Place> {
    let server = Postgres::shared()?;
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(server.url()).await.unwrap();
    let name = format!("t{}", random_text(12).unwrap().to_lowercase());
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (before, _) = server.url().rsplit_once('/').unwrap();
    Some(Place::Postgres(format!("{before}/{name}")))
}

fn tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}

fn assessment(tenant_id: &str, n: i64, points: u8) -> Landed {
    let event_id = format!("e{n}");
    let severity = Severity::ALL[usize::from(points / 25).min(4)];
    let assessment = Assessment {
        assessment_id: assessment_id(tenant_id, &event_id, None),
        tenant_id: tenant(tenant_id),
        event_id,
        occurred_at: Some(Timestamp::from_millis(AT)),
        risk_score: Score::try_from(points).unwrap(),
        severity,
        verdict: Verdict::Suspicious,
        contributions: vec![Contribution {
            kind: ContributionKind::Rule,
            id: "rule-1".to_owned(),
            title: "Something".to_owned(),
            level: severity,
            weight: f64::from(points) / 100.0,
            evidence: Vec::new(),
        }],
        mitre_attack: vec![AttackRef {
            tactic_id: "TA0002".into(),
            tactic: "Execution".into(),
            technique_id: format!("T{}", 1000 + n % 3).into(),
            technique: "Name".into(),
        }],
        entities: vec![
            Entity { kind: EntityKind::Host, value: format!("ws-{}", n % 2) },
            Entity { kind: EntityKind::User, value: "nul\0 and ' quote".to_owned() },
        ],
        recommended_actions: Vec::new(),
        rules_version: "r1".to_owned(),
        replaced_characters: None,
        correlated: None,
    };
    Landed::Assessment { assessment: Box::new(assessment), created_at: Timestamp::from_millis(AT + n) }
}

fn action(state: ActionState, at: i64) -> Landed {
    Landed::Action(Box::new(ResponseAction {
        action_id: "ra_1".to_owned(),
        idempotency_key: "ra_1".to_owned(),
        tenant_id: tenant("acme"),
        assessment_id: assessment_id("acme", "e0", None),
        incident_id: None,
        playbook_id: "p".to_owned(),
        kind: ActionKind::IsolateHost,
        target: Target { kind: TargetKind::Host, value: "ws-0".to_owned(), host: None },
        mode: ActionMode::Approval,
        state,
        reason: "because".to_owned(),
        guardrail: None,
        decided_by: "kim".to_owned(),
        reversible: true,
        proposed_at: Timestamp::from_millis(AT),
        updated_at: Timestamp::from_millis(AT + at),
        expires_at: Timestamp::from_millis(AT + 60_000),
    }))
}

fn rejection(at: i64) -> Landed {
    Landed::Rejection(Box::new(QuotaRejection {
        tenant_id: "acme".to_owned(),
        reason: RejectionReason::EventsPerSecond,
        plan: None,
        retry_after_ms: Some(10),
        rejected_at: Timestamp::from_millis(AT + at),
        bytes: 100,
        origin: Origin { topic: "t".into(), partition: 0, offset: at, place: None },
    }))
}

/// Lands records as if they were the next ones of a topic.
async fn land(store: &Store, from: i64, landed: Vec<Landed>) -> bool {
    assert!(store.lease_view("me", now()).await.unwrap());
    let to = from + i64::try_from(landed.len()).unwrap();
    let moves = [(("t".to_owned(), 0), (from, to))].into();
    store.land("me", &ViewBatch { landed, moves }).await.unwrap()
}

fn ids(page: &assessments::Page) -> Vec<String> {
    let id = |document: &str| {
        let value: serde_json::Value = serde_json::from_str(document).unwrap();
        value["event_id"].as_str().unwrap().to_owned()
    };
    page.documents.iter().map(|document| id(document.get())).collect()
}

async fn list(store: &Store, tenant_id: &str, query: &str) -> assessments::Page {
    let tenant_id = tenant(tenant_id);
    let query = ListQuery::parse(&ASSESSMENTS, query, &tenant_id, store.cursor_key()).unwrap();
    store.list(&query, &tenant_id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_by_its_hash_until_it_is_revoked_or_rotated_out() {
    on_each(async |store| {
        let new = NewKey {
            tenant_id: tenant("acme"),
            kind: KeyKind::Read,
            name: "ci".to_owned(),
            scopes: BTreeSet::from([Scope::ThreatRead, Scope::Admin]),
            expires_at: None,
        };
        let (secret, issued) = store.issue_key(&new).await.unwrap();
        let found = store.key_by_hash(&secret.hash()).await.unwrap().unwrap();
        assert_eq!(found, issued);
        assert_eq!(found.scopes, BTreeSet::from([Scope::ThreatRead]), "a read key has no admin scope");
        assert_eq!(store.key(&tenant("globex"), &found.key_id).await.unwrap(), None);

        let (new_secret, _) = store.rotate_key(&found, 60_000, None).await.unwrap();
        let old = store.key_by_hash(&secret.hash()).await.unwrap().unwrap();
        assert!(old.is_valid(now()) && !old.is_valid(now().plus_millis(60_001)));
        assert!(store.key_by_hash(&new_secret.hash()).await.unwrap().unwrap().expires_at.is_none());

        assert!(store.revoke_key(&found.key_id).await.unwrap() && !store.revoke_key(&found.key_id).await.unwrap());
        assert!(!store.key_by_hash(&secret.hash()).await.unwrap().unwrap().is_valid(now()));
        assert_eq!(store.keys(Some(&tenant("acme"))).await.unwrap().len(), 2);
        assert!(store.keys(Some(&tenant("globex"))).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_lands_once_whoever_writes_and_however_often_it_comes() {
    on_each(async |store| {
        let records = || vec![assessment("acme", 0, 80), assessment("acme", 1, 30), rejection(0), rejection(1)];
        assert!(land(&store, -1, records()).await);
        assert!(!land(&store, -1, records()).await, "the partition has moved on");
        assert!(!store.lease_view("other", now()).await.unwrap());
        let batch = ViewBatch { landed: records(), moves: [(("t".to_owned(), 0), (3, 9))].into() };
        assert!(!store.land("other", &batch).await.unwrap(), "without the lease nothing lands");
        // A repetition comes at another offset: there is still one of it.
        assert!(land(&store, 3, vec![assessment("acme", 0, 80)]).await);
        assert_eq!(store.entity(&tenant("acme"), "host", "ws-0").await.unwrap().unwrap().findings, 1);
        assert_eq!(store.view_offsets().await.unwrap(), [(("t".to_owned(), 0), 4)].into());
        let facts = store.facts(&tenant("acme"), (Timestamp::MIN, Timestamp::MAX)).await.unwrap();
        assert_eq!((facts.all_findings(), facts.rejected, facts.entities, facts.techniques), (2, 2, 3, 2));
        assert_eq!(facts.findings[3], 1);

        store.empty_view().await.unwrap();
        assert!(store.view_offsets().await.unwrap().is_empty());
        assert!(land(&store, -1, records()).await);
        assert_eq!(list(&store, "acme", "").await.documents.len(), 2);
    })
    .await;
}

/// The same id, and what it says changed.
fn rewritten(landed: Landed, points: u8, host: &str) -> Landed {
    let Landed::Assessment { mut assessment, created_at } = landed else { panic!("an assessment") };
    assessment.risk_score = Score::try_from(points).unwrap();
    assessment.severity = Severity::ALL[usize::from(points / 25).min(4)];
    assessment.contributions[0].weight = f64::from(points) / 100.0;
    assessment.entities[0].value = host.to_owned();
    assessment.mitre_attack.clear();
    Landed::Assessment { assessment, created_at: created_at.plus_millis(60_000) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_stays_as_it_was_first_said_whatever_comes_under_its_id() {
    on_each(async |store| {
        let acme = tenant("acme");
        assert!(land(&store, -1, vec![assessment("acme", 0, 92), assessment("acme", 1, 40)]).await);
        let first = list(&store, "acme", "").await.documents;
        let end = store.feed_end().await.unwrap();
        // Lower, higher, the same, another tenant's, and one that is new beside them; some twice in a batch.
        let landed = vec![
            rewritten(assessment("acme", 0, 92), 3, "ws-9"),
            rewritten(assessment("acme", 1, 40), 99, "ws-9"),
            assessment("acme", 0, 92),
            assessment("globex", 0, 5),
            assessment("acme", 2, 50),
            rewritten(assessment("acme", 2, 50), 1, "ws-9"),
        ];
        assert!(land(&store, 1, landed).await);
        let all = list(&store, "acme", "sort=created_at:asc").await.documents;
        let texts = |documents: &[Box<serde_json::value::RawValue>]| -> BTreeSet<String> {
            documents.iter().map(|document| document.get().to_owned()).collect()
        };
        assert!(texts(&first).is_subset(&texts(&all)) && all.len() == 3, "{all:?}");
        assert!(store.entity(&acme, "host", "ws-9").await.unwrap().is_none());
        assert_eq!(store.entity(&acme, "host", "ws-0").await.unwrap().unwrap().max_risk_score, 92);
        assert_eq!(store.entity(&tenant("globex"), "host", "ws-0").await.unwrap().unwrap().max_risk_score, 5);
        let facts = store.facts(&acme, (Timestamp::MIN, Timestamp::MAX)).await.unwrap();
        assert_eq!((facts.findings, facts.techniques), ([0, 1, 1, 1, 0].map(i64::from), 3));
        // What was told once is not told again, and nobody hears what was left.
        let told = store.feed_of(&acme, (end, i64::MAX), 10).await.unwrap();
        assert_eq!(told.iter().map(|item| item.document.get()).collect::<Vec<_>>(), [all[2].get()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_known_by_its_finding_and_another_one_by_its_id() {
    on_each(async |store| {
        let found = |event_id: &str, content: Option<u8>| {
            let Landed::Assessment { mut assessment, created_at } = assessment("acme", 0, 50) else { unreachable!() };
            event_id.clone_into(&mut assessment.event_id);
            assessment.assessment_id = assessment_id("acme", event_id, content.map(|byte| [byte; 32]).as_ref());
            Landed::Assessment { assessment, created_at }
        };
        let asked = |landed: &Landed| match landed {
            Landed::Assessment { assessment, .. } => Asked::from(&**assessment),
            _ => unreachable!(),
        };
        let many = (10..40).map(|content| found("e-many", Some(content)));
        let landed = vec![found("e-1", Some(1)), found("e-old", None), found("nul\0", Some(1))];
        assert!(land(&store, -1, landed.into_iter().chain(many).collect()).await);
        let questions = [
            (found("e-1", Some(1)), "same"),
            (found("e-1", Some(2)), "other"),
            (found("E-1", Some(1)), "new"),
            (found("e-2", Some(1)), "new"),
            // Of what an earlier version found nobody can tell which event it was.
            (found("e-old", Some(1)), "new"),
            (found("e-many", Some(39)), "same"),
            (found("e-many", Some(40)), "other"),
            (found("nul\0", Some(1)), "same"),
            (found("nul\0", Some(2)), "other"),
            (rewritten(found("e-1", Some(1)), 1, "ws-9"), "same"),
        ];
        let mut all: Vec<Asked> = questions.iter().map(|(landed, _)| asked(landed)).collect();
        // More than one statement takes.
        let more = (0..300).map(|n| asked(&found(&format!("more-{n}"), Some(1))));
        all.extend(more);
        let known = store.known_events(&all).await.unwrap();
        assert_eq!(known.len(), all.len());
        let said: Vec<&str> = known
            .iter()
            .map(|known| match known {
                KnownEvent::New => "new",
                KnownEvent::Same(_) => "same",
                KnownEvent::Other => "other",
            })
            .collect();
        let expected: Vec<&str> = questions.iter().map(|(_, expected)| *expected).collect();
        assert_eq!(said[..questions.len()], expected);
        assert!(said[questions.len()..].iter().all(|said| *said == "new"));
        let KnownEvent::Same(document) = &known[0] else { unreachable!() };
        assert!(document.get().contains("\"e-1\""));
        assert!(store.known_events(&[]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_forgotten_whole_and_no_other() {
    on_each(async |store| {
        assert!(
            land(&store, -1, vec![assessment("acme", 0, 80), action(ActionState::Proposed, 0), rejection(0)]).await
        );
        assert!(land(&store, 2, vec![assessment("globex", 0, 80)]).await);
        assert_eq!(store.claim(&tenant("acme"), "k", "f").await.unwrap(), Claim::Ours);
        store.forget_tenant(&tenant("acme")).await.unwrap();
        assert!(list(&store, "acme", "").await.documents.is_empty());
        assert!(store.action(&tenant("acme"), "ra_1").await.unwrap().is_none());
        assert!(store.rejections(&tenant("acme"), Timestamp::MIN).await.unwrap().is_empty());
        assert!(store.entity(&tenant("acme"), "host", "ws-0").await.unwrap().is_none());
        assert_eq!(store.claim(&tenant("acme"), "k", "g").await.unwrap(), Claim::Ours);
        assert_eq!(list(&store, "globex", "").await.documents.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_neither_repeat_nor_miss_a_row_while_others_arrive() {
    on_each(async |store| {
        assert!(land(&store, -1, (0..25).map(|n| assessment("acme", n * 10, 50)).collect()).await);
        assert!(land(&store, 24, vec![assessment("globex", 0, 50)]).await);
        for (sort, arrives) in [("created_at:desc", 5_000), ("created_at:asc", 3), ("risk_score:desc", 77)] {
            let mut seen = Vec::new();
            let mut query = format!("limit=10&sort={sort}");
            loop {
                let page = list(&store, "acme", &query).await;
                seen.extend(ids(&page));
                let Some(cursor) = page.next_cursor else { break };
                // Another one lands before the page that follows.
                let offset = store.view_offsets().await.unwrap()[&("t".to_owned(), 0)];
                let n = arrives + i64::try_from(seen.len()).unwrap();
                assert!(land(&store, offset, vec![assessment("acme", n, 50)]).await);
                query = format!("limit=10&sort={sort}&cursor={cursor}");
            }
            let all: BTreeSet<&String> = seen.iter().collect();
            assert_eq!(all.len(), seen.len(), "{sort}: none twice");
            assert!((0..25).all(|n| all.contains(&format!("e{}", n * 10))), "{sort}: none missed");
        }
        assert_eq!(ids(&list(&store, "globex", "").await), ["e0"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_tried_on_some_rows_a_page_and_still_finds_all() {
    on_each(async |store| {
        // The rarest is the oldest, beyond what one page goes through.
        let many = 25_000;
        for (n, from) in (0..many).step_by(1_000).enumerate() {
            let some = (from..from + 1_000).map(|n| assessment("acme", n, if n < 3 { 99 } else { 50 })).collect();
            assert!(land(&store, i64::try_from(n * 1_000).unwrap() - 1, some).await);
        }
        for (filter, sort, expected) in [
            (r#"{"risk_score":{"gte":90}}"#, "created_at:desc", vec!["e2", "e1", "e0"]),
            (r#"{"severity":"high"}"#, "created_at:desc", vec!["e2", "e1", "e0"]),
            (r#"{"severity":{"gte":"high"}}"#, "created_at:asc", vec!["e0", "e1", "e2"]),
            (r#"{"entity":"ws-1","severity":{"gte":"high"}}"#, "created_at:desc", vec!["e1"]),
            (r#"{"entity":{"in":["ws-0","ws-1"]},"event_id":{"contains":"e24999"}}"#, "created_at:asc", vec!["e24999"]),
            (r#"{"technique":"T1001","event_id":"e1"}"#, "created_at:desc", vec!["e1"]),
            (r#"{"event_id":"e77"}"#, "created_at:desc", vec!["e77"]),
            (
                r#"{"entity":"ws-0","created_at":{"lt":"2026-05-28T20:26:40.003Z"}}"#,
                "created_at:desc",
                vec!["e2", "e0"],
            ),
            (r#"{"risk_score":{"lt":60},"event_id":{"in":["e3","e4"]}}"#, "risk_score:desc", vec!["e3", "e4"]),
            (r#"{"or":[{"event_id":"e0"},{"event_id":"e24000"}]}"#, "created_at:desc", vec!["e24000", "e0"]),
        ] {
            let filter: String = form_urlencoded::byte_serialize(filter.as_bytes()).collect();
            let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = list(&store, "acme", &format!("limit=2&sort={sort}&filter={filter}{cursor}")).await;
                found.extend(ids(&page));
                pages += 1;
                let Some(next) = page.next_cursor else { break };
                cursor = format!("&cursor={next}");
            }
            if sort.starts_with("risk_score") {
                found.sort();
            }
            assert_eq!(found, expected, "{filter}");
            assert!(pages <= 60, "{filter}: {pages} pages");
        }
        assert!(list(&store, "globex", "filter=%7B%22entity%22%3A%22ws-1%22%7D").await.documents.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_find_what_they_say() {
    on_each(async |store| {
        let landed = (0..8).map(|n| assessment("acme", n, u8::try_from(n * 12).unwrap())).collect();
        assert!(land(&store, -1, landed).await);
        for (filter, expected) in [
            (r#"{"risk_score":{"gte":60}}"#, vec!["e7", "e6", "e5"]),
            (r#"{"severity":"high"}"#, vec!["e7"]),
            (r#"{"severity":{"in":["informational","low"]},"risk_score":{"ne":12}}"#, vec!["e4", "e3", "e2", "e0"]),
            (r#"{"entity":"ws-1","technique":"T1000"}"#, vec!["e3"]),
            (r#"{"tactic":{"contains":"TA0002"},"event_id":{"contains":"E6"}}"#, vec!["e6"]),
            (r#"{"or":[{"event_id":"e1"},{"event_id":{"contains":"_2"}}]}"#, vec!["e1"]),
            (r#"{"created_at":{"lt":"2026-05-28T20:26:40.002Z"}}"#, vec!["e1", "e0"]),
            (r#"{"event_id":"' OR 1=1 --"}"#, vec![]),
            // Contains is more than being the same.
            (
                r#"{"entity":{"contains":"S-1"},"technique":{"contains":"t100"},"event_id":{"in":["e0","e3"]}}"#,
                vec!["e3"],
            ),
            (r#"{"entity":{"contains":"%"}}"#, vec![]),
        ] {
            let query = format!("filter={}", form_urlencoded::byte_serialize(filter.as_bytes()).collect::<String>());
            assert_eq!(ids(&list(&store, "acme", &query).await), expected, "{filter}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_stands_where_its_last_state_put_it_and_an_entity_shows_both() {
    on_each(async |store| {
        // The later state first, as two partitions may bring it.
        assert!(land(&store, -1, vec![action(ActionState::Approved, 5), action(ActionState::Proposed, 0)]).await);
        assert!(land(&store, 1, vec![assessment("acme", 0, 80), action(ActionState::Approved, 5)]).await);
        let found = store.action(&tenant("acme"), "ra_1").await.unwrap().unwrap();
        let shown: serde_json::Value = serde_json::from_str(found.document.get()).unwrap();
        assert_eq!((shown["state"].as_str(), found.history.len()), (Some("approved"), 2));
        assert!(store.action(&tenant("globex"), "ra_1").await.unwrap().is_none());
        assert_eq!(store.actions_of(&tenant("acme"), &assessment_id("acme", "e0", None)).await.unwrap().len(), 1);

        let entity = store.entity(&tenant("acme"), "host", "ws-0").await.unwrap().unwrap();
        assert_eq!((entity.findings, entity.max_risk_score, entity.actions.len()), (1, 80, 1));
        assert!(store.entity(&tenant("globex"), "host", "ws-0").await.unwrap().is_none());
        let heat = store.heat(&tenant("acme"), Timestamp::MIN).await.unwrap();
        assert_eq!((heat.len(), heat[0].findings), (1, 1));
        let facts = store.facts(&tenant("acme"), (Timestamp::MIN, Timestamp::MAX)).await.unwrap();
        assert_eq!((facts.decided_by_people, facts.mean_decision_ms), (1, Some(5)));

        let feed = store.feed_of(&tenant("acme"), (0, i64::MAX), 10).await.unwrap();
        let kinds: Vec<&str> = feed.iter().map(|item| item.kind.as_str()).collect();
        assert_eq!(kinds, ["action", "action", "assessment"]);
        assert!(store.feed_after(store.feed_end().await.unwrap(), 10).await.unwrap().is_empty());
    })
    .await;
}

/// An incident as it is told for the `revision`th time, with the findings that it has gained.
fn incident(id: u8, revision: u64, gained: &[i64], merged_into: Option<u8>) -> Landed {
    let name = |id: u8| format!("inc_{id:032x}");
    let at = |n: u64| Timestamp::from_millis(AT + i64::try_from(n).unwrap());
    let ids = gained.iter().map(|n| assessment_id("acme", &format!("e{n}"), None));
    let told = serde_json::json!({
        "incident_id": name(id), "tenant_id": "acme", "revision": revision, "changes": ["opened"], "title": "It",
        "status": if revision > 2 { "closed" } else { "open" }, "severity": "high", "risk_score": 10 * id, "findings": gained.len(),
        "first_at": at(0), "last_at": at(revision), "opened_at": at(id.into()), "updated_at": at(revision),
        "tactics": [{"tactic_id": "TA0002", "tactic": "Execution", "first_at": at(0)}], "mitre_attack": [],
        "entities": [{"kind": "host", "value": format!("WS-{id}.corp.example"), "roles": ["affected"], "joins": true, "findings": 1,
            "first_at": at(0), "last_at": at(0)}],
        "timeline": [], "rules": [], "recommended_actions": [], "decisions": [], "gained": ids.collect::<Vec<_>>(), "merged": [],
        "merged_into": merged_into.map(name), "left_out": {"entities": 0, "rules": 0, "timeline": 0, "decisions": 0, "gained": 0},
    });
    Landed::Incident(Box::new(serde_json::from_value(told).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_listed_as_it_was_told_last_and_its_findings_name_the_one_that_it_became() {
    on_each(async |store| {
        let acme = tenant("acme");
        let listed = async |query: &str| -> Vec<(String, i64)> {
            let query = ListQuery::parse(&INCIDENTS, query, &acme, store.cursor_key()).unwrap();
            let page = store.list(&query, &acme).await.unwrap();
            let read = |document: &str| serde_json::from_str::<serde_json::Value>(document).unwrap();
            let shown = page.documents.iter().map(|document| read(document.get()));
            shown
                .map(|one| (one["incident_id"].as_str().unwrap()[34..].to_owned(), one["revision"].as_i64().unwrap()))
                .collect()
        };
        let of = async |n: i64| {
            let id = assessment_id("acme", &format!("e{n}"), None);
            let found: serde_json::Value =
                serde_json::from_str(store.assessment(&acme, &id).await.unwrap().unwrap().get()).unwrap();
            found["incident_id"].as_str().map(|id| id[34..].to_owned())
        };
        // An incident may land before its findings do; a telling that comes late changes nothing.
        let first = vec![
            incident(1, 2, &[0], None),
            incident(1, 1, &[], None),
            incident(2, 1, &[1], None),
            incident(3, 1, &[2], None),
        ];
        assert!(land(&store, -1, first).await);
        assert!(land(&store, 3, (0..4).map(|n| assessment("acme", n, 80)).collect()).await);
        assert_eq!(listed("").await, [("03", 1), ("02", 1), ("01", 2)].map(|(id, n)| (id.to_owned(), n)));
        assert_eq!((of(0).await.as_deref(), of(2).await.as_deref(), of(3).await), (Some("01"), Some("03"), None));
        for (query, expected) in [
            (r#"filter={"entity":"ws-2"}"#, vec!["02"]),
            (r#"filter={"entity":"WS-2.corp.example"}"#, vec!["02"]),
            (r#"filter={"severity":{"gte":"high"},"risk_score":{"gt":15}}&sort=risk_score:asc"#, vec!["02", "03"]),
            (r#"filter={"tactics":{"contains":"TA0002"}}&sort=updated_at:desc&limit=1"#, vec!["01"]),
            (r#"filter={"status":"closed"}"#, vec![]),
        ] {
            let ids: Vec<String> = listed(query).await.into_iter().map(|(id, _)| id).collect();
            assert_eq!(ids, expected, "{query}");
        }
        // The third becomes a part of the second, and this one a part of the first.
        let merges = vec![incident(3, 2, &[], Some(2)), incident(2, 2, &[3], Some(1)), incident(1, 3, &[], None)];
        assert!(land(&store, 7, merges).await);
        assert_eq!(listed("").await, [("01".to_owned(), 3)]);
        for n in 0..4 {
            assert_eq!(of(n).await.as_deref(), Some("01"));
        }
        let gone = store.incident(&acme, &format!("inc_{:032x}", 3)).await.unwrap().unwrap();
        let gone: serde_json::Value = serde_json::from_str(gone.get()).unwrap();
        assert_eq!(gone["merged_into"], format!("inc_{:032x}", 1));
        assert_eq!(store.findings_of(&acme, &format!("inc_{:032x}", 1), 10).await.unwrap().len(), 4);
        assert!(store.incident(&tenant("globex"), &format!("inc_{:032x}", 1)).await.unwrap().is_none());
        assert_eq!(store.incident_counts(&acme).await.unwrap(), [("closed".to_owned(), 1)].into());
        let feed = store.feed_of(&acme, (0, i64::MAX), 50).await.unwrap();
        let incidents: Vec<_> = feed.iter().filter(|item| item.kind.as_str() == "incident").collect();
        assert_eq!(incidents.len(), 3, "each as it was told last");
        store.forget_tenant(&acme).await.unwrap();
        assert!(
            listed("").await.is_empty()
                && store.incidents_of(&acme, &[assessment_id("acme", "e0", None)]).await.unwrap().is_empty()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_is_listed_whatever_else_is_proposed() {
    on_each(async |store| {
        let proposed = |n: i64, mode, state, tenant_id: &str| {
            let Landed::Action(mut action) = action(state, 0) else { unreachable!() };
            action.action_id = format!("ra_{n}_{}", action.mode.as_str());
            action.tenant_id = tenant(tenant_id);
            action.mode = mode;
            action.expires_at = Timestamp::from_millis(AT + n);
            Landed::Action(action)
        };
        use {ActionMode as M, ActionState as S};
        let dry = (0..200).map(|n| proposed(1_000 + n, M::DryRun, S::Proposed, "acme"));
        let others = [
            proposed(3, M::Approval, S::Proposed, "acme"),
            proposed(2, M::Auto, S::Proposed, "acme"),
            proposed(1, M::Approval, S::Proposed, "acme"),
            proposed(4, M::Approval, S::Denied, "acme"),
            proposed(5, M::Approval, S::Proposed, "globex"),
        ];
        assert!(land(&store, -1, dry.chain(others).collect()).await);
        let acme = tenant("acme");
        let ends = async |at: i64, limit| {
            let waiting = store.waiting(&acme, Timestamp::from_millis(AT + at), limit).await.unwrap();
            waiting.iter().map(|action| action.expires_at.as_millis() - AT).collect::<Vec<_>>()
        };
        assert_eq!((ends(0, 10).await, ends(1, 10).await, ends(0, 2).await), (vec![1, 2, 3], vec![2, 3], vec![1, 2]));
        assert_eq!(store.waiting_count(&acme, Timestamp::from_millis(AT + 1)).await.unwrap(), 2);
        let ids = ["ra_3_approval", "ra_1_approval", "ra_5_approval", "none"].map(str::to_owned);
        let found = store.actions(&acme, &ids).await.unwrap();
        assert_eq!(found.keys().collect::<BTreeSet<_>>(), ids[..2].iter().collect::<BTreeSet<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_is_forgotten_at_its_own_age() {
    on_each(async |store| {
        let day = 24 * 60 * 60 * 1000;
        let old = |tenant_id| assessment(tenant_id, now().as_millis() - AT - 5 * day, 50);
        assert!(
            land(&store, -1, vec![old("acme"), old("globex"), assessment("acme", now().as_millis() - AT, 50)]).await
        );
        // More than is deleted at once.
        let long_ago = now().as_millis() - AT - 20 * day;
        let aged = |n| assessment("acme", long_ago - n, 50);
        assert!(land(&store, 2, (0..2_500).map(aged).collect()).await);
        let retention = Retention { days: 10, tenants: [(tenant("acme"), 3)].into() };
        assert_eq!(store.forget(&retention).await.unwrap(), 2_501);
        assert_eq!(list(&store, "acme", "").await.documents.len(), 1);
        assert_eq!(list(&store, "globex", "").await.documents.len(), 1);
        assert_eq!(
            store.entity(&tenant("acme"), "user", "nul\u{fffd} and ' quote").await.unwrap().unwrap().findings,
            1
        );
        assert_eq!(
            store.heat(&tenant("acme"), Timestamp::MIN).await.unwrap().iter().map(|cell| cell.findings).sum::<i64>(),
            1
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_has_only_actions_or_rejections_left_is_forgotten_too() {
    on_each(async |store| {
        for (at, landed) in [action(ActionState::Approved, 5), rejection(0)].into_iter().enumerate() {
            assert!(land(&store, i64::try_from(at).unwrap() - 1, vec![landed]).await);
            assert!(store.forget(&Retention::default()).await.unwrap() > 0);
        }
        assert!(store.action(&tenant("acme"), "ra_1").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_of_its_own_is_done_once() {
    on_each(async |store| {
        let acme = tenant("acme");
        assert_eq!(store.claim(&acme, "k", "f").await.unwrap(), Claim::Ours);
        assert_eq!(store.claim(&acme, "k", "f").await.unwrap(), Claim::InProgress);
        assert_eq!(store.claim(&acme, "k", "g").await.unwrap(), Claim::Mismatch);
        assert_eq!(store.claim(&tenant("globex"), "k", "g").await.unwrap(), Claim::Ours);
        let stored = Stored { status: 201, body: "{}".to_owned(), location: Some("/x".to_owned()) };
        store.answer(&acme, "k", &stored).await.unwrap();
        assert_eq!(store.claim(&acme, "k", "f").await.unwrap(), Claim::Done(stored));
        assert_eq!(store.claim(&acme, "l", "f").await.unwrap(), Claim::Ours);
        store.give_up_claim(&acme, "l").await.unwrap();
        assert_eq!(store.claim(&acme, "l", "f").await.unwrap(), Claim::Ours);
        // Whoever is left alone with it looks whether it was done; meanwhile the others wait.
        store.leave_claim(&acme, "l").await.unwrap();
        assert_eq!(store.claim(&acme, "l", "g").await.unwrap(), Claim::Mismatch);
        assert_eq!(store.claim(&acme, "l", "f").await.unwrap(), Claim::Again);
        assert_eq!(store.claim(&acme, "l", "f").await.unwrap(), Claim::InProgress);
        store.renew_claim(&acme, "l").await.unwrap();
        assert_eq!(store.claim(&acme, "l", "f").await.unwrap(), Claim::InProgress);
    })
    .await;
}

#[tokio::test]
async fn the_stores_files_are_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, is_there) in [("new.db", false), ("old.db", true)] {
        let path = folder.path().join(name);
        if is_there {
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let store = Store::open(&Place::File(path)).await.unwrap();
        store.begin_session("key_1").await.unwrap();
    }
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_so_many_sessions_and_a_new_one_ends_its_oldest() {
    on_each(async |store| {
        let other = store.begin_session("key_2").await.unwrap();
        let mut cookies = Vec::new();
        for _ in 0..103 {
            cookies.push(store.begin_session("key_1").await.unwrap());
        }
        let hashes: Vec<String> =
            cookies.iter().chain([&other]).map(|cookie| crate::key::KeyHash::of(cookie).to_hex()).collect();
        let alive = store.sessions_of(&hashes, now()).await.unwrap();
        assert_eq!(alive.len(), 101);
        assert!(alive.contains(&hashes[102]) && alive.contains(&hashes[103]));
        let over = now().plus_millis(sessions::LIFETIME_S * 1000 + 1);
        assert!(store.sessions_of(&hashes, over).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_has_spent_is_counted_by_all_and_every_request_once() {
    on_each(async |store| {
        let (acme, terms) = (tenant("acme"), Terms::new(60, 15));
        let now = 1_800_000_000_000_000;
        let spend = async || store.spend(&acme, "read", (1, terms), now).await.unwrap();
        // As many at once as replicas would be.
        let granted = async || {
            let mut granted = 0;
            for _ in 0..20 {
                granted += usize::from(spend().await.refused_until.is_none());
            }
            granted
        };
        let granted: usize = futures_util::future::join_all([(); 4].map(|()| granted())).await.into_iter().sum();
        assert_eq!(granted, 69);
        let refused = spend().await;
        assert!(refused.refused_until.is_some_and(|until| until > now + 59_000_000), "{refused:?}");
        assert!(store.spend(&acme, "write", (1, terms), now).await.unwrap().refused_until.is_none());
        assert!(store.spend(&tenant("globex"), "read", (1, terms), now).await.unwrap().refused_until.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_until_it_is_ended() {
    on_each(async |store| {
        let cookie = store.begin_session("key_1").await.unwrap();
        let hash = crate::key::KeyHash::of(&cookie);
        assert_eq!(store.session(&hash, now()).await.unwrap().unwrap().key_id, "key_1");
        assert!(store.session(&hash, now().plus_millis(sessions::LIFETIME_S * 1000 + 1)).await.unwrap().is_none());
        store.end_session(&hash).await.unwrap();
        assert!(store.session(&hash, now()).await.unwrap().is_none());
    })
    .await;
}

#[test]
fn pieces_have_every_row_once_in_few_lengths() {
    let rows: Vec<usize> = (0..333).collect();
    let lengths: Vec<usize> = pieces(&rows).map(<[usize]>::len).collect();
    assert_eq!(lengths, [128, 128, 64, 8, 4, 1]);
    assert_eq!(pieces(&rows).collect::<Vec<_>>().concat(), rows);
    assert_eq!(pieces::<usize>(&[]).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_full_takes_writes_again_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Place::File(folder.path().join("store.db"))).await.unwrap();
    store.lease_view("me", now()).await.unwrap();
    // The connection may not add a page; a new one may.
    let pages: i64 = sqlx::query("PRAGMA page_count").fetch_one(&store.write).await.unwrap().get(0);
    store.write.execute(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).await.unwrap();
    let landed = |many: i64| ViewBatch {
        landed: (0..many).map(|n| assessment("acme", n, 50)).collect(),
        ..ViewBatch::default()
    };
    let full = store.land("me", &landed(2_000)).await.unwrap_err();
    assert!(full.to_string().contains("full"), "{full}");
    store.takes_writes().await.unwrap();
    assert!(store.land("me", &landed(2_000)).await.unwrap());
    let found: i64 = sqlx::query("SELECT COUNT(*) FROM assessments").fetch_one(&store.read).await.unwrap().get(0);
    assert_eq!(found, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_ended_leaves_nothing_and_is_in_nobodys_way() {
    on_each(async |store| {
        let mut left = store.begin("leaving it").await.unwrap();
        left.execute("INSERT INTO counters (name, value) VALUES ('left', 1)").await.unwrap();
        drop(left);
        store.takes_writes().await.unwrap();
        let found = sqlx::query("SELECT value FROM counters WHERE name = 'left'").fetch_optional(&store.read).await;
        assert!(found.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_sources_add_up_and_so_many_sets_of_keys_are_kept() {
    on_each(async |store| {
        let report = |n: i64, keys: &str| {
            Landed::Sources(Box::new(SourceReport {
                tenant_id: "acme".to_owned(),
                at: Timestamp::from_millis(AT + n),
                events: 10,
                unknown: 6,
                sources: vec![SourceCount {
                    product: Some("windows".to_owned()),
                    service: None,
                    category: Some("process_creation".to_owned()),
                    events: 4,
                }],
                unknown_keys: vec![KeysCount { keys: keys.to_owned(), events: 6 }],
            }))
        };
        let twice = vec![report(0, "a, b"), report(1, "a, b"), report(2, "c\0")];
        assert!(land(&store, -1, twice).await);
        let (acme, from) = (tenant("acme"), Timestamp::from_millis(AT));
        let found = store.source_use(&acme, from).await.unwrap();
        assert_eq!((found.events, found.unknown, found.sources.len()), (30, 18, 1));
        assert_eq!(found.sources[0].events, 12);
        assert_eq!(found.sources[0].category.as_deref(), Some("process_creation"));
        let keys: Vec<_> = found.unknown_keys.iter().map(|keys| (&*keys.keys, keys.events)).collect();
        assert_eq!(keys, [("a, b", 12), ("c\u{fffd}", 6)]);
        assert!(!found.is_mostly_unknown(), "ten events tell nothing");
        let many = (3..53).map(|n| report(n, &format!("k{n}"))).collect();
        assert!(land(&store, 2, many).await);
        let found = store.source_use(&acme, from).await.unwrap();
        assert_eq!(found.unknown_keys.len(), 20);
        assert!(found.is_mostly_unknown());
        let others = store.source_use(&tenant("globex"), from).await.unwrap();
        assert_eq!((others.events, others.unknown_keys.len()), (0, 0));
    })
    .await;
}
