//! `cybervault up`: everything in one process, with sample telemetry and a live feed.

mod feed;
mod player;
mod summary;

use std::{
    collections::BTreeSet,
    mem::ManuallyDrop,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cybervault_gateway::{Gateway, KeyKind, NewKey, Place};
use cybervault_model::{Encoding, TenantStatus, avro::NoRegistry};
use cybervault_stream::{EmbeddedBroker, Follower, Health, Start, apply_topics, now};

use self::{
    feed::{Feed, FeedTopics, Tally},
    player::{Player, Samples},
};
use super::Answer;
use crate::{
    admin,
    cli::UpArgs,
    config::{Config, Role},
    content::Sources,
    gateway::{LiveEngine, settings},
    live::{Live, read_tenants},
    pipeline::{ASSESS, Pipeline},
    reload::Reload,
    traces::Traces,
};

/// How long a member of a group may be away; the embedded broker can't count to 36 minutes.
const AWAY_MS: u32 = 1_800_000;
/// Enough for every stage to have something to do in parallel on a laptop.
const PARTITIONS: u32 = 4;
/// How long nothing must come out before the samples count as worked through.
/// What incidents only count is told within that time.
const QUIET: Duration = Duration::from_millis(3000);
/// How often that is told: who watches does not wait for minutes.
const COUNT_EVERY_MS: u64 = 1_000;
/// How many tenants get a key that is shown.
const DEMO_KEYS: usize = 6;
/// How long a person has to read the summary before the samples are played again.
const INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn run(args: &UpArgs, mut config: Config) -> anyhow::Result<Answer> {
    cybervault_stream::give_memory_back();
    if !(args.speed.is_finite() && args.speed > 0.0) {
        bail!("--speed {} makes no sense; use a number above 0", args.speed);
    }
    let samples = Samples::load()?;
    // It ends with the process: clients in threads that are still ending must not find it gone before.
    let broker = match args.bootstrap {
        Some(_) => None,
        None => Some(ManuallyDrop::new(EmbeddedBroker::start()?)),
    };
    configure(&mut config, broker.as_deref());
    create_topics(&config, broker.as_deref())?;

    let metrics = admin::gather_metrics()?;
    let _traces = Traces::start(&config)?;
    let live = Arc::new(Live::load(&config, Sources::of(&config, true)?)?);
    let (health, stop) = (config.worker.health(), Arc::new(AtomicBool::new(false)));
    let reload = Reload::start(live.clone(), stop.clone())?;
    let address = admin::start(
        config.metrics.listen,
        metrics.clone(),
        health.clone(),
        stop.clone(),
        reload,
        config.worker.shutdown(),
    )?;
    summary::greet(&config, &live, &samples, args, broker.is_some(), address)?;

    let folder = tempfile::tempdir()
        .context("can't make a folder for the gateway's store; name one that can be written to in TMPDIR")?;
    let place = Place::File(folder.path().join("gateway.db"));
    let settings = settings(&config, place, (Encoding::Json, Arc::new(NoRegistry)));
    let mut engine = LiveEngine::new(live.clone(), &config);
    if broker.is_some() {
        engine = engine.with_stages(&config, health.clone());
    }
    let gateway = Gateway::start(settings, Arc::new(engine), stop.clone())?;
    summary::tell_console(gateway.address(), &demo_keys(&gateway, &live)?)?;

    let topics = feed_topics(&config);
    let follower = Follower::open(&config.kafka(), &topics.all(), Start::End)?;
    let pipeline = Pipeline::start(&config, &live, &health, &stop)?;
    let show = {
        let (stop, feed) = (stop.clone(), Feed::new(topics, anstream::stdout()));
        thread::Builder::new().name("feed".to_owned()).spawn(move || show(follower, feed, &stop))?
    };
    let (ended, done) = (play(args, &config, &samples, &health, &stop), stop.swap(true, Ordering::Relaxed));
    pipeline.join()?;
    gateway.join();
    let tally = show.join().unwrap_or_else(|_| bail!("the feed has panicked"))?;
    let sent = ended?;
    if !done || sent > 0 {
        summary::tell(&tally, sent, health.records(ASSESS), &metrics)?;
    }
    Ok(Answer::Yes)
}

/// What `up` sets where the user does not: it must run beside anything else, and on small means.
fn configure(config: &mut Config, broker: Option<&EmbeddedBroker>) {
    if let Some(broker) = broker {
        config.kafka.bootstrap = broker.bootstrap();
        // It forgets offsets that were committed in transactions: whoever joins again begins anew. So nobody is to lose its place
        // only because the machine has slept.
        for name in ["session.timeout.ms", "max.poll.interval.ms"] {
            config.kafka.client.set(name.to_owned(), AWAY_MS.to_string());
        }
    }
    config.topics.partitions = PARTITIONS;
    config.worker.roles = vec![Role::Assess, Role::Quota, Role::Correlate, Role::Respond, Role::Incidents];
    if config.incidents.count_every_ms == Config::default().incidents.count_every_ms {
        config.incidents.count_every_ms = COUNT_EVERY_MS;
    }
    // Where the usual address is taken, any will do.
    if config.gateway.listen == Config::default().gateway.listen && TcpListener::bind(config.gateway.listen).is_err() {
        config.gateway.listen.set_port(0);
    }
}

/// A key of every tenant that plays along, by tenant: with it one signs in to the console, or asks the API.
fn demo_keys(gateway: &Gateway, live: &Live) -> anyhow::Result<Vec<(String, String)>> {
    let tenants = read_tenants(live.config(), &live.sources().tenants)?;
    let active = tenants.into_iter().filter(|tenant| tenant.status == TenantStatus::Active);
    active
        .map(|tenant| {
            let name = tenant.tenant_id.to_string();
            let new = NewKey {
                tenant_id: tenant.tenant_id,
                kind: KeyKind::Live,
                name: "demo".to_owned(),
                scopes: BTreeSet::new(),
                expires_at: None,
            };
            Ok((name, gateway.issue_key(&new)?))
        })
        .take(DEMO_KEYS)
        .collect()
}

fn create_topics(config: &Config, broker: Option<&EmbeddedBroker>) -> anyhow::Result<()> {
    let mut plans = config.topic_plans();
    if let Some(broker) = broker {
        for plan in &plans {
            broker.create_topic(&plan.name, plan.partitions)?;
        }
        return Ok(());
    }
    // The samples carry the times at which their senders would have sent them, at whatever speed they are played.
    for plan in &mut plans {
        plan.config.remove("message.timestamp.type");
    }
    apply_topics(&config.kafka(), &plans).context("can't create the topics")?;
    Ok(())
}

fn feed_topics(config: &Config) -> FeedTopics {
    FeedTopics {
        assessments: config.topic(|names| &names.threat_assessments).to_string(),
        incidents: config.topic(|names| &names.threat_incidents).to_string(),
        actions: config.topic(|names| &names.response_actions).to_string(),
        rejections: config.topic(|names| &names.quota_rejections).to_string(),
        dead_letters: config.topic(|names| &names.telemetry_dlq).to_string(),
    }
}

/// Shows what comes out until told to stop and nothing has come for a while.
fn show(mut follower: Follower, mut feed: Feed<impl std::io::Write>, stop: &AtomicBool) -> anyhow::Result<Tally> {
    let mut last = Instant::now();
    loop {
        match follower.next(Duration::from_millis(100))? {
            Some(record) => {
                feed.show(&record)?;
                last = Instant::now();
            }
            None if stop.load(Ordering::Relaxed) && last.elapsed() > QUIET => break,
            None => {}
        }
        feed.tell_rejections(false)?;
    }
    feed.tell_rejections(true)?;
    Ok(feed.tally)
}

/// Plays the samples, once or again and again, and returns how many events were sent.
fn play(args: &UpArgs, config: &Config, samples: &Samples, health: &Health, stop: &AtomicBool) -> anyhow::Result<u64> {
    let (kafka, topic) = (config.kafka(), config.topic(|names| &names.telemetry_events));
    let player = Player { samples, kafka: &kafka, topic: &topic, speed: args.speed, health, stop };
    let mut begin = now();
    let mut sent = 0;
    loop {
        sent += player.play(begin, sent)?;
        // What the last events set off comes out soon after they are assessed.
        let mut quiet_since = Instant::now();
        while !stop.load(Ordering::Relaxed) && quiet_since.elapsed() < QUIET {
            if health.records(ASSESS) < sent {
                quiet_since = Instant::now();
            }
            thread::sleep(Duration::from_millis(20));
        }
        if args.once || stop.load(Ordering::Relaxed) {
            return Ok(sent);
        }
        let pause = INTERVAL.div_f64(args.speed.max(1.0));
        summary::pause(pause)?;
        begin = begin.plus_millis(i64::try_from((samples.duration() + INTERVAL).as_millis()).unwrap_or(0));
        let until = Instant::now() + pause;
        while !stop.load(Ordering::Relaxed) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
}
