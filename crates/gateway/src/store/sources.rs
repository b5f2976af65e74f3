//! What log sources a tenant's events belong to, added up by the hour.

use std::collections::BTreeMap;

use cybervault_model::{SourceReport, TenantId, Timestamp};
use serde::Serialize;
use sqlx::{Row, any::AnyRow};

use super::{Attempt, Store, StoreError, number, text, writing::Writing};

const HOUR_MS: i64 = 60 * 60 * 1000;
/// Sets of keys that are kept of a tenant: those that were seen last.
const MOST_KEYS: i64 = 20;
/// Log sources that are told at most.
const MOST_SOURCES: i64 = 1_000;
/// The longest set of keys that is kept, in bytes.
const LONGEST_KEYS: usize = 1_024;

/// A tenant's events by log source, over a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SourceUse {
    /// Events that were admitted.
    pub(crate) events: i64,
    /// Those of them of no known log source.
    pub(crate) unknown: i64,
    /// The most frequent first. An event of several counts under each.
    pub(crate) sources: Vec<SourceEvents>,
    /// What keys those of none have, of a sample; the most frequent first.
    pub(crate) unknown_keys: Vec<UnknownKeys>,
}

/// Events of one log source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourceEvents {
    pub(crate) product: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) events: i64,
    /// The hour in which the last of them came.
    pub(crate) last_hour: Timestamp,
}

/// Events of no known log source with the same keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UnknownKeys {
    pub(crate) keys: String,
    /// How many of the sample, ever since the keys are kept.
    pub(crate) events: i64,
    pub(crate) last_seen: Timestamp,
}

impl SourceUse {
    /// Whether most events are of no known log source.
    pub(crate) fn is_mostly_unknown(&self) -> bool {
        let count = |events: i64| u64::try_from(events).unwrap_or_default();
        SourceReport::is_mostly_unknown(count(self.events), count(self.unknown))
    }
}

