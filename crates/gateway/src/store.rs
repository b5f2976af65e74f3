//! What the gateway remembers: keys and sessions, and a view of the result topics that can be searched.
//!
//! SQLite in the process by default, PostgreSQL where there are several replicas. Both are spoken to through one driver
//! and in the SQL that they share, so there is one set of statements and one set of tests. SQLite has a single writer:
//! its writes have a pool of one connection, so that they queue here instead of failing there.

mod actions;
mod assessments;
mod attack;
mod entities;
mod feed;
mod idempotency;
mod incidents;
mod keys;
mod known_events;
mod limits;
mod rejections;
mod report;
mod retention;
mod sessions;
mod sources;
mod view;
mod writing;

use std::{path::PathBuf, time::Duration};

use cybervault_model::Timestamp;
pub(crate) use cybervault_stream::now;
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Executor, Row,
    any::{AnyPoolOptions, AnyRow},
};

pub(crate) use self::{
    actions::ACTIONS,
    assessments::ASSESSMENTS,
    attack::HeatCell,
    entities::COUNTED,
    feed::{FeedItem, FeedKind},
    idempotency::{Claim, Stored},
    incidents::INCIDENTS,
    known_events::{Asked, KnownEvent},
    limits::Spent,
    report::Facts,
    sessions::LIFETIME_S as SESSION_S,
    view::{Finding, Landed, Offsets, ViewBatch},
};
pub use self::{
    keys::{KeyRecord, NewKey},
    retention::Retention,
};
use crate::key::random_text;

/// What the migrations are, oldest first. A release never changes one that another release has run.
const MIGRATIONS: [&str; 6] = [
    include_str!("store/schema.sql"),
    include_str!("store/indexes.sql"),
    include_str!("store/sources.sql"),
    include_str!("store/waiting.sql"),
    include_str!("store/recent.sql"),
    include_str!("store/incidents.sql"),
];

/// Rows a statement.
const MOST_ROWS: usize = 128;
/// Connections that read.
const READERS: u32 = 8;
/// KiB of pages that a connection of SQLite keeps. The writer's are those that a batch changes: with too few of them, each
/// is written several times.
const WRITER_CACHE: u32 = 16 * 1024;
const READER_CACHE: u32 = 4 * 1024;
/// How long a request waits for a connection before it is told that the store is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A SQLite file; made if it is not there.
    File(PathBuf),
    /// SQLite in memory, gone with the process.
    Memory,
    /// A PostgreSQL database: `postgres://user:password@host/database`.
    Postgres(String),
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be opened.
    #[error("can't open the store {place}: {reason}; see `gateway.store` in the configuration")]
    Open {
        /// Which, without any password.
        place: String,
        /// What the driver says.
        reason: String,
    },
    /// A statement failed.
    #[error("the store failed at {what}: {source}")]
    Failed {
        /// What was attempted.
        what: &'static str,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// A document in it can't be read.
    #[error("the store holds {what} that can't be read: {reason}; rebuild it with `cybervault gateway rebuild`")]
    Unreadable {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The operating system has no randomness.
    #[error("no randomness for a new secret: {0}")]
    Randomness(#[from] getrandom::Error),
}

/// Names what was attempted.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Attempt<T> for Result<T, sqlx::Error> {
    fn attempt(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Failed { what, source })
    }
}

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    read: AnyPool,
    write: AnyPool,
    postgres: bool,
    in_memory: bool,
    /// Signs cursors: the same for all replicas.
    cursor_key: [u8; 32],
}

