//! What log sources tenants' events belong to: counted by the assess stage as its batches are committed, and told now and then on a
//! topic of their own, from which the gateway's page has it.
//!
//! The counts are a process's own until they are told: what a worker has counted and not told when it is killed is not told at
//! all. What becomes of events does not depend on them.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use cybervault_model::{ContentType, KeysCount, SourceCount, SourceReport, TenantId, Timestamp};
use cybervault_sigma::{KeySet, RuleSource};
use cybervault_stream::{KafkaSettings, Publisher, StreamError};
use metrics::{Counter, CounterFn, counter};

/// How often it is told.
const EVERY: Duration = Duration::from_secs(10);
/// How long Kafka may take to take it.
const PATIENCE: Duration = Duration::from_secs(5);
/// A tenant of which most events are of no known log source is warned of once in so long.
const WARN_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Tenants that are counted one by one between two times of telling; the others' events are not told.
const MOST_TENANTS: usize = 100_000;
/// Time series by log source: those beyond count as `other`.
const MOST_SERIES: usize = 5_000;

/// The label of a name that a log source does not have.
const NONE: &str = "";
/// The product of events of no known log source.
const UNKNOWN: &str = "none";
/// What is beyond the limits.
const OTHER: &str = "other";

/// Counts by tenant and log source, of all runners of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceBoard(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    tenants: HashMap<TenantId, TenantCounts>,
    /// The time series that there are, by tenant and log source.
    series: HashSet<[String; 4]>,
}

#[derive(Debug, Default)]
struct TenantCounts {
    events: u64,
    unknown: u64,
    sources: HashMap<RuleSource, u64>,
    keys: HashMap<KeySet, u64>,
}

impl TenantCounts {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.unknown += other.unknown;
        for (source, events) in other.sources {
            add_bounded(&mut self.sources, source, events, SourceReport::MOST_SOURCES);
        }
        for (keys, events) in other.keys {
            add_bounded(&mut self.keys, keys, events, SourceReport::MOST_KEYS);
        }
    }

    fn report(&self, tenant_id: &TenantId, at: Timestamp) -> SourceReport {
        let mut sources: Vec<_> = self.sources.iter().map(|(source, events)| counted(source, *events)).collect();
        sources.sort_by_key(|count| std::cmp::Reverse(count.events));
        let mut unknown_keys: Vec<_> =
            self.keys.iter().map(|(keys, events)| KeysCount { keys: keys.to_string(), events: *events }).collect();
        unknown_keys.sort_by(|a, b| (b.events, &a.keys).cmp(&(a.events, &b.keys)));
        SourceReport {
            tenant_id: tenant_id.to_string(),
            at,
            events: self.events,
            unknown: self.unknown,
            sources,
            unknown_keys,
        }
    }
}

fn counted(source: &RuleSource, events: u64) -> SourceCount {
    let RuleSource { product, service, category } = source.clone();
    SourceCount { product, service, category, events }
}

/// Adds to what is there, and puts in what is not as long as there is room.
fn add_bounded<K: Eq + std::hash::Hash>(map: &mut HashMap<K, u64>, key: K, by: u64, most: usize) {
    if let Some(count) = map.get_mut(&key) {
        *count += by;
    } else if map.len() < most {
        map.insert(key, by);
    }
}

impl SourceBoard {
    fn with<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tenant(&self, tenant_id: &TenantId, change: impl FnOnce(&mut TenantCounts)) {
        self.with(|board| {
            if let Some(counts) = board.tenants.get_mut(tenant_id) {
                change(counts);
            } else if board.tenants.len() < MOST_TENANTS {
                change(board.tenants.entry(tenant_id.clone()).or_default());
            }
        });
    }

