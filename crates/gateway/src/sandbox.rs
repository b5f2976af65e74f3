//! What `cv_test_sk_` keys see: a sandbox of their tenant's, in memory, always with the same things in it.
//!
//! Requests take the same way through the same code as those of production keys. Only what they reach is another store,
//! and nothing of theirs goes to Kafka: so an integration that works here works there.

use std::{collections::VecDeque, sync::Arc};

use cybervault_model::{
    ActionKind, ActionMode, ActionState, Assessment, QuotaRejection, RejectionReason, ResponseAction, Target,
    TargetKind, TenantId, Timestamp, derived_id,
};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    engine::Engine,
    hub::Hub,
    recent::Recent,
    store::{Landed, Place, Store, StoreError, ViewBatch},
};

/// When everything in the sandbox happened: 2026-01-01T00:00:00Z.
pub(crate) const EPOCH: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Who holds the lease of their store.
const HOLDER: &str = "sandboxes";
/// When what waits for a decision there would end: never, for an integrator.
const NEVER: Timestamp = Timestamp::MAX;

/// Tenants whose sandboxes are kept; the one that was made first gives way.
const KEPT: usize = 1_000;

/// The sandboxes, one a tenant: made when a test key of the tenant is first used, from events that are always the same.
///
/// They have a store, a hub and recent events of their own. So a test key can't reach production, whatever its tenant is
/// called, nor a live key a sandbox; and of each other they are kept apart by the tenant's id, as tenants are there.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    store: Store,
    hub: Hub,
    recent: Recent,
    /// The tenants that have one, the first made first.
    made: Mutex<VecDeque<TenantId>>,
}

impl Sandboxes {
    /// Opens the store. There is nothing in it yet.
    pub(crate) async fn open() -> Result<Self, StoreError> {
        let store = Store::open(&Place::Memory).await?;
        store.lease_view(HOLDER, EPOCH).await?;
        Ok(Self { store, hub: Hub::new(0, Arc::default()), recent: Recent::new("sandbox"), made: Mutex::default() })
    }

    /// Makes the tenant's sandbox, if there is none.
    pub(crate) async fn prepare(&self, engine: &Arc<dyn Engine>, tenant_id: &TenantId) -> Result<(), StoreError> {
        let mut made = self.made.lock().await;
        if made.contains(tenant_id) {
            return Ok(());
        }
        if made.len() >= KEPT
            && let Some(first) = made.pop_front()
        {
            self.store.forget_tenant(&first).await?;
        }
        self.store.land(HOLDER, &content(engine, tenant_id)?).await?;
        made.push_back(tenant_id.clone());
        Ok(())
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// Where nothing lands: what is in a sandbox is there from the beginning.
    pub(crate) const fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) const fn recent(&self) -> &Recent {
        &self.recent
    }
}

/// What is in a tenant's sandbox.
fn content(engine: &Arc<dyn Engine>, tenant_id: &TenantId) -> Result<ViewBatch, StoreError> {
    let unreadable = |reason: String| StoreError::Unreadable { what: "a sandbox event", reason };
    let mut batch = ViewBatch::default();
    for (n, event) in (0..).zip(events()) {
        let at = EPOCH.plus_millis(n * 60_000);
        let assessment = engine.assess(tenant_id, event.as_bytes(), at).map_err(unreadable)?.assessment;
        batch.landed.extend(actions(&assessment, at).map(|action| Landed::Action(Box::new(action))));
        batch.landed.push(Landed::Assessment { assessment: Box::new(assessment), created_at: at });
    }
    batch.landed.push(Landed::Rejection(Box::new(QuotaRejection {
        tenant_id: tenant_id.to_string(),
        reason: RejectionReason::EventsPerSecond,
        plan: None,
        retry_after_ms: Some(10),
        rejected_at: EPOCH,
        bytes: 420,
        origin: cybervault_model::Origin { topic: "telemetry.events".into(), partition: 0, offset: 0, place: None },
    })));
    Ok(batch)
}

fn events() -> Vec<String> {
    let powershell = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";
    let endpoint = |host: &str, path: &str, command: &str| {
        json!({"hostname": host, "os": "windows", "username": "EXAMPLE\\kim", "process_path": path,
            "process_name": path.rsplit('\\').next(), "command_line": command, "pid": 4892})
    };
    [
        (
            "endpoint_telemetry",
            endpoint(
                "ws-1",
                powershell,
                "powershell.exe -NoProfile -EncodedCommand SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAKQA=",
            ),
        ),
        (
            "endpoint_telemetry",
            endpoint("ws-2", r"C:\Windows\System32\vssadmin.exe", "vssadmin.exe delete shadows /all /quiet"),
        ),
        ("endpoint_telemetry", endpoint("ws-3", r"C:\Windows\System32\notepad.exe", "notepad.exe minutes.txt")),
        (
            "network_traffic",
            json!({"src_ip": "10.0.0.7", "dst_ip": "198.51.100.42", "dst_port": 4444, "protocol": "tcp"}),
        ),
        (
            "file_hash",
            json!({"hostname": "ws-1", "path": r"C:\Users\kim\Downloads\invoice.exe",
            "hash_sha256": "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"}),
        ),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (kind, payload))| {
        json!({"event_id": format!("sandbox-{n}"), "type": kind, "payload": payload}).to_string()
    })
    .collect()
}

