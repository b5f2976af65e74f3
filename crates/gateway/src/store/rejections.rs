//! What quotas held back, added up by the minute: a tenant that floods must not fill the store.

use cybervault_model::{TenantId, Timestamp};
use serde::Serialize;
use sqlx::Row;

use super::{Attempt, Store, StoreError, number, text};

/// How many rows at most: a day of minutes with each reason.
const ROWS: i64 = 6_000;

/// A minute's rejections for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RejectionMinute {
    pub(crate) minute: Timestamp,
    pub(crate) reason: String,
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    /// What the last of them was told.
    pub(crate) retry_after_ms: Option<i64>,
}

impl Store {
    /// A tenant's rejections since `from`, the oldest first.
    pub(crate) async fn rejections(
        &self,
        tenant_id: &TenantId,
        from: Timestamp,
    ) -> Result<Vec<RejectionMinute>, StoreError> {
        let what = "reading rejections";
        let rows = sqlx::query(
            "SELECT minute, reason, events, bytes, retry_after_ms FROM rejections \
             WHERE tenant_id = $1 AND minute >= $2 ORDER BY minute, reason LIMIT $3",
        )
        .bind(tenant_id.as_str())
        .bind(from.as_millis())
        .bind(ROWS)
        .fetch_all(&self.read)
        .await
        .attempt(what)?;
        rows.iter()
            .map(|row| {
                Ok(RejectionMinute {
                    minute: Timestamp::from_millis(number(row, 0, what)?),
                    reason: text(row, 1, what)?,
                    events: number(row, 2, what)?,
                    bytes: number(row, 3, what)?,
                    retry_after_ms: row.try_get(4).attempt(what)?,
                })
            })
            .collect()
    }
}