    /// What counts a tenant's events of these log sources, none where they are unknown: to be given to the outbox, so that only
    /// what is committed counts. `label` is the tenant's in metrics.
    pub(crate) fn of_sources(&self, tenant_id: &TenantId, label: &str, sources: &[RuleSource]) -> Counter {
        let labels: Vec<_> = match sources {
            [] => vec![[UNKNOWN, NONE, NONE]],
            sources => sources
                .iter()
                .map(|source| {
                    [&source.product, &source.service, &source.category].map(|name| name.as_deref().unwrap_or(NONE))
                })
                .collect(),
        };
        let has_room = self.with(|board| {
            let new = labels
                .iter()
                .map(|[product, service, category]| [label, product, service, category].map(str::to_owned));
            let new: Vec<_> = new.filter(|series| !board.series.contains(series)).collect();
            let has_room = board.series.len() + new.len() <= MOST_SERIES;
            if has_room {
                board.series.extend(new);
            }
            has_room
        });
        let metric = |[product, service, category]: [&str; 3]| {
            counter!("cybervault_log_source_events_total", "tenant" => label.to_owned(), "product" => product.to_owned(),
                "service" => service.to_owned(), "category" => category.to_owned())
        };
        let metrics = if has_room {
            labels.into_iter().map(metric).collect()
        } else {
            vec![metric([if sources.is_empty() { UNKNOWN } else { OTHER }, NONE, NONE])]
        };
        let (board, tenant_id, sources) = (self.clone(), tenant_id.clone(), sources.into());
        Counter::from_arc(Arc::new(OfSources { board, tenant_id, sources, metrics }))
    }

    /// The same of events of none that have these keys, of a sample.
    pub(crate) fn of_keys(&self, tenant_id: &TenantId, keys: KeySet) -> Counter {
        Counter::from_arc(Arc::new(OfKeys { board: self.clone(), tenant_id: tenant_id.clone(), keys }))
    }

    /// Takes what is counted since it was taken last.
    fn take(&self) -> HashMap<TenantId, TenantCounts> {
        self.with(|board| mem::take(&mut board.tenants))
    }

    /// Gives back what could not be told.
    fn give_back(&self, counts: HashMap<TenantId, TenantCounts>) {
        for (tenant_id, counts) in counts {
            self.tenant(&tenant_id, |known| known.add(counts));
        }
    }
}

struct OfSources {
    board: SourceBoard,
    tenant_id: TenantId,
    sources: Box<[RuleSource]>,
    metrics: Vec<Counter>,
}

impl CounterFn for OfSources {
    fn increment(&self, by: u64) {
        self.metrics.iter().for_each(|metric| metric.increment(by));
        self.board.tenant(&self.tenant_id, |counts| {
            counts.events += by;
            if self.sources.is_empty() {
                counts.unknown += by;
            }
            for source in &self.sources {
                add_bounded(&mut counts.sources, source.clone(), by, SourceReport::MOST_SOURCES);
            }
        });
    }

    fn absolute(&self, _: u64) {}
}

struct OfKeys {
    board: SourceBoard,
    tenant_id: TenantId,
    keys: KeySet,
}

impl CounterFn for OfKeys {
    fn increment(&self, by: u64) {
        self.board.tenant(&self.tenant_id, |counts| {
            add_bounded(&mut counts.keys, self.keys.clone(), by, SourceReport::MOST_KEYS);
        });
    }

    fn absolute(&self, _: u64) {}
}

/// Tells what is counted, on a thread of its own.
#[derive(Debug)]
pub(crate) struct SourceTeller {
    thread: JoinHandle<()>,
    end: Arc<AtomicBool>,
}

impl SourceTeller {
    /// Starts it; it works until [`Self::end`].
    pub(crate) fn start(board: SourceBoard, kafka: KafkaSettings, topic: Arc<str>) -> anyhow::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let mut telling = Telling { board, kafka, topic, publisher: None, warned: HashMap::new(), failed: None };
        let ended = end.clone();
        let run = move || {
            let mut last = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                if last.elapsed() >= EVERY {
                    telling.tell(now());
                    last = Instant::now();
                }
                thread::sleep(Duration::from_millis(100));
            }
            telling.tell(now());
        };
        let thread = thread::Builder::new().name("sources".to_owned()).spawn(run).context("can't start a thread")?;
        Ok(Self { thread, end })
    }

    /// Tells what is left, and ends: to be called once all runners have ended.
    pub(crate) fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

