//! What is known and was found about one host, user, address, …

use cybervault_model::{EntityKind, TenantId, host_identity};
use serde_json::value::RawValue;
use sqlx::any::AnyRow;

use super::{Attempt, HeatCell, Store, StoreError, assessments::document, number, text};

/// How many assessments and actions are shown of one entity.
const SHOWN: i64 = 100;

/// How many of its findings are counted, the newest ones: some entities have millions.
pub(crate) const COUNTED: i64 = 1_000;

/// What is known and was found about an entity.
#[derive(Debug)]
pub(crate) struct EntityFacts {
    /// [`COUNTED`] if there are more.
    pub(crate) findings: i64,
    /// Of all its findings, not only those counted.
    pub(crate) first_seen: i64,
    pub(crate) last_seen: i64,
    pub(crate) max_risk_score: i64,
    pub(crate) techniques: Vec<HeatCell>,
    pub(crate) assessments: Vec<Box<RawValue>>,
    pub(crate) actions: Vec<Box<RawValue>>,
}

impl Store {
    /// All about an entity; `None` where nothing was found about it.
    pub(crate) async fn entity(
        &self,
        tenant_id: &TenantId,
        kind: &str,
        value: &str,
    ) -> Result<Option<EntityFacts>, StoreError> {
        let what = "looking up an entity";
        // What landed before hosts were known by one name stands there as it was.
        let identity = if kind == EntityKind::Host.as_str() { host_identity(value) } else { value.into() };
        let about =
            |sql: &'static str| sqlx::query(sql).bind(tenant_id.as_str()).bind(kind).bind(&*identity).bind(value);
        let row = about(
            "SELECT COUNT(*), COALESCE(MAX(e.created_at), 0), COALESCE(MAX(a.risk_score), 0), \
             (SELECT COALESCE(MIN(created_at), 0) FROM assessment_entities WHERE tenant_id = $1 AND kind = $2 AND value IN ($3, $4)) \
             FROM (SELECT tenant_id, assessment_id, created_at FROM assessment_entities \
             WHERE tenant_id = $1 AND kind = $2 AND value IN ($3, $4) ORDER BY created_at DESC LIMIT $5) e \
             JOIN assessments a ON a.tenant_id = e.tenant_id AND a.assessment_id = e.assessment_id",
        );
        let row = row.bind(COUNTED).fetch_one(&self.read).await.attempt(what)?;
        let findings = number(&row, 0, what)?;
        if findings == 0 {
            return Ok(None);
        }
        let assessments = about(
            "SELECT a.document FROM assessment_entities e JOIN assessments a \
             ON a.tenant_id = e.tenant_id AND a.assessment_id = e.assessment_id \
             WHERE e.tenant_id = $1 AND e.kind = $2 AND e.value IN ($3, $4) \
             ORDER BY e.created_at DESC, e.assessment_id DESC LIMIT $5",
        );
        let assessments = assessments.bind(SHOWN).fetch_all(&self.read).await.attempt(what)?;
        let techniques = about(
            "SELECT m.tactic_id, MAX(m.tactic), m.technique_id, MAX(m.technique), COUNT(*), MAX(m.risk_score) \
             FROM (SELECT tenant_id, assessment_id FROM assessment_entities \
             WHERE tenant_id = $1 AND kind = $2 AND value IN ($3, $4) ORDER BY created_at DESC LIMIT $5) e \
             JOIN assessment_attack m ON m.tenant_id = e.tenant_id AND m.assessment_id = e.assessment_id \
             GROUP BY m.tactic_id, m.technique_id ORDER BY COUNT(*) DESC, m.technique_id LIMIT $6",
        );
        let techniques = techniques.bind(COUNTED).bind(SHOWN).fetch_all(&self.read).await.attempt(what)?;
        let actions = about(
            "SELECT document FROM actions WHERE tenant_id = $1 AND target_kind = $2 AND target IN ($3, $4) \
             ORDER BY created_at DESC, action_id LIMIT $5",
        );
        let actions = actions.bind(SHOWN).fetch_all(&self.read).await.attempt(what)?;
        let documents = |rows: &[AnyRow]| -> Result<Vec<Box<RawValue>>, StoreError> {
            rows.iter().map(|row| document(text(row, 0, what)?)).collect()
        };
        Ok(Some(EntityFacts {
            findings,
            first_seen: number(&row, 3, what)?,
            last_seen: number(&row, 1, what)?,
            max_risk_score: number(&row, 2, what)?,
            techniques: techniques.iter().map(|row| HeatCell::read(row, what)).collect::<Result<_, _>>()?,
            assessments: documents(&assessments)?,
            actions: documents(&actions)?,
        }))
    }
}
