//! `cybervault doctor`: looks at everything that a fleet rests on, and says what to change.

mod access;
mod cluster;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use cybervault_model::avro::{Lookup, WriterSchemas};
use cybervault_stream::inspect;
use serde::Serialize;

use super::Answer;
use crate::{
    cli::DoctorArgs,
    config::Config,
    content::{ContentError, Sources},
    detection::Detection,
    live::Live,
    logging::wants_color,
    pipeline,
};

/// What was looked at, and how it is.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    what: String,
    verdict: Verdict,
    /// How it is.
    is: String,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Fine,
    /// Could not be looked at.
    Unseen,
    /// Works, and will hurt one day.
    Risky,
    /// Does not work.
    Wrong,
}

impl Finding {
    fn fine(what: impl Into<String>, is: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Fine, is: is.into(), change: None }
    }

    fn unseen(what: impl Into<String>, is: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Unseen, is: is.into(), change: None }
    }

    fn risky(what: impl Into<String>, is: impl Into<String>, change: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Risky, is: is.into(), change: Some(change.into()) }
    }

    fn wrong(what: impl Into<String>, is: impl Into<String>, change: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Wrong, is: is.into(), change: Some(change.into()) }
    }
}

pub(super) fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<Answer> {
    let mut findings = content(config);
    findings.extend(registry(config));
    let names: Vec<String> = config.topic_plans().into_iter().map(|plan| plan.name).collect();
    let kafka = config.kafka();
    match inspect::inspect(&kafka, &names.iter().map(String::as_str).collect::<Vec<_>>()) {
        Err(error) => {
            let change = "check address, network, TLS and SASL: see \"SASL and TLS\" in docs/operations.md";
            findings.push(Finding::wrong("kafka", error.to_string(), change));
        }
        Ok(found) => {
            findings.extend(cluster::look_at(config, &found));
            let is_missing = |name: &&String| !found.topics.contains_key(*name) && !found.hidden.contains(*name);
            let all_there = !names.iter().any(|name| is_missing(&name));
            findings.extend(match (args.probe, all_there) {
                (true, true) => access::look_at(config),
                (true, false) => vec![Finding::unseen("permissions", "not tried: topics are missing")],
                (false, _) => vec![Finding::unseen("permissions, clock", "not tried: that takes `--probe`")],
            });
        }
    }
    let fine = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    if args.json {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::json!({ "fine": fine, "findings": findings }))?;
    } else {
        tell(&findings)?;
    }
    Ok(Answer::from_fine(fine))
}

/// Tenants, rules and playbooks, as a worker would read them.
fn content(config: &Config) -> Vec<Finding> {
    let failed =
        |what: &str, error: &ContentError| vec![Finding::wrong(what, error.to_string(), "a worker would not start")];
    let sources = match Sources::of(config, false) {
        Ok(sources) => sources,
        Err(error) => return failed("tenants", &error),
    };
    let live = match Live::load(config, sources) {
        Ok(live) => live,
        Err(error) => return failed("tenants, rules, playbooks", &error),
    };
    let mut findings = vec![
        Finding::fine("tenants", format!("{} in force", live.admission().len())),
        Finding::fine("playbooks", format!("{} in force", live.playbooks().len())),
    ];
    findings.push(rules(&live.detection()));
    findings
}

fn rules(detection: &Detection) -> Finding {
    let (count, failed) = (detection.matcher.rules().len(), detection.matcher.failed().len());
    let is = format!("{count} in force, {failed} left out");
    match (count, failed) {
        (0, _) => Finding::wrong("rules", is, "nothing can be found without rules: see `rules_dir`"),
        (_, 0) => Finding::fine("rules", is),
        _ => Finding::risky("rules", is, "`cybervault rules check` names those that can't be used, and why"),
    }
}

fn registry(config: &Config) -> Option<Finding> {
    let what = "schema registry";
    let asked = match pipeline::registry(config) {
        Ok(registry) => registry?.by_id(1),
        Err(error) => Lookup::Unavailable(error.to_string()),
    };
    Some(match asked {
        Lookup::Unavailable(reason) => Finding::wrong(what, reason, "check `kafka.schema_registry`"),
        Lookup::Found(_) | Lookup::Unknown(_) => Finding::fine(what, "answers"),
    })
}

/// For people: what is wrong last, where the eye is when a command ends.
fn tell(findings: &[Finding]) -> io::Result<()> {
    let color = wants_color(&io::stdout());
    let mut out = io::stdout().lock();
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.verdict as u8);
    for finding in sorted {
        let (word, hue) = match finding.verdict {
            Verdict::Fine => ("fine  ", AnsiColor::Green),
            Verdict::Unseen => ("unseen", AnsiColor::BrightBlack),
            Verdict::Risky => ("risky ", AnsiColor::Yellow),
            Verdict::Wrong => ("wrong ", AnsiColor::Red),
        };
        let style = if color { Style::new().fg_color(Some(hue.into())) } else { Style::new() };
        writeln!(out, "{style}{word}{style:#}  {}: {}", finding.what, finding.is)?;
        if let Some(change) = &finding.change {
            writeln!(out, "        → {change}")?;
        }
    }
    Ok(())
}
