//! `bench pipeline`: the assess stage from Kafka to Kafka, beside a loop that only passes records on.

use std::{
    hint,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cybervault_model::{Decoder, Incoming};
use cybervault_quota::{MAX_BYTES_PER_SECOND, MAX_EVENTS_PER_SECOND};
use cybervault_stream::{Follower, Health, Publisher, Record, Start, StreamError, apply_topics, bare::BareLoop};
use serde::Deserialize;
use serde_json::json;

use super::{ROUNDS, events, median, per_second};
use crate::{
    cli::BenchPipelineArgs,
    command::Answer,
    config::{Config, Role},
    content::Sources,
    live::Live,
    pipeline::{ASSESS, Pipeline},
};

/// One of the samples' tenants, on the plan whose rates are lifted here.
pub(super) const TENANT: &str = "acme-health";
const PARTITIONS: u32 = 4;
/// How long events are sent at half of what was reached, to see how long each takes then.
const HALF_LOAD: Duration = Duration::from_secs(10);
/// The first seconds of it, while caches and the group settle, do not count.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a round may stand still.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(args: &BenchPipelineArgs, mut config: Config) -> anyhow::Result<Answer> {
    cybervault_stream::give_memory_back();
    // Timing begins once the first batch is committed, which may be twice as large as it should be.
    let fewest = 4 * config.batch.max_records as u64;
    if args.events < fewest {
        bail!("--events {} are too few to measure anything; take at least {fewest}", args.events);
    }
    configure(&mut config, args.bootstrap.as_deref());
    let live = Arc::new(Live::load(&config, Sources::of(&config, true)?)?);

    // The first does not count: a broker that was just started is still compiling itself.
    let mut rounds = Vec::new();
    for number in 0..=ROUNDS {
        let round = Bench::new(&config, &live, number)?.round(args.events)?;
        let Round { bare, decoding, pipeline } = round;
        let counts = if number == 0 { " (to warm up)" } else { "" };
        say(&format!(
            "round {number}: bare {bare:.0}/s, with decoding {decoding:.0}/s, pipeline {pipeline:.0}/s{counts}"
        ))?;
        rounds.push(round);
    }
    let middle = |what: fn(&Round) -> f64| median(rounds[1..].iter().map(what).collect());
    let pipeline = middle(|round| round.pipeline);
    let rate = args.rate.map_or(pipeline / 2.0, f64::from);
    let latencies = Bench::new(&config, &live, ROUNDS + 1)?.latencies(rate)?;
    super::answer(
        args.json,
        &json!({
            "pipeline_events_per_second": pipeline,
            "bare_events_per_second": middle(|round| round.bare),
            "ratio": middle(|round| round.pipeline / round.bare),
            "decoding_events_per_second": middle(|round| round.decoding),
            "ratio_to_decoding": middle(|round| round.pipeline / round.decoding),
            "p50_ms": quantile(&latencies, 0.50),
            "p99_ms": quantile(&latencies, 0.99),
            "latency_at_events_per_second": rate.round(),
            "rules": live.detection().matcher.rules().len(),
        }),
    )
}

/// A worker of the role `assess` alone that no quota holds up.
pub(super) fn configure(config: &mut Config, bootstrap: Option<&str>) {
    // Its events are of a tenant of the samples, whoever else there is.
    config.tenants_file = None;
    if let Some(bootstrap) = bootstrap {
        bootstrap.clone_into(&mut config.kafka.bootstrap);
    }
    config.topics.partitions = PARTITIONS;
    config.topics.replication = Some(1);
    config.worker.roles = vec![Role::Assess];
    config.quota.plans.enterprise.events_per_second = MAX_EVENTS_PER_SECOND;
    config.quota.plans.enterprise.bytes_per_second = MAX_BYTES_PER_SECOND;
}

pub(super) fn say(what: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{what}")
}

/// Events a second of each loop.
struct Round {
    bare: f64,
    decoding: f64,
    pipeline: f64,
}

