//! `cybervault score`: events from files to findings, without Kafka.

mod explain;
mod summary;

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    sync::Arc,
};

use cybervault_model::{Encoding, TenantId};
use cybervault_scoring::to_ocsf;
use cybervault_sigma::{Routing, Scratch};
use serde_json::json;

use self::summary::Summary;
use super::{
    Answer,
    indicators::feeds,
    input::{Found, each_event},
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
        summary: Summary::default(),
    };
    let report = each_event(&args.files, &args.tenant, config, &mut |found| {
        scoring.score(found)?;
        Ok(ControlFlow::Continue(()))
    })?;
    scoring.out.flush()?;
    let Scoring { summary, .. } = scoring;
    summary.tell(&report, &mut io::stderr())?;
    Ok(Answer::from_fine(report.bad() == 0 && !(args.strict && summary.unknown > 0)))
}

/// A pass over all files.
struct Scoring<'a> {
    detection: &'a Detection,
    scratch: Scratch,
    args: &'a ScoreArgs,
    out: BufWriter<io::StdoutLock<'static>>,
    json: Vec<u8>,
    findings: Findings,
    summary: Summary,
}

impl Scoring<'_> {
    fn score(&mut self, found: &Found<'_>) -> anyhow::Result<()> {
        let (event, routing) = (found.event, self.args.route.into());
        self.detection.find(event, None, routing, &mut self.scratch, &mut self.findings);
        self.summary.found += u64::from(!self.findings.is_empty());
        if routing == Routing::Auto {
            self.summary.see(found, &self.detection.matcher, &mut self.scratch);
        }
        self.json.clear();
        match self.args.output {
            ScoreOutput::Hits if self.findings.is_empty() => return Ok(()),
            ScoreOutput::Hits => {
                let rules = self.detection.matcher.rules();
                let mut ids: Vec<&str> = self.findings.rules.iter().map(|hit| &*rules[hit.get()].id).collect();
                ids.sort_unstable();
                ids.dedup();
                let mut hits = json!({ "line": found.number, "rules": ids });
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