impl Store {
    /// What log sources a tenant's events have belonged to since the hour of `from`.
    pub(crate) async fn source_use(&self, tenant_id: &TenantId, from: Timestamp) -> Result<SourceUse, StoreError> {
        let what = "reading log sources";
        let (tenant, from) = (tenant_id.as_str(), hour(from));
        let sums = "SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT), CAST(COALESCE(SUM(unknown), 0) AS BIGINT) \
                    FROM source_hours WHERE tenant_id = $1 AND hour >= $2";
        let sums = sqlx::query(sums).bind(tenant).bind(from).fetch_one(&self.read).await.attempt(what)?;
        let sources = sqlx::query(
            "SELECT product, service, category, CAST(SUM(events) AS BIGINT) AS sum, MAX(hour) FROM log_sources \
             WHERE tenant_id = $1 AND hour >= $2 GROUP BY product, service, category \
             ORDER BY sum DESC, product, service, category LIMIT $3",
        );
        let sources = sources.bind(tenant).bind(from).bind(MOST_SOURCES).fetch_all(&self.read).await.attempt(what)?;
        let keys = sqlx::query(
            "SELECT keys, events, last_at FROM unknown_keys WHERE tenant_id = $1 AND last_at >= $2 \
             ORDER BY events DESC, keys LIMIT $3",
        );
        let keys = keys.bind(tenant).bind(from).bind(MOST_KEYS).fetch_all(&self.read).await.attempt(what)?;
        let name =
            |row: &AnyRow, at: usize| Ok::<_, StoreError>(Some(text(row, at, what)?).filter(|name| !name.is_empty()));
        let sources = sources.iter().map(|row| {
            Ok::<_, StoreError>(SourceEvents {
                product: name(row, 0)?,
                service: name(row, 1)?,
                category: name(row, 2)?,
                events: number(row, 3, what)?,
                last_hour: Timestamp::from_millis(number(row, 4, what)?),
            })
        });
        let keys = keys.iter().map(|row| {
            Ok::<_, StoreError>(UnknownKeys {
                keys: text(row, 0, what)?,
                events: number(row, 1, what)?,
                last_seen: Timestamp::from_millis(row.try_get(2).attempt(what)?),
            })
        });
        Ok(SourceUse {
            events: number(&sums, 0, what)?,
            unknown: number(&sums, 1, what)?,
            sources: sources.collect::<Result<_, _>>()?,
            unknown_keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

fn hour(at: Timestamp) -> i64 {
    at.as_millis() - at.as_millis().rem_euclid(HOUR_MS)
}

/// What several reports come to.
#[derive(Debug, Default)]
pub(super) struct SourceSums<'a> {
    hours: BTreeMap<(&'a str, i64), (i64, i64)>,
    sources: BTreeMap<(&'a str, i64, [&'a str; 3]), i64>,
    keys: BTreeMap<(&'a str, String), (i64, i64)>,
}

impl<'a> SourceSums<'a> {
    pub(super) fn add(&mut self, report: &'a SourceReport) {
        let count = |events: u64| i64::try_from(events).unwrap_or(i64::MAX);
        let (tenant, hour) = (&*report.tenant_id, hour(report.at));
        let sum = self.hours.entry((tenant, hour)).or_default();
        *sum = (sum.0.saturating_add(count(report.events)), sum.1.saturating_add(count(report.unknown)));
        for source in report.sources.iter().take(SourceReport::MOST_SOURCES) {
            let names = [&source.product, &source.service, &source.category].map(|name| name.as_deref().unwrap_or(""));
            let sum = self.sources.entry((tenant, hour, names)).or_default();
            *sum = sum.saturating_add(count(source.events));
        }
        for keys in report.unknown_keys.iter().take(SourceReport::MOST_KEYS) {
            let mut text = super::view::clean(&keys.keys);
            text.truncate(text.floor_char_boundary(LONGEST_KEYS));
            let sum = self.keys.entry((tenant, text)).or_default();
            *sum = (sum.0.saturating_add(count(keys.events)), sum.1.max(report.at.as_millis()));
        }
    }

    pub(super) async fn insert(self, transaction: &mut Writing) -> Result<(), StoreError> {
        let what = "inserting log sources";
        for ((tenant, hour), (events, unknown)) in self.hours {
            let insert = sqlx::query(
                "INSERT INTO source_hours (tenant_id, hour, events, unknown) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant_id, hour) DO UPDATE SET events = source_hours.events + $3, \
                 unknown = source_hours.unknown + $4",
            );
            let insert = insert.bind(tenant).bind(hour).bind(events).bind(unknown);
            insert.execute(&mut **transaction).await.attempt(what)?;
        }
        for ((tenant, hour, names), events) in self.sources {
            let insert = sqlx::query(
                "INSERT INTO log_sources (tenant_id, hour, product, service, category, events) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, hour, product, service, category) \
                 DO UPDATE SET events = log_sources.events + $6",
            );
            let [product, service, category] = names.map(super::view::clean);
            let insert = insert.bind(tenant).bind(hour).bind(product).bind(service).bind(category).bind(events);
            insert.execute(&mut **transaction).await.attempt(what)?;
        }
        let mut tenants: Vec<&str> = self.keys.keys().map(|(tenant, _)| *tenant).collect();
        tenants.dedup();
        for ((tenant, keys), (events, last_at)) in self.keys {
            let insert = sqlx::query(
                "INSERT INTO unknown_keys (tenant_id, keys, events, last_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant_id, keys) DO UPDATE SET events = unknown_keys.events + $3, last_at = $4",
            );
            let insert = insert.bind(tenant).bind(keys).bind(events).bind(last_at);
            insert.execute(&mut **transaction).await.attempt(what)?;
        }
        for tenant in tenants {
            let bound = sqlx::query(
                "DELETE FROM unknown_keys WHERE tenant_id = $1 AND keys NOT IN (SELECT keys FROM unknown_keys \
                 WHERE tenant_id = $1 ORDER BY last_at DESC, events DESC, keys LIMIT $2)",
            );
            bound.bind(tenant).bind(MOST_KEYS).execute(&mut **transaction).await.attempt(what)?;
        }
        Ok(())
    }
}
