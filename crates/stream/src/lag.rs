//! How many records wait, as the brokers tell it, whatever the session does meanwhile.
//!
//! The session knows its own position; a client of its own asks for the partitions' ends. So the lag is true while state is
//! read back, while a session ends and another begins, and where a session hangs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    thread::{self, JoinHandle},
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

/// The thread that asks. It ends when this is dropped, at its next look.
pub(crate) struct LagMonitor(Option<Arc<()>>);

impl LagMonitor {
    pub(crate) fn start(kafka: &KafkaSettings, group: &str, health: RunnerHealth, stage: &Arc<str>) -> Self {
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        let (kafka, group, measures) = (kafka.clone(), group.to_owned(), Measures::new(stage));
        let watch = move || {
            let mut asker = None;
            let mut shown = HashSet::new();
            while watched.strong_count() > 0 {
                let begun = Instant::now();
                if let Err(error) = look(&kafka, &group, &mut asker, &health, &measures, &mut shown) {
                    debug!(%error, "the partitions' ends are not known");
                }
                while watched.strong_count() > 0 && begun.elapsed() < EVERY {
                    thread::sleep(Duration::from_millis(50));
                }
            }
            for (topic, partition) in shown {
                measures.lag(&topic, partition).set(0.0);
                measures.stalled(&topic, partition).set(0.0);
            }
        };
        let started: std::io::Result<JoinHandle<()>> = thread::Builder::new().name("lag".into()).spawn(watch);
        if let Err(error) = started {
            tracing::error!(%error, "lag is not measured: no thread can be started");
        }
        Self(Some(alive))
    }
}

impl Drop for LagMonitor {
    fn drop(&mut self) {
        self.0.take();
    }
}

fn look(
    kafka: &KafkaSettings,
    group: &str,
    asker: &mut Option<BaseConsumer<Quiet>>,
    health: &RunnerHealth,
    measures: &Measures,
    shown: &mut HashSet<Place>,
) -> Result<(), StreamError> {
    let partitions = health.partitions();
    shown.retain(|at| {
        let goes_on = partitions.iter().any(|(held, _)| held == at);
        if !goes_on {
            measures.lag(&at.0, at.1).set(0.0);
            measures.stalled(&at.0, at.1).set(0.0);
        }
        goes_on
    });
    if partitions.is_empty() {
        return Ok(());
    }
    let asker = match asker {
        Some(asker) => asker,
        None => asker.insert(kafka.reader_of(group)?),
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
        let Some(measured) = health.told(at, *end, committed.get(at).copied()) else { continue };
        let (topic, partition) = measured.at;
        if let Some(lag) = measured.lag {
            measures.lag(&topic, partition).set(lag as f64);
        }
        measures.stalled(&topic, partition).set(measured.stalled.as_secs_f64());
        shown.insert((topic, partition));
    }
    Ok(())
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
