//! The control plane: metrics and health over HTTP, and signals.

mod process;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::{describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::interval,
};

use cybervault_gateway::{PortLimits, Refusal, Server, http1_bytes};
use cybervault_stream::Health;

use crate::{
    descriptors::{METRICS_CONNECTIONS, METRICS_CONNECTIONS_OF_ONE},
    reload::Reload,
    traces,
};

/// How long a connection to the port may last, whatever it does. A scrape takes less, and the next one opens another.
const LIFETIME: Duration = Duration::from_secs(60);
/// How often the exporter tidies up what it has gathered.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to gather metrics. Before anything that counts.
///
/// # Errors
/// When it has begun already.
pub(crate) fn gather_metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
    let process = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1];
    let records = [1.0, 10.0, 100.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Full("cybervault_record_process_seconds".to_owned()), &process)?
        .set_buckets_for_metric(Matcher::Full("cybervault_batch_records".to_owned()), &records)?;
    let handle = builder.install_recorder().context("can't gather metrics")?;
    describe();
    let revision = option_env!("CYBERVAULT_REVISION").unwrap_or("unknown");
    gauge!("cybervault_build_info", "version" => env!("CARGO_PKG_VERSION"), "revision" => revision).set(1.0);
    Ok(handle)
}

/// Tells the recorder what each metric means. Labels, and these alone, stand in backticks: docs/reference/metrics.md is made of it.
pub(crate) fn describe() {
    cybervault_stream::describe_metrics();
    cybervault_gateway::describe_metrics();
    traces::describe();
    describe_counter!(
        "cybervault_events_total",
        "Events by `tenant` and `outcome`, admitted or rejected. With cybervault_dead_letters_total{stage=\"assess\"} they are \
         all that came in: cybervault_stage_records_total{stage=\"assess\"}, where a record that is a container counts as the \
         events in it: less cybervault_containers_total, plus cybervault_contained_events_total"
    );
    describe_counter!("cybervault_containers_total", "Records that were containers of events");
    describe_counter!("cybervault_contained_events_total", "Events in such records");
    describe_counter!(
        "cybervault_events_mended_total",
        "Events with halves of surrogate pairs, which were read as U+FFFD"
    );
    describe_counter!("cybervault_event_bytes_total", "Bytes of events, admitted and rejected, by `tenant`");
    describe_gauge!(
        "cybervault_quota_level_ratio",
        "How full the bucket of a `tenant` is, 0 to 1: at 1 events are rejected"
    );
    describe_counter!("cybervault_quota_rejections_total", "Rejected events, by `reason`");
    describe_counter!("cybervault_quota_reports_total", "What partitions told of tenants' use");
    describe_counter!("cybervault_quota_grants_total", "Shares of quotas granted or asked back");
    describe_gauge!("cybervault_quota_shares", "Grants that this process knows");
    describe_gauge!(
        "cybervault_quota_owner_age_seconds",
        "How long ago somebody who moves shares of quotas gave a sign of life, at most since this process began; beyond 60 nobody does"
    );
    describe_counter!(
        "cybervault_log_source_events_total",
        "Admitted events by `tenant` and log source (`product`, `service`, `category`): those of several under each, those of no \
         known one under the product none"
    );
    describe_counter!("cybervault_rule_hits_total", "Hits, by `rule`; of a correlation, how often it was found");
    describe_counter!("cybervault_assessments_total", "Assessments written, by `severity`");
    describe_counter!("cybervault_playbook_candidates_total", "Actions that playbooks asked for");
    describe_counter!("cybervault_actions_total", "Events in actions' lives, by `type` and `state`");
    describe_counter!(
        "cybervault_response_outcomes_total",
        "What became of proposals and decisions, by `of` and `outcome`"
    );
    describe_counter!(
        "cybervault_incident_findings_total",
        "What became of findings in incidents, by `outcome`: they opened one, were news in one, or were counted; or passed over, as those are \
         that were assessed again for the record only"
    );
    describe_counter!("cybervault_incident_changes_total", "Why incidents were told, by `change`");
    describe_counter!("cybervault_incidents_merged_total", "Incidents that became a part of another");
    describe_counter!(
        "cybervault_incidents_dropped_total",
        "Incidents that take no more findings because their tenant had too many at a time"
    );
    describe_counter!(
        "cybervault_incident_decisions_total",
        "What became of people's words on incidents, by `outcome`"
    );
    describe_counter!("cybervault_reloads_total", "Files taken up or refused, by `what` was read and `result`");
    describe_counter!(
        "cybervault_signals_total",
        "Signals written: what correlations look at of an event, once for each group of it"
    );
    describe_counter!(
        "cybervault_signals_cut_total",
        "Events with more values, or in more groups, than correlations take; they count with those that are taken"
    );
    describe_counter!(
        "cybervault_correlation_signals_total",
        "Signals read, by `outcome`: taken, or unmatched, where no correlation that is in force is over their rules in this group"
    );
    describe_gauge!("cybervault_correlation_groups", "Groups of correlations whose events are held");
    describe_gauge!("cybervault_correlation_bytes", "Bytes of the events that are held for them, by our own count");
    describe_counter!(
        "cybervault_correlation_evicted_groups_total",
        "Groups that had to go for want of room while their events were still of interest, by `tenant`"
    );
    describe_counter!(
        "cybervault_correlation_groups_gone_total",
        "Groups that went otherwise, by `why`: lapsed, since nothing has come of them for long, rules_changed or unreadable"
    );
    describe_counter!(
        "cybervault_correlation_events_cut_total",
        "Events of a group that had to go for want of room while their time frame may still have been of interest"
    );
    describe_counter!(
        "cybervault_correlation_late_events_total",
        "Events that came later than correlation.lateness_ms after others of their group"
    );
    describe_gauge!("cybervault_rules_loaded", "Rules in force");
    describe_gauge!("cybervault_correlations_loaded", "Correlations in force");
    describe_gauge!("cybervault_indicators_loaded", "Indicators in force, by `kind`");
    describe_counter!("cybervault_indicator_hits_total", "Indicators found in events, by `kind`");
    describe_gauge!("cybervault_rules_failed", "Rules left out because they can't be used");
    describe_gauge!("cybervault_playbooks_loaded", "Playbooks in force");
    describe_gauge!("cybervault_tenants_loaded", "Tenants in force");
    describe_counter!(
        "cybervault_log_lines_left_out_total",
        "Warnings and errors of the log beyond what is written of one kind, by `level`"
    );
    describe_gauge!("cybervault_build_info", "Always 1, with `version` and `revision`");
    process::describe();
}

