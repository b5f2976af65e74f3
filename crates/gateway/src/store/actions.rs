//! Actions, as they stand now and as they came to it.

use cybervault_model::TenantId;
use serde_json::value::RawValue;

use super::{Attempt, Store, StoreError, assessments::document, number, text};
use crate::list::{Field, FieldKind, Resource};

/// What actions are listed by.
pub(crate) static ACTIONS: Resource = Resource {
    table: "actions",
    id: "action_id",
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
    pub(crate) state: String,
    pub(crate) expires_at: i64,
    /// As on the topic.
    pub(crate) document: Box<RawValue>,
    /// Every state it came to, the first one first.
    pub(crate) history: Vec<Box<RawValue>>,
}

impl Store {
    /// One action.
    pub(crate) async fn action(&self, tenant_id: &TenantId, id: &str) -> Result<Option<ActionState>, StoreError> {
        let what = "looking up an action";
        let sql = "SELECT state, expires_at, document FROM actions WHERE tenant_id = $1 AND action_id = $2";
        let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_optional(&self.read).await.attempt(what)?;
        let Some(row) = row else { return Ok(None) };
        let sql = "SELECT document FROM action_states WHERE tenant_id = $1 AND action_id = $2 ORDER BY seq LIMIT 20";
        let states = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_all(&self.read).await.attempt(what)?;
        Ok(Some(ActionState {
            state: text(&row, 0, what)?,
            expires_at: number(&row, 1, what)?,
            document: document(text(&row, 2, what)?)?,
            history: states.iter().map(|row| document(text(row, 0, what)?)).collect::<Result<_, _>>()?,
        }))
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
