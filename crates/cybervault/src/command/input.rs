//! Events from files, whatever form they have: docs/inputs.md says which.
//!
//! A file is unpacked and read as its first bytes say, taken apart into texts, and each text goes the way of a record on the stream
//! ([`Unpacker`]): so a container is opened here as it is there, with the same events of the same ids.

mod encoding;
mod evtx;
mod files;
mod report;
mod table;
mod texts;

use std::{
    io::{self, IsTerminal, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::bail;
use cybervault_model::{
    Incoming, TelemetryEvent,
    container::{Container, Inside, Unpacked, Unpacker},
    json::ReadError,
};
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) use self::report::{Fault, Report};
use self::{
    encoding::Content,
    files::{Input, expand},
    report::Faults,
    table::Table,
    texts::{Text, Texts},
};
use crate::config::Config;

/// An event that was read.
#[derive(Debug)]
pub(super) struct Found<'f> {
    /// Its number over all files, from 1; what can't be read has one, too.
    pub(super) number: u64,
    /// The event.
    pub(super) event: &'f TelemetryEvent<'f>,
    /// Where it stands, for people.
    pub(super) path: &'f Path,
}

type Each<'e> = dyn FnMut(&Found<'_>) -> anyhow::Result<ControlFlow<()>> + 'e;

/// Hands every event of all files and folders to `each`, in their order, until it breaks. Without any it is standard input that is read.
/// Those that name no tenant are `tenant`'s. What can't be read is told on stderr, and in the report.
///
/// # Errors
/// When a file can't be found, or with what `each` returns.
pub(super) fn each_event(
    paths: &[PathBuf],
    tenant: &str,
    config: &Config,
    each: &mut Each<'_>,
) -> anyhow::Result<Report> {
    let standard_input = [PathBuf::from("-")];
    let inputs = expand(if paths.is_empty() { &standard_input } else { paths })?;
    let (max, unpacker) = (config.limits.max_event_bytes, config.limits.file_unpacker());
    let mut reading = Reading { max, tenant, unpacker, faults: Faults::default(), report: Report::default() };
    for input in &inputs {
        let flow = reading.file(input, each);
        std::mem::take(&mut reading.faults).tell(&input.path, &mut reading.report, &mut io::stderr())?;
        if flow?.is_break() {
            break;
        }
    }
    if inputs.iter().all(|input| input.is_found) && reading.report.files == 0 {
        bail!("none of the {} files is a log that is read here; name one to see why", inputs.len());
    }
    Ok(reading.report)
}

/// A pass over files.
struct Reading<'r> {
    max: usize,
    tenant: &'r str,
    unpacker: Unpacker,
    /// Those of the file at hand.
    faults: Faults,
    report: Report,
}

