//! What `quota.shares` says: each partition's latest grants, followed beside the stages.
//!
//! Nothing is lost by its being late, or read again: a grant is a count that only grows, and what a partition has taken of it
//! stands in its state.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use cybervault_model::Timestamp;
use cybervault_quota::Grant;
use cybervault_stream::{Follower, KafkaSettings, OwnedRecord, Start, StreamError, now};
use foldhash::fast::RandomState;
use metrics::gauge;

/// With what the keys begin by which a stage `quota` says that it is there: no tenant's id does.
pub(crate) const SIGN_OF_LIFE: &str = "~|";
/// How often it does.
pub(crate) const SIGNS_EVERY: Duration = Duration::from_secs(10);

/// After how long without one it is warned, and how often again.
const MISSED: Duration = Duration::from_secs(60);
const WARN_AGAIN: Duration = Duration::from_secs(600);
/// How many grants are kept.
const MOST: usize = 10_000_000;
/// How many of a partition's are looked at in one tick.
const AT_ONCE: usize = 10_000;
/// How long it is waited for a broker, before it is tried anew.
const PAUSE: Duration = Duration::from_secs(1);

type Grants = HashMap<Box<str>, Arc<Grant>, RandomState>;

/// The grants of all partitions, by tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShareBoard {
    partitions: Arc<RwLock<HashMap<u32, Grants, RandomState>>>,
    /// Which of them their partitions may not have taken yet.
    new: Arc<Mutex<HashMap<u32, HashSet<Box<str>>>>>,
}

impl ShareBoard {
    /// What a tenant's partition was granted last.
    pub(crate) fn of(&self, partition: u32, tenant_id: &str) -> Option<Arc<Grant>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.get(&partition)?.get(tenant_id).cloned()
    }

    /// Grants that the partition may not have taken: each is said again until [`Self::settle`] is told of it.
    pub(crate) fn new_of(&self, partition: u32) -> Vec<Arc<Grant>> {
        let names: Vec<Box<str>> = {
            let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
            new.get(&partition).into_iter().flatten().take(AT_ONCE).cloned().collect()
        };
        names.iter().filter_map(|tenant_id| self.of(partition, tenant_id)).collect()
    }

    /// Says that the partition has taken what it was granted.
    pub(crate) fn settle(&self, grant: &Arc<Grant>) {
        let is_latest = self.of(grant.partition, &grant.tenant_id).is_none_or(|latest| Arc::ptr_eq(&latest, grant));
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        if is_latest && let Some(names) = new.get_mut(&grant.partition) {
            names.remove(&*grant.tenant_id);
        }
    }

    /// Takes what was said to a partition of a tenant.
    pub(crate) fn put(&self, grant: Grant) {
        let (partition, name): (_, Box<str>) = (grant.partition, (*grant.tenant_id).into());
        {
            let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
            let is_full = partitions.values().map(HashMap::len).sum::<usize>() >= MOST;
            let grants = partitions.entry(partition).or_default();
            if is_full && !grants.contains_key(&name) {
                return;
            }
            grants.insert(name.clone(), Arc::new(grant));
        }
        self.new.lock().unwrap_or_else(PoisonError::into_inner).entry(partition).or_default().insert(name);
    }

    fn forget(&self, partition: u32, tenant_id: &str) {
        if let Some(grants) = self.partitions.write().unwrap_or_else(PoisonError::into_inner).get_mut(&partition) {
            grants.remove(tenant_id);
        }
        if let Some(names) = self.new.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&partition) {
            names.remove(tenant_id);
        }
    }

    fn len(&self) -> usize {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }

    /// Takes one record of the topic.
    fn take(&self, record: &OwnedRecord) {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
        if record.value.is_empty() {
            if let Some((tenant_id, partition)) = key.rsplit_once('|')
                && let Ok(partition) = partition.parse()
            {
                self.forget(partition, tenant_id);
            }
            return;
        }
        match serde_json::from_slice::<Grant>(&record.value) {
            Ok(grant) => self.put(grant),
            Err(error) => tracing::warn!(%error, key, partition = record.partition, offset = record.offset,
                "a grant can't be read; the partition keeps the share that it has"),
        }
    }
}

/// Follows the topic, on a thread of its own.
#[derive(Debug)]
pub(crate) struct ShareFollower {
    thread: JoinHandle<()>,
    end: Arc<AtomicBool>,
}

