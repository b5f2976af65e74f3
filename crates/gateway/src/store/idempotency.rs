//! Requests that must not be done twice, by the key that their sender gave them.

use cybervault_model::TenantId;
use sqlx::Row;

use super::{Attempt, Store, StoreError, now, number, text};

/// For how long an answer is kept to be given again.
pub(crate) const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// After this, whoever claimed a key and neither gave an answer nor said that it goes on is taken to have died.
const CLAIM_MS: i64 = 60 * 1000;

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) location: Option<String>,
}

/// What becomes of a request that has an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is to be done, and its answer to be stored.
    Ours,
    /// It is to be done, and an earlier attempt may have done it without anyone knowing.
    Again,
    /// It was done; this was the answer.
    Done(Stored),
    /// It is being done.
    InProgress,
    /// The key was given to another request.
    Mismatch,
}

impl Store {
    /// Claims `key` for the request with that fingerprint.
    pub(crate) async fn claim(&self, tenant_id: &TenantId, key: &str, fingerprint: &str) -> Result<Claim, StoreError> {
        let what = "claiming an idempotency key";
        let at = now().as_millis();
        let claimed = sqlx::query(
            "INSERT INTO idempotency (tenant_id, idempotency_key, fingerprint, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant_id, idempotency_key) DO UPDATE SET fingerprint = $3, status = NULL, body = NULL, \
             location = NULL, created_at = $4 WHERE idempotency.created_at < $5",
        )
        .bind(tenant_id.as_str())
        .bind(key)
        .bind(fingerprint)
        .bind(at)
        .bind(at - KEPT_MS)
        .execute(&self.write)
        .await
        .attempt(what)?;
        if claimed.rows_affected() == 1 {
            return Ok(Claim::Ours);
        }
        let sql = "SELECT fingerprint, status, body, location, created_at FROM idempotency \
                   WHERE tenant_id = $1 AND idempotency_key = $2";
        let row =
            sqlx::query(sql).bind(tenant_id.as_str()).bind(key).fetch_optional(&self.write).await.attempt(what)?;
        let Some(row) = row else { return Ok(Claim::InProgress) };
        if text(&row, 0, what)? != fingerprint {
            return Ok(Claim::Mismatch);
        }
        let status: Option<i64> = row.try_get(1).attempt(what)?;
        let Some(status) = status.and_then(|status| u16::try_from(status).ok()) else {
            let begun = number(&row, 4, what)?;
            let is_left = begun < at - CLAIM_MS && self.take_over_claim((tenant_id, key), begun, at).await?;
            return Ok(if is_left { Claim::Again } else { Claim::InProgress });
        };
        let body: Option<String> = row.try_get(2).attempt(what)?;
        let location = row.try_get(3).attempt(what)?;
        Ok(Claim::Done(Stored { status, body: body.unwrap_or_default(), location }))
    }

    /// Stores the answer to a claimed request.
    pub(crate) async fn answer(&self, tenant_id: &TenantId, key: &str, stored: &Stored) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE idempotency SET status = $3, body = $4, location = $5 \
             WHERE tenant_id = $1 AND idempotency_key = $2",
        )
        .bind(tenant_id.as_str())
        .bind(key)
        .bind(i64::from(stored.status))
        .bind(&stored.body)
        .bind(&stored.location)
        .execute(&self.write)
        .await
        .attempt("storing an answer")?;
        Ok(())
    }

    /// Takes a claim over that nobody works at any more; of several who try, one does.
    async fn take_over_claim(
        &self,
        (tenant_id, key): (&TenantId, &str),
        begun: i64,
        at: i64,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE idempotency SET created_at = $4 WHERE tenant_id = $1 AND idempotency_key = $2 \
                   AND status IS NULL AND created_at = $3";
        let take = sqlx::query(sql).bind(tenant_id.as_str()).bind(key).bind(begun).bind(at);
        let taken = take.execute(&self.write).await.attempt("taking an idempotency key over")?;
        Ok(taken.rows_affected() == 1)
    }

    /// Says that a claimed request is still being done.
    pub(crate) async fn renew_claim(&self, tenant_id: &TenantId, key: &str) -> Result<(), StoreError> {
        self.date_claim(tenant_id, key, now().as_millis()).await
    }

    /// Leaves a claim to whoever asks next: the request may have been done.
    pub(crate) async fn leave_claim(&self, tenant_id: &TenantId, key: &str) -> Result<(), StoreError> {
        self.date_claim(tenant_id, key, now().as_millis() - CLAIM_MS - 1).await
    }

    async fn date_claim(&self, tenant_id: &TenantId, key: &str, at: i64) -> Result<(), StoreError> {
        let sql = "UPDATE idempotency SET created_at = $3 \
                   WHERE tenant_id = $1 AND idempotency_key = $2 AND status IS NULL";
        let date = sqlx::query(sql).bind(tenant_id.as_str()).bind(key).bind(at);
        date.execute(&self.write).await.attempt("dating an idempotency key")?;
        Ok(())
    }

    /// Gives up a claim, so that the same request can be tried again.
    pub(crate) async fn give_up_claim(&self, tenant_id: &TenantId, key: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM idempotency WHERE tenant_id = $1 AND idempotency_key = $2 AND status IS NULL";
        let give_up = sqlx::query(sql).bind(tenant_id.as_str()).bind(key);
        give_up.execute(&self.write).await.attempt("giving up an idempotency key")?;
        Ok(())
    }
}
