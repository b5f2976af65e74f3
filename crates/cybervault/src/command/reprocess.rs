//! `cybervault reprocess`: events assessed again, from a time on.
//!
//! Beside the fleet, which is not stopped and whose state is not touched: with buckets of its own, by a group of its own, up to where
//! the fleet was when it began. What is there already is not written again, so it may be run as often as one likes.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use cybervault_model::{Assessment, ContentType, Timestamp, avro::WriterSchemas, decode_value};
use cybervault_stream::{Follower, Health, KafkaSettings, Runner, Start, now, offsets};
use serde_json::json;

use super::{Answer, replay::begin_at};
use crate::{
    cli::ReprocessArgs,
    config::Config,
    content::Sources,
    live::Live,
    pipeline::{self, ASSESS},
    shares::ShareBoard,
    sources::SourceBoard,
    stage::{Again, Assess, AssessTopics, KnownAssessments, REPROCESSED, Reprocess, ReprocessTally, TenantLabels},
};

const STAGE: &str = "reprocess";
/// By how much earlier assessments are looked for than events: a sender's clock may be so far ahead of the brokers', which is what Kafka
/// allows unless told otherwise.
const MARGIN_MS: i64 = 60 * 60 * 1000;
/// When nothing has been committed for so long, there is nothing more: the last offsets may be transactions' markers.
const IDLE: Duration = Duration::from_secs(30);

pub(super) fn run(args: &ReprocessArgs, config: &Config) -> anyhow::Result<Answer> {
    let kafka = config.kafka();
    let since = moment(&args.since).with_context(|| format!("--since {}", args.since))?;
    let until = args.until.as_deref().map(|text| moment(text).with_context(|| format!("--until {text}")));
    let stretches = stretches(config, &kafka, since, until.transpose()?)?;
    let offsets: i64 = stretches.values().map(|stretch| stretch.end - stretch.start).sum();
    let tally = Arc::new(ReprocessTally::default());
    let mut known = 0;
    if !args.dry_run && !stretches.is_empty() {
        let (encoding, schemas) = pipeline::codec(config, &AtomicBool::new(false))?;
        let there = match args.rewrite {
            true => KnownAssessments::default(),
            false => find_known(config, &kafka, since, &*schemas)?,
        };
        known = there.len();
        let again = Again {
            known: Arc::new(there),
            mark: if args.respond { REPROCESSED.1 } else { REPROCESSED.2 },
            tenant: args.tenant.clone(),
            tally: tally.clone(),
        };
        let topics = AssessTopics {
            assessments: config.topic(|names| &names.threat_assessments),
            rejections: config.topic(|names| &names.quota_rejections),
            usage: config.topic(|names| &names.quota_usage),
            signals: config.topic(|names| &names.detection_signals),
        };
        // Nobody moves shares for it: each partition decides by the whole quota.
        let mut alone = config.clone();
        alone.topics.partitions = 1;
        let live = Arc::new(Live::load(&alone, Sources::of(config, false)?)?);
        // Nobody asks this process for metrics, or what sources there are.
        let meters = (TenantLabels::new(0), SourceBoard::default());
        let unpacker = config.limits.unpacker().with_schemas(schemas);
        let assess =
            Assess::new(live, unpacker, topics, (encoding, config.emit), meters, ShareBoard::default()).again(again);
        work(config, assess, &tally, &stretches)?;
    }
    print(args, offsets, known, &tally)?;
    Ok(Answer::Yes)
}

/// A time as RFC 3339 has it, or a period before now.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let millis = super::keys::millis(text)
        .map_err(|_| anyhow!("it is neither a time (2026-01-31T12:00:00Z) nor a period before now (90m, 12h, 7d)"))?;
    Ok(now().plus_millis(-millis))
}

