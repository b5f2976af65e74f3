//! `bench correlations`: a worker that assesses and correlates, beside one that only assesses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use cybervault_model::Assessment;
use cybervault_stream::{Follower, Start};
use serde_json::json;

use super::{
    events, median, per_second,
    pipeline::{Bench, PATIENCE, Work, configure, latency, quantile, say},
};
use crate::{
    cli::BenchCorrelationsArgs,
    command::Answer,
    config::{Config, Role},
    content::Sources,
    live::Live,
    pipeline::{ASSESS, CORRELATE},
};

/// The correlation that the refused logons among the events complete.
const GUESSING: &str = "5e9a5866-7f86-4378-b478-5721f393ea6e";
/// Rounds of the comparison.
const ROUNDS: usize = 3;

pub(super) fn run(args: &BenchCorrelationsArgs, mut config: Config) -> anyhow::Result<Answer> {
    cybervault_stream::give_memory_back();
    let fewest = 4 * config.batch.max_records as u64;
    if args.events < fewest {
        bail!("--events {} are too few to measure anything; take at least {fewest}", args.events);
    }
    configure(&mut config, args.bootstrap.as_deref());
    // The events are made for correlations of its own.
    config.rules_dir = None;
    let live = Arc::new(Live::load(&config, Sources::of(&config, true)?)?);
    let mut both = config.clone();
    both.worker.roles.push(Role::Correlate);
    let (mut rounds, mut signals) = (Vec::new(), 0);
    // The first does not count.
    for number in 0..=ROUNDS {
        let bench = Bench::new(&config, &live, 2 * number)?;
        bench.fill(args.events, &events::write_mixed)?;
        let alone = rate(&bench, args.events, None)?;
        signals = count_signals(&bench)?;
        let bench = Bench::new(&both, &live, 2 * number + 1)?;
        bench.fill(args.events, &events::write_mixed)?;
        let together = rate(&bench, args.events, Some(signals))?;
        say(&format!("round {number}: assess {alone:.0}/s, assess and correlate {together:.0}/s"))?;
        rounds.push((alone, together));
    }
    let middle = |what: fn(&(f64, f64)) -> f64| median(rounds[1..].iter().map(what).collect());
    let latencies = latencies(&Bench::new(&both, &live, 2 * ROUNDS + 2)?, f64::from(args.rate))?;
    super::answer(
        args.json,
        &json!({
            "assess_events_per_second": middle(|round| round.0),
            "assess_and_correlate_events_per_second": middle(|round| round.1),
            "ratio": middle(|round| round.1 / round.0),
            "signals_per_event": per_second(signals, Duration::from_secs(args.events)),
            "findings": latencies.len(),
            "p50_ms": quantile(&latencies, 0.50),
            "p99_ms": quantile(&latencies, 0.99),
            "latency_at_events_per_second": args.rate,
            "correlations": live.detection().plan.len(),
        }),
    )
}

/// Events a second from the first record on that the worker takes up to its last commit, that of the signals included.
fn rate(bench: &Bench<'_>, count: u64, signals: Option<u64>) -> anyhow::Result<f64> {
    let work = Work::start(bench)?;
    let began = work.wait_for(ASSESS, 1)?;
    let first = work.health.records(ASSESS);
    let mut ended = work.wait_for(ASSESS, count)?;
    if let Some(signals) = signals {
        ended = ended.max(work.wait_for(CORRELATE, signals)?);
    }
    work.stop()?;
    Ok(per_second(count - first, ended - began))
}

fn count_signals(bench: &Bench<'_>) -> anyhow::Result<u64> {
    let topic = bench.config.topic(|names| &names.detection_signals);
    let mut follower = Follower::open(&bench.config.kafka(), &[&topic], Start::Beginning)?;
    let (mut count, mut last) = (0, Instant::now());
    while !follower.is_at_end() {
        if last.elapsed() > PATIENCE {
            bail!("the signals can't be read; see the log");
        }
        if follower.next(Duration::from_millis(100))?.is_some() {
            (count, last) = (count + 1, Instant::now());
        }
    }
    Ok(count)
}

/// Milliseconds from sending an event that completes a correlation to reading its committed finding; sorted.
fn latencies(bench: &Bench<'_>, rate: f64) -> anyhow::Result<Vec<f64>> {
    let work = Work::start(bench)?;
    work.until_ready()?;
    let assessments = bench.config.topic(|names| &names.threat_assessments);
    let mut follower = Follower::open(&bench.config.kafka(), &[&assessments], Start::Beginning)?;
    let (began, completed, sent_all) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let mut latencies = Vec::new();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let result = bench.send_steadily((rate, &events::write_mixed), began, &mut |number| {
                completed.fetch_add(u64::from(events::completes(number)), Ordering::Relaxed);
            });
            sent_all.store(1, Ordering::Relaxed);
            result
        });
        let (mut received, mut last) = (0, Instant::now());
        while sent_all.load(Ordering::Relaxed) == 0 || received < completed.load(Ordering::Relaxed) {
            if last.elapsed() > PATIENCE {
                bail!("findings stopped coming; see the log");
            }
            let Some(record) = follower.next(Duration::from_millis(10))? else { continue };
            let of: Assessment = serde_json::from_slice(&record.value)?;
            if of.correlated.is_some() && of.contributions.first().is_some_and(|found| found.id == GUESSING) {
                (received, last) = (received + 1, Instant::now());
                latencies.extend(latency(&of.event_id, began)?);
            }
        }
        sender.join().unwrap_or_else(|_| bail!("the sender has panicked"))
    })?;
    work.stop()?;
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}
