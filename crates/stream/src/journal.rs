//! Writes for callers who wait: what many of them hand in is committed together.
//!
//! A commit costs some milliseconds however much is in it. So there is one transaction at a time, and it takes along
//! everything that was handed in while the one before was committing: at low load a caller waits for its own commit alone,
//! at high load for at most two, and the rate is bounded by bytes rather than by commits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use metrics::{counter, histogram};

use crate::{
    KafkaSettings, Outbox, Output, StreamError,
    transaction::{Batch, Outcome, Transactor},
};

/// Handed-in writes that may wait.
const QUEUE: usize = 16_384;
/// Bytes of one transaction.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How often an aborted transaction is tried again before its callers are told.
const ATTEMPTS: u32 = 3;
/// How long a write may have waited and still be worth its transaction.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two producers, at first …
const PAUSE: Duration = Duration::from_millis(200);
/// … and at last.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A record to be written.
#[derive(Clone, Debug)]
pub struct JournalRecord {
    /// Where to.
    pub topic: Arc<str>,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// Its own time.
    pub time: Timestamp,
}

/// Why nothing was written, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// More waits than may.
    #[error("more writes wait for Kafka than may; try again later")]
    Full,
    /// Kafka does not take it.
    #[error("Kafka does not take it: {0}")]
    Unavailable(String),
    /// A record of it is larger than its topic takes.
    #[error("{0}")]
    TooLarge(String),
}

type Done = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

struct Entry {
    records: Vec<JournalRecord>,
    done: Done,
    since: Instant,
    withdrawn: Arc<AtomicBool>,
}

/// A write that was handed in.
#[derive(Debug)]
pub struct HandedIn(Arc<AtomicBool>);

