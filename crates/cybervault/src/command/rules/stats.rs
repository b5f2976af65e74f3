//! `cybervault rules stats`: how many rules there are of which kind, and what they cost.

mod cost;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use cybervault_model::Level;
use cybervault_sigma::{Mappings, RulePack, RuleSource};
use serde::Serialize;

use self::cost::Cost;
use crate::{cli::StatsArgs, command::Answer, config::Config, detection::RuleFiles};

/// What `rules stats --json` prints.
#[derive(Serialize)]
struct Stats {
    rules: usize,
    failed: usize,
    correlations: usize,
    /// Those by what they count.
    correlation_types: BTreeMap<&'static str, usize>,
    /// Rules that only feed correlations.
    silent: usize,
    filters: usize,
    levels: BTreeMap<&'static str, usize>,
    statuses: BTreeMap<String, usize>,
    /// The most rules first.
    log_sources: Vec<LogSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
}

#[derive(Serialize)]
struct LogSource {
    #[serde(flatten)]
    source: RuleSource,
    rules: usize,
    /// Whether a mapping gives events that are of it; an envelope can always say so.
    mapped: bool,
}

pub(super) fn run(rules: &RuleFiles, args: &StatsArgs, config: &Config) -> anyhow::Result<Answer> {
    let pack = rules.pack();
    let mut stats = count(&pack);
    if let Some(events) = &args.events {
        stats.cost = Some(Cost::measure(&pack, events, args.top, config)?);
    }
    let mut out = io::stdout().lock();
    if args.rules.json {
        serde_json::to_writer(&mut out, &stats).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&stats, &mut out)?;
    }
    Ok(Answer::Yes)
}

fn count(pack: &RulePack) -> Stats {
    let mappings = Mappings::builtin();
    let (mut levels, mut statuses, mut sources) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let metas = pack.rules.iter().map(|rule| &rule.meta);
    for meta in metas.clone().chain(pack.correlations.iter().map(|correlation| &correlation.meta)) {
        *levels.entry(meta.level.as_str()).or_default() += 1;
        let status = meta.status.clone().unwrap_or_else(|| "none".to_owned());
        *statuses.entry(status).or_default() += 1;
    }
    let mut correlation_types = BTreeMap::new();
    for correlation in &pack.correlations {
        *correlation_types.entry(correlation.kind.as_str()).or_default() += 1;
    }
    for rule in &pack.rules {
        let source = &rule.meta.logsource;
        sources.entry(source.to_string()).or_insert((source, 0)).1 += 1;
    }
    let source = |(source, rules): (&RuleSource, usize)| LogSource {
        source: source.clone(),
        rules,
        mapped: mappings.give(source),
    };
    let mut log_sources: Vec<_> = sources.into_values().map(source).collect();
    log_sources.sort_by_key(|source| std::cmp::Reverse(source.rules));
    Stats {
        rules: pack.rules.len(),
        failed: pack.failed.len(),
        correlations: pack.correlations.len(),
        correlation_types,
        silent: metas.filter(|meta| !meta.is_told).count(),
        filters: pack.filters,
        levels,
        statuses,
        log_sources,
        cost: None,
    }
}

fn print(stats: &Stats, out: &mut impl Write) -> io::Result<()> {
    let Stats { rules, failed, correlations, filters, .. } = stats;
    writeln!(out, "{rules} rules, {correlations} correlations, {filters} filters; {failed} can't be used")?;
    writeln!(out, "\nby level")?;
    for level in Level::ALL.into_iter().rev().map(Level::as_str) {
        writeln!(out, "{:>7}  {level}", stats.levels.get(level).copied().unwrap_or_default())?;
    }
    writeln!(out, "\nby status")?;
    stats.statuses.iter().try_for_each(|(status, count)| writeln!(out, "{count:>7}  {status}"))?;
    if !stats.correlation_types.is_empty() {
        writeln!(out, "\ncorrelations by type; {} rules only feed them", stats.silent)?;
        stats.correlation_types.iter().try_for_each(|(kind, count)| writeln!(out, "{count:>7}  {kind}"))?;
    }
    writeln!(out, "\nby log source: product/service/category")?;
    for LogSource { source, rules, mapped } in &stats.log_sources {
        let note = if *mapped { "" } else { "  (only where an envelope says so)" };
        writeln!(out, "{rules:>7}  {source}{note}")?;
    }
    stats.cost.iter().try_for_each(|cost| cost.print(out))
}
