//! One membership in the consumer group, from joining to leaving or to the first error that ends it.
//!
//! Two batches exist at most: one open, into which records are processed, and one committing. The open one's effects on
//! the state build on those of the committing one; so when a transaction is given up, both are taken back, newest first,
//! and reading goes on at the last commit.

mod alone;
mod assignment;
mod batch;
mod ending;
mod sizes;

use std::{
    collections::HashMap,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use foldhash::fast::RandomState;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
    types::RDKafkaErrorCode,
};
use tracing::{debug, info, warn};

use crate::{
    Failure, Headers, Outbox, Poison, Record, RunnerSettings, Stage, State, StreamError, changelog,
    clock::{self, now},
    error::{Needs, is_denied},
    health::RunnerHealth,
    inflate,
    intake::{Intake, Lot, Unreadable},
    measures::Measures,
    rebalance::{GroupContext, GroupEvent},
    spans::StageTracer,
    stop::Stop,
    transaction::{Batch, Committer, Left, Outcome},
};

/// How often the gauges are brought up to date.
const MEASURED: Duration = Duration::from_secs(1);
/// Of how many records one has its times taken.
const SAMPLE: u64 = 64;
/// How many times as long a batch lingers while records keep coming without a pause: behind a backlog, fewer and larger
/// transactions catch up sooner.
const BACKLOG_LINGER: u32 = 10;

/// How many times as much a batch takes while the one before it commits, before it waits for that.
const OVERFLOW: u64 = 2;

/// How long a session that ends waits for what becomes of its last batch. The longest step of a transaction may take as long.
const LAST_OUTCOME: Duration = Duration::from_secs(30);

/// How many of the client's events are heard between two lots.
const HEARD_AT_ONCE: usize = 1000;

/// How many records further on one is fetched into the processor's cache.
const AHEAD: usize = 2;

use batch::{Committing, Open};
use sizes::SizeLimits;

type TopicPartition = (Arc<str>, i32);

pub(crate) struct Session<'r, S> {
    settings: &'r RunnerSettings,
    stage: &'r mut S,
    health: &'r RunnerHealth,
    stop: &'r Stop,
    measures: Measures,
    tracer: Option<StageTracer>,
    intake: Intake,
    consumer: Arc<BaseConsumer<GroupContext>>,
    committer: Committer,
    /// The batch that could not be ended, for the session after this one.
    left: &'r mut Option<Left>,
    states: HashMap<i32, State, RandomState>,
    /// Where each assigned partition was last committed: where reading goes on after a batch is given up.
    committed: HashMap<TopicPartition, i64, RandomState>,
    open: Open,
    committing: Option<Committing>,
    spare: Outbox,
    /// Records that came.
    count: u64,
    ticked: Instant,
    measured: Instant,
    /// Whether reading went back to the last commit.
    went_back: bool,
    sizes: SizeLimits,
    /// Partitions that are assigned and not read: their state has no place yet.
    held_back: Vec<TopicPartition>,
    looked_for_places: Instant,
    /// A batch to be got past.
    unreadable: Option<Unreadable>,
    /// Whether it was said that senders set the times.
    told_of_clock: bool,
}

