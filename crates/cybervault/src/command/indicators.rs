//! `cybervault indicators`.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::bail;
use cybervault_indicators::{FeedReport, Indicators, Kind};
use serde_json::{Map, json};

use super::Answer;
use crate::{
    cli::IndicatorsCommand,
    config::{Config, FeedFile},
    indicators::load,
};

pub(super) fn run(command: &IndicatorsCommand, config: &Config) -> anyhow::Result<Answer> {
    let IndicatorsCommand::Check { files, json } = command;
    let feeds = &feeds(files, config);
    if feeds.is_empty() {
        bail!("there is nothing to check: name files, or configure `indicators.feeds`");
    }
    let (indicators, reports) = load(feeds)?;
    let mut out = io::stdout().lock();
    if *json {
        let feeds: Vec<_> = feeds.iter().zip(&reports).map(|(file, report)| as_json(file, report)).collect();
        writeln!(out, "{}", json!({ "feeds": feeds, "version": indicators.version() }))?;
    } else {
        for (file, report) in feeds.iter().zip(&reports) {
            tell(file, report, &mut out)?;
        }
        writeln!(out, "{}", in_all(&indicators))?;
    }
    Ok(Answer::from_fine(reports.iter().all(|report| report.failed == 0)))
}

/// The lists that are named, else those that are configured.
pub(super) fn feeds(named: &[PathBuf], config: &Config) -> Vec<FeedFile> {
    if named.is_empty() {
        return config.indicators.feeds.clone();
    }
    named.iter().cloned().map(FeedFile::new).collect()
}

fn as_json(file: &FeedFile, report: &FeedReport) -> serde_json::Value {
    let taken: Map<_, _> =
        Kind::ALL.iter().map(|kind| (kind.as_str().to_owned(), report.taken[*kind as usize].into())).collect();
    let name = file.feed().name;
    json!({ "name": name, "path": file.path, "taken": taken, "failed": report.failed, "problems": report.problems })
}

fn tell(file: &FeedFile, report: &FeedReport, out: &mut impl Write) -> io::Result<()> {
    for problem in &report.problems {
        writeln!(out, "{}: {problem}", file.path.display())?;
    }
    let more = report.failed.saturating_sub(report.problems.len() as u64);
    if more > 0 {
        writeln!(out, "{}: {more} more like these", file.path.display())?;
    }
    let FeedReport { failed, .. } = report;
    writeln!(out, "{}: {} indicators, {failed} entries can't be used", file.path.display(), report.total())
}

fn in_all(indicators: &Indicators) -> String {
    let counts = Kind::ALL.iter().filter(|kind| indicators.count(**kind) > 0);
    let counts: Vec<_> = counts.map(|kind| format!("{} {}", indicators.count(*kind), kind.as_str())).collect();
    format!("in all, each once: {}", counts.join(", "))
}
