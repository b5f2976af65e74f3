//! `cybervault gateway`: REST API and console against a Kafka.

use std::sync::{Arc, atomic::AtomicBool};

use cybervault_gateway::{Gateway, Store};
use cybervault_stream::Health;

use super::Answer;
use crate::{
    admin,
    cli::{GatewayArgs, GatewayCommand},
    config::Config,
    content::Sources,
    gateway::{LiveEngine, settings},
    live::Live,
    pipeline,
    reload::Reload,
    traces::Traces,
};

pub(super) fn run(args: &GatewayArgs, config: &Config) -> anyhow::Result<Answer> {
    if let Some(GatewayCommand::Rebuild) = args.command {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { Store::open(&config.gateway.store.place()).await?.empty_view().await })?;
        tracing::info!("emptied; a gateway that runs, or the next one, gathers it anew from the topics");
        return Ok(Answer::Yes);
    }
    let metrics = admin::gather_metrics()?;
    let _traces = Traces::start(config)?;
    let live = Arc::new(Live::load(config, Sources::of(config, false)?)?);
    let stop = Arc::new(AtomicBool::new(false));
    let reload = Reload::start(live.clone(), stop.clone())?;
    let metrics = admin::start(
        config.metrics.listen,
        metrics,
        Health::default(),
        stop.clone(),
        reload,
        config.worker.shutdown(),
    )?;
    let codec = pipeline::codec(config, &stop)?;
    let settings = settings(config, config.gateway.store.place(), codec);
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let engine = Arc::new(LiveEngine::new(live, config));
    let gateway = Gateway::start(settings, engine, stop)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = config.worker.instance(),
        bootstrap = config.kafka.bootstrap,
        metrics = format!("http://{metrics}/metrics"),
        console = format!("{scheme}://{}/", gateway.address()),
        "started"
    );
    gateway.join();
    Ok(Answer::Yes)
}
