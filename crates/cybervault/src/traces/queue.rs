//! Spans on their way out: a bounded queue, and a thread that sends what is in it.
//!
//! The SDK has a processor of this kind, too, but it tells nobody how many spans it has dropped. Whoever ends a span never
//! waits: what finds the queue full is dropped.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use futures_executor::block_on;
use metrics::{Counter, counter, describe_counter};
use opentelemetry::Context;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

use super::collector::Heard;

/// Spans of one request.
const MAX_BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How often a collector that takes nothing is told of in the log.
const TELL: Duration = Duration::from_secs(60);

/// A span, or nothing: the word that wakes the thread at the end.
type Message = Option<Box<SpanData>>;

/// Tells the recorder what the queue's metrics mean.
pub(crate) fn describe() {
    describe_counter!("cybervault_trace_spans_sent_total", "Spans that the collector has taken");
    describe_counter!(
        "cybervault_trace_spans_dropped_total",
        "Spans dropped, by `reason`: queue_full, or refused where the collector did not take them"
    );
}

/// The way to the sending thread.
#[derive(Debug)]
pub(super) struct SpanQueue {
    spans: SyncSender<Message>,
    stop: Arc<AtomicBool>,
    ended: Mutex<Receiver<()>>,
    dropped: Counter,
}

impl SpanQueue {
    /// Starts the thread, with room for `room` spans before it. `heard` says why a request failed.
    pub(super) fn start(exporter: impl SpanExporter + 'static, heard: Heard, room: usize) -> io::Result<Self> {
        // There from the beginning, so that a first drop is seen as an increase.
        let count = |counter: Counter| {
            counter.increment(0);
            counter
        };
        let dropped = |reason| count(counter!("cybervault_trace_spans_dropped_total", "reason" => reason));
        let (spans, waiting) = sync_channel(room);
        let (end, ended) = sync_channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let mut sender = Sender {
            exporter,
            heard,
            stop: stop.clone(),
            sent: count(counter!("cybervault_trace_spans_sent_total")),
            refused: dropped("refused"),
            told: None,
        };
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            sender.run(&waiting);
            drop(end);
        })?;
        Ok(Self { spans, stop, ended: Mutex::new(ended), dropped: dropped("queue_full") })
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(Some(Box::new(span))).is_err() {
            self.dropped.increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.stop.store(true, Ordering::Release);
        // Where there is no room for a word, the thread has enough to do to come across the flag.
        let _ = self.spans.try_send(None);
        match self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(timeout) {
            Err(RecvTimeoutError::Timeout) => Err(OTelSdkError::Timeout(timeout)),
            _ => Ok(()),
        }
    }
}

/// The thread's own.
struct Sender<E> {
    exporter: E,
    heard: Heard,
    stop: Arc<AtomicBool>,
    sent: Counter,
    refused: Counter,
    /// When it was last told that the collector takes nothing.
    told: Option<Instant>,
}

impl<E: SpanExporter> Sender<E> {
    fn run(&mut self, waiting: &Receiver<Message>) {
        loop {
            let spans = self.gather(waiting);
            if spans.is_empty() {
                if self.is_stopped() {
                    return;
                }
                continue;
            }
            self.send(spans);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// As many spans as come until the first of them has waited long enough; once stopped, as many as are there.
    fn gather(&self, waiting: &Receiver<Message>) -> Vec<SpanData> {
        let mut spans = Vec::new();
        let mut until = Instant::now() + LINGER;
        while spans.len() < MAX_BATCH {
            let left = if self.is_stopped() { Duration::ZERO } else { until.saturating_duration_since(Instant::now()) };
            match waiting.recv_timeout(left) {
                Ok(Some(span)) => {
                    if spans.is_empty() {
                        until = Instant::now() + LINGER;
                    }
                    spans.push(*span);
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
        spans
    }

    fn send(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        match block_on(self.exporter.export(spans)) {
            Ok(()) => {
                self.sent.increment(count);
                if self.told.take().is_some() {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.refused.increment(count);
                if self.told.is_none_or(|told| told.elapsed() > TELL) {
                    self.told = Some(Instant::now());
                    let reason = self.heard.take();
                    tracing::warn!(%error, reason, "spans are dropped: the collector does not take them; see `tracing`");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::Sender as Channel, time::SystemTime};

    use opentelemetry::{
        InstrumentationScope,
        trace::{SpanContext, SpanId, SpanKind, Status},
    };

    use super::*;

    /// Ends a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(600);

    /// Says how many spans it was given, and waits for the word to go on.
    #[derive(Debug)]
    struct Slow {
        given: Channel<usize>,
        go_on: Mutex<Receiver<()>>,
    }

    impl SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.given.send(batch.len()).unwrap();
            let _ = self.go_on.lock().unwrap().recv();
            Ok(())
        }
    }

    fn span() -> SpanData {
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "span".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    #[test]
    fn who_ends_a_span_never_waits_and_a_shutdown_only_for_so_long() {
        let ((given, sent), (word, go_on)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let slow = Slow { given, go_on: Mutex::new(go_on) };
        let queue = SpanQueue::start(slow, Heard::default(), 3).unwrap();
        queue.on_end(span());
        assert_eq!(sent.recv_timeout(PATIENCE), Ok(1));
        // The exporter hangs: three wait, the others are dropped.
        (0..10).for_each(|_| queue.on_end(span()));
        assert!(matches!(queue.shutdown_with_timeout(Duration::from_millis(20)), Err(OTelSdkError::Timeout(_))));
        // It goes on, and sends what is left before it ends.
        word.send(()).unwrap();
        assert_eq!(sent.recv_timeout(PATIENCE), Ok(3));
        word.send(()).unwrap();
        assert!(queue.shutdown_with_timeout(PATIENCE).is_ok());
    }
}