/// For each finding one action that waits for a decision.
fn actions(assessment: &Assessment, at: Timestamp) -> Option<ResponseAction> {
    assessment.contributions.first()?;
    let host = assessment.entities.first()?;
    let id = derived_id("ra", &[assessment.assessment_id.as_bytes(), b"sandbox"]);
    Some(ResponseAction {
        idempotency_key: id.clone(),
        action_id: id,
        tenant_id: assessment.tenant_id.clone(),
        assessment_id: assessment.assessment_id.clone(),
        incident_id: None,
        playbook_id: "sandbox-isolate-host".to_owned(),
        kind: ActionKind::IsolateHost,
        target: Target { kind: TargetKind::Host, value: host.value.clone(), host: None },
        mode: ActionMode::Approval,
        state: ActionState::Proposed,
        reason: "the sandbox proposes it for every finding".to_owned(),
        guardrail: None,
        decided_by: "playbook:sandbox-isolate-host".to_owned(),
        reversible: true,
        proposed_at: at,
        updated_at: at,
        expires_at: NEVER,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cybervault_model::{Entity, EntityKind, Score, Severity, Verdict, assessment_id};

    use super::*;
    use crate::{
        engine::{Found, RuleFacts, TenantFacts},
        list::ListQuery,
        store::ASSESSMENTS,
    };

    /// Finds nothing in anything.
    struct Blind;

    impl Engine for Blind {
        fn assess(&self, tenant_id: &TenantId, event: &[u8], _: Timestamp) -> Result<Found, String> {
            let event: serde_json::Value = serde_json::from_slice(event).map_err(|error| error.to_string())?;
            let event_id = event["event_id"].as_str().unwrap();
            let assessment = Assessment {
                assessment_id: assessment_id(tenant_id.as_str(), event_id, None),
                tenant_id: tenant_id.clone(),
                event_id: event_id.to_owned(),
                occurred_at: None,
                risk_score: Score::default(),
                severity: Severity::default(),
                verdict: Verdict::default(),
                contributions: Vec::new(),
                mitre_attack: Vec::new(),
                entities: vec![Entity { kind: EntityKind::Host, value: "ws-1".to_owned() }],
                recommended_actions: Vec::new(),
                rules_version: String::new(),
                replaced_characters: None,
                correlated: None,
            };
            Ok(Found { assessment, signals: Vec::new() })
        }

        fn tenant(&self, _: &str) -> Option<TenantFacts> {
            None
        }

        fn rules(&self) -> Vec<RuleFacts> {
            Vec::new()
        }
    }

    async fn documents(sandboxes: &Sandboxes, tenant_id: &TenantId) -> Vec<String> {
        let query =
            ListQuery::new(&ASSESSMENTS, 50, "created_at:asc", r#"{"event_id":{"contains":"sandbox"}}"#).unwrap();
        let page = sandboxes.store().list(&query, tenant_id).await.unwrap();
        page.documents.iter().map(|document| document.get().to_owned()).collect()
    }

    #[tokio::test]
    async fn each_tenant_has_a_sandbox_of_its_own_and_no_more_are_kept_than_may() {
        let (engine, sandboxes) = (Arc::new(Blind) as Arc<dyn Engine>, Sandboxes::open().await.unwrap());
        let tenant = |n: usize| TenantId::new(&format!("t{n}")).unwrap();
        for n in [0, 1, 0] {
            sandboxes.prepare(&engine, &tenant(n)).await.unwrap();
        }
        let (first, second) = (documents(&sandboxes, &tenant(0)).await, documents(&sandboxes, &tenant(1)).await);
        assert_eq!((first.len(), second.len()), (events().len(), events().len()));
        assert!(first.iter().all(|document| document.contains("\"t0\"") && !second.contains(document)));
        for n in 2..=KEPT {
            sandboxes.prepare(&engine, &tenant(n)).await.unwrap();
        }
        assert!(documents(&sandboxes, &tenant(0)).await.is_empty());
        assert_eq!(documents(&sandboxes, &tenant(1)).await, second);
        // Made again, it is as it was.
        sandboxes.prepare(&engine, &tenant(0)).await.unwrap();
        assert_eq!(documents(&sandboxes, &tenant(0)).await, first);
    }
}