impl Store {
    /// Opens the store and brings its tables up to date.
    ///
    /// # Errors
    /// When it can't be opened or written to.
    pub async fn open(place: &Place) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let failed = |error: sqlx::Error| StoreError::Open { place: shown(place), reason: error.to_string() };
        let (write, read) = match place {
            Place::Postgres(url) => {
                let pool = options(READERS).connect(url).await.map_err(failed)?;
                (pool.clone(), pool)
            }
            Place::File(path) => {
                keep_to_oneself(path).map_err(|error| failed(error.into()))?;
                let url = sqlite_url(path);
                let sqlite = |connections, cache| {
                    options(connections).after_connect(move |connection, _| prepare_sqlite(connection, cache))
                };
                let write = sqlite(1, WRITER_CACHE).connect(&url).await.map_err(failed)?;
                (write, sqlite(READERS, READER_CACHE).connect(&url).await.map_err(failed)?)
            }
            Place::Memory => {
                // The database is its only connection's, which is never closed: what was left open is taken back.
                let one = options(1).min_connections(1).idle_timeout(None).max_lifetime(None).after_release(
                    |connection, _| {
                        Box::pin(async move {
                            // Most times there is nothing to be taken back, which is an error.
                            let _ = connection.execute("ROLLBACK").await;
                            Ok(true)
                        })
                    },
                );
                let pool = one.connect("sqlite::memory:").await.map_err(failed)?;
                (pool.clone(), pool)
            }
        };
        let (postgres, in_memory) = (matches!(place, Place::Postgres(_)), matches!(place, Place::Memory));
        let mut store = Self { read, write, postgres, in_memory, cursor_key: [0; 32] };
        store.migrate().await?;
        store.cursor_key = store.shared_secret("cursor").await?;
        Ok(store)
    }

    /// Runs the migrations that have not been run. Replicas may start at once: the row that says a migration was run is
    /// written first, in its transaction, so that one of them waits for the other and then finds nothing to do.
    async fn migrate(&self) -> Result<(), StoreError> {
        let what = "migrating its tables";
        let create = "CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY)";
        if self.write.execute(create).await.is_err() {
            // PostgreSQL lets two that come at once collide here.
            self.write.execute(create).await.attempt(what)?;
        }
        for (version, sql) in (1_i64..).zip(MIGRATIONS) {
            let mut transaction = self.begin(what).await?;
            let claim =
                sqlx::query("INSERT INTO migrations (version) VALUES ($1) ON CONFLICT DO NOTHING").bind(version);
            if claim.execute(&mut *transaction).await.attempt(what)?.rows_affected() == 1 {
                for statement in statements(sql) {
                    transaction.execute(AssertSqlSafe(statement)).await.attempt(what)?;
                }
            }
            transaction.commit(what).await?;
        }
        Ok(())
    }

    /// A secret that all replicas share, made by the first of them.
    async fn shared_secret(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        let what = "reading a shared secret";
        let insert = sqlx::query("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING");
        insert.bind(name).bind(random_text(48)?).execute(&self.write).await.attempt(what)?;
        let row = sqlx::query("SELECT value FROM secrets WHERE name = $1").bind(name);
        let row = row.fetch_one(&self.write).await.attempt(what)?;
        let value: String = row.try_get(0).attempt(what)?;
        Ok(sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), value)).into())
    }

    /// Whether it answers.
    pub(crate) async fn answers(&self) -> bool {
        let asked = sqlx::query("SELECT 1").fetch_one(&self.read);
        matches!(tokio::time::timeout(Duration::from_secs(2), asked).await, Ok(Ok(_)))
    }

    pub(crate) const fn cursor_key(&self) -> &[u8; 32] {
        &self.cursor_key
    }

    /// `($1, $2), ($3, $4)`: places for `rows` of `columns` each. SQLite looks up a name among all that stand before it.
    fn places(&self, rows: usize, columns: usize) -> String {
        let place = |at: usize| if self.postgres { format!("${at}") } else { "?".to_owned() };
        let row = |row: usize| {
            let places: Vec<String> = (1..=columns).map(|column| place(row * columns + column)).collect();
            format!("({})", places.join(", "))
        };
        (0..rows).map(row).collect::<Vec<_>>().join(", ")
    }
}

fn options(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE)
}

fn prepare_sqlite(
    connection: &mut AnyConnection,
    cache: u32,
) -> futures_util::future::BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move {
        // The view can be rebuilt from Kafka and keys are made by hand: what the last instants before a power cut wrote
        // may be lost, but never half of it.
        // Pages of the log go into the file less often than they do by default: most are changed again soon.
        let cache = format!("cache_size = -{cache}");
        let pragmas =
            ["journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 5000", "wal_autocheckpoint = 4000", &cache];
        for pragma in pragmas {
            connection.execute(AssertSqlSafe(format!("PRAGMA {pragma}"))).await?;
        }
        Ok(())
    })
}

/// Makes the store's file, or what is there already, nobody else's to read: it holds the hashes of keys, and what was found.
/// SQLite gives its log the same mode.
fn keep_to_oneself(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0
        && let Err(error) = file.set_permissions(std::fs::Permissions::from_mode(0o600))
    {
        tracing::warn!(store = %path.display(), %error, "others can read the store; have its owner run chmod 600 on it");
    }
    for log in ["-wal", "-shm"] {
        let log = path.with_file_name(format!("{}{log}", path.file_name().unwrap_or_default().to_string_lossy()));
        // Most often there is none.
        let _ = std::fs::set_permissions(log, std::fs::Permissions::from_mode(0o600));
    }
    Ok(())
}

fn sqlite_url(path: &std::path::Path) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let path = path.to_string_lossy();
    let parts: Vec<String> =
        path.split('/').map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
    format!("sqlite://{}?mode=rwc", parts.join("/"))
}

/// The place for people, without any password.
fn shown(place: &Place) -> String {
    match place {
        Place::File(path) => path.display().to_string(),
        Place::Memory => "in memory".to_owned(),
        Place::Postgres(url) => {
            let host = url.rsplit_once('@').map_or("", |(_, host)| host);
            format!("postgres://…@{host}")
        }
    }
}

/// The statements of a migration, without comments.
fn statements(sql: &str) -> Vec<String> {
    let code: String = sql.lines().filter(|line| !line.starts_with("--")).flat_map(|line| [line, "\n"]).collect();
    code.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

/// Rows in pieces of few lengths, so that there are few statements, each prepared once.
fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << rows.len().min(MOST_ROWS).checked_ilog2()?;
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

fn text(row: &AnyRow, column: usize, what: &'static str) -> Result<String, StoreError> {
    row.try_get(column).attempt(what)
}

fn number(row: &AnyRow, column: usize, what: &'static str) -> Result<i64, StoreError> {
    row.try_get(column).attempt(what)
}

fn time(row: &AnyRow, column: usize, what: &'static str) -> Result<Option<Timestamp>, StoreError> {
    row.try_get::<Option<i64>, _>(column).attempt(what).map(|millis| millis.map(Timestamp::from_millis))
}

#[cfg(test)]
mod tests;
