//! Actions, as they stand now and as they came to it.

use std::collections::HashMap;

use cybervault_model::{ResponseAction, TenantId, Timestamp};
use serde_json::value::RawValue;
use sqlx::AssertSqlSafe;

use super::{Attempt, Store, StoreError, assessments::document, number, pieces, text};
use crate::list::{Field, FieldKind, Resource};

/// What actions are listed by.
pub(crate) static ACTIONS: Resource = Resource {
    table: "actions",
    id: "action_id",
    condition: "",
    fields: &[
        Field::sortable("created_at", FieldKind::Time),
        Field::sortable("updated_at", FieldKind::Time),
        Field::sortable("expires_at", FieldKind::Time),
        Field::leading("action_id", FieldKind::Text, "actions", "action_id"),
        Field::leading("assessment_id", FieldKind::Text, "actions", "assessment_id"),
        Field::leading("target", FieldKind::Text, "actions", "target"),
        Field::leading("state", FieldKind::Text, "actions", "state"),
        Field::new("playbook_id", FieldKind::Text),
        Field::new("kind", FieldKind::Text),
        Field::new("mode", FieldKind::Text),
        Field::new("decided_by", FieldKind::Text),
    ],
};

/// How an action stands.
#[derive(Debug)]
pub(crate) struct ActionState {
    /// As on the topic.
    pub(crate) document: Box<RawValue>,
    /// Every state it came to, the first one first.
    pub(crate) history: Vec<Box<RawValue>>,
}

/// What waits for a person: index `actions_that_wait` has these rows alone, so dry runs, however many, hide none of them.
const WAITS: &str = "tenant_id = $1 AND state = 'proposed' AND mode <> 'dry_run' AND expires_at > $2";

impl Store {
    /// One action.
    pub(crate) async fn action(&self, tenant_id: &TenantId, id: &str) -> Result<Option<ActionState>, StoreError> {
        let what = "looking up an action";
        let sql = "SELECT document FROM actions WHERE tenant_id = $1 AND action_id = $2";
        let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_optional(&self.read).await.attempt(what)?;
        let Some(row) = row else { return Ok(None) };
        let sql = "SELECT document FROM action_states WHERE tenant_id = $1 AND action_id = $2 ORDER BY seq LIMIT 20";
        let states = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_all(&self.read).await.attempt(what)?;
        Ok(Some(ActionState {
            document: document(text(&row, 0, what)?)?,
            history: states.iter().map(|row| document(text(row, 0, what)?)).collect::<Result<_, _>>()?,
        }))
    }

    /// Those of a tenant's actions that there are, by id.
    pub(crate) async fn actions(
        &self,
        tenant_id: &TenantId,
        ids: &[String],
    ) -> Result<HashMap<String, ResponseAction>, StoreError> {
        let what = "looking up actions";
        let mut actions = HashMap::with_capacity(ids.len());
        for piece in pieces(ids) {
            let sql = format!(
                "SELECT action_id, document FROM actions WHERE (tenant_id, action_id) IN (VALUES {})",
                self.places(piece.len(), 2)
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for id in piece {
                query = query.bind(tenant_id.as_str()).bind(id);
            }
            for row in query.fetch_all(&self.read).await.attempt(what)? {
                actions.insert(text(&row, 0, what)?, read(&text(&row, 1, what)?)?);
            }
        }
        Ok(actions)
    }

    /// What waits for a person at `now`, what expires first at first.
    pub(crate) async fn waiting(
        &self,
        tenant_id: &TenantId,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<ResponseAction>, StoreError> {
        let what = "listing what waits";
        let sql = format!("SELECT document FROM actions WHERE {WAITS} ORDER BY expires_at, action_id LIMIT $3");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(tenant_id.as_str()).bind(now.as_millis()).bind(limit);
        rows.fetch_all(&self.read).await.attempt(what)?.iter().map(|row| read(&text(row, 0, what)?)).collect()
    }

    /// How much waits for a person at `now`.
    pub(crate) async fn waiting_count(&self, tenant_id: &TenantId, now: Timestamp) -> Result<i64, StoreError> {
        let what = "counting what waits";
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM actions WHERE {WAITS}"));
        let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(now.as_millis()).fetch_one(&self.read).await;
        number(&row.attempt(what)?, 0, what)
    }

    /// What was done because of an assessment.
    pub(crate) async fn actions_of(&self, tenant_id: &TenantId, id: &str) -> Result<Vec<Box<RawValue>>, StoreError> {
        let what = "looking up an assessment's actions";
        let sql = "SELECT document FROM actions WHERE tenant_id = $1 AND assessment_id = $2 \
                   ORDER BY created_at, action_id LIMIT 50";
        let rows = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_all(&self.read).await.attempt(what)?;
        rows.iter().map(|row| document(text(row, 0, what)?)).collect()
    }
}

fn read(document: &str) -> Result<ResponseAction, StoreError> {
    serde_json::from_str(document)
        .map_err(|error| StoreError::Unreadable { what: "an action", reason: error.to_string() })
}
