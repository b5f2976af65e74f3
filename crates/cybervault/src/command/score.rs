//! `cybervault score`: events from files to findings, without Kafka.

mod lines;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write},
    path::Path,
};

use anyhow::Context;
use cybervault_model::{Assessment, Decoder, Encoding, Incoming, TelemetryEvent, TenantId};
use cybervault_scoring::to_ocsf;
use cybervault_sigma::{Routing, RuleIndex, Scratch};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::lines::Lines;
use super::{Answer, rules::rules_source};
use crate::{
    cli::{ScoreArgs, ScoreOutput},
    config::{Config, ConfigError},
    detection::Detection,
};

pub(super) fn run(args: &ScoreArgs, config: &Config) -> anyhow::Result<Answer> {
    TenantId::new(&args.tenant).map_err(|error| ConfigError::Value {
        origin: "command line".to_owned(),
        key: "--tenant".to_owned(),
        problem: error.to_string(),
    })?;
    let detection = Detection::load(&rules_source(args.rules.as_deref(), config), config.scoring)?;
    let mut scoring = Scoring {
        scratch: detection.matcher.scratch(),
        detection: &detection,
        decoder: Decoder::new(config.limits.reader()),
        routing: args.route.into(),
        args,
        max_line: config.limits.max_event_bytes,
        out: BufWriter::with_capacity(256 * 1024, io::stdout().lock()),
        json: Vec::new(),
        hits: Vec::new(),
        line: 0,
        bad: 0,
    };
    if args.files.is_empty() {
        scoring.score_file(Path::new("-"))?;
    }
    for file in &args.files {
        scoring.score_file(file)?;
    }
    scoring.out.flush()?;
    if scoring.bad > 0 {
        writeln!(io::stderr(), "cybervault: {} of {} lines could not be read", scoring.bad, scoring.line)?;
    }
    Ok(Answer::from_fine(scoring.bad == 0))
}

/// A pass over all files.
struct Scoring<'a> {
    detection: &'a Detection,
    scratch: Scratch,
    decoder: Decoder,
    routing: Routing,
    args: &'a ScoreArgs,
    max_line: usize,
    out: BufWriter<io::StdoutLock<'static>>,
    json: Vec<u8>,
    hits: Vec<RuleIndex>,
    /// The number of the line at hand, from 1, over all files.
    line: u64,
    bad: u64,
}

impl Scoring<'_> {
    fn score_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let progress = progress_bar(path);
        let input = open(path, &progress).with_context(|| format!("can't read {}", path.display()))?;
        let mut lines = Lines::new(input, self.max_line);
        while let Some(line) = lines.next().with_context(|| format!("reading {}", path.display()))? {
            self.line += 1;
            // A blank line is nobody's event.
            if !line.trim_ascii().is_empty() {
                self.score_line(line, path)?;
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn score_line(&mut self, line: &[u8], path: &Path) -> anyhow::Result<()> {
        let incoming = Incoming { key: Some(self.args.tenant.as_bytes()), value: line, ..Incoming::default() };
        let decoded = match self.decoder.decode(&incoming) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.bad += 1;
                writeln!(io::stderr(), "{}: line {}: {error}", path.display(), self.line)?;
                return Ok(());
            }
        };
        let event = decoded.event();
        self.hits.clear();
        self.hits.extend_from_slice(self.detection.matcher.matches(&event, self.routing, &mut self.scratch));
        self.json.clear();
        match self.args.output {
            ScoreOutput::Hits if self.hits.is_empty() => return Ok(()),
            ScoreOutput::Hits => {
                let rules = self.detection.matcher.rules();
                let mut ids: Vec<&str> = self.hits.iter().map(|hit| &*rules[hit.get()].id).collect();
                ids.sort_unstable();
                ids.dedup();
                write!(self.json, "{}", json!({ "line": self.line, "rules": ids }))?;
            }
            ScoreOutput::Assessments | ScoreOutput::Ocsf if self.hits.is_empty() && !self.args.all => return Ok(()),
            output => {
                let assessment = assess(self.detection, &event, &self.hits, &mut self.scratch)?;
                match output {
                    ScoreOutput::Ocsf => serde_json::to_writer(&mut self.json, &to_ocsf(&assessment))?,
                    _ => Encoding::Json.encode(&assessment, &mut self.json)?,
                }
            }
        }
        self.json.push(b'\n');
        self.out.write_all(&self.json)?;
        Ok(())
    }
}

fn assess(
    detection: &Detection,
    event: &TelemetryEvent<'_>,
    hits: &[RuleIndex],
    scratch: &mut Scratch,
) -> anyhow::Result<Assessment> {
    let tenant_id = TenantId::new(event.tenant_id)?;
    Ok(detection.assess(&tenant_id, event, None, hits, scratch))
}

/// The file's text, unpacked as its name says.
fn open(path: &Path, progress: &ProgressBar) -> io::Result<Box<dyn BufRead>> {
    const BUFFER: usize = 256 * 1024;
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin().lock())));
    }
    let file = File::open(path)?;
    progress.set_length(file.metadata()?.len());
    let file = BufReader::with_capacity(BUFFER, progress.wrap_read(file));
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match extension {
        "gz" => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(file))),
        "zst" => Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(file)?)),
        _ => Box::new(file),
    })
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
