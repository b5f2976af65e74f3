//! Not every warning is written: while a broker is away, each of many clients has one for each attempt.
//!
//! Of each kind of warning or error some are written at once, then one now and then, and how many were left out. A kind is the place
//! in the code; of librdkafka's lines, which all come from one, it is what the line is about.

use std::{
    collections::HashMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use metrics::counter;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// How many of one kind are written at once.
const BURST: u32 = 5;
/// After which time one more is.
const EVERY: Duration = Duration::from_secs(10);
/// How often it is told what was left out.
const TELL: Duration = Duration::from_secs(10);
/// How many kinds are told apart; librdkafka chooses its own words.
const MOST_KINDS: usize = 512;
/// Our own lines about this, which are few.
const OWN: &str = "cybervault::log";
/// What tracing calls lines that come by the older interface for logs, and whose those are.
const FOREIGN: (&str, &str) = ("log", "librdkafka");

/// How much of each kind is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Limit(Arc<Kinds>);

#[derive(Debug, Default)]
struct Kinds {
    known: Mutex<HashMap<String, Kind>>,
    telling: OnceLock<()>,
}

#[derive(Clone, Debug)]
struct Kind {
    /// How many may be written.
    left: u32,
    /// Since when there is room for one more every [`EVERY`].
    since: Instant,
    /// How many were left out since it was last told.
    left_out: u64,
}

impl Kind {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now, left_out: 0 }
    }

    fn takes(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_millis() / EVERY.as_millis();
        if let Ok(passed) = u32::try_from(passed)
            && passed > 0
        {
            self.left = self.left.saturating_add(passed).min(BURST);
            self.since += EVERY * passed;
        }
        let takes = self.left > 0;
        if takes {
            self.left -= 1;
        } else {
            self.left_out += 1;
        }
        takes
    }
}

impl Limit {
    /// Whether one more of this kind is written.
    fn takes(&self, kind: String, level: Level, now: Instant) -> bool {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if known.len() >= MOST_KINDS && !known.contains_key(&kind) { "other".to_owned() } else { kind };
        let takes = known.entry(kind).or_insert_with(|| Kind::new(now)).takes(now);
        drop(known);
        if !takes {
            counter!("cybervault_log_lines_left_out_total", "level" => level.as_str()).increment(1);
            self.tell_from_now_on();
        }
        takes
    }

    /// What was left out of each kind since it was last asked.
    fn left_out(&self) -> Vec<(String, u64)> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = known.iter_mut().filter(|(_, kind)| kind.left_out > 0);
        left_out.map(|(name, kind)| (name.clone(), std::mem::take(&mut kind.left_out))).collect()
    }

    /// What is told from within a layer may not be heard: a thread of its own tells it, once there is anything to tell.
    fn tell_from_now_on(&self) {
        let kinds = self.0.clone();
        self.0.telling.get_or_init(|| {
            let limit = Self(kinds);
            let tell = move || {
                loop {
                    thread::sleep(TELL);
                    for (like, count) in limit.left_out() {
                        tracing::warn!(target: OWN, like, count, "more lines like others were left out");
                    }
                }
            };
            // Without it they are counted all the same.
            let _ = thread::Builder::new().name("log".to_owned()).spawn(tell);
        });
    }
}

/// A layer that is told no more than the limit lets through. We have no spans of this kind, so it passes none on.
#[derive(Debug)]
pub(super) struct Limited<L> {
    inner: L,
    limit: Limit,
}

impl<L> Limited<L> {
    pub(super) fn new(inner: L, limit: Limit) -> Self {
        Self { inner, limit }
    }
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for Limited<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let is_free = *metadata.level() > Level::WARN || metadata.target() == OWN;
        if is_free || self.limit.takes(kind_of(event), *metadata.level(), Instant::now()) {
            self.inner.on_event(event, context);
        }
    }
}

fn kind_of(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    if metadata.target() == FOREIGN.0 {
        let mut line = Line::default();
        event.record(&mut line);
        // `librdkafka: FAIL [thrd:…]: …`
        let about = line.message.strip_prefix(FOREIGN.1).unwrap_or(&line.message);
        let about = about.trim_start_matches([':', ' ']).split(' ').next().unwrap_or_default();
        return format!("{} {}", line.target, about.chars().take(40).collect::<String>());
    }
    let place = metadata.file().unwrap_or(metadata.target()).rsplit("/src/").next().unwrap_or_default();
    format!("{place}:{}", metadata.line().unwrap_or_default())
}

/// A line that came by the older interface.
#[derive(Default)]
struct Line {
    target: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.target);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Only its beginning is looked at; into a text nothing fails.
            let _ = write!(self.message, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn of_each_kind_of_warning_a_few_are_written_and_the_others_counted() {
        let (written, limit) = (Written::default(), Limit::default());
        let layer = Limited::new(tracing_subscriber::fmt::layer().with_writer(written.clone()), limit.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for n in 0..900 {
                tracing::warn!(n, "asking again");
                tracing::info!(n, "a step");
                if n % 100 == 0 {
                    tracing::error!(n, "something else");
                }
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("asking again"), count("a step"), count("something else")), (5, 900, 5));
        let mut left_out: Vec<u64> = limit.left_out().into_iter().map(|(_, count)| count).collect();
        left_out.sort_unstable();
        assert_eq!((left_out, limit.left_out()), (vec![4, 895], vec![]));
    }

    #[test]
    fn one_more_is_written_now_and_then_and_kinds_are_bounded() {
        let (limit, now) = (Limit::default(), Instant::now());
        let takes = |kind: &str, at| limit.takes(kind.to_owned(), Level::WARN, at);
        let written = |at| (0..100).filter(|_| takes("a", at)).count();
        assert_eq!((written(now), written(now + EVERY), written(now + EVERY * 3)), (5, 1, 2));
        assert_eq!(written(now + EVERY * 1_000), 5);
        let others = (0..10 * MOST_KINDS).filter(|n| takes(&format!("other {n}"), now)).count();
        assert!(others <= MOST_KINDS + BURST as usize, "{others}");
        assert!(limit.0.known.lock().unwrap().len() <= MOST_KINDS + 1);
    }
}
