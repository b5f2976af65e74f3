//! Partitions come and go: state is read back before the first record, and the batch is committed before the last.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer, topic_partition_list::TopicPartitionListElem};
use tracing::{debug, error, info, warn};

use super::{Session, TopicPartition};
use crate::{
    Stage, StreamError, changelog,
    error::{Needs, is_denied},
    metadata,
    rebalance::{assign, unassign},
};

/// How long brokers are asked before the session ends.
const ANSWER: Duration = Duration::from_secs(30);
/// How often it is looked whether state has a place by now for partitions that are held back.
const LOOK: Duration = Duration::from_secs(5);

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// Between two questions to a broker that does not answer them.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl<S: Stage> Session<'_, S> {
    pub(super) fn take_on(&mut self, partitions: &TopicPartitionList) -> Result<(), StreamError> {
        self.measures.rebalanced("assigned");
        let wanted: Vec<TopicPartition> =
            partitions.elements().iter().map(|e| (self.input(e.topic()), e.partition())).collect();
        self.health.takes_on(&wanted);
        let (ready, without_state) = self.with_state(wanted)?;
        self.restore(&ready)?;
        let mut start = TopicPartitionList::new();
        for (at, offset) in self.starting_offsets(&ready)?.into_iter().chain(self.starting_offsets(&without_state)?) {
            start
                .add_partition_offset(&at.0, at.1, Offset::Offset(offset))
                .map_err(|error| StreamError::from_kafka(&*at.0, &error))?;
            self.intake.follow(&at.0, at.1)?;
            if without_state.contains(&at) {
                continue;
            }
            // So that the series is there before anything is lost, and an increase sees the first.
            self.measures.deleted_unread(&at.0, at.1).increment(0);
            self.health.committed(0, [(&at, &offset)]);
            self.committed.insert(at, offset);
        }
        assign(&self.consumer, &start).map_err(|error| StreamError::from_kafka("taking on partitions", &error))?;
        self.hold_back(without_state)?;
        info!(stage = %self.settings.stage, partitions = ?ready.iter().map(|(_, p)| p).collect::<Vec<_>>(), held = self.committed.len(), "assigned");
        self.measures.assigned.set(self.committed.len() as f64);
        self.health.assigned();
        Ok(())
    }

    /// Parts the partitions that the changelog has, too, from those that were added to the input alone.
    fn with_state(
        &self,
        wanted: Vec<TopicPartition>,
    ) -> Result<(Vec<TopicPartition>, Vec<TopicPartition>), StreamError> {
        let (Some(changelog), false) = (&self.settings.changelog, wanted.is_empty()) else {
            return Ok((wanted, Vec::new()));
        };
        let since = Instant::now();
        let count = loop {
            match metadata::partitions(&self.consumer, changelog, Duration::from_secs(5)) {
                Ok(count) => break count,
                Err(error @ (StreamError::Denied { .. } | StreamError::MissingTopic(_))) => return Err(error),
                Err(error) if since.elapsed() > ANSWER || self.stop.is_told() => return Err(error),
                Err(error) => {
                    debug!(stage = %self.settings.stage, %error, "asking for the changelog's partitions again");
                }
            }
        };
        Ok(wanted.into_iter().partition(|(_, partition)| *partition < count))
    }

    /// Reads these partitions' states back.
    fn restore(&mut self, partitions: &[TopicPartition]) -> Result<(), StreamError> {
        let (Some(changelog), false) = (&self.settings.changelog, partitions.is_empty()) else { return Ok(()) };
        let started = Instant::now();
        self.health.waits_for(format!("reads state back from `{changelog}`"));
        let numbers: Vec<i32> = partitions.iter().map(|(_, partition)| *partition).collect();
        let give_up = self.stop.deadline();
        let (keep_waiting, progress) = (|| !give_up(), || self.health.step());
        let limits = self.settings.state;
        let restored = changelog::restore(&self.settings.kafka, changelog, &numbers, limits, &keep_waiting, &progress)?;
        self.measures.restores.increment(restored.len() as u64);
        self.measures.restore_time.record(started.elapsed());
        self.states.extend(restored);
        Ok(())
    }

    /// Leaves partitions unread whose state has no place yet. The others go on.
    fn hold_back(&mut self, partitions: Vec<TopicPartition>) -> Result<(), StreamError> {
        let (Some(changelog), false) = (&self.settings.changelog, partitions.is_empty()) else { return Ok(()) };
        let numbers: Vec<i32> = partitions.iter().map(|(_, partition)| *partition).collect();
        let needed = numbers.iter().max().map_or(0, |last| last + 1);
        error!(stage = %self.settings.stage, partitions = ?numbers,
            "partitions were added to the input, and not to the state: they are held back, the others go on. Add them: \
             kafka-topics.sh --bootstrap-server {} --alter --topic {changelog} --partitions {needed}. They are then taken up \
             within seconds; see docs/operations.md, \"More partitions\"",
            self.settings.kafka.bootstrap);
        let list = list_of(&partitions);
        self.consumer.pause(&list).map_err(|error| StreamError::from_kafka("holding partitions back", &error))?;
        partitions.iter().for_each(|at| self.health.holds_back(at));
        self.held_back.extend(partitions);
        self.measures.held_back.set(self.held_back.len() as f64);
        Ok(())
    }

    /// Takes up what was held back, as far as its state has a place by now.
    pub(super) fn take_up_held_back(&mut self) -> Result<(), StreamError> {
        if self.held_back.is_empty() || self.looked_for_places.elapsed() < LOOK {
            return Ok(());
        }
        self.looked_for_places = Instant::now();
        let (ready, without_state) = self.with_state(self.held_back.clone())?;
        if ready.is_empty() {
            return Ok(());
        }
        self.health.takes_on(&ready);
        self.restore(&ready)?;
        for (at, offset) in self.starting_offsets(&ready)? {
            self.health.committed(0, [(&at, &offset)]);
            self.committed.insert(at, offset);
        }
        self.held_back = without_state;
        self.measures.held_back.set(self.held_back.len() as f64);
        self.measures.assigned.set(self.committed.len() as f64);
        self.consumer
            .resume(&list_of(&ready))
            .map_err(|error| StreamError::from_kafka("taking up partitions", &error))?;
        info!(stage = %self.settings.stage, partitions = ?ready.iter().map(|(_, p)| p).collect::<Vec<_>>(), "taken up: their state has a place now");
        self.health.assigned();
        self.read_again(ready)
    }

    /// Where each partition goes on: at its committed offset, or where the group was told to begin.
    fn starting_offsets(&self, wanted: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>, StreamError> {
        let mut offsets = Vec::with_capacity(wanted.len());
        if wanted.is_empty() {
            return Ok(offsets);
        }
        let (give_up, since) = (self.stop.deadline(), Instant::now());
        let found = loop {
            match self.consumer.committed_offsets(list_of(wanted), Duration::from_secs(5)) {
                Ok(found) => break found,
                Err(_) if since.elapsed() > ANSWER => {
                    let what = format!("offsets of group `{}`", self.settings.group);
                    return Err(StreamError::NoAnswer { what, seconds: since.elapsed().as_secs() });
                }
                Err(error) if error.rdkafka_error_code().is_some_and(is_denied) || give_up() => {
                    let topics = wanted.iter().map(|(topic, _)| &**topic).collect::<BTreeSet<_>>();
                    let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
                    return Err(StreamError::from_kafka_needing(
                        format!("offsets of group `{}`", self.settings.group),
                        &error,
                        Needs::read(&topics).and_group(&self.settings.group),
                    ));
                }
                Err(error) => {
                    warn!(stage = %self.settings.stage, %error, "asking for committed offsets again");
                    // Some errors come at once.
                    thread::sleep(ASK_AGAIN);
                }
            }
        };
        for at in wanted {
            let committed = match found.find_partition(&at.0, at.1).map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            };
            let (low, high) =
                self.consumer.fetch_watermarks(&at.0, at.1, Duration::from_secs(10)).map_err(|error| {
                    StreamError::from_kafka_needing(format!("the ends of `{}`", at.0), &error, Needs::read(&at.0))
                })?;
            let latest = self.settings.kafka.client.get("auto.offset.reset").is_some_and(|v| v == "latest");
            let offset = match committed {
                Some(offset) if offset < low => {
                    self.deleted_unread(at, offset, low);
                    low
                }
                Some(offset) => offset,
                None if latest => high,
                None => low,
            };
            offsets.push((at.clone(), offset));
        }
        Ok(offsets)
    }

    /// Goes on with the oldest record of each partition whose next one retention has deleted.
    pub(super) fn skip_deleted(&mut self) -> Result<(), StreamError> {
        // Going back would come to what was deleted again.
        self.finish()?;
        let held: Vec<(TopicPartition, i64)> = self.committed.iter().map(|(at, next)| (at.clone(), *next)).collect();
        for (at, next) in held {
            let ends = self.consumer.fetch_watermarks(&at.0, at.1, Duration::from_secs(10));
            let (low, _) = ends.map_err(|error| StreamError::from_kafka(format!("the ends of `{}`", at.0), &error))?;
            if next >= low {
                continue;
            }
            self.deleted_unread(&at, next, low);
            // The client does not seek where it has stopped.
            let mut place = TopicPartitionList::new();
            place
                .add_partition_offset(&at.0, at.1, Offset::Offset(low))
                .map_err(|error| StreamError::from_kafka(&*at.0, &error))?;
            let failed = |error| StreamError::from_kafka("going on behind deleted records", &error);
            unassign(&self.consumer, &place).map_err(failed)?;
            self.intake.follow(&at.0, at.1)?;
            assign(&self.consumer, &place).map_err(failed)?;
            self.committed.insert(at, low);
        }
        Ok(())
    }

    fn deleted_unread(&self, at: &TopicPartition, next: i64, first: i64) {
        error!(topic = %at.0, partition = at.1, committed = next, first, deleted = first - next,
            "records were deleted by retention before they were processed");
        self.measures.deleted_unread(&at.0, at.1).increment(u64::try_from(first - next).unwrap_or(0));
    }

    pub(super) fn give_back(&mut self, partitions: &TopicPartitionList) -> Result<(), StreamError> {
        if self.consumer.assignment_lost() {
            // Another may hold them already: what is open can't be committed any more.
            self.measures.rebalanced("lost");
            self.wait_for_committer()?;
            self.take_back(None)?;
        } else {
            self.measures.rebalanced("revoked");
            self.finish()?;
        }
        for element in partitions.elements() {
            let at = (self.input(element.topic()), element.partition());
            self.committed.remove(&at);
            self.health.gives_back(&at);
            self.held_back.retain(|held| *held != at);
            // A stage without a changelog may hold the same number of another topic.
            if !self.committed.keys().any(|(_, partition)| *partition == at.1) {
                self.states.remove(&at.1);
                self.stage.released(at.1);
                self.measures.partition("cybervault_state_entries", at.1).set(0.0);
                self.measures.partition("cybervault_state_bytes", at.1).set(0.0);
            }
        }
        unassign(&self.consumer, partitions)
            .map_err(|error| StreamError::from_kafka("giving partitions back", &error))?;
        info!(stage = %self.settings.stage, partitions = ?partitions.elements().iter().map(TopicPartitionListElem::partition).collect::<Vec<_>>(), held = self.committed.len(), "revoked");
        self.measures.assigned.set(self.committed.len() as f64);
        self.measures.held_back.set(self.held_back.len() as f64);
        Ok(())
    }
}
