//! Rate limits that all replicas share: one number a tenant and class.

use cybervault_model::TenantId;

use super::{Attempt, Store, StoreError, number};

/// What became of an attempt to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) granted: bool,
    /// Until when what was spent is paid for at the tenant's rate, in microseconds since the Unix epoch.
    pub(crate) paid_until: i64,
}

impl Store {
    /// Spends `cost` of a bucket that holds `capacity`, all in microseconds of the tenant's rate (GCRA: the time up to
    /// which everything is paid for may run ahead of `now` by the capacity). One statement, so replicas can't race.
    pub(crate) async fn spend(
        &self,
        tenant_id: &TenantId,
        class: &'static str,
        (now, cost, capacity): (i64, i64, i64),
    ) -> Result<Spent, StoreError> {
        let what = "counting a request";
        let granted = sqlx::query(
            "INSERT INTO rate_limits (tenant_id, class, paid_until) VALUES ($1, $2, $3 + $4) \
             ON CONFLICT (tenant_id, class) DO UPDATE SET paid_until = \
             CASE WHEN rate_limits.paid_until > $3 THEN rate_limits.paid_until ELSE $3 END + $4 \
             WHERE CASE WHEN rate_limits.paid_until > $3 THEN rate_limits.paid_until ELSE $3 END + $4 <= $3 + $5 \
             RETURNING paid_until",
        )
        .bind(tenant_id.as_str())
        .bind(class)
        .bind(now)
        .bind(cost)
        .bind(capacity)
        .fetch_optional(&self.write)
        .await
        .attempt(what)?;
        if let Some(row) = granted {
            return Ok(Spent { granted: true, paid_until: number(&row, 0, what)? });
        }
        let sql = "SELECT paid_until FROM rate_limits WHERE tenant_id = $1 AND class = $2";
        let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(class).fetch_one(&self.write).await.attempt(what)?;
        Ok(Spent { granted: false, paid_until: number(&row, 0, what)? })
    }
}
