//! Batches that the client can't take apart with all others: tried alone with more room, or stepped over and told.
//!
//! A batch is compressed as a whole. One that becomes larger than `Sizes::batch`, made so by mistake or on purpose, comes again and
//! again as an error, and no record behind it. It is then read by a client of its own, up to `Sizes::lone_batch`, while the session's
//! client pauses. What is larger still, or damaged, is stepped over by offset, with a dead letter in its place.

use std::{
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{info, warn};

use super::{Session, TopicPartition};
use crate::{
    Record, Stage, StreamError, inflate,
    intake::{Intake, Lot, Taken, Unreadable},
    outbox::Unread,
    settings::Quiet,
};

/// How long a broker may take to answer before the session ends.
const WAIT: Duration = Duration::from_secs(30);
/// How long nothing more comes before the batch counts as read.
const IDLE: Duration = Duration::from_millis(500);

/// How reading alone ended.
enum Alone {
    /// Records were read; the session's own client goes on behind them.
    Read,
    /// The batch can't be read with more room either.
    Unreadable(Unreadable),
    /// Something else ended it: the word to stop, a rebalance, a batch given up.
    Interrupted,
}

impl<S: Stage> Session<'_, S> {
    /// Gets past a batch that can't be read with all others.
    pub(super) fn get_past(&mut self, batch: &Unreadable) -> Result<(), StreamError> {
        self.finish()?;
        let at = (self.input(&batch.topic), batch.partition);
        let Some(&from) = self.committed.get(&at) else { return Ok(()) };
        warn!(stage = %self.settings.stage, topic = %at.0, partition = at.1, offset = batch.base, reason = batch.text,
            "a batch can't be read with all others; trying it alone");
        let held = self.held()?;
        let said = |error: KafkaError| StreamError::from_kafka("pausing", &error);
        self.consumer.pause(&held).map_err(said)?;
        let reader = Reader::open(self, &at, from)?;
        match self.read_alone(&reader, &at)? {
            Alone::Read => self.measures.read_alone("read"),
            Alone::Interrupted => {}
            Alone::Unreadable(batch) => {
                let end = reader.end_of(&batch, &|| self.health.step())?;
                self.step_over(&at, from, end, &batch)?;
                self.measures.read_alone("stepped_over");
            }
        }
        drop(reader);
        self.finish()?;
        let all: Vec<TopicPartition> = self.committed.keys().cloned().collect();
        let held = self.held()?;
        self.consumer.resume(&held).map_err(said)?;
        self.read_again(all)
    }

    fn held(&self) -> Result<TopicPartitionList, StreamError> {
        let mut held = TopicPartitionList::new();
        self.committed.keys().for_each(|(topic, partition)| {
            held.add_partition(topic, *partition);
        });
        Ok(held)
    }

    fn read_alone(&mut self, reader: &Reader, at: &TopicPartition) -> Result<Alone, StreamError> {
        let _room = inflate::allow(self.settings.kafka.sizes.lone_batch);
        let (mut bytes, mut heard) = (0, Instant::now());
        loop {
            let lot = reader.take();
            for one in lot.iter() {
                if let Some(batch) = one.unreadable() {
                    return Ok(if bytes > 0 { Alone::Read } else { Alone::Unreadable(batch) });
                }
                if let Some(error) = one.error() {
                    if is_end(&error) {
                        return Ok(Alone::Read);
                    }
                    continue;
                }
                heard = Instant::now();
                let headers = one.headers();
                let record: Record<'_> = one.record(headers.list());
                bytes += record.value.len() + 1;
                self.process(&record, false)?;
                if self.is_full() {
                    self.advance(self.settings.batch.linger)?;
                }
            }
            self.health.step();
            // Its records lie in the client's memory; what the batch holds of them was copied.
            drop(lot);
            self.advance(self.settings.batch.linger)?;
            if self.went_back || self.stop.is_told() || !self.committed.contains_key(at) {
                return Ok(Alone::Interrupted);
            }
            let is_done = bytes > self.settings.kafka.sizes.lone_batch || bytes > 0 && heard.elapsed() > IDLE;
            if is_done {
                return Ok(Alone::Read);
            }
            if heard.elapsed() > WAIT {
                return Err(StreamError::NoAnswer {
                    what: format!("reading `{}` alone", at.0),
                    seconds: WAIT.as_secs(),
                });
            }
        }
    }

    /// Puts a dead letter in place of the records from `from` up to, but without, `end`.
    fn step_over(&mut self, at: &TopicPartition, from: i64, end: i64, batch: &Unreadable) -> Result<(), StreamError> {
        let message = format!(
            "a batch that begins at offset {} can't be read within `limits.max_lone_batch_bytes`, or is damaged: {}",
            batch.base, batch.text
        );
        info!(stage = %self.settings.stage, topic = %at.0, partition = at.1, first = from, last = end - 1, "stepping over a batch");
        self.open_batch();
        self.open.settle();
        self.open.current = Some((at.clone(), end));
        let to = self.sizes.dead_letters(self.settings);
        let reason = "unreadable_batch";
        let unread = Unread { topic: &at.0, partition: at.1, first: from, last: end - 1, reason, message: &message };
        self.open.out.push_unread(to, &unread);
        let records = u64::try_from(end - from).unwrap_or_default();
        self.open.out.count(self.measures.dead(reason), records);
        self.open.records += records;
        Ok(())
    }
}

