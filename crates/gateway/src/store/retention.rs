//! How long what was found is kept.

use std::collections::BTreeMap;

use cybervault_model::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row};

use super::{Attempt, Store, StoreError, idempotency::KEPT_MS, now};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const WHAT: &str = "deleting what is too old";

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

/// What is deleted at once: few enough that nobody who writes waits for long.
const ROWS: i64 = 1_000;

/// A table that grows, its time, which it has an index by, and what belongs to its rows: other tables by this column.
struct Growing {
    table: &'static str,
    time: &'static str,
    parts: &'static [&'static str],
    id: &'static str,
}

const GROWING: [Growing; 7] = [
    Growing {
        table: "assessments",
        time: "created_at",
        parts: &["assessment_attack", "assessment_entities", "incident_findings"],
        id: "assessment_id",
    },
    Growing { table: "incidents", time: "updated_at", parts: &["incident_entities"], id: "incident_id" },
    Growing { table: "actions", time: "created_at", parts: &["action_states"], id: "action_id" },
    Growing { table: "rejections", time: "minute", parts: &[], id: "" },
    Growing { table: "source_hours", time: "hour", parts: &[], id: "" },
    Growing { table: "log_sources", time: "hour", parts: &[], id: "" },
    Growing { table: "unknown_keys", time: "last_at", parts: &[], id: "" },
];

impl Store {
    /// Deletes what is older than `retention` allows, and answers that are no longer given again.
    ///
    /// # Errors
    /// When a statement fails; the rest is done the next time.
    pub async fn forget(&self, retention: &Retention) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        for growing in &GROWING {
            let mut tenant_id = String::new();
            while let Some(next) = self.tenant_after(growing.table, &tenant_id).await? {
                let days = retention.tenants.get(next.as_str()).copied().unwrap_or(retention.days);
                let oldest = now().as_millis() - i64::from(days) * DAY_MS;
                while let Some(deleted) = self.forget_some(growing, &next, oldest).await? {
                    forgotten += deleted;
                }
                tenant_id = next;
            }
        }
        self.forget_answers().await?;
        Ok(forgotten)
    }

    /// Deletes answers that are no longer given again.
    pub(crate) async fn forget_answers(&self) -> Result<(), StoreError> {
        let stale = sqlx::query("DELETE FROM idempotency WHERE created_at < $1").bind(now().as_millis() - KEPT_MS);
        stale.execute(&self.write).await.attempt(WHAT)?;
        Ok(())
    }

    /// Deletes all that is kept of a tenant's events and requests.
    pub(crate) async fn forget_tenant(&self, tenant_id: &TenantId) -> Result<(), StoreError> {
        let mut tables = vec!["idempotency"];
        for Growing { table, parts, .. } in &GROWING {
            tables.push(table);
            tables.extend_from_slice(parts);
        }
        let mut transaction = self.begin(WHAT).await?;
        for table in tables {
            let delete = sqlx::query(AssertSqlSafe(format!("DELETE FROM {table} WHERE tenant_id = $1")));
            delete.bind(tenant_id.as_str()).execute(&mut *transaction).await.attempt(WHAT)?;
        }
        transaction.commit(WHAT).await
    }

    /// The next tenant that has rows in a table, from one place in the index to the next.
    async fn tenant_after(&self, table: &str, tenant_id: &str) -> Result<Option<String>, StoreError> {
        let sql = AssertSqlSafe(format!("SELECT MIN(tenant_id) FROM {table} WHERE tenant_id > $1"));
        let row = sqlx::query(sql).bind(tenant_id).fetch_one(&self.read).await.attempt(WHAT)?;
        row.try_get(0).attempt(WHAT)
    }

    /// Deletes a tenant's oldest rows as far as they are older than `oldest`. None where there were none.
    async fn forget_some(&self, growing: &Growing, tenant_id: &str, oldest: i64) -> Result<Option<u64>, StoreError> {
        let Growing { table, time, parts, id } = growing;
        let last = format!(
            "SELECT MAX({time}) FROM (SELECT {time} FROM {table} WHERE tenant_id = $1 AND {time} < $2 \
             ORDER BY {time} LIMIT {ROWS}) oldest"
        );
        let last = sqlx::query(AssertSqlSafe(last)).bind(tenant_id).bind(oldest).fetch_one(&self.read).await;
        let Some(last) = last.attempt(WHAT)?.try_get::<Option<i64>, _>(0).attempt(WHAT)? else { return Ok(None) };
        let mut transaction = self.begin(WHAT).await?;
        let old = format!("tenant_id = $1 AND {time} <= $2");
        let of_parts = parts.iter().map(|part| {
            format!("DELETE FROM {part} WHERE tenant_id = $1 AND {id} IN (SELECT {id} FROM {table} WHERE {old})")
        });
        let mut deleted = 0;
        for sql in of_parts.chain([format!("DELETE FROM {table} WHERE {old}")]) {
            let delete = sqlx::query(AssertSqlSafe(sql)).bind(tenant_id).bind(last);
            deleted = delete.execute(&mut *transaction).await.attempt(WHAT)?.rows_affected();
        }
        transaction.commit(WHAT).await?;
        Ok(Some(deleted))
    }
}
