//! `cybervault score`: events from files to findings, without Kafka.

mod explain;
mod summary;

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    sync::Arc,
};

use cybervault_model::{Encoding, TelemetryEvent, TenantId};
use cybervault_scoring::to_ocsf;
use cybervault_sigma::{Routing, Scratch};
use serde_json::{Map, Value, json};

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
    correlating::Correlating,
    detection::{Correlations, Detection, Findings, RuleFiles},
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
    let detection = Detection::load(&rules, &pipelines, config.scoring, Correlations::Evaluated)?
        .with_indicators(Arc::new(indicators));
    let mut scoring = Scoring {
        scratch: detection.matcher.scratch(),
        correlating: detection.correlating(config.correlation.limits()),
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
    let Scoring { summary, correlating, .. } = scoring;
    summary.tell(&report, &correlating, &mut io::stderr())?;
    Ok(Answer::from_fine(report.bad() == 0 && !(args.strict && summary.unknown > 0)))
}

/// A pass over all files.
struct Scoring<'a> {
    detection: &'a Detection,
    scratch: Scratch,
    correlating: Correlating,
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
        if routing == Routing::Auto {
            self.summary.see(found, &self.detection.matcher, &mut self.scratch);
        }
        self.json.clear();
        match self.args.output {
            ScoreOutput::Hits => self.hits(found)?,
            ScoreOutput::Assessments | ScoreOutput::Ocsf => self.assessments(event)?,
        }
        self.summary.found += u64::from(!self.json.is_empty() && !self.findings.is_empty());
        self.out.write_all(&self.json)?;
        Ok(())
    }

    fn hits(&mut self, found: &Found<'_>) -> anyhow::Result<()> {
        let Self { detection, scratch, correlating, findings, summary, .. } = self;
        let mut correlations = Vec::new();
        correlating.take(&detection.matcher, (found.event, None), &findings.rules, scratch, &mut |finding, _| {
            let group: Map<_, _> =
                finding.group.iter().map(|(field, value)| ((*field).to_owned(), Value::from(*value))).collect();
            correlations.push(json!({ "rule": finding.correlation.meta.id, "tenant": finding.tenant, "group": group }));
        });
        findings.keep_told(&detection.matcher);
        summary.correlated += correlations.len() as u64;
        if findings.is_empty() && correlations.is_empty() {
            return Ok(());
        }
        let rules = detection.matcher.rules();
        let mut ids: Vec<&str> = findings.rules.iter().map(|hit| &*rules[hit.get()].id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut hits = json!({ "line": found.number, "rules": ids });
        if !findings.indicators.is_empty() {
            hits["indicators"] = findings.indicators.iter().map(|found| &*found.id).collect();
        }
        if !correlations.is_empty() {
            hits["correlations"] = correlations.into();
        }
        writeln!(self.json, "{hits}")?;
        Ok(())
    }

    /// The event's own assessment, if there is something to say, and behind it those of the correlations that it makes true.
    fn assessments(&mut self, event: &TelemetryEvent<'_>) -> anyhow::Result<()> {
        let Self { detection, scratch, correlating, findings, summary, .. } = self;
        let mut correlated = Vec::new();
        let tenant_id = TenantId::new(event.tenant_id)?;
        correlating.take(&detection.matcher, (event, None), &findings.rules, scratch, &mut |finding, scratch| {
            correlated.push(detection.assess_correlation(&tenant_id, detection.about(event, scratch), finding));
        });
        findings.keep_told(&detection.matcher);
        summary.correlated += correlated.len() as u64;
        let mut all = Vec::with_capacity(1 + correlated.len());
        if !findings.is_empty() || self.args.all {
            all.push(detection.assess(&tenant_id, event, None, scratch, findings));
        }
        all.append(&mut correlated);
        for assessment in &all {
            match self.args.output {
                ScoreOutput::Ocsf => serde_json::to_writer(&mut self.json, &to_ocsf(assessment))?,
                _ => Encoding::Json.encode(assessment, &mut self.json)?,
            }
            self.json.push(b'\n');
        }
        Ok(())
    }
}