impl<'r, S: Stage> Session<'r, S> {
    pub(crate) fn open(
        settings: &'r RunnerSettings,
        stage: &'r mut S,
        health: &'r RunnerHealth,
        stop: &'r Stop,
        left: &'r mut Option<Left>,
    ) -> Result<Self, StreamError> {
        debug_assert!(
            settings.changelog.is_none() || settings.inputs.len() == 1,
            "state follows one topic's partitions"
        );
        inflate::bound(settings.kafka.sizes.batch);
        let committer = Committer::start(&settings.kafka, &settings.transactional_id, stop.deadline(), left)?;
        let mut config = settings.kafka.group_consumer(&settings.group);
        if let Some(member) = &settings.member {
            config.set("group.instance.id", member);
        }
        let consumer: BaseConsumer<GroupContext> = config
            // To a context that does not take them the client would log them.
            .set("statistics.interval.ms", "1000")
            .create_with_context(GroupContext::new(&settings.stage, health))
            .map_err(|error| StreamError::Configuration(error.to_string()))?;
        let inputs: Vec<&str> = settings.inputs.iter().map(|topic| &**topic).collect();
        let consumer = Arc::new(consumer);
        consumer.subscribe(&inputs).map_err(|error| StreamError::from_kafka(inputs.join(", "), &error))?;
        Ok(Self {
            settings,
            stage,
            health,
            stop,
            measures: Measures::new(&settings.stage),
            tracer: StageTracer::new(settings),
            intake: Intake::new(consumer.clone())?,
            consumer,
            committer,
            left,
            states: HashMap::default(),
            committed: HashMap::default(),
            open: Open::default(),
            committing: None,
            spare: Outbox::default(),
            count: 0,
            ticked: Instant::now(),
            measured: Instant::now(),
            went_back: false,
            sizes: SizeLimits::new(settings.kafka.largest_record()),
            held_back: Vec::new(),
            looked_for_places: Instant::now(),
            unreadable: None,
            told_of_clock: false,
        })
    }

    pub(crate) fn run(mut self) -> Result<(), StreamError> {
        let ended = self.work();
        match ended {
            Ok(()) => info!(stage = %self.settings.stage, "leaving the group"),
            Err(_) => self.learn_the_last_outcome(),
        }
        self.leave();
        ended
    }