impl Reading<'_> {
    fn file(&mut self, Input { path, is_found }: &Input, each: &mut Each<'_>) -> anyhow::Result<ControlFlow<()>> {
        let progress = progress_bar(path);
        let content = match encoding::open(path, &progress) {
            Ok(content) => content,
            Err(error) => {
                self.faults.add("unreadable", || format!("can't be read: {error}"));
                return Ok(ControlFlow::Continue(()));
            }
        };
        self.report.files += 1;
        let flow = match content {
            Content::Evtx(file) => self.evtx(file, path, each),
            Content::Text(input) => self.text(Texts::new(input, self.max), path, *is_found, each),
            Content::Binary if *is_found => {
                self.no_log(path);
                Ok(ControlFlow::Continue(()))
            }
            Content::Binary => {
                self.faults.add("unknown_form", || "is neither text nor a Windows event log".to_owned());
                Ok(ControlFlow::Continue(()))
            }
        };
        progress.finish_and_clear();
        flow
    }

    fn no_log(&mut self, path: &Path) {
        self.report.files -= 1;
        self.report.pass_over(path);
    }

    fn evtx(&mut self, file: std::fs::File, path: &Path, each: &mut Each<'_>) -> anyhow::Result<ControlFlow<()>> {
        let (mut flow, mut number) = (ControlFlow::Continue(()), 0);
        let missing = evtx::each_event(file, &mut |event| {
            number += 1;
            let place = || format!("event {number}");
            flow = match event {
                Ok(value) => self.take(&Incoming { value, ..Incoming::default() }, path, &place, each)?,
                Err(error) => {
                    self.fault("not_evtx", || format!("{}: {error}", place()));
                    ControlFlow::Continue(())
                }
            };
            Ok(flow)
        });
        match missing {
            Ok(None) => {}
            Ok(Some(missing)) => self.faults.add("cut_off", || missing),
            Err(error) if error.is::<::evtx::err::EvtxError>() || error.is::<io::Error>() => {
                self.faults.add("not_evtx", || format!("no Windows event log: {error:#}"));
            }
            Err(error) => return Err(error),
        }
        Ok(flow)
    }

    fn text<R: Read>(
        &mut self,
        mut texts: Texts<R>,
        path: &Path,
        is_found: bool,
        each: &mut Each<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let first = texts.peek_line();
        if !matches!(first.first(), Some(b'{' | b'[' | b'<')) {
            if let Some(table) = Table::of(first, path) {
                return self.table(table, texts, path, each);
            }
            if is_found && !is_log(path) {
                self.no_log(path);
                return Ok(ControlFlow::Continue(()));
            }
        }
        let mut flow = ControlFlow::Continue(());
        while let Some(Text { bytes, line, inside, too_large }) = texts.next() {
            let of_list = |place: &str| format!("line {line}, {place}");
            let place = || inside.map_or_else(|| format!("line {line}"), |(_, place)| of_list(place));
            if let Some(bytes) = too_large {
                let error =
                    ReadError::TooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), limit: self.max };
                self.fault("too_large", || format!("{}: {error}", place()));
                continue;
            }
            let container = Container::new(inside.map_or(b"", |(head, _)| head));
            let inside = inside.map(|(_, place)| Inside { container: &container, place });
            flow = self.take(&Incoming { value: bytes, inside, ..Incoming::default() }, path, &place, each)?;
            if flow.is_break() {
                break;
            }
        }
        if let Some(error) = texts.broken() {
            self.faults.add("cut_off", || format!("ends in the middle, or is damaged: {error}"));
        }
        Ok(flow)
    }

    fn table<R: Read>(
        &mut self,
        table: Table,
        texts: Texts<R>,
        path: &Path,
        each: &mut Each<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut flow = ControlFlow::Continue(());
        table.each_row(texts, self.max, &mut |(line, row)| {
            let place = || format!("line {line}");
            flow = match row {
                Ok(value) => self.take(&Incoming { value, ..Incoming::default() }, path, &place, each)?,
                Err(fault) => {
                    self.fault(fault.reason, || format!("{}: {}", place(), fault.message));
                    ControlFlow::Continue(())
                }
            };
            Ok(flow)
        })?;
        Ok(flow)
    }

    /// Hands on all events of what may be one or a container.
    fn take(
        &mut self,
        incoming: &Incoming<'_>,
        path: &Path,
        place: &dyn Fn() -> String,
        each: &mut Each<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let Self { unpacker, faults, report, tenant, .. } = self;
        let incoming = Incoming { key: Some(tenant.as_bytes()), ..*incoming };
        let mut flow = Ok(ControlFlow::Continue(()));
        let unpacked = unpacker.each(&incoming, &mut |part| {
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                return;
            }
            report.events += 1;
            match &part.event {
                Ok(event) => flow = each(&Found { number: report.events, event, path }),
                Err(error) => faults.add(error.reason(), || match part.place.filter(|place| !place.is_empty()) {
                    Some(inner) if incoming.inside.is_none() => format!("{}, {inner}: {error}", place()),
                    _ => format!("{}: {error}", place()),
                }),
            }
        });
        match unpacked {
            Ok(Unpacked::Container(0)) => report.empty_containers += 1,
            Ok(_) => {}
            Err(error) => {
                report.events += 1;
                faults.add(error.reason(), || format!("{}: {error}", place()));
            }
        }
        flow
    }

    /// An event that can't be read.
    fn fault(&mut self, reason: &'static str, told: impl FnOnce() -> String) {
        self.report.events += 1;
        self.faults.add(reason, told);
    }
}

/// Whether a text in a folder is a log by its name, where its first line does not say so.
fn is_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_one = |part: &str| {
        matches!(
            part,
            "log"
                | "json"
                | "ndjson"
                | "jsonl"
                | "evtx"
                | "xml"
                | "csv"
                | "tsv"
                | "cef"
                | "leef"
                | "syslog"
                | "messages"
                | "audit"
        )
    };
    name.split('.').any(is_one)
}

/// A bar where a person waits: not beside findings on the same terminal.
fn progress_bar(path: &Path) -> ProgressBar {
    if path == Path::new("-") || !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(path.display().to_string())
}
