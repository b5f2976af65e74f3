//! How long what was found is kept.

use std::collections::BTreeMap;

use cybervault_model::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::{Attempt, Store, StoreError, idempotency::KEPT_MS, now, text};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How long findings, actions and rejections are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days. Default: 90.
    #[schemars(range(min = 1, max = 3650))]
    pub days: u32,
    /// Days of single tenants.
    pub tenants: BTreeMap<TenantId, u32>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { days: 90, tenants: BTreeMap::new() }
    }
}

/// Every table that grows, with the column that says how old a row is.
const TABLES: [(&str, &str); 6] = [
    ("assessment_attack", "created_at"),
    ("assessment_entities", "created_at"),
    ("assessments", "created_at"),
    ("action_states", "at"),
    ("actions", "updated_at"),
    ("rejections", "minute"),
];

impl Store {
    /// Deletes what is older than `retention` allows, and answers that are no longer given again.
    ///
    /// # Errors
    /// When a statement fails; the rest is done the next time.
    pub async fn forget(&self, retention: &Retention) -> Result<u64, StoreError> {
        let what = "deleting what is too old";
        let mut forgotten = 0;
        let tenants = "SELECT tenant_id FROM assessments UNION SELECT tenant_id FROM actions \
                       UNION SELECT tenant_id FROM rejections";
        let rows = sqlx::query(tenants).fetch_all(&self.read).await.attempt(what)?;
        for row in &rows {
            let tenant_id = text(row, 0, what)?;
            let days = retention.tenants.get(tenant_id.as_str()).copied().unwrap_or(retention.days);
            let oldest = now().as_millis() - i64::from(days) * DAY_MS;
            for (table, column) in TABLES {
                // A transaction a table and tenant: none of them keeps the writers waiting for long.
                let sql = AssertSqlSafe(format!("DELETE FROM {table} WHERE tenant_id = $1 AND {column} < $2"));
                let deleted = sqlx::query(sql).bind(&tenant_id).bind(oldest).execute(&self.write).await;
                forgotten += deleted.attempt(what)?.rows_affected();
            }
        }
        let stale = sqlx::query("DELETE FROM idempotency WHERE created_at < $1").bind(now().as_millis() - KEPT_MS);
        stale.execute(&self.write).await.attempt(what)?;
        Ok(forgotten)
    }
}
