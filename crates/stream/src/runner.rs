//! Runs a stage until it is told to stop, through whatever Kafka does meanwhile.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use rdkafka::{consumer::Consumer, error::KafkaError, metadata::MetadataTopic, types::RDKafkaErrorCode};
use tracing::{debug, error, info, warn};

use crate::{
    Health, KafkaSettings, Stage, StateLimits, StreamError,
    error::{Needs, is_denied_alone},
    health::RunnerHealth,
    lag::LagMonitor,
    measures::Measures,
    session::Session,
    settings::{LoneConsumer, reason},
    stop::Stop,
};

/// When a batch ends: by the first of these that is reached. While the one before commits, it goes on taking records, up to
/// twice the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records.
    pub max_records: usize,
    /// Bytes of the records' values and of what the batch writes.
    pub max_bytes: usize,
    /// Time since its first record; ten times as long while records keep coming without a pause.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_records: 10_000, max_bytes: 16 * 1024 * 1024, linger: Duration::from_millis(5) }
    }
}

/// What a runner needs to know besides its stage.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    /// Where Kafka is.
    pub kafka: KafkaSettings,
    /// The stage's name, in logs, metrics and dead letters.
    pub stage: Arc<str>,
    /// The consumer group, shared by all workers of the stage.
    pub group: String,
    /// Unique among live workers of the stage, and the same after a restart: the new worker then ends what the old one
    /// left open at once, instead of after the transaction's time-out.
    pub transactional_id: String,
    /// The member of the group that this runner is, over restarts, too: it then gets its partitions back at once. `None` for a
    /// member that is new each time.
    pub member: Option<String>,
    /// What is read. A stage with state reads one topic: its state's partitions are that topic's.
    pub inputs: Vec<Arc<str>>,
    /// What is written, to be checked at the start.
    pub outputs: Vec<Arc<str>>,
    /// The state's compacted topic; without one the stage's state does not outlive its assignment.
    pub changelog: Option<Arc<str>>,
    /// Where records go that can't be processed.
    pub dead_letters: Arc<str>,
    /// When a batch ends.
    pub batch: BatchLimits,
    /// How much state a partition may have.
    pub state: StateLimits,
    /// How long a shutdown waits for Kafka: the last commit has four fifths of it, leaving the rest.
    pub shutdown: Duration,
    /// How far ahead of this machine's clock a record may be whose time its sender has set: one that is further ahead is taken
    /// as so far ahead. `None` where nothing is decided by records' times.
    pub max_ahead: Option<Duration>,
    /// How many of a batch's records, of those whose sender's trace is recorded, have a span of their own. `None` where
    /// nobody gathers spans; headers are carried on all the same.
    pub record_spans: Option<usize>,
}

/// A stage at work: consume, process and produce in one transaction a batch.
#[derive(Debug)]
pub struct Runner<S> {
    settings: RunnerSettings,
    stage: S,
    health: RunnerHealth,
    stop: Stop,
}

/// Restarts after an error that a new session may mend: this many within [`RESTART_WINDOW`], then the process ends.
const MAX_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(300);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// For how long after brokers were away an error is put down to that.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long a topic may be missing at the start: one that was created a moment ago is not known to every broker yet.
const NEW_TOPIC: Duration = Duration::from_secs(5);
/// How long a topic may be missing that was there: a broker that has just come back may not know its topics yet.
const KNOWN_TOPIC: Duration = Duration::from_secs(60);

/// What keeps a session from being opened.
enum Missing {
    /// It is not there, or refused.
    Topic(StreamError),
    /// No broker answers.
    Broker(KafkaError),
}

impl<S: Stage> Runner<S> {
    /// A runner that goes on until `stop` is true.
    pub fn new(settings: RunnerSettings, stage: S, health: &Health, stop: Arc<AtomicBool>) -> Self {
        let health = health.of_runner(&settings.stage, &settings.transactional_id);
        let stop = Stop::new(stop, settings.shutdown * 4 / 5);
        Self { settings, stage, health, stop }
    }

