//! What `score` says at its end: how much was read, and what of it no rule could see.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::Path,
};

use cybervault_correlation::Counts;
use cybervault_sigma::{KeySet, Matcher, Scratch};
use foldhash::fast::RandomState;

use crate::{
    command::input::{Fault, Found, Report},
    correlating::Correlating,
};

/// Different sets of keys that are told apart, and how many are told.
const MOST_SETS: usize = 1000;
const TOLD: usize = 5;

/// Counts of a pass.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Events with findings.
    pub(super) found: u64,
    /// Correlations that became true.
    pub(super) correlated: u64,
    /// Events of no known log source, …
    pub(super) unknown: u64,
    /// … by their keys.
    sets: HashMap<KeySet, Seen, RandomState>,
}

/// Events with the same keys.
#[derive(Debug)]
struct Seen {
    count: u64,
    first: String,
}

impl Summary {
    /// Looks whether rules for some log source were tried on the event.
    pub(super) fn see(&mut self, found: &Found<'_>, matcher: &Matcher, scratch: &mut Scratch) {
        let Some(keys) = matcher.unknown_keys(found.event, scratch) else { return };
        self.unknown += 1;
        if self.sets.len() < MOST_SETS || self.sets.contains_key(&keys) {
            let first = || Seen { count: 0, first: place(found.number, found.path) };
            self.sets.entry(keys).or_insert_with(first).count += 1;
        }
    }

    /// Writes what people should know.
    pub(super) fn tell(&self, report: &Report, correlating: &Correlating, out: &mut impl Write) -> io::Result<()> {
        let Report { files, events, empty_containers, passed_over, first_passed_over, .. } = report;
        write!(out, "cybervault: {} in {}", counted(*events, "event"), counted(*files, "file"))?;
        write!(out, ", {} with findings", self.found)?;
        if self.correlated > 0 {
            write!(out, ", {}", counted(self.correlated, "correlation"))?;
        }
        if self.unknown > 0 {
            write!(out, ", {} of no known log source", self.unknown)?;
        }
        if report.bad() > 0 {
            write!(out, ", {} unreadable", report.bad())?;
        }
        writeln!(out)?;
        if *empty_containers > 0 {
            writeln!(out, "  {} without events in them", counted(*empty_containers, "container"))?;
        }
        if *passed_over > 0 {
            let named: Vec<_> = first_passed_over.iter().map(|path| path.display().to_string()).collect();
            let more = if *passed_over > named.len() as u64 { ", …" } else { "" };
            let files = counted(*passed_over, "file");
            writeln!(out, "  {files} passed over, no logs by name or form: {}{more}", named.join(", "))?;
        }
        tell_lost(correlating, out)?;
        self.tell_unknown(out)?;
        if !report.unreadable.is_empty() {
            writeln!(out, "  unreadable:")?;
        }
        for (reason, Fault { count, first }) in &report.unreadable {
            writeln!(out, "{count:>10}  {reason}, first {first}")?;
        }
        Ok(())
    }

    fn tell_unknown(&self, out: &mut impl Write) -> io::Result<()> {
        if self.unknown == 0 {
            return Ok(());
        }
        let mut sets: Vec<_> = self.sets.iter().collect();
        sets.sort_by(|(a, one), (b, other)| other.count.cmp(&one.count).then(a.cmp(b)));
        writeln!(out, "  of no known log source, so rules for one were not tried on them; their keys:")?;
        for (keys, Seen { count, first }) in sets.iter().take(TOLD) {
            writeln!(out, "{count:>10}  {keys} (first: {first})")?;
        }
        let told: u64 = sets.iter().take(TOLD).map(|(_, set)| set.count).sum();
        if told < self.unknown {
            writeln!(out, "{:>10}  with other keys", self.unknown - told)?;
        }
        writeln!(
            out,
            "  what to do: say what they are in an envelope's `source` (docs/inputs.md, \"Log sources\"), or try every rule on them \
             with `--route off`; `--strict` makes them an exit of 1"
        )
    }
}

/// What correlations could not count.
fn tell_lost(correlating: &Correlating, out: &mut impl Write) -> io::Result<()> {
    let Counts { evicted, cut, late, combinations_cut, .. } = correlating.engine().counts();
    let lost = [
        (correlating.without_time, "event", "without a time, so no correlation counts them"),
        (
            late,
            "event",
            "later than `correlation.lateness_ms` after others of their group: counted as far as these were still kept",
        ),
        (evicted, "group", "of events dropped before their time was over; see `correlation.max_tenant_bytes`"),
        (cut, "event", "dropped from groups with more than are kept"),
        (combinations_cut, "event", "with more values than a correlation takes"),
    ];
    for (count, what, why) in lost.into_iter().filter(|(count, ..)| *count > 0) {
        writeln!(out, "  {} {why}", counted(count, what))?;
    }
    Ok(())
}

fn place(number: u64, path: &Path) -> String {
    format!("event {number}, {}", path.display())
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