fn is_end(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF)
}

/// A client that reads one partition, with more room.
struct Reader {
    intake: Intake<Quiet>,
    consumer: Arc<BaseConsumer<Quiet>>,
    at: TopicPartition,
}

impl Reader {
    fn open<S>(session: &Session<'_, S>, at: &TopicPartition, from: i64) -> Result<Self, StreamError> {
        let consumer = Arc::new(session.settings.kafka.roomy_consumer()?);
        let reader = Self { intake: Intake::new(consumer.clone())?, consumer, at: at.clone() };
        reader.intake.follow(&at.0, at.1)?;
        let said = |error: KafkaError| StreamError::from_kafka(&*at.0, &error);
        reader.consumer.assign(&reader.list(from).map_err(said)?).map_err(said)?;
        Ok(reader)
    }

    fn list(&self, offset: i64) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.at.0, self.at.1, Offset::Offset(offset))?;
        Ok(list)
    }

    fn take(&self) -> Lot<Quiet> {
        // What else it hears, as of brokers that are away, the session hears as well.
        while self.consumer.poll(Duration::ZERO).is_some() {}
        self.intake.take(Duration::from_millis(100))
    }

    /// The first offset behind an unreadable batch. Brokers answer a fetch with the batch that the offset lies in, so it is found
    /// by asking at offsets further and further on, and then in between.
    fn end_of(&self, batch: &Unreadable, step: &dyn Fn()) -> Result<i64, StreamError> {
        let said = |error: KafkaError| StreamError::from_kafka(&*self.at.0, &error);
        let (_, high) = self.consumer.fetch_watermarks(&self.at.0, self.at.1, WAIT).map_err(said)?;
        let (mut inside, mut outside) = (batch.base, high);
        for further in iter::successors(Some(1_i64), |step| step.checked_mul(2)) {
            let offset = batch.base + further;
            if offset >= high {
                break;
            }
            step();
            if !self.lies_in(batch, offset)? {
                outside = offset;
                break;
            }
            inside = offset;
        }
        while outside - inside > 1 {
            step();
            let offset = inside + (outside - inside) / 2;
            if self.lies_in(batch, offset)? { inside = offset } else { outside = offset }
        }
        Ok(outside)
    }

    fn lies_in(&self, batch: &Unreadable, offset: i64) -> Result<bool, StreamError> {
        let said = |error: KafkaError| StreamError::from_kafka(&*self.at.0, &error);
        self.consumer.seek_partitions(self.list(offset).map_err(said)?, WAIT).map_err(said)?;
        let since = Instant::now();
        while since.elapsed() < WAIT {
            let lot = self.take();
            let found = lot.iter().find_map(|one: Taken<'_>| match (one.unreadable(), one.error()) {
                (Some(found), _) => Some(found.base == batch.base),
                (None, Some(error)) => is_end(&error).then_some(false),
                (None, None) => Some(false),
            });
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(StreamError::NoAnswer {
            what: format!("reading `{}` at offset {offset}", self.at.0),
            seconds: WAIT.as_secs(),
        })
    }
}
