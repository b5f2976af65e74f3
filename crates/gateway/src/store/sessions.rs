//! Sessions of the console: what a browser's cookie stands for.

use std::collections::HashSet;

use cybervault_model::Timestamp;

use super::{Attempt, Store, StoreError, now, number, pieces, text};
use crate::key::{KeyHash, random_text};

/// How long a session lasts, used or not: a working day.
pub(crate) const LIFETIME_S: i64 = 12 * 60 * 60;

/// Sessions that a key has at the same time. One more ends its oldest.
const MOST: i64 = 100;

/// A session. It is worth as much as its key is at the moment.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) key_id: String,
    /// What a form has to bring along.
    pub(crate) csrf: String,
}

impl Store {
    /// Begins a session of a key, and returns the cookie's value.
    pub(crate) async fn begin_session(&self, key_id: &str) -> Result<String, StoreError> {
        let what = "beginning a session";
        let cookie = random_text(43)?;
        let end = |session: &str| KeyHash::of(session).to_hex();
        sqlx::query("DELETE FROM sessions WHERE expires_at < $1")
            .bind(now().as_millis())
            .execute(&self.write)
            .await
            .attempt(what)?;
        let crowded = "DELETE FROM sessions WHERE key_id = $1 AND hash NOT IN \
                       (SELECT hash FROM sessions WHERE key_id = $1 ORDER BY expires_at DESC, hash LIMIT $2)";
        sqlx::query(crowded).bind(key_id).bind(MOST - 1).execute(&self.write).await.attempt(what)?;
        sqlx::query("INSERT INTO sessions (hash, key_id, csrf, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(end(&cookie))
            .bind(key_id)
            .bind(random_text(32)?)
            .bind(now().plus_millis(LIFETIME_S * 1000).as_millis())
            .execute(&self.write)
            .await
            .attempt(what)?;
        Ok(cookie)
    }

    /// The session of a cookie, unless it is over.
    pub(crate) async fn session(&self, hash: &KeyHash, at: Timestamp) -> Result<Option<Session>, StoreError> {
        let what = "looking up a session";
        let sql = "SELECT key_id, csrf FROM sessions WHERE hash = $1 AND expires_at > $2";
        let row = sqlx::query(sql).bind(hash.to_hex()).bind(at.as_millis()).fetch_optional(&self.read).await;
        let Some(row) = row.attempt(what)? else { return Ok(None) };
        Ok(Some(Session { key_id: text(&row, 0, what)?, csrf: text(&row, 1, what)? }))
    }

    /// Those of these sessions, by their hashes in hexadecimal digits, that are not over.
    pub(crate) async fn sessions_of(&self, hashes: &[String], at: Timestamp) -> Result<HashSet<String>, StoreError> {
        let (what, mut found) = ("looking up sessions", HashSet::new());
        for piece in pieces(hashes) {
            let places = self.places(1, piece.len());
            let sql = format!("SELECT hash, expires_at FROM sessions WHERE hash IN {places}");
            let query = piece.iter().fold(sqlx::query(sqlx::AssertSqlSafe(sql)), sqlx::query::Query::bind);
            for row in query.fetch_all(&self.read).await.attempt(what)? {
                if number(&row, 1, what)? > at.as_millis() {
                    found.insert(text(&row, 0, what)?);
                }
            }
        }
        Ok(found)
    }

    /// Ends a session.
    pub(crate) async fn end_session(&self, hash: &KeyHash) -> Result<(), StoreError> {
        let end = sqlx::query("DELETE FROM sessions WHERE hash = $1").bind(hash.to_hex());
        end.execute(&self.write).await.attempt("ending a session")?;
        Ok(())
    }
}