#[derive(Clone)]
struct Served {
    metrics: PrometheusHandle,
    health: Health,
}

/// Serves metrics and health on `listen`, and takes signals: SIGTERM and SIGINT set `stop`, and end the process after `shutdown`
/// or when they come a second time; SIGHUP wakes `reload`. Returns the address, which matters where `listen` has port 0.
///
/// # Errors
/// When the address can't be listened on.
pub(crate) fn start(
    listen: SocketAddr,
    metrics: PrometheusHandle,
    health: Health,
    stop: Arc<AtomicBool>,
    reload: Reload,
    shutdown: Duration,
) -> anyhow::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(listen)).with_context(|| {
        format!("can't listen on {listen} for metrics and health; set `metrics.listen` to another address")
    })?;
    let address = listener.local_addr()?;
    let upkeep = metrics.clone();
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(Served { metrics, health });
    let serve = async move {
        tokio::spawn(take_signals(stop, reload, shutdown));
        tokio::spawn(async move {
            let mut interval = interval(UPKEEP);
            loop {
                interval.tick().await;
                upkeep.run_upkeep();
            }
        });
        // The process ends before this port does.
        let (_told, stop) = watch::channel(false);
        server(router).serve(listener, stop).await;
    };
    thread::Builder::new().name("control".to_owned()).spawn(move || runtime.block_on(serve))?;
    Ok(address)
}

/// The port: whoever holds it open takes neither it nor the process's descriptors from others.
fn server(router: Router) -> Server {
    let limits = PortLimits {
        connections: METRICS_CONNECTIONS,
        per_address: Some(METRICS_CONNECTIONS_OF_ONE),
        lifetime: Some(LIFETIME),
    };
    let refuse = |refusal, _| {
        let (status, text) = match refusal {
            Refusal::Head(status) => (status, "the request's head can't be read\n"),
            Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, "the request's head did not come in time\n"),
        };
        let mut response = Response::new(text.to_owned());
        *response.status_mut() = status;
        http1_bytes(&response)
    };
    Server { router, tls: None, limits, refuse: Box::new(refuse) }
}

async fn render(State(served): State<Served>) -> Response {
    process::measure();
    let text = served.metrics.render();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Alive is who comes forward: a supervisor should start a stage that hangs anew.
async fn alive(State(served): State<Served>) -> Response {
    let hanging = served.health.hanging();
    if hanging.is_empty() {
        return "alive\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, hanging.join("\n") + "\n").into_response()
}

async fn ready(State(served): State<Served>) -> Response {
    let obstacles = served.health.obstacles();
    if obstacles.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, obstacles.join("\n") + "\n").into_response()
}

async fn take_signals(stop: Arc<AtomicBool>, reload: Reload, shutdown: Duration) {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = signals else {
        tracing::error!("signals can't be taken");
        return;
    };
    let mut told = None;
    loop {
        let name = tokio::select! {
            _ = hangup.recv() => {
                reload.ask();
                continue;
            }
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        let first = *told.get_or_insert_with(Instant::now);
        // Some supervisors tell the process and its group, which is twice: only a later word is impatience.
        if stop.swap(true, Ordering::Relaxed) && first.elapsed() > Duration::from_secs(1) {
            tracing::warn!(name, "told to stop again; leaving at once");
            std::process::exit(1);
        }
        tracing::info!(name, "told to stop; the last batch is being committed");
        end_after(shutdown);
    }
}

/// Ends the process after `shutdown`, whatever hangs by then. On a thread of its own: nothing else may keep it from that.
fn end_after(shutdown: Duration) {
    let end = move || {
        thread::sleep(shutdown);
        tracing::error!(
            after_ms = shutdown.as_millis(),
            "not stopped in time, leaving at once; what was not committed comes again"
        );
        std::process::exit(1);
    };
    if let Err(error) = thread::Builder::new().name("shutdown".to_owned()).spawn(end) {
        tracing::error!(%error, "no thread can be started to end a shutdown that hangs");
    }
}
