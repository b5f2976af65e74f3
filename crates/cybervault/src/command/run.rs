//! `cybervault run`: workers against a Kafka.

use std::sync::{Arc, atomic::AtomicBool};

use super::Answer;
use crate::{
    admin, cli::RunArgs, config::Config, content::Sources, live::Live, pipeline::Pipeline, reload::Reload,
    traces::Traces,
};

pub(super) fn run(_: &RunArgs, config: &Config) -> anyhow::Result<Answer> {
    cybervault_stream::give_memory_back();
    let metrics = admin::gather_metrics()?;
    let _traces = Traces::start(config)?;
    let live = Arc::new(Live::load(config, Sources::of(config, false)?)?);
    let (health, stop) = (config.worker.health(), Arc::new(AtomicBool::new(false)));
    let reload = Reload::start(live.clone(), stop.clone())?;
    let address =
        admin::start(config.metrics.listen, metrics, health.clone(), stop.clone(), reload, config.worker.shutdown())?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = config.worker.instance(),
        bootstrap = config.kafka.bootstrap,
        metrics = format!("http://{address}/metrics"),
        rules = live.detection().matcher.rules().len(),
        tenants = live.admission().len(),
        playbooks = live.playbooks().len(),
        "started"
    );
    Pipeline::start(config, &live, &health, &stop)?.join()?;
    Ok(Answer::Yes)
}
