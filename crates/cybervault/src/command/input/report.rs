//! What could not be read, told once a file for the same fault, and all of it together at the end.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// How many files that were passed over are named.
const NAMED: usize = 3;

/// What came of reading files.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Files that were read.
    pub(crate) files: u64,
    /// Events, the unreadable ones among them.
    pub(crate) events: u64,
    /// Containers that had no events in them.
    pub(crate) empty_containers: u64,
    /// What could not be read, by its reason.
    pub(crate) unreadable: BTreeMap<&'static str, Fault>,
    /// Files in folders that are no logs, …
    pub(crate) passed_over: u64,
    /// … and the first of them.
    pub(crate) first_passed_over: Vec<PathBuf>,
}

/// One kind of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// How often there was one.
    pub(crate) count: u64,
    /// Where the first was, and what was wrong.
    pub(crate) first: String,
}

impl Report {
    pub(super) fn pass_over(&mut self, path: &Path) {
        self.passed_over += 1;
        if self.first_passed_over.len() < NAMED {
            self.first_passed_over.push(path.to_owned());
        }
    }

    /// How many could not be read.
    pub(crate) fn bad(&self) -> u64 {
        self.unreadable.values().map(|fault| fault.count).sum()
    }
}

/// The faults of one file.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<&'static str, Fault>);

impl Faults {
    /// Counts one; what is told of it is asked for only of the first.
    pub(super) fn add(&mut self, reason: &'static str, told: impl FnOnce() -> String) {
        self.0.entry(reason).or_insert_with(|| Fault { count: 0, first: told() }).count += 1;
    }

    /// Tells them, a line each, and adds them to the report.
    pub(super) fn tell(self, path: &Path, report: &mut Report, out: &mut impl Write) -> io::Result<()> {
        for (reason, Fault { count, first }) in self.0 {
            let first = format!("{}: {first}", path.display());
            match count {
                1 => writeln!(out, "{first}")?,
                count => writeln!(out, "{first}; {} more like it in this file", count - 1)?,
            }
            let all = report.unreadable.entry(reason).or_insert_with(|| Fault { count: 0, first });
            all.count += count;
        }
        Ok(())
    }
}
