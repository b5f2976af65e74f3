//! API keys, by their hash.

use std::collections::BTreeSet;

use cybervault_model::{TenantId, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;

use super::{Attempt, Store, StoreError, now, number, pieces, text, time};
use crate::key::{KeyHash, KeyKind, Scope, Secret, random_text};

/// How many keys of one tenant are listed.
const LISTED: i64 = 1_000;

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyRecord {
    /// `key_…`
    pub key_id: String,
    /// Whose.
    pub tenant_id: TenantId,
    /// Which data it opens.
    pub kind: KeyKind,
    /// What people call it.
    pub name: String,
    /// What it begins and ends with.
    pub hint: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From when on it is no longer taken; never without it.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl KeyRecord {
    /// Whether it is taken at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// The record together with the key in clear, as whoever asked for it is shown it once.
    pub fn with_secret(&self, secret: &Secret) -> serde_json::Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        shown["secret"] = secret.reveal().into();
        shown
    }

    /// Whether it may be used for what asks for `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// A key to be issued.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which data it opens.
    pub kind: KeyKind,
    /// What people call it.
    pub name: String,
    /// What it may be used for; of these it gets those that its kind can have. Empty is all of them.
    pub scopes: BTreeSet<Scope>,
    /// From when on it is no longer taken.
    pub expires_at: Option<Timestamp>,
}

const COLUMNS: &str = "key_id, tenant_id, kind, name, hint, scopes, created_at, expires_at, revoked_at, last_used_at";

impl Store {
    /// Issues a key. The secret is nowhere else and can't be shown again.
    ///
    /// # Errors
    /// When it can't be stored.
    pub async fn issue_key(&self, new: &NewKey) -> Result<(Secret, KeyRecord), StoreError> {
        let secret = Secret::generate(new.kind)?;
        let possible = new.kind.scopes().iter().copied();
        let scopes: BTreeSet<Scope> =
            possible.filter(|scope| new.scopes.is_empty() || new.scopes.contains(scope)).collect();
        let record = KeyRecord {
            key_id: format!("key_{}", random_text(20)?),
            tenant_id: new.tenant_id.clone(),
            kind: new.kind,
            name: new.name.clone(),
            hint: secret.hint(),
            scopes,
            created_at: now(),
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let scopes: Vec<&str> = record.scopes.iter().map(|scope| scope.as_str()).collect();
        sqlx::query(
            "INSERT INTO api_keys (key_id, hash, tenant_id, kind, name, hint, scopes, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&record.key_id)
        .bind(secret.hash().to_hex())
        .bind(record.tenant_id.as_str())
        .bind(record.kind.as_str())
        .bind(&record.name)
        .bind(&record.hint)
        .bind(scopes.join(" "))
        .bind(record.created_at.as_millis())
        .bind(record.expires_at.map(Timestamp::as_millis))
        .execute(&self.write)
        .await
        .attempt("issuing a key")?;
        Ok((secret, record))
    }

    /// The key with that hash, whatever its state.
    pub(crate) async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let what = "looking up a key";
        let hex = hash.to_hex();
        let sql = "SELECT key_id, tenant_id, kind, name, hint, scopes, created_at, expires_at, revoked_at, last_used_at, \
                   hash FROM api_keys WHERE hash = $1";
        let Some(row) = sqlx::query(sql).bind(&hex).fetch_optional(&self.read).await.attempt(what)? else {
            return Ok(None);
        };
        // The index finds by comparing as it likes; what decides does not tell by its time how much was right.
        if !hash.matches(&text(&row, 10, what)?) {
            return Ok(None);
        }
        record(&row).map(Some)
    }

    /// The key with that id, of that tenant.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn key(&self, tenant_id: &TenantId, key_id: &str) -> Result<Option<KeyRecord>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM api_keys WHERE tenant_id = $1 AND key_id = $2"));
        let found = sqlx::query(sql).bind(tenant_id.as_str()).bind(key_id).fetch_optional(&self.read).await;
        found.attempt("looking up a key")?.as_ref().map(record).transpose()
    }

    /// The key with that id, whosever it is: for whoever runs the fleet, and for sessions.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn key_by_id(&self, key_id: &str) -> Result<Option<KeyRecord>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM api_keys WHERE key_id = $1"));
        let found = sqlx::query(sql).bind(key_id).fetch_optional(&self.read).await;
        found.attempt("looking up a key")?.as_ref().map(record).transpose()
    }

    /// The keys with these ids, whosever they are.
    pub(crate) async fn keys_by_id(&self, ids: &[&str]) -> Result<Vec<KeyRecord>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for piece in pieces(ids) {
            let places = self.places(1, piece.len());
            let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM api_keys WHERE key_id IN {places}"));
            let query = piece.iter().fold(sqlx::query(sql), |query, id| query.bind(*id));
            for row in query.fetch_all(&self.read).await.attempt("looking up keys")? {
                found.push(record(&row)?);
            }
        }
        Ok(found)
    }

    /// A tenant's keys, or all, the newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn keys(&self, tenant_id: Option<&TenantId>) -> Result<Vec<KeyRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE ($1 = '' OR tenant_id = $1) ORDER BY created_at DESC, key_id LIMIT {LISTED}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant_id.map_or("", TenantId::as_str));
        rows.fetch_all(&self.read).await.attempt("listing keys")?.iter().map(record).collect()
    }

    /// Issues a key like `old`, which is taken until `overlap_ms` from now. The new one ends at `latest`, if there is such a time.
    ///
    /// # Errors
    /// When it can't be stored.
    pub async fn rotate_key(
        &self,
        old: &KeyRecord,
        overlap_ms: i64,
        latest: Option<Timestamp>,
    ) -> Result<(Secret, KeyRecord), StoreError> {
        // As long a life as the old one was given.
        let life = |end: Timestamp| end.as_millis().saturating_sub(old.created_at.as_millis()).max(0);
        let end = old.expires_at.map(|end| now().plus_millis(life(end)));
        let new = NewKey {
            tenant_id: old.tenant_id.clone(),
            kind: old.kind,
            name: old.name.clone(),
            scopes: old.scopes.clone(),
            expires_at: [end, latest].into_iter().flatten().min(),
        };
        let issued = self.issue_key(&new).await?;
        sqlx::query(
            "UPDATE api_keys SET expires_at = $2 WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(&old.key_id)
        .bind(now().plus_millis(overlap_ms).as_millis())
        .execute(&self.write)
        .await
        .attempt("ending a rotated key")?;
        Ok(issued)
    }

    /// Revokes a key for good. Whether there was one to revoke.
    ///
    /// # Errors
    /// When it can't be stored.
    pub async fn revoke_key(&self, key_id: &str) -> Result<bool, StoreError> {
        let revoke = sqlx::query("UPDATE api_keys SET revoked_at = $2 WHERE key_id = $1 AND revoked_at IS NULL");
        let done = revoke.bind(key_id).bind(now().as_millis()).execute(&self.write).await.attempt("revoking a key")?;
        Ok(done.rows_affected() == 1)
    }

    /// Remembers that a key was used.
    pub(crate) async fn key_was_used(&self, key_id: &str, at: Timestamp) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE api_keys SET last_used_at = $2 WHERE key_id = $1");
        update.bind(key_id).bind(at.as_millis()).execute(&self.write).await.attempt("noting a key's use")?;
        Ok(())
    }
}

fn record(row: &AnyRow) -> Result<KeyRecord, StoreError> {
    let what = "reading a key";
    let unreadable = |reason: String| StoreError::Unreadable { what: "a key", reason };
    let kind = text(row, 2, what)?;
    let kind = KeyKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let scopes: Result<BTreeSet<Scope>, _> = text(row, 5, what)?.split_whitespace().map(str::parse).collect();
    Ok(KeyRecord {
        key_id: text(row, 0, what)?,
        tenant_id: TenantId::new(&text(row, 1, what)?).map_err(|error| unreadable(error.to_string()))?,
        kind: kind.ok_or_else(|| unreadable("of a kind that this version does not know".to_owned()))?,
        name: text(row, 3, what)?,
        hint: text(row, 4, what)?,
        scopes: scopes.map_err(|error| unreadable(error.to_string()))?,
        created_at: Timestamp::from_millis(number(row, 6, what)?),
        expires_at: time(row, 7, what)?,
        revoked_at: time(row, 8, what)?,
        last_used_at: time(row, 9, what)?,
    })
}