    /// Runs until told to stop; the last batch is then committed and the group left.
    ///
    /// # Errors
    /// What waiting and trying again can't mend: a missing topic or permission, another worker with the same
    /// transactional id, a record that Kafka does not take.
    pub fn run(mut self) -> Result<(), StreamError> {
        let settings = &self.settings;
        let measures = Measures::new(&settings.stage);
        let _lag = LagMonitor::start(&settings.kafka, &settings.group, self.health.clone(), &settings.stage);
        let mut restarts: Vec<Instant> = Vec::new();
        let (mut patience, mut left) = (NEW_TOPIC, None);
        while !self.stop.is_told() {
            if !self.wait_for_kafka(patience)? {
                break;
            }
            patience = KNOWN_TOPIC;
            let session = Session::open(&self.settings, &mut self.stage, &self.health, &self.stop, &mut left);
            let ended = match session.and_then(Session::run) {
                Ok(()) => break,
                Err(ended) => ended,
            };
            // What the stage has made of states that are gone is of no more use.
            self.stage.recover();
            self.health.lets_go();
            self.health.waits_for(ended.to_string());
            if ended.is_final() {
                error!(stage = %self.settings.stage, error = %ended, "giving up");
                return Err(ended);
            }
            restarts.retain(|at| at.elapsed() < RESTART_WINDOW);
            // A broker that is away is waited for, however often, and takes fences of its own: one that was away for longer
            // than a transaction may take has forgotten who may write. Without that, who is fenced again and again has a rival.
            let waits = matches!(
                ended,
                StreamError::NoAnswer { .. } | StreamError::Unreachable { .. } | StreamError::Undecided { .. }
            );
            let by_outage = waits || self.health.since_outage().is_some_and(|since| since < OUTAGE);
            let allowed = if matches!(ended, StreamError::Fenced(_)) { 2 } else { MAX_RESTARTS };
            if !by_outage && restarts.len() >= allowed {
                error!(stage = %self.settings.stage, error = %ended, "giving up");
                return Err(ended);
            }
            warn!(stage = %self.settings.stage, error = %ended, "joining again from the last commit");
            measures.restarted();
            if !by_outage {
                restarts.push(Instant::now());
            }
            self.pause(Duration::from_millis(500));
        }
        self.health.leaves();
        info!(stage = %self.settings.stage, "stopped");
        Ok(())
    }

    /// Waits until a broker answers and every topic is there, for which it has `patience`; false when told to stop meanwhile.
    fn wait_for_kafka(&self, patience: Duration) -> Result<bool, StreamError> {
        let client = self.settings.kafka.lone_consumer("read_committed")?;
        let bootstrap = &self.settings.kafka.bootstrap;
        let (mut answered, mut backoff) = (None::<Instant>, Duration::from_millis(250));
        while !self.stop.is_told() {
            let error = match self.check_topics(&client) {
                Ok(()) => {
                    self.health.broker_answers(true);
                    self.health.waits_for(String::new());
                    return Ok(true);
                }
                Err(Missing::Topic(error @ StreamError::MissingTopic(_)))
                    if answered.get_or_insert_with(Instant::now).elapsed() < patience =>
                {
                    debug!(stage = %self.settings.stage, %error, "waiting for a topic");
                    self.health.waits_for(error.to_string());
                    self.pause(Duration::from_millis(200));
                    continue;
                }
                Err(Missing::Topic(error)) => return Err(error),
                Err(Missing::Broker(error)) => reason(&client, &error),
            };
            self.health.broker_answers(false);
            self.health.waits_for(format!("no answer from Kafka at {bootstrap}: {error}"));
            warn!(stage = %self.settings.stage, bootstrap, error, retry_in_ms = backoff.as_millis(), "no answer from Kafka");
            self.pause(backoff);
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        Ok(false)
    }

    /// Names the topic that is missing or refused.
    fn check_topics(&self, client: &LoneConsumer) -> Result<(), Missing> {
        let ask = |topic: Option<&str>, what: &dyn Fn() -> String| {
            client.fetch_metadata(topic, Duration::from_secs(5)).map_err(|error| match error.rdkafka_error_code() {
                Some(code) if is_denied_alone(code) => Missing::Topic(StreamError::from_kafka(what(), &error)),
                _ => Missing::Broker(error),
            })
        };
        let all = ask(None, &|| "the connection".into())?;
        let all: BTreeSet<&str> = all.topics().iter().map(MetadataTopic::name).collect();
        let settings = &self.settings;
        let named = settings.inputs.iter().chain(&settings.outputs).chain(&settings.changelog);
        for topic in named.chain([&settings.dead_letters]).filter(|topic| !all.contains(&***topic)) {
            // Kafka leaves out of the full list what this user may not see; asking for the one topic tells which it is.
            let metadata = ask(Some(topic), &|| format!("topic `{topic}`"))?;
            let code = metadata.topics().first().and_then(MetadataTopic::error);
            return Err(Missing::Topic(match code.map(RDKafkaErrorCode::from) {
                Some(code) if is_denied_alone(code) => {
                    let needs =
                        if self.settings.inputs.contains(topic) { Needs::read(topic) } else { Needs::write(topic) };
                    let error = KafkaError::MetadataFetch(code);
                    StreamError::from_kafka_needing(format!("access to topic `{topic}`"), &error, needs)
                }
                None => continue,
                Some(_) => StreamError::MissingTopic(topic.to_string()),
            }));
        }
        Ok(())
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.stop.is_told() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
