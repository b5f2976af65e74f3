//! How many records wait, as the brokers tell it, whatever the session does meanwhile.
//!
//! The session knows its own position; a client of its own asks for the partitions' ends. So the lag is true while state is
//! read back, while a session ends and another begins, and where a session hangs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
};
use tracing::debug;

use crate::{
    KafkaSettings, StreamError,
    health::{Place, RunnerHealth},
    measures::Measures,
    settings::Quiet,
};

/// How often the brokers are asked.
const EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(5);

/// Has a thread that asks until this is dropped.
pub(crate) struct LagMonitor(#[expect(dead_code, reason = "the thread sees it go")] Arc<()>);

impl LagMonitor {
    pub(crate) fn start(kafka: &KafkaSettings, group: &str, health: RunnerHealth, stage: &Arc<str>) -> Self {
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        let mut watch = Watch {
            kafka: kafka.clone(),
            group: group.to_owned(),
            health,
            measures: Measures::new(stage),
            asker: None,
            shown: HashSet::new(),
        };
        let work = move || {
            while watched.strong_count() > 0 {
                let begun = Instant::now();
                if let Err(error) = watch.look() {
                    debug!(%error, "the partitions' ends are not known");
                }
                while watched.strong_count() > 0 && begun.elapsed() < EVERY {
                    thread::sleep(Duration::from_millis(50));
                }
            }
            watch.shown.iter().for_each(|at| watch.clear(at));
        };
        if let Err(error) = thread::Builder::new().name("lag".into()).spawn(work) {
            tracing::error!(%error, "lag is not measured: no thread can be started");
        }
        Self(alive)
    }
}

/// What the thread asks with, and for whom.
struct Watch {
    kafka: KafkaSettings,
    group: String,
    health: RunnerHealth,
    measures: Measures,
    asker: Option<BaseConsumer<Quiet>>,
    /// Partitions whose gauges are set.
    shown: HashSet<Place>,
}

impl Watch {
    fn clear(&self, (topic, partition): &Place) {
        self.measures.lag(topic, *partition).set(0.0);
        self.measures.stalled(topic, *partition).set(0.0);
    }

    fn look(&mut self) -> Result<(), StreamError> {
        let partitions = self.health.partitions();
        let gone: Vec<Place> =
            self.shown.iter().filter(|at| !partitions.iter().any(|(held, _)| held == *at)).cloned().collect();
        for at in gone {
            self.clear(&at);
            self.shown.remove(&at);
        }
        if partitions.is_empty() {
            return Ok(());
        }
        let asker = match &mut self.asker {
            Some(asker) => asker,
            None => self.asker.insert(self.kafka.reader_of(&self.group)?),
        };
        // What it hears on the way is told by the session, too.
        while asker.poll(Duration::ZERO).is_some() {}
        let failed = |error: &KafkaError| StreamError::from_kafka("the partitions' ends", error);
        let ends = asker.offsets_for_times(list(partitions.iter().map(|(at, _)| at), Offset::End), WAIT);
        let ends = offsets(&ends.map_err(|error| failed(&error))?);
        let unknown: Vec<&Place> = partitions.iter().filter(|(_, is_known)| !is_known).map(|(at, _)| at).collect();
        let mut committed = HashMap::new();
        if !unknown.is_empty() {
            let found = asker.committed_offsets(list(unknown.iter().copied(), Offset::Invalid), WAIT);
            committed = offsets(&found.map_err(|error| failed(&error))?);
            // A group that has committed nothing yet begins at the first record there is.
            let without: Vec<&Place> = unknown.into_iter().filter(|at| !committed.contains_key(*at)).collect();
            if !without.is_empty() {
                let first = asker.offsets_for_times(list(without.iter().copied(), Offset::Beginning), WAIT);
                committed.extend(offsets(&first.map_err(|error| failed(&error))?));
            }
        }
        for (at, _) in &partitions {
            let Some(end) = ends.get(at) else { continue };
            let Some(measured) = self.health.told(at, *end, committed.get(at).copied()) else { continue };
            let (topic, partition) = measured.at;
            if let Some(lag) = measured.lag {
                self.measures.lag(&topic, partition).set(lag as f64);
            }
            self.measures.stalled(&topic, partition).set(measured.stalled.as_secs_f64());
            self.shown.insert((topic, partition));
        }
        Ok(())
    }
}

fn list<'a>(places: impl Iterator<Item = &'a Place>, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        // Fails for an offset that is none alone.
        let _ = list.add_partition_offset(topic, *partition, offset);
    }
    list
}

/// The offsets that were found.
fn offsets(list: &TopicPartitionList) -> HashMap<Place, i64> {
    let found = list.elements();
    let found = found.iter().filter(|element| element.error().is_ok());
    let at = |element: &TopicPartitionListElem<'_>| -> Place { (element.topic().into(), element.partition()) };
    found
        .filter_map(|element| element.offset().to_raw().filter(|raw| *raw >= 0).map(|raw| (at(element), raw)))
        .collect()
}
