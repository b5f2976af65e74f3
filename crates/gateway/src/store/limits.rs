//! Rate limits that all replicas share: one row a tenant and class.

use std::time::Duration;

use cybervault_model::TenantId;
use sqlx::Row;

use super::{Attempt, Store, StoreError, number};
use crate::limit::{Spending, Terms};

/// How often it is tried again where others were faster. Each time one of them was granted something.
const TRIES: usize = 32;
/// How long it waits in between at most, in microseconds.
const PAUSE_US: u32 = 5_000;

/// What became of an attempt to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// What the tenant has spent now.
    pub(crate) spending: Spending,
    /// Where it was refused: until when, in microseconds since the Unix epoch.
    pub(crate) refused_until: Option<i64>,
}

impl Store {
    /// Spends so many requests of what a tenant may have, at `now` in microseconds since the Unix epoch. What it had spent is
    /// read, and replaced only where it is still that, so replicas can't race.
    pub(crate) async fn spend(
        &self,
        tenant_id: &TenantId,
        class: &'static str,
        (requests, terms): (i64, Terms),
        now: i64,
    ) -> Result<Spent, StoreError> {
        let what = "counting a request";
        for tried in 0..TRIES {
            if tried > 0 {
                // Two in step would hinder each other for ever.
                let pause = getrandom::u32()? % PAUSE_US;
                tokio::time::sleep(Duration::from_micros(pause.into())).await;
            }
            let sql = "SELECT paid_until, recent FROM rate_limits WHERE tenant_id = $1 AND class = $2";
            let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(class).fetch_optional(&self.write).await;
            let before = match row.attempt(what)? {
                Some(row) => Some((number(&row, 0, what)?, row.try_get::<Option<String>, _>(1).attempt(what)?)),
                None => None,
            };
            let mut spending = before.as_ref().map_or_else(Spending::default, |(paid_until, recent)| {
                Spending::read(*paid_until, recent.as_deref().unwrap_or(""))
            });
            if let Err(until) = spending.spend(requests, terms, now) {
                return Ok(Spent { spending, refused_until: Some(until) });
            }
            if self.replace_spending((tenant_id, class), before, &spending).await? {
                return Ok(Spent { spending, refused_until: None });
            }
        }
        let busy = sqlx::Error::Protocol("others were always faster".to_owned());
        Err(StoreError::Failed { what, source: busy })
    }

    async fn replace_spending(
        &self,
        (tenant_id, class): (&TenantId, &'static str),
        before: Option<(i64, Option<String>)>,
        spending: &Spending,
    ) -> Result<bool, StoreError> {
        let sql = match before {
            Some(_) => {
                "UPDATE rate_limits SET paid_until = $3, recent = $4 \
                 WHERE tenant_id = $1 AND class = $2 AND paid_until = $5 AND COALESCE(recent, '') = $6"
            }
            None => {
                "INSERT INTO rate_limits (tenant_id, class, paid_until, recent) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING"
            }
        };
        let mut query = sqlx::query(sql).bind(tenant_id.as_str()).bind(class);
        query = query.bind(spending.paid_until).bind(spending.recent());
        if let Some((paid_until, recent)) = before {
            query = query.bind(paid_until).bind(recent.unwrap_or_default());
        }
        let replaced = query.execute(&self.write).await.attempt("counting a request")?;
        Ok(replaced.rows_affected() == 1)
    }
}
