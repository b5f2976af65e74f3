//! How many events a second one thread matches: `throughput RULES_DIR… -- EVENTS.ndjson [TIMES]`.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use cybervault_model::{Decoder, Incoming, TelemetryEvent, json::Limits};
use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, load};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn rule_files(path: &Path, files: &mut Vec<(String, String)>) -> Outcome<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            rule_files(&entry?.path(), files)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "yml") {
        files.push((path.display().to_string(), fs::read_to_string(path)?));
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let mut parts = arguments.split(|argument| argument == "--");
    let (Some(folders), Some([events, times @ ..])) = (parts.next(), parts.next()) else {
        return Err("usage: throughput RULES_DIR… -- EVENTS.ndjson [TIMES]".into());
    };
    let times: usize = times.first().map_or(Ok(1), |times| times.parse())?;
    let mut files = Vec::new();
    for folder in folders {
        rule_files(Path::new(folder), &mut files)?;
    }
    let start = Instant::now();
    let pack = load(files.iter().map(|(path, text)| RuleFile { path, text }));
    let loaded = start.elapsed();
    let matcher = Matcher::compile(&pack, &Mappings::builtin());
    println!(
        "{} rules ({} failed), read in {loaded:.2?}, compiled in {:.2?}, {} MiB of literals",
        matcher.rules().len(),
        matcher.failed().len(),
        start.elapsed() - loaded,
        matcher.literals_bytes() >> 20
    );
    let text = fs::read(events)?;
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    println!("{} events of {} bytes", lines.len(), text.len() / lines.len());

    let decode_only = measure(&lines, times, |_| 0)?;
    println!("decode only  {:>9.0} events/s", decode_only.0);
    for routing in [Routing::Auto, Routing::Off] {
        let mut scratch = matcher.scratch();
        let (rate, hits) = measure(&lines, times, |event| matcher.matches(event, routing, &mut scratch).len())?;
        let each = (1.0 / rate - 1.0 / decode_only.0) * 1e6;
        println!("{routing:<13?}{rate:>9.0} events/s, {each:.2} µs an event beyond decoding, {hits} hits");
    }
    Ok(())
}

/// The time that this thread has run, so that a busy machine does not count; the time since `start` where that is unknown.
fn running(start: Instant) -> Duration {
    let nanoseconds = fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next().and_then(|first| first.parse().ok()));
    nanoseconds.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Events a second, and what the calls returned in all.
fn measure(lines: &[&[u8]], times: usize, mut call: impl FnMut(&TelemetryEvent<'_>) -> usize) -> Outcome<(f64, usize)> {
    let mut decoder = Decoder::new(Limits::default());
    let (mut sum, start) = (0, Instant::now());
    let before = running(start);
    for _ in 0..times {
        for line in lines {
            let record = Incoming { key: Some(b"bench"), value: line, ..Incoming::default() };
            sum += call(&decoder.decode(&record)?.event());
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵²")]
    let count = (lines.len() * times) as f64;
    Ok((count / (running(start) - before).as_secs_f64(), sum))
}