struct Telling {
    board: SourceBoard,
    kafka: KafkaSettings,
    topic: Arc<str>,
    publisher: Option<Publisher>,
    /// When each tenant was warned of last.
    warned: HashMap<TenantId, Instant>,
    /// When it was said last that it can't be told.
    failed: Option<Instant>,
}

impl Telling {
    fn tell(&mut self, at: Timestamp) {
        let counts = self.board.take();
        if counts.is_empty() {
            return;
        }
        let reports: Vec<_> =
            counts.iter().map(|(tenant_id, counts)| (tenant_id, counts.report(tenant_id, at))).collect();
        self.warned.retain(|_, when| when.elapsed() < WARN_AGAIN);
        for (tenant_id, report) in &reports {
            if SourceReport::is_mostly_unknown(report.events, report.unknown) && !self.warned.contains_key(*tenant_id) {
                self.warned.insert((*tenant_id).clone(), Instant::now());
                warn(report);
            }
        }
        if let Err(error) = self.publish(&reports) {
            // A new client next time, so that what this one still has is not written later as well.
            self.publisher = None;
            if self.failed.is_none_or(|when| when.elapsed() >= WARN_AGAIN) {
                self.failed = Some(Instant::now());
                let topic = &*self.topic;
                tracing::warn!(%error, topic, "what log sources events belong to can't be told, and is kept; does the topic exist? `cybervault topics apply` creates it");
            }
            self.board.give_back(counts);
        }
    }

    fn publish(&mut self, reports: &[(&TenantId, SourceReport)]) -> Result<(), StreamError> {
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => none.insert(Publisher::new(&self.kafka)?),
        };
        for (tenant_id, report) in reports {
            let value = serde_json::to_vec(report).unwrap_or_default();
            let headers = [(ContentType::HEADER, &b"application/json"[..])];
            publisher.send(&self.topic, tenant_id.as_str().as_bytes(), &value, &headers, None)?;
        }
        publisher.flush(PATIENCE)
    }
}

fn warn(report: &SourceReport) {
    let SourceReport { tenant_id, events, unknown, unknown_keys, .. } = report;
    let keys = unknown_keys.first().map_or("", |keys| &keys.keys);
    tracing::warn!(
        %tenant_id, events, unknown, keys,
        "most events of this tenant are of no known log source, so that no rule is tried on them: name it in the envelope's `source`, or see \"Log sources\" in docs/rules.md"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_told_once_and_what_could_not_be_told_again() {
        let board = SourceBoard::default();
        let tenant = TenantId::new("acme").unwrap();
        let source = |product: &str| RuleSource { product: Some(product.to_owned()), ..RuleSource::default() };
        board.of_sources(&tenant, "acme", &[source("windows"), source("linux")]).increment(3);
        board.of_sources(&tenant, "acme", &[]).increment(400);
        let taken = board.take();
        let report = taken[&tenant].report(&tenant, Timestamp::from_millis(0));
        assert_eq!((report.events, report.unknown, report.sources.len()), (403, 400, 2));
        assert!(SourceReport::is_mostly_unknown(report.events, report.unknown));
        assert!(board.take().is_empty());
        board.give_back(taken);
        board.of_sources(&tenant, "acme", &[source("windows")]).increment(1);
        let report = board.take()[&tenant].report(&tenant, Timestamp::from_millis(0));
        assert_eq!((report.events, report.unknown), (404, 400));
        assert_eq!(report.sources[0].events, 4);
    }

    #[test]
    fn a_tenant_has_no_more_than_so_many_sources() {
        let board = SourceBoard::default();
        let tenant = TenantId::new("acme").unwrap();
        for number in 0..2 * SourceReport::MOST_SOURCES {
            let source = RuleSource { product: Some(number.to_string()), ..RuleSource::default() };
            board.of_sources(&tenant, "acme", &[source]).increment(1);
        }
        let report = board.take()[&tenant].report(&tenant, Timestamp::from_millis(0));
        assert_eq!(report.sources.len(), SourceReport::MOST_SOURCES);
        assert_eq!(report.events, 2 * SourceReport::MOST_SOURCES as u64);
    }
}
