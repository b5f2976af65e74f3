//! Reads the result topics and lands them in the store.
//!
//! Any number of replicas may run this: one of them has the lease, the others wait for it. What lands is decided by the
//! offsets in the store, so that even two who both believed to have it could not write a record twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cybervault_model::{
    Assessment, ContentType, Incident, QuotaRejection, RejectionReason, ResponseAction, SourceReport, TenantId,
    decode_value,
};
use cybervault_stream::{Follower, OwnedRecord, Start, StreamError, offsets};
use metrics::{counter, gauge, histogram};
use tokio::{runtime::Handle, sync::Notify};

use crate::{
    condition::{Condition, Part},
    key::random_text,
    monitor::{Latency, pause},
    settings::Settings,
    store::{Landed, Offsets, Store, StoreError, ViewBatch, now},
};

/// Records of one batch.
const RECORDS: usize = 1_000;
/// How long a batch gathers after its first record.
const GATHER: Duration = Duration::from_millis(20);
/// How often the lease is renewed or tried for.
const RENEW: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl ViewError {
    /// What whoever asks is told: no hosts, and nothing that is stored.
    const fn in_words(&self) -> &'static str {
        match self {
            Self::Store(_) => "what was found can't be written to the store",
            Self::Stream(_) => "the result topics can't be read",
        }
    }
}

/// The thread that writes the view.
#[derive(Debug)]
pub(crate) struct View {
    settings: Settings,
    store: Store,
    runtime: Handle,
    holder: String,
    landed: Arc<Notify>,
    latency: Arc<Latency>,
    condition: Arc<Condition>,
    stop: Arc<AtomicBool>,
}