impl HandedIn {
    /// Takes the write back, unless it is being written already: nobody waits for it any more.
    pub fn withdraw(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The way to the writing thread. Cheap to clone; the thread ends with the last of them.
#[derive(Clone)]
pub struct Journal {
    entries: SyncSender<Entry>,
    healthy: Arc<AtomicBool>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("healthy", &self.is_healthy()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Starts the thread that writes as `transactional_id`. A broker that is away is waited for there.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(kafka: KafkaSettings, transactional_id: String) -> Result<Self, StreamError> {
        let (entries, handed_in) = sync_channel(QUEUE);
        let healthy = Arc::new(AtomicBool::new(false));
        let writer = Writer { kafka, transactional_id, healthy: healthy.clone() };
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&handed_in))
            .map_err(|error| StreamError::Fatal { what: "starting a thread".into(), reason: error.to_string() })?;
        Ok(Self { entries, healthy })
    }

    /// Hands in records that are written together or not at all, and calls `done` once it is known which. Never blocks;
    /// `done` is called on another thread, or at once where too much waits.
    ///
    /// After [`JournalError::Unavailable`] they may have been written all the same: the answer to a commit can get lost.
    pub fn write(
        &self,
        records: Vec<JournalRecord>,
        done: impl FnOnce(Result<(), JournalError>) + Send + 'static,
    ) -> HandedIn {
        let handed_in = HandedIn(Arc::default());
        let entry = Entry { records, done: Box::new(done), since: Instant::now(), withdrawn: handed_in.0.clone() };
        match self.entries.try_send(entry) {
            Ok(()) => {}
            Err(TrySendError::Full(entry)) => (entry.done)(Err(JournalError::Full)),
            Err(TrySendError::Disconnected(entry)) => {
                (entry.done)(Err(JournalError::Unavailable("the writing thread has ended".into())));
            }
        }
        handed_in
    }

    /// Whether there is a producer that can write.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }
}

struct Writer {
    kafka: KafkaSettings,
    transactional_id: String,
    healthy: Arc<AtomicBool>,
}

impl Writer {
    fn run(&self, handed_in: &Receiver<Entry>) {
        let (mut wait, mut batch) = (PAUSE, Batch::default());
        loop {
            // Waits for a broker that is away; those who have handed in something meanwhile have their own patience.
            match self.open(&batch) {
                Ok(mut transactor) => {
                    self.healthy.store(true, Ordering::Relaxed);
                    wait = PAUSE;
                    if !self.commit_all(&mut transactor, &mut batch, handed_in) {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, "can't write to Kafka; trying again"),
            }
            self.healthy.store(false, Ordering::Relaxed);
            if !self.refuse(handed_in, wait) {
                return;
            }
            wait = (wait * 2).min(LONGEST_PAUSE);
        }
    }

    /// Producers that take over. Of the batch that those before them could not end was said that it failed, so nothing may be left open of it.
    fn open(&self, left: &Batch) -> Result<Transactor, StreamError> {
        let transactor = Transactor::new(&self.kafka, &self.transactional_id, || false)?;
        if !left.out.is_empty() {
            transactor.abort_again(left)?;
        }
        Ok(transactor)
    }

    /// Refuses what is handed in within `wait`. `false` once nobody can hand in any more.
    fn refuse(&self, handed_in: &Receiver<Entry>, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match handed_in.recv_timeout(left) {
                Ok(entry) => (entry.done)(Err(JournalError::Unavailable("no connection yet".into()))),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Commits what is handed in. `true` when the producer can't go on, `false` once nobody can hand in any more.
    fn commit_all(&self, transactor: &mut Transactor, batch: &mut Batch, handed_in: &Receiver<Entry>) -> bool {
        while let Ok(first) = handed_in.recv() {
            let entries = gather(first, handed_in);
            let outcome = write(transactor, batch, &entries);
            let goes_on = match outcome {
                // One that is too large must not take the others down with it: each is then tried by itself.
                Outcome::TooLarge { .. } if entries.len() > 1 => entries.into_iter().all(|entry| {
                    let one = [entry];
                    let outcome = write(transactor, batch, &one);
                    self.tell(outcome, one)
                }),
                outcome => self.tell(outcome, entries),
            };
            if !goes_on {
                return true;
            }
        }
        false
    }

    /// Tells those who wait what became of it. Whether the producer can go on.
    fn tell(&self, outcome: Outcome, entries: impl IntoIterator<Item = Entry>) -> bool {
        let largest = |entry: &Entry| entry.records.iter().map(|record| record.value.len()).max().unwrap_or_default();
        let (result, goes_on) = match outcome {
            Outcome::Committed { seconds, .. } => {
                histogram!("cybervault_journal_transaction_seconds").record(seconds);
                (Ok(()), true)
            }
            Outcome::Aborted { error, .. } => (Err(JournalError::Unavailable(error)), true),
            Outcome::TooLarge { topic } => {
                let entries: Vec<Entry> = entries.into_iter().collect();
                let bytes = entries.iter().map(largest).max().unwrap_or_default();
                let error = StreamError::RecordTooLarge { topic, bytes };
                return self.answer(&Err(JournalError::TooLarge(error.to_string())), true, entries);
            }
            Outcome::Fatal { error, .. } => {
                tracing::warn!(%error, "the producers can't go on; new ones take over");
                (Err(JournalError::Unavailable(error.to_string())), false)
            }
        };
        self.answer(&result, goes_on, entries)
    }

    fn answer(
        &self,
        result: &Result<(), JournalError>,
        goes_on: bool,
        entries: impl IntoIterator<Item = Entry>,
    ) -> bool {
        self.healthy.store(goes_on, Ordering::Relaxed);
        let word = if result.is_ok() { "committed" } else { "failed" };
        for entry in entries {
            counter!("cybervault_journal_writes_total", "result" => word).increment(1);
            (entry.done)(result.clone());
        }
        goes_on
    }
}

/// What was handed in by now; who has waited for too long is told so.
fn gather(first: Entry, handed_in: &Receiver<Entry>) -> Vec<Entry> {
    let (mut entries, mut bytes, mut next) = (Vec::new(), 0, Some(first));
    while let Some(entry) = next.take() {
        if entry.withdrawn.load(Ordering::Relaxed) {
            (entry.done)(Err(JournalError::Unavailable("it was withdrawn".into())));
        } else if entry.since.elapsed() > PATIENCE {
            (entry.done)(Err(JournalError::Unavailable("it waited for too long".into())));
        } else {
            bytes += entry.records.iter().map(|record| record.value.len()).sum::<usize>();
            entries.push(entry);
        }
        if bytes < MAX_BYTES {
            next = handed_in.try_recv().ok();
        }
    }
    entries
}

/// Writes all of it in one transaction; again, where that was given up.
fn write(transactor: &mut Transactor, batch: &mut Batch, entries: &[Entry]) -> Outcome {
    batch.out.clear();
    entries.iter().flat_map(|entry| &entry.records).for_each(|record| push(&mut batch.out, record));
    let mut outcome = transactor.run(batch);
    for _ in 1..ATTEMPTS {
        match outcome {
            Outcome::Aborted { error, .. } => {
                tracing::warn!(error, "a transaction was given up; trying again");
                outcome = transactor.run(batch);
            }
            _ => break,
        }
    }
    outcome
}

fn push(out: &mut Outbox, record: &JournalRecord) {
    let headers: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (*name, &**value)).collect();
    let output = Output { topic: &record.topic, key: &record.key, headers: &headers };
    let Ok(()) = out.push_at(output, Some(record.time), |bytes| {
        bytes.extend_from_slice(&record.value);
        Ok::<_, std::convert::Infallible>(())
    });
}
