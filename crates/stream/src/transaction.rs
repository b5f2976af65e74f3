//! One batch, one transaction: outputs, state changes and input offsets, or none of them.
//!
//! A committer has its own thread, so that the next batch is computed while this one commits.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    consumer::{Consumer, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, Message, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use tracing::{debug, warn};

use crate::{
    KafkaSettings, Outbox, StreamError,
    error::{Needs, is_denied},
    intake::Lot,
    publisher::take_reports,
};

/// How long one client call may block before it is tried again. In between, reports of delivery are taken, for which the
/// client itself waits where it gives a transaction up.
const CALL: Duration = Duration::from_millis(500);

/// How long one step of a transaction may take in all. After that the producer is given up; the next one ends what this one
/// left open.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often it is said that a step is still being tried, …
const REMINDER: Duration = Duration::from_secs(10);
/// … and after how long first.
const UNREMARKABLE: Duration = Duration::from_secs(2);

/// How long reports of delivery are left to gather.
const STEP: Duration = Duration::from_micros(200);

/// What a transaction takes with it.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) out: Outbox,
    /// Topic, partition and the next offset to read.
    pub(crate) offsets: Vec<(Arc<str>, i32, i64)>,
    pub(crate) group: Option<ConsumerGroupMetadata>,
    /// What was read for it and is needed no more.
    pub(crate) read: Vec<Lot>,
}

/// How a transaction ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Committed {
        seconds: f64,
        queued: i32,
    },
    /// Given up, with nothing of it visible: the batch's records come again.
    Aborted {
        reason: &'static str,
        error: String,
    },
    /// Given up as well: a record is larger than the client or the topic takes.
    TooLarge {
        topic: String,
    },
    /// The producer can't go on. The batch may be committed all the same where that had been asked for.
    Fatal {
        error: StreamError,
        may_be_committed: bool,
    },
}

/// Why a step of a transaction did not succeed.
enum Setback {
    Abort {
        reason: &'static str,
        error: String,
    },
    TooLarge {
        topic: String,
    },
    Fatal(StreamError),
    /// It was to be committed, and nobody said whether it was.
    Undecided(StreamError),
}

#[derive(Debug, Default)]
pub(crate) struct DeliveryContext {
    /// The first record of the transaction that was not delivered.
    failed: Mutex<Option<(KafkaError, String)>>,
}

impl ClientContext for DeliveryContext {
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "Kafka producer");
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| (error.clone(), message.topic().to_owned()));
        }
    }
}

/// A batch that a session could not end.
pub(crate) struct Left {
    batch: Batch,
    group: String,
    /// Of its offsets those that are further on than what was committed before: what a tick writes alone moves none. None where the
    /// batch is certainly not committed.
    moved: Vec<(Arc<str>, i32, i64)>,
}

impl Left {
    /// `before` says what was committed of a partition before.
    pub(crate) fn new(
        batch: Batch,
        group: String,
        may_be_committed: bool,
        before: impl Fn(&(Arc<str>, i32, i64)) -> Option<i64>,
    ) -> Self {
        let is_moved = |at: &&(Arc<str>, i32, i64)| may_be_committed && before(at).is_none_or(|before| before < at.2);
        let moved = batch.offsets.iter().filter(is_moved).cloned().collect();
        Self { batch, group, moved }
    }

    /// Whether the group goes on behind all of the batch. Other workers may have got there as well, so this is asked only where it is
    /// not known otherwise.
    fn is_committed(&self, kafka: &KafkaSettings) -> Result<bool, StreamError> {
        if self.moved.is_empty() {
            return Ok(false);
        }
        let mut wanted = TopicPartitionList::new();
        for (topic, partition, _) in &self.moved {
            wanted.add_partition(topic, *partition);
        }
        let what = || format!("offsets of group `{}`", self.group);
        let since = Instant::now();
        // What is still open among the offsets is not waited for: it was left open, too.
        let asker = kafka.reader_of(&self.group)?;
        let found = asker.committed_offsets(wanted, DEADLINE).map_err(|error| match error.rdkafka_error_code() {
            Some(code) if is_denied(code) => StreamError::from_kafka(what(), &error),
            _ => StreamError::NoAnswer { what: what(), seconds: since.elapsed().as_secs() },
        })?;
        let is_behind = |(topic, partition, next): &(Arc<str>, i32, i64)| {
            let found = found.find_partition(topic, *partition).and_then(|found| found.offset().to_raw());
            found.is_some_and(|found| found >= *next)
        };
        Ok(self.moved.iter().all(is_behind))
    }
}

/// The thread that commits, and the way to it. Holds at most one batch.
pub(crate) struct Committer {
    batches: Option<SyncSender<Batch>>,
    outcomes: Receiver<(Batch, Outcome)>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
}

