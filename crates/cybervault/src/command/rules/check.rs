//! `cybervault rules check`: what is wrong with rules, and where.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use cybervault_sigma::{FINDING_KINDS, Mappings, Matcher, Rule, RuleFinding, RulePack};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::{CheckArgs, CheckOutput},
    command::Answer,
    detection::RuleFiles,
};

/// What `rules check --json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    rules: usize,
    loaded: usize,
    correlations: usize,
    filters: usize,
    failed: Vec<Told<'a>>,
    warnings: Vec<Told<'a>>,
    /// Ids that several rules have: what is found says only the id.
    twice: Vec<&'a str>,
    version: &'a str,
}

/// A finding, for programs.
#[derive(Serialize)]
pub(in crate::command) struct Told<'a> {
    path: &'a str,
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
}

impl<'a> Told<'a> {
    pub(in crate::command) fn new(finding: &'a RuleFinding) -> Self {
        let RuleFinding { path, line, column, code, message } = finding;
        Self { path, error: message, code, line: *line, column: *column }
    }
}

pub(super) fn run(rules: &RuleFiles, args: &CheckArgs) -> anyhow::Result<Answer> {
    let (mut pack, mappings) = (rules.pack(), Mappings::builtin());
    let misnamed = pack.rules.iter().filter_map(|rule| misnamed(rule, &mappings)).collect::<Vec<_>>();
    pack.warnings.extend(misnamed);
    let matcher = Matcher::compile(&pack, &mappings);
    let (loaded, failed) = (matcher.rules().len(), matcher.failed());
    let folder = args.rules.dir.as_deref().filter(|path| path.is_dir());
    let mut out = io::stdout().lock();
    match args.output {
        CheckOutput::Json => json(&pack, &matcher, &mut out)?,
        CheckOutput::Text if args.rules.json => json(&pack, &matcher, &mut out)?,
        CheckOutput::Sarif => {
            serde_json::to_writer_pretty(&mut out, &sarif(failed, &pack.warnings, folder)).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        CheckOutput::Text => {
            for (severity, finding) in in_order(failed, &pack.warnings) {
                writeln!(out, "{}{}: {severity}: {}", path(folder, finding), finding.place(), finding.message)?;
            }
            let (of, warnings) = (loaded + failed.len(), pack.warnings.len());
            let warned = if warnings > 0 { format!(", with {warnings} warnings") } else { String::new() };
            let with = match pack.correlations.len() {
                0 => String::new(),
                count => format!(", and {count} correlations over them"),
            };
            writeln!(out, "{loaded} of {of} rules can be used{with}{warned}")?;
        }
    }
    Ok(Answer::from_fine(
        failed.is_empty()
            && loaded + pack.correlations.len() + pack.filters > 0
            && (!args.strict || pack.warnings.is_empty()),
    ))
}

/// What is to be said of a log source that no events are known to be of, and whose name is near one that some are.
fn misnamed(rule: &Rule, mappings: &Mappings) -> Option<RuleFinding> {
    let (part, meant) = mappings.meant(&rule.meta.logsource)?;
    let (line, column) = rule.source_place();
    let message = format!(
        "{}: no events are known to be of this log source, so the rule is tried on none; was `{part}: {meant}` meant?",
        rule.meta.title
    );
    Some(RuleFinding {
        path: rule.meta.path.clone(),
        line: Some(line),
        column: Some(column),
        code: "logsource",
        message,
    })
}

/// Both, by their places.
fn in_order<'f>(failed: &'f [RuleFinding], warnings: &'f [RuleFinding]) -> Vec<(&'static str, &'f RuleFinding)> {
    let failed = failed.iter().map(|finding| ("error", finding));
    let mut all: Vec<_> = failed.chain(warnings.iter().map(|finding| ("warning", finding))).collect();
    all.sort_by_key(|(_, finding)| (&finding.path, finding.line, finding.column));
    all
}

/// A path that can be opened from where the command was called.
fn path(folder: Option<&Path>, finding: &RuleFinding) -> String {
    folder.map_or_else(|| finding.path.clone(), |folder| folder.join(&finding.path).display().to_string())
}

fn json(pack: &RulePack, matcher: &Matcher, out: &mut impl Write) -> io::Result<()> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    matcher.rules().iter().for_each(|rule| *count.entry(&rule.id).or_default() += 1);
    let (loaded, failed) = (matcher.rules().len(), matcher.failed());
    let checked = Checked {
        rules: loaded + failed.len(),
        loaded,
        correlations: pack.correlations.len(),
        filters: pack.filters,
        failed: failed.iter().map(Told::new).collect(),
        warnings: pack.warnings.iter().map(Told::new).collect(),
        twice: count.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id).collect(),
        version: matcher.version(),
    };
    serde_json::to_writer(&mut *out, &checked).map_err(io::Error::from)?;
    writeln!(out)
}

/// The findings in the Static Analysis Results Interchange Format (OASIS, SARIF 2.1.0), which code hosts show at their lines.
fn sarif(failed: &[RuleFinding], warnings: &[RuleFinding], folder: Option<&Path>) -> Value {
    let kinds = FINDING_KINDS.map(|(code, meaning)| json!({ "id": code, "shortDescription": { "text": meaning } }));
    let results = in_order(failed, warnings).into_iter().map(|(severity, finding)| {
        let mut result = json!({
            "ruleId": finding.code,
            "level": severity,
            "message": { "text": finding.message },
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": { "uri": uri(&path(folder, finding)) },
                    "region": {
                        "startLine": finding.line.unwrap_or(1),
                        "startColumn": finding.column.unwrap_or(1),
                    },
                },
            }],
        });
        if let Some(index) = FINDING_KINDS.iter().position(|(code, _)| *code == finding.code) {
            result["ruleIndex"] = index.into();
        }
        result
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "cybervault",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "informationUri": env!("CARGO_PKG_REPOSITORY"),
                    "rules": kinds.to_vec(),
                },
            },
            // A column counts characters, not bytes.
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// A path as a reference of RFC 3986: relative ones stay so.
fn uri(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'\\' => uri.push('/'),
            byte if is_plain(byte) => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
