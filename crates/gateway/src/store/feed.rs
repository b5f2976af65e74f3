//! Everything that landed in the view, in the order in which it did.

use cybervault_model::TenantId;
use serde_json::value::RawValue;
use sqlx::any::AnyRow;

use super::{Attempt, Store, StoreError, assessments::document, number, text};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedKind {
    Assessment,
    Action,
    Incident,
}

impl FeedKind {
    /// The event's name in the stream.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Assessment => "assessment",
            Self::Action => "action",
            Self::Incident => "incident",
        }
    }
}

/// One thing that landed.
#[derive(Clone, Debug)]
pub(crate) struct FeedItem {
    /// Its place in the order: higher than everything that landed before.
    pub(crate) seq: i64,
    pub(crate) tenant_id: String,
    pub(crate) kind: FeedKind,
    pub(crate) document: Box<RawValue>,
}

impl Store {
    /// The place of the last that landed.
    pub(crate) async fn feed_end(&self) -> Result<i64, StoreError> {
        let what = "looking for the feed's end";
        let row = sqlx::query("SELECT COALESCE(MAX(value), 0) FROM counters WHERE name = 'feed'");
        number(&row.fetch_one(&self.read).await.attempt(what)?, 0, what)
    }

    /// What landed after `seq`, of all tenants.
    pub(crate) async fn feed_after(&self, seq: i64, limit: i64) -> Result<Vec<FeedItem>, StoreError> {
        let what = "reading the feed";
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM (SELECT seq, tenant_id, 'assessment' AS kind, document FROM assessments \
             WHERE seq > $1 ORDER BY seq LIMIT $2) a UNION ALL \
             SELECT * FROM (SELECT seq, tenant_id, 'action' AS kind, document FROM action_states \
             WHERE seq > $1 ORDER BY seq LIMIT $2) b UNION ALL \
             SELECT * FROM (SELECT seq, tenant_id, 'incident' AS kind, document FROM incidents \
             WHERE seq > $1 ORDER BY seq LIMIT $2) c) all_kinds ORDER BY seq LIMIT $2",
        );
        let rows = rows.bind(seq).bind(limit).fetch_all(&self.read).await.attempt(what)?;
        rows.iter().map(item).collect()
    }

    /// What of a tenant's landed after `seq` and not after `end`.
    pub(crate) async fn feed_of(
        &self,
        tenant_id: &TenantId,
        (seq, end): (i64, i64),
        limit: i64,
    ) -> Result<Vec<FeedItem>, StoreError> {
        let what = "reading a tenant's feed";
        let rows = sqlx::query(
            "SELECT * FROM (SELECT * FROM (SELECT seq, tenant_id, 'assessment' AS kind, document FROM assessments \
             WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4) a UNION ALL \
             SELECT * FROM (SELECT seq, tenant_id, 'action' AS kind, document FROM action_states \
             WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4) b UNION ALL \
             SELECT * FROM (SELECT seq, tenant_id, 'incident' AS kind, document FROM incidents \
             WHERE tenant_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4) c) all_kinds ORDER BY seq LIMIT $4",
        );
        let rows = rows.bind(tenant_id.as_str()).bind(seq).bind(end).bind(limit);
        rows.fetch_all(&self.read).await.attempt(what)?.iter().map(item).collect()
    }
}

fn item(row: &AnyRow) -> Result<FeedItem, StoreError> {
    let what = "reading the feed";
    Ok(FeedItem {
        seq: number(row, 0, what)?,
        tenant_id: text(row, 1, what)?,
        kind: match &*text(row, 2, what)? {
            "action" => FeedKind::Action,
            "incident" => FeedKind::Incident,
            _ => FeedKind::Assessment,
        },
        document: document(text(row, 3, what)?)?,
    })
}