impl Committer {
    /// Starts producers whose ids begin with `transactional_id`, which fences off and aborts whatever an earlier holder left
    /// open; of what the session before could not end, `left` tells more.
    pub(crate) fn start(
        kafka: &KafkaSettings,
        transactional_id: &str,
        give_up: impl Fn() -> bool + Clone + Send + 'static,
        left: &mut Option<Left>,
    ) -> Result<Self, StreamError> {
        let mut transactor = Transactor::new(kafka, transactional_id, give_up)?;
        if let Some(left) = left
            && !left.is_committed(kafka)?
        {
            debug!(id = transactional_id, "aborting once more what the session before may have left open");
            transactor.abort_again(&left.batch)?;
        }
        *left = None;
        let (batches, next) = sync_channel::<Batch>(1);
        let (report, outcomes) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("commit".into())
            .spawn(move || {
                while let Ok(mut batch) = next.recv() {
                    // A twentieth of what a record costs, taken off the thread that computes.
                    batch.read.clear();
                    let outcome = transactor.run(&batch);
                    let fatal = matches!(outcome, Outcome::Fatal { .. });
                    if report.send((batch, outcome)).is_err() || fatal {
                        break;
                    }
                }
            })
            .map_err(|error| StreamError::Fatal { what: "starting a thread".into(), reason: error.to_string() })?;
        Ok(Self { batches: Some(batches), outcomes, thread: Some(thread), busy: false })
    }

