//! What `up` says before and after the live feed.

use std::{io::Write, net::SocketAddr, time::Duration};

use anstyle::{AnsiColor, Style};
use cybervault_stream::EmbeddedBroker;
use metrics_exporter_prometheus::PrometheusHandle;

use super::{feed::Tally, player::Samples};
use crate::{cli::UpArgs, config::Config, live::Live};

const BOLD: Style = Style::new().bold();
/// Incidents that are told one by one.
const MOST_INCIDENTS: usize = 20;
const DIM: Style = Style::new().dimmed();

/// Says what runs, where, and within which limits.
pub(super) fn greet(
    config: &Config,
    live: &Live,
    samples: &Samples,
    args: &UpArgs,
    embedded: bool,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        out,
        "{BOLD}CyberVault {version}{BOLD:#}  {} rules, {} playbooks, {} tenants",
        live.detection().matcher.rules().len(),
        live.playbooks().len(),
        live.admission().len(),
    )?;
    writeln!(out, "  Kafka    {}", config.kafka.bootstrap)?;
    if embedded {
        let note = AnsiColor::Yellow.on_default();
        writeln!(
            out,
            "           {note}the embedded broker is for trying out: it keeps {} MB or {} records a partition and drops the\n           \
             oldest beyond, isolates no transactions, and is gone with this process; for more use --bootstrap{note:#}",
            EmbeddedBroker::KEPT_BYTES / 1024 / 1024,
            EmbeddedBroker::KEPT_RECORDS,
        )?;
    }
    writeln!(out, "  Metrics  http://{address}/metrics")?;
    let topic = config.topic(|names| &names.threat_assessments);
    writeln!(out, "  Look in  kcat -b {} -C -t {topic}", config.kafka.bootstrap)?;
    let minutes = samples.duration().div_f64(args.speed).as_secs_f64() / 60.0;
    writeln!(out, "  Samples  {} events in {minutes:.1} minutes; Ctrl-C ends\n", samples.len())?;
    out.flush()?;
    Ok(())
}

/// Says where the console is, and with which keys to sign in.
pub(super) fn tell_console(address: SocketAddr, keys: &[(String, String)]) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    writeln!(out, "  {BOLD}Console  http://{address}/{BOLD:#}  sign in with the key of a tenant:")?;
    for (tenant, key) in keys {
        writeln!(out, "           {tenant:<18} {key}")?;
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Says that the samples begin again soon.
pub(super) fn pause(pause: Duration) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    writeln!(
        out,
        "{DIM}All samples are played; again in {:.0} s. Ctrl-C ends with a summary.{DIM:#}",
        pause.as_secs_f64()
    )?;
    Ok(())
}

/// Says what became of all that was sent.
pub(super) fn tell(tally: &Tally, sent: u64, processed: u64, metrics: &PrometheusHandle) -> anyhow::Result<()> {
    let mut out = anstream::stdout();
    writeln!(
        out,
        "\n{BOLD}{:<18}{:>10}{:>10}{:>6}{:>6}{:>6}{:>6}{:>10}{BOLD:#}",
        "tenant", "rejected", "critical", "high", "med", "low", "info", "actions"
    )?;
    for (tenant, of) in &tally.tenants {
        let [info, low, medium, high, critical] = of.findings;
        writeln!(
            out,
            "{tenant:<18}{:>10}{critical:>10}{high:>6}{medium:>6}{low:>6}{info:>6}{:>10}",
            of.rejected, of.actions
        )?;
    }
    let mut rules: Vec<_> = tally.rules.iter().collect();
    rules.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    writeln!(out, "\n{BOLD}{} rules hit, most often{BOLD:#}", rules.len())?;
    for (title, count) in rules.iter().take(5) {
        writeln!(out, "{count:>6}  {title}")?;
    }
    writeln!(out, "\n{BOLD}actions{BOLD:#}")?;
    for ((kind, state), count) in &tally.actions {
        writeln!(out, "{count:>6}  {kind} {state}")?;
    }
    tell_incidents(tally, &mut out)?;
    let rejected: u64 = tally.tenants.values().map(|of| of.rejected).sum();
    let dead: u64 = tally.dead.values().sum();
    let admitted = admitted(&metrics.render());
    let waiting = sent.saturating_sub(processed);
    let unprocessed = if waiting > 0 { format!(" + {waiting} not processed before the end") } else { String::new() };
    let holds = if sent == admitted + rejected + dead + waiting { "" } else { "  (they do not add up!)" };
    writeln!(
        out,
        "\n{BOLD}{sent} events sent{BOLD:#} = {admitted} admitted + {rejected} rejected + {dead} dead letters{unprocessed}{holds}"
    )?;
    out.flush()?;
    Ok(())
}

/// How many incidents the findings are, and which.
fn tell_incidents(tally: &Tally, out: &mut impl Write) -> anyhow::Result<()> {
    let findings: u64 = tally.tenants.values().flat_map(|of| of.findings).sum();
    let mut incidents: Vec<_> = tally.incidents.values().filter(|incident| incident.merged_into.is_none()).collect();
    incidents.sort_by_key(|incident| {
        (std::cmp::Reverse((incident.severity, incident.risk_score)), &incident.tenant_id, &incident.incident_id)
    });
    let held: u64 = incidents.iter().map(|incident| incident.findings).sum();
    writeln!(
        out,
        "\n{BOLD}{findings} findings, {} incidents{BOLD:#} with {held} of them; the others stand alone",
        incidents.len()
    )?;
    for incident in incidents.iter().take(MOST_INCIDENTS) {
        writeln!(
            out,
            "{:>6}  {:<9} {:>3}  {:<16} {}",
            incident.findings,
            incident.severity.as_str(),
            incident.risk_score,
            incident.tenant_id.as_str(),
            incident.title,
        )?;
    }
    Ok(())
}

/// The admitted events of all tenants, as the metrics page has them.
fn admitted(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with("cybervault_events_total{"));
    let counts = lines.filter(|line| line.contains(r#"outcome="admitted""#));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
