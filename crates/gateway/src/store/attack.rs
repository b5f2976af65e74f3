//! What was found, by ATT&CK's techniques.

use cybervault_model::{TenantId, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use super::{Attempt, Store, StoreError, number, text};

/// How many cells at most: the matrix has some 700.
const CELLS: i64 = 1_000;

/// One technique under one tactic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct HeatCell {
    pub(crate) tactic_id: String,
    pub(crate) tactic: String,
    pub(crate) technique_id: String,
    pub(crate) technique: String,
    pub(crate) findings: i64,
    pub(crate) max_risk_score: i64,
}

impl Store {
    /// How often each technique was found since `from`.
    pub(crate) async fn heat(&self, tenant_id: &TenantId, from: Timestamp) -> Result<Vec<HeatCell>, StoreError> {
        let what = "counting techniques";
        let rows = sqlx::query(
            "SELECT tactic_id, MAX(tactic), technique_id, MAX(technique), COUNT(*), MAX(risk_score) \
             FROM assessment_attack WHERE tenant_id = $1 AND created_at >= $2 \
             GROUP BY tactic_id, technique_id ORDER BY tactic_id, COUNT(*) DESC, technique_id LIMIT $3",
        )
        .bind(tenant_id.as_str())
        .bind(from.as_millis())
        .bind(CELLS)
        .fetch_all(&self.read)
        .await
        .attempt(what)?;
        rows.iter().map(|row| HeatCell::read(row, what)).collect()
    }
}

impl HeatCell {
    /// Reads a row of tactic, technique, count and highest score.
    pub(super) fn read(row: &AnyRow, what: &'static str) -> Result<Self, StoreError> {
        Ok(Self {
            tactic_id: text(row, 0, what)?,
            tactic: text(row, 1, what)?,
            technique_id: text(row, 2, what)?,
            technique: text(row, 3, what)?,
            findings: number(row, 4, what)?,
            max_risk_score: number(row, 5, what)?,
        })
    }
}