    /// Waits for what becomes of the batch at hand, when the session ends for another reason: the next one has to know if it was not
    /// ended.
    fn learn_the_last_outcome(&mut self) {
        let since = Instant::now();
        while self.committer.is_busy() && since.elapsed() < LAST_OUTCOME {
            match self.committer.outcome(Duration::from_millis(100)) {
                Ok(Some((batch, Outcome::Fatal { may_be_committed, .. }))) => {
                    self.leave_to_the_next(batch, may_be_committed);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn work(&mut self) -> Result<(), StreamError> {
        let mut flows = false;
        while !self.stop.is_told() {
            // Where one record follows the other, no clock is asked how long to wait.
            let lot = self.intake.take(if flows { Duration::ZERO } else { self.wait() });
            flows = !lot.is_empty();
            let linger = self.settings.batch.linger * if flows { BACKLOG_LINGER } else { 1 };
            self.went_back = false;
            self.serve_client()?;
            self.read(&lot, linger)?;
            if flows {
                self.health.step();
                if self.open.opened.is_some() {
                    self.open.read.push(lot);
                }
            }
            self.advance(linger)?;
            if let Some(batch) = self.unreadable.take() {
                self.get_past(&batch)?;
            }
        }
        self.finish()
    }

    fn read(&mut self, lot: &Lot, linger: Duration) -> Result<(), StreamError> {
        let (mut rest, mut ahead) = (lot.iter(), lot.iter().skip(AHEAD));
        let latest = self.settings.max_ahead.map(clock::latest);
        while let Some(one) = rest.next() {
            if self.went_back {
                let left = iter::once(one).chain(rest).filter(|one| one.error().is_none());
                return self.read_again(left.map(|one| self.place(&one.record(Headers::default()))));
            }
            if let Some(ahead) = ahead.next() {
                ahead.prefetch();
            }
            if let Some(batch) = one.unreadable() {
                // Told again and again until it is got past.
                self.unreadable.get_or_insert(batch);
                continue;
            }
            if let Some(error) = one.error() {
                self.client_error(&error)?;
                continue;
            }
            self.count += 1;
            let headers = one.headers();
            let mut record = one.record(headers.list());
            if let Some(latest) = latest
                && one.has_senders_time()
            {
                self.date_back(&mut record, latest);
            }
            self.process(&record, self.count.is_multiple_of(SAMPLE))?;
            if self.is_full() {
                self.advance(linger)?;
            }
        }
        Ok(())
    }

    /// Takes a record that its sender has dated later than `latest` as of then. Nobody else's clock is known of such a topic.
    fn date_back(&mut self, record: &mut Record<'_>, latest: Timestamp) {
        if !std::mem::replace(&mut self.told_of_clock, true) {
            warn!(stage = %self.settings.stage, topic = record.topic,
                "senders set the times by which quotas are decided (message.timestamp.type=CreateTime): with a false one they \
                 refill their own, or have others of their tenant rejected; set LogAppendTime on this topic");
        }
        if record.timestamp > latest {
            record.timestamp = latest;
            self.open.out.count(self.measures.from_the_future.clone(), 1);
        }
    }

    /// Hears all that the client has to say but records: the group's wishes are put down, to be answered by [`Self::advance`].
    /// All of it, since a wish may come behind hundreds of errors.
    fn serve_client(&mut self) -> Result<(), StreamError> {
        let consumer = self.consumer.clone();
        for _ in 0..HEARD_AT_ONCE {
            match consumer.poll(Duration::ZERO) {
                None => break,
                Some(Err(error)) => self.client_error(&error)?,
                Some(Ok(record)) => {
                    // All partitions' records come in by the intake. It must not be lost: after this all goes on at the last commit.
                    let what = format!("{}, partition {}", record.topic(), record.partition());
                    return Err(StreamError::Fatal { what, reason: "a record came where none is looked for".into() });
                }
            }
        }
        Ok(())
    }

    /// How long to wait for a record: not at all once the batch is due, so that it goes on only over a backlog.
    fn wait(&self) -> Duration {
        // The client's unit; it spins through less.
        const LEAST: Duration = Duration::from_millis(1);
        match self.open.opened {
            _ if self.committer.is_busy() => LEAST,
            Some(opened) => match self.settings.batch.linger.saturating_sub(opened.elapsed()) {
                Duration::ZERO => Duration::ZERO,
                left => left.max(LEAST),
            },
            None => Duration::from_millis(100),
        }
    }

    /// Whether the batch takes no more: a commit that takes longer than usual does not keep the next batch from going on.
    fn is_full(&self) -> bool {
        let limits = &self.settings.batch;
        let times = if self.committer.is_busy() { OVERFLOW } else { 1 };
        self.open.records >= times * limits.max_records as u64
            || self.open.bytes + self.open.out.byte_len() as u64 >= times * limits.max_bytes as u64
    }

    /// Everything between two records: the committer's answer, the group's wishes, the clock, and the batch, which is due
    /// once it is `linger` old.
    fn advance(&mut self, linger: Duration) -> Result<(), StreamError> {
        self.take_outcome(Duration::ZERO)?;
        while let Some(event) = self.consumer.context().next_event() {
            match event {
                GroupEvent::Assign(partitions) => self.take_on(&partitions)?,
                GroupEvent::Revoke(partitions) => self.give_back(&partitions)?,
            }
        }
        if self.ticked.elapsed() >= S::TICK {
            self.tick();
        }
        if self.measured.elapsed() >= MEASURED {
            self.measured = Instant::now();
            self.measure();
            self.take_up_held_back()?;
        }
        let due = self.open.opened.is_some_and(|opened| opened.elapsed() >= linger);
        if self.is_full() {
            self.wait_for_committer()?;
            self.close_batch()?;
        } else if due && !self.committer.is_busy() {
            self.close_batch()?;
        }
        Ok(())
    }

    fn process(&mut self, record: &Record<'_>, sampled: bool) -> Result<(), StreamError> {
        if !self.open.reads(record) && !self.turn_to(record) {
            return Ok(());
        }
        let started = sampled.then(Instant::now);
        let state = self.states.entry(record.partition).or_insert_with(|| State::new(self.settings.state));
        let trace = record.headers.trace().map(|trace| match (&self.tracer, &mut self.open.spans) {
            (Some(tracer), Some(spans)) => spans.begin(tracer, record, trace),
            _ => (trace, false),
        });
        self.open.out.carry(trace.as_ref().map(|(trace, _)| trace));
        let mark = self.open.out.mark();
        let (stage, out) = (&mut *self.stage, &mut self.open.out);
        let processed = catch_unwind(AssertUnwindSafe(|| stage.process(record, state, out)));
        let failure = match processed {
            Ok(Ok(())) => self.sizes.check(&self.open.out, mark).map(Failure::Poison),
            Ok(Err(failure)) => Some(failure),
            Err(_) => {
                self.measures.panics.increment(1);
                self.stage.recover();
                Some(Failure::Poison(Poison::new("panic", "the stage failed on this record; please report it")))
            }
        };
        if let (Some((_, true)), Some(spans)) = (trace, &mut self.open.spans) {
            spans.end(failure.as_ref());
        }
        match failure {
            None if self.open.out.has_given_up() => {
                let to = self.sizes.dead_letters(self.settings);
                for reason in self.open.out.bury(to, record) {
                    self.open.out.count(self.measures.dead(reason), 1);
                }
            }
            None => {}
            Some(Failure::Unavailable(reason)) => return self.hold(&reason),
            Some(Failure::Poison(poison)) => {
                self.open.out.rewind(mark);
                debug!(stage = %self.settings.stage, topic = record.topic, partition = record.partition, offset = record.offset,
                    reason = poison.reason, message = poison.bounded_message(), "dead letter");
                let to = self.sizes.dead_letters(self.settings);
                self.open.out.push_dead(to, record, &poison);
                self.open.out.count(self.measures.dead(poison.reason), 1);
            }
        }
        self.open.out.carry(None);
        if let Some((_, next)) = &mut self.open.current {
            *next = record.offset + 1;
        }
        self.open.records += 1;
        self.open.bytes += record.value.len() as u64;
        if let Some(started) = started {
            self.measures.process.record(started.elapsed());
            self.open.sampled_times.push(record.timestamp);
        }
        Ok(())
    }

    /// Has the batch read from the record's partition, to which going back will go, too; false where that was not taken on.
    fn turn_to(&mut self, record: &Record<'_>) -> bool {
        let at = self.place(record);
        if !self.committed.contains_key(&at) {
            return false;
        }
        self.open_batch();
        self.open.settle();
        self.open.current = Some((at, record.offset));
        if !self.open.touched.contains(&record.partition) {
            self.open.touched.push(record.partition);
        }
        true
    }

    fn place(&self, record: &Record<'_>) -> TopicPartition {
        (self.input(record.topic), record.partition)
    }

    fn input(&self, topic: &str) -> Arc<str> {
        self.settings.inputs.iter().find(|input| ***input == *topic).cloned().unwrap_or_else(|| topic.into())
    }

    fn open_batch(&mut self) {
        if self.open.opened.is_none() {
            self.open.opened = Some(Instant::now());
            self.open.spans = self.tracer.as_ref().map(StageTracer::begin);
            self.stage.begin_batch();
        }
    }

    /// Hands the open batch over to be committed. The committer must be free.
    fn close_batch(&mut self) -> Result<(), StreamError> {
        if self.open.opened.is_none() {
            return Ok(());
        }
        self.stage.end_batch(&mut self.open.out);
        let mut open =
            std::mem::replace(&mut self.open, Open { out: std::mem::take(&mut self.spare), ..Open::default() });
        open.settle();
        let mut undo = Vec::with_capacity(open.touched.len());
        for partition in open.touched {
            let Some(state) = self.states.get_mut(&partition) else { continue };
            undo.push((
                partition,
                match &self.settings.changelog {
                    Some(topic) => changelog::write(topic, partition, state, &mut open.out),
                    None => state.end_batch(|_| {}),
                },
            ));
            self.measures.evictions.increment(state.take_evicted());
        }
        self.measures.batch_fill.set(open.records as f64 / self.settings.batch.max_records as f64);
        let offsets = open.next.iter().map(|((topic, partition), next)| (topic.clone(), *partition, *next)).collect();
        let (records, bytes, sampled_times) = (open.records, open.bytes, open.sampled_times);
        if let Some(spans) = &mut open.spans {
            spans.hand_over(records, open.out.len());
        }
        self.committing = Some(Committing { next: open.next, undo, records, bytes, sampled_times, spans: open.spans });
        self.committer.commit(Batch { out: open.out, offsets, group: self.consumer.group_metadata(), read: open.read })
    }

    fn wait_for_committer(&mut self) -> Result<(), StreamError> {
        while self.committer.is_busy() {
            self.take_outcome(Duration::from_millis(100))?;
        }
        Ok(())
    }

    fn take_outcome(&mut self, wait: Duration) -> Result<(), StreamError> {
        if !self.committer.is_busy() {
            return Ok(());
        }
        let Some((mut batch, outcome)) = self.committer.outcome(wait)? else { return Ok(()) };
        let Some(mut committing) = self.committing.take() else { return Ok(()) };
        match outcome {
            Outcome::Fatal { error, may_be_committed } => {
                self.leave_to_the_next(batch, may_be_committed);
                return Err(error);
            }
            Outcome::Committed { seconds, queued } => {
                self.measures.transaction.record(seconds);
                self.measures.queue.set(f64::from(queued));
                self.measures.outputs.increment(batch.out.len() as u64);
                batch.out.publish_counts();
                if let Some(spans) = committing.spans.take() {
                    spans.committed();
                }
                self.committed_batch(committing);
            }
            Outcome::TooLarge { topic } => {
                let learned = self.sizes.refused(&topic, batch.out.largest(&topic), &self.settings.changelog)?;
                warn!(stage = %self.settings.stage, topic, limit = learned,
                    "a record was too large for its topic; the batch comes again, and what it came of becomes a dead letter");
                self.measures.aborted("too_large");
                self.take_back(Some(committing))?;
            }
            Outcome::Aborted { reason, error } => {
                warn!(stage = %self.settings.stage, reason, error, "a transaction was given up; its records come again");
                self.measures.aborted(reason);
                if let Some(spans) = committing.spans.take() {
                    spans.given_up(reason);
                }
                self.take_back(Some(committing))?;
            }
        }
        batch.out.clear();
        self.spare = batch.out;
        Ok(())
    }

    /// Has the next session end what this one could not.
    fn leave_to_the_next(&mut self, batch: Batch, may_be_committed: bool) {
        let before =
            |(topic, partition, _): &(Arc<str>, i32, i64)| self.committed.get(&(topic.clone(), *partition)).copied();
        *self.left = Some(Left::new(batch, self.settings.group.clone(), may_be_committed, before));
    }

    fn committed_batch(&mut self, batch: Committing) {
        self.measures.batch.record(batch.records as f64);
        self.measures.records.increment(batch.records);
        self.health.committed(batch.records, &batch.next);
        self.measures.bytes.increment(batch.bytes);
        let now = now();
        for time in batch.sampled_times {
            let millis = now.as_millis().saturating_sub(time.as_millis()).max(0);
            self.measures.end_to_end.record(millis as f64 / 1000.0);
        }
        for (at, next) in batch.next {
            // Given back meanwhile: no longer ours to remember.
            if let Some(committed) = self.committed.get_mut(&at) {
                *committed = next;
            }
        }
    }

    /// Takes back the open batch and then the one that was to be committed, and reads again from the last commit.
    fn take_back(&mut self, committing: Option<Committing>) -> Result<(), StreamError> {
        let mut open = std::mem::take(&mut self.open);
        open.settle();
        if let Some(spans) = open.spans.take() {
            spans.given_up("taken_back");
        }
        // The stage's own tallies of the batch go with it.
        self.stage.end_batch(&mut open.out);
        let mut read: Vec<TopicPartition> = open.next.into_keys().collect();
        for partition in open.touched {
            if let Some(state) = self.states.get_mut(&partition) {
                let undo = state.end_batch(|_| {});
                state.undo(undo);
            }
        }
        if let Some(committing) = committing {
            for (partition, undo) in committing.undo {
                if let Some(state) = self.states.get_mut(&partition) {
                    state.undo(undo);
                }
            }
            read.extend(committing.next.into_keys());
        }
        self.went_back = true;
        self.read_again(read)
    }

    /// Goes on reading these partitions at the last commit, as far as they are still held.
    fn read_again(&self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<(), StreamError> {
        let mut back = TopicPartitionList::new();
        for at in partitions {
            if let Some(offset) = self.committed.get(&at).filter(|_| back.find_partition(&at.0, at.1).is_none()) {
                back.add_partition_offset(&at.0, at.1, Offset::Offset(*offset))
                    .map_err(|error| StreamError::from_kafka(&*at.0, &error))?;
            }
        }
        if back.count() > 0 {
            let sought = self.consumer.seek_partitions(back, Duration::from_secs(10));
            let sought = sought.map_err(|error| StreamError::from_kafka("going back to the last commit", &error))?;
            for element in sought.elements() {
                element.error().map_err(|error| StreamError::from_kafka("going back to the last commit", &error))?;
            }
        }
        Ok(())
    }

    /// Gives the open batch up and waits a while: something that the stage needs is not there.
    fn hold(&mut self, reason: &str) -> Result<(), StreamError> {
        warn!(stage = %self.settings.stage, reason, "waiting; the records come again");
        self.health.step();
        self.measures.aborted("unavailable");
        self.wait_for_committer()?;
        self.take_back(None)?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// Commits all that was processed.
    fn finish(&mut self) -> Result<(), StreamError> {
        self.wait_for_committer()?;
        self.close_batch()?;
        self.wait_for_committer()
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        self.open.settle();
        let now = now();
        let held: Vec<(TopicPartition, i64)> = self.committed.iter().map(|(at, next)| (at.clone(), *next)).collect();
        for (at, next) in held {
            let Some(state) = self.states.get_mut(&at.1) else { continue };
            let before = self.open.out.len();
            self.stage.tick(at.1, now, state, &mut self.open.out);
            if self.open.out.len() == before && !state.is_changed() {
                continue;
            }
            // Its offset goes along though nothing was read: that is what fences off a worker that no longer holds it.
            let committing = self.committing.as_ref().and_then(|batch| batch.next.get(&at).copied());
            self.open.next.entry(at.clone()).or_insert(committing.unwrap_or(next));
            if !self.open.touched.contains(&at.1) {
                self.open.touched.push(at.1);
            }
            self.open_batch();
        }
    }

    fn measure(&self) {
        if self.open.opened.is_none() && self.committing.is_none() {
            let ends = self.consumer.context().ends();
            let mut all_reached = true;
            for at in self.committed.keys() {
                match ends.get(&(at.0.to_string(), at.1)).filter(|end| end.is_reached()) {
                    Some(end) => self.health.seen(at, end.stable),
                    None => all_reached = false,
                }
            }
            // What waits lies behind an open transaction, and that is nothing that a new session mends.
            if all_reached {
                self.health.step();
            }
        }
        for (partition, state) in &self.states {
            let limits = self.settings.state;
            let fill =
                (state.len() as f64 / limits.max_entries as f64).max(state.byte_len() as f64 / limits.max_bytes as f64);
            self.measures.partition("cybervault_state_entries", *partition).set(state.len() as f64);
            self.measures.partition("cybervault_state_bytes", *partition).set(state.byte_len() as f64);
            self.measures.partition("cybervault_state_fill_ratio", *partition).set(fill);
        }
    }

    fn client_error(&mut self, error: &KafkaError) -> Result<(), StreamError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(StreamError::from_kafka("reading", error)),
            _ => match error.rdkafka_error_code() {
                Some(code) if is_denied(code) => {
                    let what =
                        format!("reading {} in group `{}`", self.settings.inputs.join(", "), self.settings.group);
                    let inputs = self.settings.inputs.join(", ");
                    Err(StreamError::from_kafka_needing(
                        what,
                        error,
                        Needs::read(&inputs).and_group(&self.settings.group),
                    ))
                }
                Some(RDKafkaErrorCode::AutoOffsetReset) => self.skip_deleted(),
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    Err(StreamError::MissingTopic(self.settings.inputs.join(", ")))
                }
                _ => {
                    debug!(stage = %self.settings.stage, %error, "reading");
                    Ok(())
                }
            },
        }
    }
}