/// What is to be read of each partition: from `since` to `until`, but no further than the fleet has come. What lies beyond is the fleet's.
fn stretches(
    config: &Config,
    kafka: &KafkaSettings,
    since: Timestamp,
    until: Option<Timestamp>,
) -> anyhow::Result<BTreeMap<i32, Range<i64>>> {
    let events = config.topic(|names| &names.telemetry_events);
    let done: BTreeMap<i32, i64> =
        offsets::committed(kafka, &pipeline::group(config, ASSESS), &events)?.into_iter().collect();
    let ends: BTreeMap<i32, i64> = match until {
        Some(until) => offsets::at_time(kafka, &events, until)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let begins = offsets::at_time(kafka, &events, since)?;
    let stretch = |(partition, first): (i32, i64)| {
        let done = done.get(&partition).copied().unwrap_or(-1);
        let end = ends.get(&partition).map_or(done, |end| done.min(*end));
        (first < end).then_some((partition, first..end))
    };
    Ok(begins.into_iter().filter_map(stretch).collect())
}

/// The assessments that were written for events since then.
fn find_known(
    config: &Config,
    kafka: &KafkaSettings,
    since: Timestamp,
    schemas: &dyn WriterSchemas,
) -> anyhow::Result<KnownAssessments> {
    let topic = config.topic(|names| &names.threat_assessments);
    let begins = offsets::at_time(kafka, &topic, since.plus_millis(-MARGIN_MS))?;
    let begins = begins.into_iter().map(|(partition, offset)| ((topic.to_string(), partition), offset)).collect();
    let mut follower = Follower::open(kafka, &[&topic], Start::At(begins))?;
    let mut known = KnownAssessments::default();
    while !follower.is_at_end() {
        let Some(record) = follower.next(Duration::from_millis(100))? else { continue };
        let content_type = record.header(ContentType::HEADER).map(str::as_bytes);
        match decode_value::<Assessment>(&record.value, content_type, schemas) {
            Ok(assessment) if known.add(&assessment.assessment_id) => {}
            Ok(_) => bail!(
                "more than {} assessments were written since then: choose a later --since, or write all of them again \
                 with --rewrite",
                KnownAssessments::MOST
            ),
            Err(error) => {
                tracing::warn!(partition = record.partition, offset = record.offset, %error, "no assessment; passed over");
            }
        }
    }
    Ok(known)
}

fn work(
    config: &Config,
    assess: Assess,
    tally: &Arc<ReprocessTally>,
    stretches: &BTreeMap<i32, Range<i64>>,
) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let events = config.topic(|names| &names.telemetry_events);
    let mut settings = pipeline::runner_settings(config, STAGE, 0);
    // Its place in the group is not kept: the next one moves the group before it joins.
    settings.member = None;
    settings.inputs = vec![events.clone()];
    settings.outputs = vec![config.topic(|names| &names.threat_assessments)];
    let (kafka, group) = (settings.kafka.clone(), settings.group.clone());
    begin_at(&kafka, &group, &events, |partition| stretches.get(&partition).map(|stretch| stretch.start))?;
    let stage = Reprocess::new(assess, tally.clone(), stretches.clone(), stop.clone());
    let runner = Runner::new(settings, stage, &Health::default(), stop.clone());
    let runner = thread::Builder::new().name(STAGE.to_owned()).spawn(move || runner.run())?;
    let left = || -> anyhow::Result<i64> {
        let done: BTreeMap<i32, i64> = offsets::committed(&kafka, &group, &events)?.into_iter().collect();
        let of = |(partition, stretch): (&i32, &Range<i64>)| {
            (stretch.end - done.get(partition).copied().unwrap_or(0).max(0)).max(0)
        };
        Ok(stretches.iter().map(of).sum())
    };
    let mut moved = (i64::MAX, Instant::now());
    while !runner.is_finished() {
        thread::sleep(Duration::from_millis(200));
        let Ok(left) = left() else { continue };
        if left != moved.0 {
            moved = (left, Instant::now());
        }
        // Before the first commit it is joining, and may wait for Kafka.
        let has_begun = tally.events.load(Ordering::Relaxed) > 0;
        if left == 0 || (has_begun && moved.1.elapsed() > IDLE) {
            stop.store(true, Ordering::Relaxed);
        }
    }
    match runner.join() {
        Ok(ended) => ended?,
        Err(_) => bail!("the runner panicked; see the log"),
    }
    let left = left().context("it has ended, but Kafka does not say how far it came")?;
    if left > 0 {
        tracing::warn!(
            left,
            "it ended before the last offsets; these may be transactions' markers. Run it again to be sure"
        );
    }
    Ok(())
}

fn print(args: &ReprocessArgs, offsets: i64, known: usize, tally: &ReprocessTally) -> io::Result<()> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut out = io::stdout().lock();
    if args.json {
        let answer = json!({ "dry_run": args.dry_run, "offsets": offsets, "known": known, "events": count(&tally.events),
            "written": count(&tally.written), "there_already": count(&tally.there_already),
            "rejected": count(&tally.rejected), "unreadable": count(&tally.unreadable),
            "of_other_tenants": count(&tally.of_others) });
        return writeln!(out, "{answer}");
    }
    if args.dry_run {
        return writeln!(out, "{offsets} offsets would be assessed again");
    }
    writeln!(out, "{} events assessed again, of {offsets} offsets", count(&tally.events))?;
    writeln!(out, "{} assessments written", count(&tally.written))?;
    writeln!(out, "{} not written, as they are there already", count(&tally.there_already))?;
    writeln!(out, "{} events not admitted by quota; their rejections are not written again", count(&tally.rejected))?;
    writeln!(out, "{} events that are no events; they are dead letters already", count(&tally.unreadable))?;
    if args.tenant.is_some() {
        writeln!(out, "{} events of other tenants", count(&tally.of_others))?;
    }
    Ok(())
}