impl ShareFollower {
    /// Starts it; it works until [`Self::end`].
    pub(crate) fn start(board: ShareBoard, kafka: KafkaSettings, topic: Arc<str>) -> anyhow::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let following = Following { board, kafka, topic, end: end.clone(), sign: AtomicI64::new(i64::MIN) };
        let thread = thread::Builder::new()
            .name("shares".to_owned())
            .spawn(move || following.run())
            .context("can't start a thread")?;
        Ok(Self { thread, end })
    }

    /// Ends it.
    pub(crate) fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

struct Following {
    board: ShareBoard,
    kafka: KafkaSettings,
    topic: Arc<str>,
    end: Arc<AtomicBool>,
    /// When a stage `quota` was heard of last.
    sign: AtomicI64,
}

impl Following {
    fn run(self) {
        let (mut began, mut warned) = (Instant::now(), None::<Instant>);
        while !self.end.load(Ordering::Relaxed) {
            if let Err(error) = self.follow(&mut began, &mut warned) {
                tracing::warn!(%error, topic = &*self.topic,
                    "shares of quotas can't be read, so partitions keep those that they have; does the topic exist? \
                     `cybervault topics apply` creates it");
                let until = Instant::now() + 10 * PAUSE;
                while Instant::now() < until && !self.end.load(Ordering::Relaxed) {
                    thread::sleep(PAUSE / 10);
                }
            }
        }
    }

    fn follow(&self, began: &mut Instant, warned: &mut Option<Instant>) -> Result<(), StreamError> {
        let mut follower = Follower::open(&self.kafka, &[&self.topic], Start::Beginning)?;
        let mut looked = Instant::now();
        while !self.end.load(Ordering::Relaxed) {
            if let Some(record) = follower.next(Duration::from_millis(100))? {
                if record.key.as_deref().is_some_and(|key| key.starts_with(SIGN_OF_LIFE.as_bytes())) {
                    self.sign.fetch_max(record.timestamp.as_millis(), Ordering::Relaxed);
                } else {
                    self.board.take(&record);
                }
            }
            if looked.elapsed() >= Duration::from_secs(1) {
                looked = Instant::now();
                self.look(began, warned);
            }
        }
        Ok(())
    }

    /// Says where nobody moves shares.
    fn look(&self, began: &mut Instant, warned: &mut Option<Instant>) {
        #[expect(clippy::cast_precision_loss)]
        gauge!("cybervault_quota_shares").set(self.board.len() as f64);
        let since = match self.sign.load(Ordering::Relaxed) {
            i64::MIN => began.elapsed(),
            sign => age(Timestamp::from_millis(sign), now()).min(began.elapsed()),
        };
        gauge!("cybervault_quota_owner_age_seconds").set(since.as_secs_f64());
        if since > MISSED && warned.is_none_or(|warned| warned.elapsed() > WARN_AGAIN) {
            *warned = Some(Instant::now());
            tracing::warn!(
                seconds = since.as_secs(),
                "no stage `quota` moves shares of quotas: each partition keeps those that it has, and a tenant whose events go \
                 elsewhere is rejected below its quota; run workers with `--role quota`"
            );
        }
    }
}

fn age(sign: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.as_millis() - sign.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(tenant_id: &str, granted: u64) -> Grant {
        let both = |amount| serde_json::json!({"events": amount, "bytes": amount});
        let value = serde_json::json!({"tenant_id": tenant_id, "partition": 3, "term": 1, "granted": both(granted),
            "recalled": both(0), "owed": both(0), "from": "2026-01-01T00:00:00Z"});
        serde_json::from_value(value).unwrap()
    }

    fn record(key: &str, value: Vec<u8>) -> OwnedRecord {
        OwnedRecord {
            topic: "quota.shares".to_owned(),
            partition: 0,
            offset: 0,
            timestamp: Timestamp::from_millis(0),
            key: Some(key.as_bytes().to_vec()),
            value,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_grant_is_new_until_its_partition_has_taken_it_and_gone_with_its_tombstone() {
        let board = ShareBoard::default();
        board.take(&record("acme|3", serde_json::to_vec(&grant("acme", 1)).unwrap()));
        let first = board.new_of(3).remove(0);
        // One that came meanwhile is not settled with it.
        board.put(grant("acme", 2));
        board.settle(&first);
        assert_eq!(board.new_of(3).len(), 1);
        let second = board.of(3, "acme").unwrap();
        assert_eq!(second.granted.events, 2);
        board.settle(&second);
        assert!(board.new_of(3).is_empty() && board.of(3, "acme").is_some());
        board.take(&record("acme|3", Vec::new()));
        assert!(board.of(3, "acme").is_none() && board.len() == 0);
        board.take(&record("acme|3", b"nonsense".to_vec()));
        assert_eq!(board.len(), 0);
    }
}
