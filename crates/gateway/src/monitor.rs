//! How the pipeline is doing, as far as its topics and groups tell: throughput, lag, and whether Kafka answers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use cybervault_stream::{Pulse, StreamError, offsets::Watch};
use serde::Serialize;

use crate::{
    condition::{Condition, Part},
    engine::Engine,
    settings::Settings,
    store::{Landed, ViewBatch, now},
};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(3);
/// Samples that are kept: a quarter of an hour.
const KEPT: usize = 300;
/// Between two pulses.
const PULSE: Duration = Duration::from_millis(500);
/// How long a pulse may take.
const BEAT: Duration = Duration::from_secs(2);

/// One group at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GroupSample {
    pub(crate) group: String,
    /// Records that wait for it.
    pub(crate) lag: i64,
    /// Records a second that came in for it since the sample before.
    pub(crate) in_per_second: f64,
    /// Records a second that it committed since the sample before.
    pub(crate) done_per_second: f64,
}

/// The pipeline at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) groups: Vec<GroupSample>,
}

/// The pipeline over the last quarter of an hour.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    samples: Mutex<VecDeque<Sample>>,
}

/// Starts to listen whether Kafka answers, until `stop` is true.
pub(crate) fn listen(
    settings: &Settings,
    condition: Arc<Condition>,
    stop: Arc<AtomicBool>,
) -> Result<(), std::io::Error> {
    let (kafka, topic) = (settings.kafka.clone(), settings.topics.assessments.clone());
    let listen = move || {
        let mut pulse = None;
        while !stop.load(Ordering::Relaxed) {
            let beat = match &pulse {
                None => match Pulse::new(&kafka, &topic) {
                    Ok(new) => Pulse::beat(pulse.insert(new), BEAT),
                    Err(error) => Err(error),
                },
                Some(pulse) => Pulse::beat(pulse, BEAT),
            };
            match beat {
                Ok(()) => condition.works(Part::Kafka),
                Err(error) => tracing::warn!(%error, "Kafka does not answer"),
            }
            pause(PULSE, &stop);
        }
    };
    thread::Builder::new().name("pulse".to_owned()).spawn(listen).map(drop)
}

impl Monitor {
    /// Starts to sample, until `stop` is true.
    pub(crate) fn start(
        settings: &Settings,
        engine: Arc<dyn Engine>,
        stop: Arc<AtomicBool>,
    ) -> Result<Arc<Self>, std::io::Error> {
        let monitor = Arc::new(Self::default());
        let (writer, settings) = (monitor.clone(), settings.clone());
        thread::Builder::new().name("monitor".to_owned()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = writer.watch(&settings, &*engine, &stop) {
                    tracing::debug!(%error, "the pipeline can't be watched");
                    pause(EVERY, &stop);
                }
            }
        })?;
        Ok(monitor)
    }

    fn watch(&self, settings: &Settings, engine: &dyn Engine, stop: &AtomicBool) -> Result<(), StreamError> {
        let groups = settings.groups.iter();
        let watches: Vec<Watch> =
            groups.map(|(group, topic)| Watch::new(&settings.kafka, group, topic)).collect::<Result<_, _>>()?;
        let sample = |watch: &Watch| {
            let (end, done) = watch.sample()?;
            let known = engine.committed(watch.group()).and_then(|records| i64::try_from(records).ok());
            Ok::<_, StreamError>((end, known.unwrap_or(done)))
        };
        let mut before: Option<(Instant, Vec<(i64, i64)>)> = None;
        while !stop.load(Ordering::Relaxed) {
            let (at, found) = (Instant::now(), watches.iter().map(sample).collect::<Result<Vec<_>, _>>()?);
            if let Some((then, earlier)) = &before {
                let seconds = at.duration_since(*then).as_secs_f64();
                #[expect(clippy::cast_precision_loss)]
                let rate = |now: i64, then: i64| (now - then).max(0) as f64 / seconds;
                let groups = watches.iter().zip(&found).zip(earlier).map(|((watch, now), then)| GroupSample {
                    group: watch.group().to_owned(),
                    lag: (now.0 - now.1).max(0),
                    in_per_second: rate(now.0, then.0),
                    done_per_second: rate(now.1, then.1),
                });
                let sample = Sample { at: now(), groups: groups.collect() };
                let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
                samples.push_back(sample);
                if samples.len() > KEPT {
                    samples.pop_front();
                }
            }
            before = Some((at, found));
            pause(EVERY, stop);
        }
        Ok(())
    }

    /// What was seen, the oldest first.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// How old records were when they had landed: the latest of them.
#[derive(Debug, Default)]
pub(crate) struct Latency(Mutex<VecDeque<i64>>);

impl Latency {
    const KEPT: usize = 2_048;

    /// Takes note of a batch that has landed.
    pub(crate) fn add(&self, batch: &ViewBatch) {
        let now = now().as_millis();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for landed in &batch.landed {
            if let Landed::Assessment { created_at, .. } = landed {
                kept.push_back((now - created_at.as_millis()).max(0));
            }
        }
        let excess = kept.len().saturating_sub(Self::KEPT);
        kept.drain(..excess);
    }

    /// The median and the 99th percentile, in seconds.
    pub(crate) fn quantiles(&self) -> (Option<f64>, Option<f64>) {
        let mut all: Vec<i64> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        all.sort_unstable();
        #[expect(clippy::cast_precision_loss)]
        let at = |percent: usize| all.get(all.len() * percent / 100).map(|millis| *millis as f64 / 1e3);
        (at(50), at(99))
    }
}

/// Waits, but no longer than until `stop` is true.
pub(crate) fn pause(pause: Duration, stop: &AtomicBool) {
    let until = Instant::now() + pause;
    while !stop.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
}