/// One round, on topics of its own.
pub(super) struct Bench<'a> {
    pub(super) config: Config,
    live: &'a Arc<Live>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(config: &Config, live: &'a Arc<Live>, round: usize) -> anyhow::Result<Self> {
        let mut config = config.clone();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        config.kafka.topic_prefix = format!("{}bench.{now:x}.{round}.", config.kafka.topic_prefix);
        apply_topics(&config.kafka(), &config.topic_plans()).context("can't create the benchmark's topics")?;
        Ok(Self { config, live })
    }

    /// A publisher that gathers records as long as Kafka's own do, unless told otherwise.
    fn publisher(&self) -> Result<Publisher, StreamError> {
        let mut kafka = self.config.kafka();
        kafka.client.entry("linger.ms".into()).or_insert_with(|| "5".into());
        Publisher::new(&kafka)
    }

    fn round(&self, count: u64) -> anyhow::Result<Round> {
        self.fill(count, &events::write)?;
        Ok(Round {
            bare: self.bare("bare", count, &mut |_| ())?,
            decoding: self.decoding(count)?,
            pipeline: self.pipeline(count)?,
        })
    }

    fn input(&self) -> Arc<str> {
        self.config.topic(|names| &names.telemetry_events)
    }

    pub(super) fn fill(&self, count: u64, write: &WriteEvent) -> anyhow::Result<()> {
        let (publisher, topic) = (self.publisher()?, self.input());
        let (mut key, mut event) = (Vec::new(), Vec::new());
        for number in 0..count {
            write(number, &format!("bench-{number}"), TENANT, &mut key, &mut event)?;
            publisher.send(&topic, &key, &event, &[], None)?;
        }
        Ok(publisher.flush(PATIENCE)?)
    }

    /// Records a second that the bare loop passes through, each shown to `look`.
    fn bare(&self, name: &str, count: u64, look: &mut dyn FnMut(&Record<'_>)) -> anyhow::Result<f64> {
        let bare = BareLoop {
            kafka: self.config.kafka(),
            group: format!("{}{name}", self.config.kafka.topic_prefix),
            input: self.input(),
            // Nobody reads it in a round.
            output: self.config.topic(|names| &names.response_actions),
            one_in: events::ONE_IN,
            batch: self.config.batch.max_records as u64,
        };
        Ok(per_second(count, bare.run(count, look)?))
    }

    /// The same, with every record decoded: what no stage that looks into events can surpass on one thread.
    fn decoding(&self, count: u64) -> anyhow::Result<f64> {
        let mut decoder = Decoder::new(self.config.limits.reader());
        self.bare("decoding", count, &mut |record| {
            let incoming = Incoming { key: record.key, value: record.value, ..Incoming::default() };
            let _ = hint::black_box(decoder.decode(&incoming).map(|decoded| decoded.event().tenant_id.len()));
        })
    }

    /// Records a second from the first record on that a stage at work takes up to the last commit.
    fn pipeline(&self, count: u64) -> anyhow::Result<f64> {
        let work = Work::start(self)?;
        let began = work.wait_for(ASSESS, 1)?;
        let first = work.health.records(ASSESS);
        let ended = work.wait_for(ASSESS, count)?;
        work.stop()?;
        Ok(per_second(count - first, ended - began))
    }

    /// Milliseconds from sending an event to reading its committed assessment, at `rate` events a second; sorted.
    fn latencies(&self, rate: f64) -> anyhow::Result<Vec<f64>> {
        let work = Work::start(self)?;
        work.until_ready()?;
        let assessments = self.config.topic(|names| &names.threat_assessments);
        let mut follower = Follower::open(&self.config.kafka(), &[&assessments], Start::Beginning)?;
        let began = Instant::now();
        let (sent_all, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut latencies = Vec::new();
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let result = self.send_steadily((rate, &events::write), began, &mut |number| {
                    sent.fetch_add(u64::from(number.is_multiple_of(events::ONE_IN)), Ordering::Relaxed);
                });
                sent_all.store(true, Ordering::Relaxed);
                result
            });
            let mut received = 0;
            let mut last = Instant::now();
            while !(sent_all.load(Ordering::Relaxed) && received >= sent.load(Ordering::Relaxed)) {
                if last.elapsed() > PATIENCE {
                    let expected = sent.load(Ordering::Relaxed);
                    bail!(
                        "{received} of {expected} assessments came, then no more; see the log, and whether the product's own rules \
                         are in force, of which one is true of the events sent here"
                    );
                }
                let Some(record) = follower.next(Duration::from_millis(10))? else { continue };
                (received, last) = (received + 1, Instant::now());
                let of: Assessed<'_> = serde_json::from_slice(&record.value)?;
                latencies.extend(latency(of.event_id, began)?);
            }
            sender.join().unwrap_or_else(|_| bail!("the sender has panicked"))
        })?;
        work.stop()?;
        latencies.sort_by(f64::total_cmp);
        Ok(latencies)
    }

    /// Sends events whose ids tell when they were sent, in microseconds since `began`, and shows each one's number.
    pub(super) fn send_steadily(
        &self,
        (rate, write): (f64, &WriteEvent),
        began: Instant,
        sent: &mut dyn FnMut(u64),
    ) -> anyhow::Result<()> {
        let (publisher, topic) = (self.publisher()?, self.input());
        let (mut key, mut event) = (Vec::new(), Vec::new());
        let mut number = 0u64;
        while began.elapsed() < HALF_LOAD {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let due = (began.elapsed().as_secs_f64() * rate) as u64;
            while number < due {
                let id = format!("bench-{}", began.elapsed().as_micros());
                write(number, &id, TENANT, &mut key, &mut event)?;
                publisher.send(&topic, &key, &event, &[], None)?;
                sent(number);
                number += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(publisher.flush(PATIENCE)?)
    }
}

/// Writes an event of this number, id and tenant into the second buffer, and its key into the first.
pub(super) type WriteEvent = dyn Fn(u64, &str, &str, &mut Vec<u8>, &mut Vec<u8>) -> io::Result<()> + Sync;

/// Of an assessment, what tells when its event was sent.
#[derive(Deserialize)]
struct Assessed<'a> {
    event_id: &'a str,
}

