//! `cybervault score`: events from files to findings, without Kafka.

mod explain;

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use cybervault_model::{Decoder, Encoding, Incoming, TelemetryEvent, TenantId};
use cybervault_scoring::to_ocsf;
use cybervault_sigma::Scratch;
use serde_json::json;

use super::{
    Answer,
    indicators::feeds,
    input::each_event,
    rules::{pipeline_sources, rules_source},
};
use crate::{
    cli::{ScoreArgs, ScoreOutput},
    config::{Config, ConfigError},
    detection::{Detection, Findings, RuleFiles},
    indicators::load_and_tell,
};

pub(super) fn run(args: &ScoreArgs, config: &Config) -> anyhow::Result<Answer> {
    TenantId::new(&args.tenant).map_err(|error| ConfigError::Value {
        origin: "command line".to_owned(),
        key: "--tenant".to_owned(),
        problem: error.to_string(),
    })?;
    let rules = rules_source(args.rules.as_deref(), config);
    let pipelines = pipeline_sources(&args.pipelines, config);
    if let Some(rule) = &args.explain {
        return explain::run(rule, args, config, &RuleFiles::read(&rules, &pipelines)?);
    }
    let indicators = load_and_tell(&feeds(&args.indicators, config))?;
    let detection = Detection::load(&rules, &pipelines, config.scoring)?.with_indicators(Arc::new(indicators));
    let mut scoring = Scoring {
        scratch: detection.matcher.scratch(),
        detection: &detection,
        args,
        out: BufWriter::with_capacity(256 * 1024, io::stdout().lock()),
        json: Vec::new(),
        findings: Findings::default(),
    };
    let answer = each_decoded(args, config, &mut |event, line| scoring.score(event, line))?;
    scoring.out.flush()?;
    Ok(answer)
}

/// Hands every event of all files to `each`, with its number from 1 over all of them; no if some could not be read.
fn each_decoded(
    args: &ScoreArgs,
    config: &Config,
    each: &mut impl FnMut(&TelemetryEvent<'_>, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Answer> {
    let mut decoder = Decoder::new(config.limits.reader());
    let (mut line, mut bad) = (0, 0);
    let standard_input = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() { &standard_input[..] } else { &args.files };
    for path in files {
        let unreadable = each_event(path, config.limits.max_event_bytes, &mut |value| {
            line += 1;
            // A blank line is nobody's event.
            if value.trim_ascii().is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let incoming = Incoming { key: Some(args.tenant.as_bytes()), value, ..Incoming::default() };
            match decoder.decode(&incoming) {
                Ok(decoded) => each(&decoded.event(), line)?,
                Err(error) => {
                    bad += 1;
                    writeln!(io::stderr(), "{}: line {line}: {error}", path.display())?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        (line, bad) = (line + unreadable, bad + unreadable);
    }
    if bad > 0 {
        writeln!(io::stderr(), "cybervault: {bad} of {line} lines could not be read")?;
    }
    Ok(Answer::from_fine(bad == 0))
}

/// A pass over all files.
struct Scoring<'a> {
    detection: &'a Detection,
    scratch: Scratch,
    args: &'a ScoreArgs,
    out: BufWriter<io::StdoutLock<'static>>,
    json: Vec<u8>,
    findings: Findings,
}

impl Scoring<'_> {
    fn score(&mut self, event: &TelemetryEvent<'_>, line: u64) -> anyhow::Result<()> {
        let routing = self.args.route.into();
        self.detection.find(event, None, routing, &mut self.scratch, &mut self.findings);
        self.json.clear();
        match self.args.output {
            ScoreOutput::Hits if self.findings.is_empty() => return Ok(()),
            ScoreOutput::Hits => {
                let rules = self.detection.matcher.rules();
                let mut ids: Vec<&str> = self.findings.rules.iter().map(|hit| &*rules[hit.get()].id).collect();
                ids.sort_unstable();
                ids.dedup();
                let mut hits = json!({ "line": line, "rules": ids });
                if !self.findings.indicators.is_empty() {
                    hits["indicators"] = self.findings.indicators.iter().map(|found| &*found.id).collect();
                }
                write!(self.json, "{hits}")?;
            }
            ScoreOutput::Assessments | ScoreOutput::Ocsf if self.findings.is_empty() && !self.args.all => {
                return Ok(());
            }
            output => {
                let tenant_id = TenantId::new(event.tenant_id)?;
                let (scratch, findings) = (&mut self.scratch, &mut self.findings);
                let assessment = self.detection.assess(&tenant_id, event, None, scratch, findings);
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