impl View {
    /// Starts it; it ends once `stop` is true. Each time something has landed, `landed` is told.
    pub(crate) fn start(
        settings: &Settings,
        store: &Store,
        (landed, latency, condition): (Arc<Notify>, Arc<Latency>, Arc<Condition>),
        stop: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>, std::io::Error> {
        let view = Self {
            settings: settings.clone(),
            store: store.clone(),
            runtime: Handle::current(),
            holder: random_text(16).unwrap_or_default(),
            landed,
            latency,
            condition,
            stop,
        };
        thread::Builder::new().name("view".to_owned()).spawn(move || view.run())
    }

    fn run(&self) {
        while !self.is_stopped() {
            match self.runtime.block_on(self.store.lease_view(&self.holder, now())) {
                Ok(true) => {
                    if let Err(error) = self.write() {
                        tracing::warn!(%error, "the view can't be written; trying again");
                        self.condition.fails(Part::View, error.in_words());
                    }
                }
                Ok(false) => self.condition.is_not_ours(),
                Err(error) => {
                    tracing::warn!(%error, "the view's lease can't be taken");
                    self.condition.fails(Part::View, ViewError::from(error).in_words());
                }
            }
            pause(PAUSE, &self.stop);
        }
        let _ = self.runtime.block_on(self.store.release_view(&self.holder));
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lands records as long as the lease is held.
    fn write(&self) -> Result<(), ViewError> {
        let topics = &self.settings.topics;
        let mut offsets = self.runtime.block_on(self.store.view_offsets())?;
        let mut names = vec![&*topics.assessments, &*topics.actions, &*topics.rejections];
        // Fleets that were set up before there were these topics go on without them.
        for (name, shown) in [(&*topics.sources, "log sources"), (&*topics.incidents, "incidents")] {
            match offsets::ends(&self.settings.kafka, name) {
                Ok(_) => names.push(name),
                Err(error) => {
                    tracing::warn!(%error, topic = name, "{shown} are not shown; `cybervault topics apply` creates their topic");
                }
            }
        }
        let mut follower = Follower::open(&self.settings.kafka, &names, Start::At(offsets.clone()))?;
        let (mut renewed, mut current) = (Instant::now(), Instant::now());
        while !self.is_stopped() {
            if renewed.elapsed() > RENEW {
                if !self.runtime.block_on(self.store.renew_view(&self.holder, now()))? {
                    return Ok(());
                }
                renewed = Instant::now();
            }
            let batch = self.gather(&mut follower, &mut offsets)?;
            if batch.moves.is_empty() {
                // Nothing may come because there is nothing, or because nobody answers.
                if follower.is_current() {
                    current = Instant::now();
                    self.condition.is_current();
                    self.condition.works(Part::View);
                    gauge!("cybervault_view_behind_seconds").set(0.0);
                } else {
                    gauge!("cybervault_view_behind_seconds").set(current.elapsed().as_secs_f64());
                }
                continue;
            }
            let started = Instant::now();
            if !self.runtime.block_on(self.store.land(&self.holder, &batch))? {
                tracing::info!("another replica writes the view");
                return Ok(());
            }
            histogram!("cybervault_view_transaction_seconds").record(started.elapsed().as_secs_f64());
            self.condition.works(Part::View);
            counter!("cybervault_view_records_total").increment(batch.landed.len() as u64);
            self.latency.add(&batch);
            self.landed.notify_one();
        }
        Ok(())
    }

    /// The records that are there, and what they move.
    fn gather(&self, follower: &mut Follower, offsets: &mut Offsets) -> Result<ViewBatch, StreamError> {
        let mut batch = ViewBatch::default();
        let (mut first, mut wait) = (None, Duration::from_millis(200));
        while batch.landed.len() < RECORDS {
            let Some(record) = follower.next(wait)? else {
                if batch.moves.is_empty() || first.is_none_or(|first: Instant| first.elapsed() > GATHER) {
                    break;
                }
                continue;
            };
            first.get_or_insert_with(Instant::now);
            wait = Duration::from_millis(2);
            let place = (record.topic.clone(), record.partition);
            let next = record.offset + 1;
            let from = offsets.insert(place.clone(), next).unwrap_or(-1);
            batch.moves.entry(place).or_insert((from, next)).1 = next;
            let behind = now().as_millis() - record.timestamp.as_millis();
            #[expect(clippy::cast_precision_loss)]
            gauge!("cybervault_view_behind_seconds").set(behind.max(0) as f64 / 1e3);
            batch.landed.extend(self.read(&record));
        }
        Ok(batch)
    }

    /// What the record says. What can't be read is passed over and counted: it would stand in the way of all that follows.
    fn read(&self, record: &OwnedRecord) -> Option<Landed> {
        let (topics, schemas) = (&self.settings.topics, &*self.settings.schemas);
        let content_type = record.header(ContentType::HEADER).map(str::as_bytes);
        let value = &record.value;
        let read = if record.topic == *topics.assessments {
            decode_value::<Assessment>(value, content_type, schemas).map(|assessment| {
                Some(Landed::Assessment { assessment: Box::new(assessment), created_at: record.timestamp })
            })
        } else if record.topic == *topics.actions {
            decode_value::<ResponseAction>(value, content_type, schemas)
                .map(|action| Some(Landed::Action(Box::new(action))))
        } else if record.topic == *topics.incidents {
            decode_value::<Incident>(value, content_type, schemas)
                .map(|incident| Some(Landed::Incident(Box::new(incident))))
        } else if record.topic == *topics.sources {
            let read = serde_json::from_slice::<SourceReport>(value).map_err(|error| error.to_string());
            let report = read.and_then(|report| match TenantId::new(&report.tenant_id) {
                Ok(_) => Ok(report),
                Err(error) => Err(error.to_string()),
            });
            return match report {
                Ok(report) => Some(Landed::Sources(Box::new(report))),
                Err(error) => {
                    pass_over(record, &error);
                    None
                }
            };
        } else {
            // Nobody could look at what belongs to no tenant, and anyone could make up ever more of these.
            decode_value::<QuotaRejection>(value, content_type, schemas).map(|rejection| {
                (rejection.reason != RejectionReason::UnknownTenant).then(|| Landed::Rejection(Box::new(rejection)))
            })
        };
        read.unwrap_or_else(|error| {
            pass_over(record, &error);
            None
        })
    }
}

fn pass_over(record: &OwnedRecord, error: &dyn std::fmt::Display) {
    counter!("cybervault_view_unreadable_total").increment(1);
    tracing::warn!(topic = record.topic, partition = record.partition, offset = record.offset, %error, "a record is passed over");
}