/// How many milliseconds ago the event of this id was sent; `None` in the first seconds.
pub(super) fn latency(event_id: &str, began: Instant) -> anyhow::Result<Option<f64>> {
    let sent_at = event_id.strip_prefix("bench-").and_then(|micros| micros.parse().ok());
    let sent_at = Duration::from_micros(sent_at.context("an assessment of an event that was not sent")?);
    let took = began.elapsed().saturating_sub(sent_at).as_secs_f64() * 1000.0;
    Ok((sent_at > SETTLE).then_some(took))
}

/// Stages at work.
pub(super) struct Work {
    pipeline: Pipeline,
    pub(super) health: Health,
    stop: Arc<AtomicBool>,
}

impl Work {
    pub(super) fn start(bench: &Bench<'_>) -> anyhow::Result<Self> {
        let (health, stop) = (Health::default(), Arc::new(AtomicBool::new(false)));
        let pipeline = Pipeline::start(&bench.config, bench.live, &health, &stop)?;
        Ok(Self { pipeline, health, stop })
    }

    /// Waits until the stage has its partitions: what is sent before is a backlog.
    pub(super) fn until_ready(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let obstacles = self.health.obstacles();
            if obstacles.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE || self.stop.load(Ordering::Relaxed) {
                bail!("{}; see the log", obstacles.join("; "));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// When a stage had committed `count` records.
    pub(super) fn wait_for(&self, stage: &str, count: u64) -> anyhow::Result<Instant> {
        let (mut before, mut moved) = (0, Instant::now());
        loop {
            let records = self.health.records(stage);
            if records >= count {
                return Ok(Instant::now());
            }
            if records != before {
                (before, moved) = (records, Instant::now());
            }
            if moved.elapsed() > PATIENCE || self.stop.load(Ordering::Relaxed) {
                let reason =
                    format!("{records} of {count} records were processed by {stage}, then no more; see the log");
                return Err(StreamError::Fatal { what: "the benchmark".into(), reason }.into());
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.pipeline.join()
    }
}

pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}
