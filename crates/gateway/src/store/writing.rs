//! A transaction that writes, and what becomes of its connection.
//!
//! A database that is out of room ends a transaction by itself. The driver goes on counting it as open and refuses every later one
//! on that connection ("non-zero transaction depth", sqlx #3932). So nothing is counted here: a transaction is what stands
//! between two statements, and a connection on which one has not ended as it should is closed instead of used again.

use std::ops::{Deref, DerefMut};

use sqlx::{Any, AnyConnection, Executor, pool::PoolConnection};

use super::{Attempt, Store, StoreError};

/// An open transaction. Dropped without [`Writing::commit`], it takes its connection with it, and nothing of it is written.
#[derive(Debug)]
pub(super) struct Writing {
    connection: PoolConnection<Any>,
    /// Whether the connection is not to be used again.
    is_spoiled: bool,
}

impl Store {
    /// Begins a transaction that writes.
    pub(super) async fn begin(&self, what: &'static str) -> Result<Writing, StoreError> {
        let connection = self.write.acquire().await.attempt(what)?;
        // What is in memory is gone with its connection: there the pool takes back what was left open.
        let mut writing = Writing { connection, is_spoiled: !self.in_memory };
        // SQLite's own BEGIN would read first and could then no longer be let write.
        writing.execute(if self.postgres { "BEGIN" } else { "BEGIN IMMEDIATE" }).await.attempt(what)?;
        Ok(writing)
    }

    /// Whether it takes writes: one is tried.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn takes_writes(&self) -> Result<(), StoreError> {
        let what = "writing at all";
        let mut writing = self.begin(what).await?;
        let probe = "INSERT INTO counters (name, value) VALUES ('probe', 1) \
                     ON CONFLICT (name) DO UPDATE SET value = counters.value + 1";
        writing.execute(probe).await.attempt(what)?;
        writing.commit(what).await
    }
}

impl Writing {
    /// Makes it last.
    pub(super) async fn commit(mut self, what: &'static str) -> Result<(), StoreError> {
        self.execute("COMMIT").await.attempt(what)?;
        self.is_spoiled = false;
        Ok(())
    }

    /// Takes it back.
    pub(super) async fn rollback(mut self, what: &'static str) -> Result<(), StoreError> {
        self.execute("ROLLBACK").await.attempt(what)?;
        self.is_spoiled = false;
        Ok(())
    }
}

impl Deref for Writing {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connection
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connection
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.is_spoiled {
            self.connection.close_on_drop();
        }
    }
}