    /// Whether a batch is being committed.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Hands over a batch; the one before must have come back.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), StreamError> {
        debug_assert!(!self.busy, "one batch at a time");
        self.busy = true;
        self.batches.as_ref().and_then(|batches| batches.send(batch).ok()).ok_or_else(thread_gone)
    }

    /// The batch that has come back, if one has by the end of `wait`.
    pub(crate) fn outcome(&mut self, wait: Duration) -> Result<Option<(Batch, Outcome)>, StreamError> {
        let found = if wait.is_zero() {
            match self.outcomes.try_recv() {
                Ok(found) => Some(found),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return Err(thread_gone()),
            }
        } else {
            match self.outcomes.recv_timeout(wait) {
                Ok(found) => Some(found),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err(thread_gone()),
            }
        };
        self.busy &= found.is_none();
        Ok(found)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn thread_gone() -> StreamError {
    StreamError::Fatal { what: "committing".into(), reason: "the committing thread has ended".into() }
}

/// How many producers take turns.
const PRODUCERS: usize = 2;

/// Producers that take turns. Once a commit is answered, the coordinator still writes its markers, and meanwhile refuses
/// that producer's next transaction, upon which the client waits for 20 ms or, where only offsets are added, 100. A
/// transaction begins once the one before it has ended, so what is written stays in order.
pub(crate) struct Transactor {
    producers: Vec<TransactionalProducer>,
    /// Whose transaction is the last.
    last: usize,
}

impl Transactor {
    /// Producers whose ids begin with `transactional_id`, which fences off and aborts whatever an earlier holder left open.
    /// `give_up` says whether a broker that does not answer is to be waited for no longer.
    pub(crate) fn new(
        kafka: &KafkaSettings,
        transactional_id: &str,
        give_up: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Result<Self, StreamError> {
        let producer = |n| {
            let id = format!("{transactional_id}.{n}");
            TransactionalProducer::new(kafka, id, Box::new(give_up.clone()))
        };
        Ok(Self { producers: (0..PRODUCERS).map(producer).collect::<Result<_, _>>()?, last: 0 })
    }

    /// Ends once more what may have stayed open of a batch that an earlier session gave up: as each of the producers, since it is not
    /// known any more which one had it.
    pub(crate) fn abort_again(&self, batch: &Batch) -> Result<(), StreamError> {
        self.producers.iter().try_for_each(|producer| producer.abort_again(batch))
    }

    /// Sees a transaction through.
    pub(crate) fn run(&mut self, batch: &Batch) -> Outcome {
        self.last = (self.last + 1) % PRODUCERS;
        self.producers[self.last].run(batch)
    }
}

/// One producer, and what it takes to see a transaction through.
struct TransactionalProducer {
    producer: BaseProducer<DeliveryContext>,
    id: String,
    /// Whether a broker that does not answer is to be waited for no longer.
    give_up: Box<dyn Fn() -> bool + Send>,
}

impl TransactionalProducer {
    fn new(kafka: &KafkaSettings, id: String, give_up: Box<dyn Fn() -> bool + Send>) -> Result<Self, StreamError> {
        let producer = kafka
            .transactional_producer(&id)
            .create_with_context(DeliveryContext::default())
            .map_err(|error| StreamError::Configuration(error.to_string()))?;
        let new = Self { producer, id, give_up };
        new.init(&kafka.bootstrap)?;
        Ok(new)
    }

    fn init(&self, bootstrap: &str) -> Result<(), StreamError> {
        let mut attempts = Attempts::new("finding the transaction coordinator");
        loop {
            match self.producer.init_transactions(CALL) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !(self.give_up)() => {
                    attempts.failed(&error)?;
                    self.serve();
                }
                Err(error) if error.rdkafka_error_code().is_some_and(is_denied) => {
                    let what = format!("transactional id `{}`", self.id);
                    return Err(StreamError::from_kafka_needing(what, &error, Needs::default().and_id(&self.id)));
                }
                Err(error) => {
                    return Err(StreamError::Unreachable { bootstrap: bootstrap.into(), reason: error.to_string() });
                }
            }
        }
    }

    fn run(&self, batch: &Batch) -> Outcome {
        let started = Instant::now();
        let fatal = |error, may_be_committed| Outcome::Fatal { error, may_be_committed };
        let given_up = match self.attempt(batch) {
            Ok(queued) => return Outcome::Committed { seconds: started.elapsed().as_secs_f64(), queued },
            Err(Setback::Fatal(error)) => return fatal(error, false),
            Err(Setback::Undecided(error)) => return fatal(error, true),
            Err(Setback::Abort { reason, error }) => Outcome::Aborted { reason, error },
            Err(Setback::TooLarge { topic }) => Outcome::TooLarge { topic },
        };
        let ended = self.abort().and_then(|()| self.abort_again(batch));
        ended.map_or_else(|error| fatal(error, false), |()| given_up)
    }

    fn attempt(&self, batch: &Batch) -> Result<i32, Setback> {
        let queued = self.write(batch)?;
        let committed = self.retry("committing the transaction", || self.producer.commit_transaction(CALL));
        committed.map(|()| queued).map_err(|setback| match setback {
            Setback::Fatal(error) => Setback::Undecided(error),
            other => other,
        })
    }

    /// Ends once more what may have stayed open of a batch that was given up, by aborting a transaction with the same records.
    ///
    /// A coordinator that has just started drops markers for partitions that it does not know yet, and calls the transaction ended. In
    /// these nobody reads on, and the producer's next marker ends both transactions: if it were a commit's, the batch would count twice.
    /// Whatever a transaction was given up for, this may have happened: a coordinator that has just started also knows no members of
    /// groups, which looks like a rebalance.
    fn abort_again(&self, batch: &Batch) -> Result<(), StreamError> {
        match self.write(batch) {
            Err(Setback::Fatal(error)) => Err(error),
            _ => self.abort(),
        }
    }

    /// Begins a transaction, and does all that it takes but to end it.
    fn write(&self, batch: &Batch) -> Result<i32, Setback> {
        self.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.producer.begin_transaction().map_err(|error| self.setback("beginning a transaction", &error))?;
        for entry in batch.out.entries() {
            self.send(&batch.out, entry)?;
        }
        let queued = self.producer.in_flight_count();
        self.drain()?;
        if let (Some(group), false) = (&batch.group, batch.offsets.is_empty()) {
            let mut offsets = TopicPartitionList::with_capacity(batch.offsets.len());
            for (topic, partition, offset) in &batch.offsets {
                offsets
                    .add_partition_offset(topic, *partition, Offset::Offset(*offset))
                    .map_err(|error| self.setback("naming offsets", &error))?;
            }
            self.retry("adding offsets to the transaction", || {
                self.producer.send_offsets_to_transaction(&offsets, group, CALL)
            })?;
        }
        Ok(queued)
    }

    fn send(&self, out: &Outbox, entry: &crate::outbox::Entry) -> Result<(), Setback> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&entry.topic);
        record.key = out.key(entry);
        record.partition = entry.partition;
        record.timestamp = entry.time.map(Timestamp::as_millis);
        record.payload = out.value(entry);
        let mut headers = out.headers(entry).peekable();
        if headers.peek().is_some() {
            let mut owned = OwnedHeaders::new();
            for (key, value) in headers {
                owned = owned.insert(Header { key, value: Some(value) });
            }
            record.headers = Some(owned);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.serve();
                    record = back;
                }
                Err((error, back)) => return Err(self.undelivered(&error, back.topic)),
            }
        }
    }

    /// Waits until every record is acknowledged, in short steps: the client's own flush sleeps 100 ms at a time, and its
    /// poll spins through what is left of a time-out once that is less than a millisecond.
    fn drain(&self) -> Result<(), Setback> {
        let since = Instant::now();
        loop {
            let failed = self.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((error, topic)) = failed {
                return Err(self.undelivered(&error, &topic));
            }
            if self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            // The client reports each record by the end of the transaction's own time-out.
            if since.elapsed() > DEADLINE {
                return Err(Setback::Fatal(no_answer("writing records", since)));
            }
            self.serve();
        }
    }

    /// Takes what reports there are, then pauses for a moment.
    fn serve(&self) {
        take_reports(&self.producer);
        thread::sleep(STEP);
    }

    fn undelivered(&self, error: &KafkaError, topic: &str) -> Setback {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
                Setback::TooLarge { topic: topic.into() }
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Setback::Fatal(StreamError::MissingTopic(topic.into()))
            }
            Some(code) if is_denied(code) => Setback::Fatal(StreamError::from_kafka_needing(
                format!("writing to `{topic}`"),
                error,
                Needs::write(topic).and_id(&self.id),
            )),
            _ => match self.producer.client().fatal_error() {
                Some((code, reason)) => Setback::Fatal(self.fatal("writing", Some(code), reason)),
                None => Setback::Abort { reason: "undelivered", error: format!("writing to `{topic}`: {error}") },
            },
        }
    }

    fn abort(&self) -> Result<(), StreamError> {
        let what = "aborting the transaction";
        let aborted = self.retry(what, || self.producer.abort_transaction(CALL));
        // The reports of purged records belong to this transaction, not to the next one.
        let since = Instant::now();
        while aborted.is_ok() && self.producer.in_flight_count() > 0 && !(self.give_up)() {
            if since.elapsed() > DEADLINE {
                return Err(no_answer(what, since));
            }
            self.serve();
        }
        aborted.map_err(|setback| match setback {
            Setback::Fatal(error) | Setback::Undecided(error) => error,
            Setback::Abort { error: reason, .. } => StreamError::Fatal { what: what.into(), reason },
            Setback::TooLarge { topic } => {
                StreamError::Fatal { what: what.into(), reason: format!("`{topic}`: too large") }
            }
        })
    }

    /// Calls until it succeeds, can't, or has taken too long: a call that timed out is resumed by calling it again.
    fn retry(&self, what: &'static str, mut call: impl FnMut() -> Result<(), KafkaError>) -> Result<(), Setback> {
        let mut attempts = Attempts::new(what);
        loop {
            match call() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !error.txn_requires_abort() => {
                    if (self.give_up)() {
                        let reason = format!("{error}; gave up on shutting down");
                        return Err(Setback::Fatal(StreamError::Fatal { what: what.into(), reason }));
                    }
                    attempts.failed(&error).map_err(Setback::Fatal)?;
                    // An abort waits until the reports of what it purged are taken.
                    take_reports(&self.producer);
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(self.setback(what, &error)),
            }
        }
    }

    fn setback(&self, what: &'static str, error: &KafkaError) -> Setback {
        match error {
            KafkaError::Transaction(inner) if inner.txn_requires_abort() => {
                let reason = match inner.code() {
                    RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::RebalanceInProgress
                    | RDKafkaErrorCode::UnknownMemberId => "rebalance",
                    RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut => "timeout",
                    _ => "kafka",
                };
                Setback::Abort { reason, error: format!("{what}: {error}") }
            }
            _ if error.rdkafka_error_code().is_some_and(is_denied) => {
                Setback::Fatal(StreamError::from_kafka_needing(what, error, Needs::default().and_id(&self.id)))
            }
            _ => Setback::Fatal(self.fatal(what, error.rdkafka_error_code(), error.to_string())),
        }
    }

    fn fatal(&self, what: &str, code: Option<RDKafkaErrorCode>, reason: String) -> StreamError {
        match code {
            Some(
                RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch,
            ) => StreamError::Fenced(self.id.clone()),
            _ => StreamError::Fatal { what: what.into(), reason },
        }
    }
}

fn no_answer(what: &'static str, since: Instant) -> StreamError {
    StreamError::NoAnswer { what: what.into(), seconds: since.elapsed().as_secs() }
}

/// How a step goes that is tried again and again: it says so now and then, and ends it in time.
struct Attempts {
    what: &'static str,
    since: Instant,
    said: Option<Instant>,
}

impl Attempts {
    fn new(what: &'static str) -> Self {
        Self { what, since: Instant::now(), said: None }
    }

    /// # Errors
    /// When the step has had its time.
    fn failed(&mut self, error: &impl std::fmt::Display) -> Result<(), StreamError> {
        if self.since.elapsed() > DEADLINE {
            return Err(no_answer(self.what, self.since));
        }
        let last = self.said.map_or(self.since, |said| said + REMINDER);
        // A second is nothing to speak of: a coordinator that was just elected needs as long.
        if last.elapsed() > UNREMARKABLE {
            warn!(%error, "{}: trying again", self.what);
            self.said = Some(Instant::now());
        }
        Ok(())
    }
}
