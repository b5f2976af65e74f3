//! A gateway at work: its runtime, and everything that runs in it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cybervault_stream::{Journal, StreamError};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    app::App,
    condition::{Condition, Part},
    engine::Engine,
    http,
    hub::Hub,
    lookups::Lookups,
    monitor::{self, Monitor},
    recent::Recent,
    sandbox::Sandboxes,
    server::{self, PortLimits, Server, TlsError},
    settings::Settings,
    store::{NewKey, Store, StoreError},
    view::View,
};

/// How often what is too old is deleted.
const FORGET: Duration = Duration::from_secs(10 * 60);

/// How often store and journal are looked after.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long the store may take for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that are done at the same time whether their senders are still there or not.
const WORKS: usize = 4_096;
/// How long these may take to end once told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its way to Kafka.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Its address.
    #[error("can't listen on {address}: {source}; set `gateway.listen` to another address")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Threads.
    #[error("can't start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A gateway at work; it works until it is told to stop.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    store: Store,
    runtime: Runtime,
    view: JoinHandle<()>,
    served: tokio::task::JoinHandle<()>,
    works: Arc<Semaphore>,
    told: watch::Sender<bool>,
    stop: Arc<AtomicBool>,
}

impl Gateway {
    /// Opens the store, starts to read the topics, and serves. Ends once `stop` is true and [`Gateway::join`] was called.
    ///
    /// # Errors
    /// When the store can't be opened, the certificate not be read, or the address not be listened on. A Kafka that is away
    /// is no error: until it is back, health says so, and what needs it is refused.
    pub fn start(settings: Settings, engine: Arc<dyn Engine>, stop: Arc<AtomicBool>) -> Result<Self, GatewayError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("gateway").enable_all().build()?;
        let entered = runtime.enter();
        let tls = settings.tls.as_ref().map(server::acceptor).transpose()?;
        let listen = settings.listen;
        let failed = |source| GatewayError::Listen { address: listen, source };
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let store = runtime.block_on(Store::open(&settings.store))?;
        let sandboxes = runtime.block_on(Sandboxes::open())?;
        let landed = Arc::new(tokio::sync::Notify::new());
        let hub = Hub::new(runtime.block_on(store.feed_end())?, landed.clone());
        let latency = Arc::default();
        let condition = Arc::<Condition>::default();
        let view = View::start(&settings, &store, (landed, Arc::clone(&latency), condition.clone()), stop.clone())?;
        monitor::listen(&settings, condition.clone(), stop.clone())?;
        let monitor = Monitor::start(&settings, engine.clone(), stop.clone())?;
        let journal = Journal::start(settings.kafka.clone(), settings.transactional_id.clone())?;
        let app = Arc::new(App {
            engine,
            store: store.clone(),
            sandboxes,
            journal,
            hub,
            monitor,
            condition,
            keys: Default::default(),
            limiter: Default::default(),
            addresses: Default::default(),
            recent: Recent::new("production"),
            lookups: Lookups::start(store.clone()),
            authority: Arc::default(),
            seats: Arc::default(),
            latency,
            works: Arc::new(Semaphore::new(WORKS)),
            settings,
        });
        let works = app.works.clone();
        let told = watch::Sender::new(false);
        let router = http::router(&app);
        let hub = app.clone();
        runtime.spawn(async move { hub.hub.run(&hub.store).await });
        runtime.spawn(look_after(app.clone()));
        let listening = app.clone();
        runtime.spawn(async move { listening.authority.watch(&listening.store, &*listening.engine).await });
        let refusing = app.clone();
        let server = Server {
            router,
            tls,
            limits: PortLimits { connections: app.settings.connections, per_address: None, lifetime: None },
            refuse: Box::new(move |refusal, local| http::refuse(&refusing.settings, refusal, local)),
        };
        runtime.spawn(forget(app));
        let served = runtime.spawn(server.serve(listener, told.subscribe()));
        drop(entered);
        Ok(Self { address, store, runtime, view, served, works, told, stop })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Issues a key in its store, and returns it in clear.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn issue_key(&self, new: &NewKey) -> Result<String, StoreError> {
        let (secret, _) = self.runtime.block_on(self.store.issue_key(new))?;
        Ok(secret.reveal().to_owned())
    }

    /// Waits until it is told to stop, then until the open requests have ended.
    pub fn join(self) {
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
        // Whoever listens has gone where this fails.
        let _ = self.told.send(true);
        let _ = self.runtime.block_on(self.served);
        let all = u32::try_from(WORKS).unwrap_or(u32::MAX);
        let _ = self.runtime.block_on(async { timeout(DRAIN, self.works.acquire_many(all)).await.map(drop) });
        let _ = self.view.join();
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// Finds out again and again whether store and journal work.
async fn look_after(app: Arc<App>) {
    let condition = &app.condition;
    loop {
        match timeout(PATIENCE, app.store.takes_writes()).await {
            Ok(Ok(())) => condition.works(Part::Store),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store takes no writes");
                let answers = app.store.answers().await;
                let message = if answers { "the store takes no writes" } else { "the store does not answer" };
                condition.fails(Part::Store, message);
            }
            Err(_) => condition.fails(Part::Store, "the store does not answer"),
        }
        if app.journal.is_healthy() {
            condition.works(Part::Journal);
        } else {
            condition.fails(Part::Journal, "nothing can be written to Kafka");
        }
        condition.measure();
        tokio::time::sleep(LOOK_AFTER).await;
    }
}

async fn forget(app: Arc<App>) {
    loop {
        match app.store.forget(&app.settings.retention).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "forgotten what was too old"),
            Err(error) => tracing::warn!(%error, "what is too old can't be deleted"),
        }
        if let Err(error) = app.sandboxes.store().forget_answers().await {
            tracing::warn!(%error, "answers in sandboxes can't be deleted");
        }
        tokio::time::sleep(FORGET).await;
    }
}

/// Tells the recorder what each of the gateway's metrics means.
pub fn describe_metrics() {
    describe_counter!("cybervault_http_requests_total", "Requests, by `method`, `route` and `status`");
    describe_histogram!(
        "cybervault_http_request_seconds",
        "From a request's head to the head of its answer, by `route`"
    );
    describe_counter!("cybervault_http_panics_total", "Panics caught while answering");
    describe_gauge!("cybervault_http_connections", "Open connections");
    describe_gauge!("cybervault_stream_clients", "Who listens to /v3/stream or a live feed");
    describe_counter!("cybervault_view_records_total", "Records landed in the store");
    describe_counter!("cybervault_view_unreadable_total", "Records passed over because they can't be read");
    describe_counter!(
        "cybervault_view_repeats_total",
        "Assessments left because the view has one of their id, by what that `says`: the same, or other things"
    );
    describe_gauge!(
        "cybervault_recent_events",
        "Events kept because the view may not have them yet, `of` production or sandboxes"
    );
    describe_gauge!("cybervault_view_behind_seconds", "How old the last landed record was, 0 when all are landed");
    describe_histogram!("cybervault_view_transaction_seconds", "Landing one batch of records");
    describe_gauge!(
        "cybervault_gateway_part_up",
        "Whether a part of the gateway works, by `part`: store, kafka, journal, view"
    );
    describe_counter!("cybervault_journal_writes_total", "Writes to Kafka for requests, by `result`");
    describe_histogram!("cybervault_journal_transaction_seconds", "One transaction of these, begin to commit");
}
