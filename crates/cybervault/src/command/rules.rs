//! `cybervault rules`.

mod check;
mod coverage;
mod stats;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use cybervault_model::{Decoder, Incoming, json::Limits};
use cybervault_sigma::{Mappings, Matcher, Routing};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::check::Told;
use super::Answer;
use crate::{
    cli::{RulesArgs, RulesCommand},
    config::Config,
    content::{Source, SourceFile},
    detection::RuleFiles,
};

pub(super) fn run(command: &RulesCommand, config: &Config) -> anyhow::Result<Answer> {
    let read = |args: &RulesArgs| {
        RuleFiles::read(&rules_source(args.dir.as_deref(), config), &pipeline_sources(&args.pipelines, config))
    };
    match command {
        RulesCommand::Check(args) => check::run(&read(&args.rules)?, args),
        RulesCommand::Test(args) => test(&read(args)?, args.json),
        RulesCommand::Stats(args) => stats::run(&read(&args.rules)?, args, config),
        RulesCommand::Coverage(args) => coverage::run(&read(args)?),
    }
}

/// The rules in `dir`, else those that are configured.
pub(super) fn rules_source(dir: Option<&Path>, config: &Config) -> Source {
    Source::path_or(dir.or(config.rules_dir.as_deref()), Source::SHIPPED_RULES)
}

/// The pipelines that are named, else those that are configured.
pub(super) fn pipeline_sources(named: &[PathBuf], config: &Config) -> Vec<Source> {
    let paths = if named.is_empty() { &config.rules.pipelines[..] } else { named };
    paths.iter().cloned().map(Source::Path).collect()
}

/// A rule's document as far as tests go.
#[derive(Deserialize)]
struct WithExamples {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    examples: Vec<Example>,
}

/// An event, and whether the rule is to be true of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    r#match: bool,
    /// An envelope, or a raw log.
    event: Value,
}

/// What `rules test --json` prints.
#[derive(Default, Serialize)]
struct Tested {
    rules: usize,
    without_examples: usize,
    examples: usize,
    failed: Vec<Wrong>,
}

#[derive(Serialize)]
struct Wrong {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// From 1; 0 where the rule as a whole is meant.
    example: usize,
    error: String,
}

fn test(rules: &RuleFiles, json: bool) -> anyhow::Result<Answer> {
    let matcher = Matcher::compile(rules.pack(), &Mappings::builtin());
    let mut tested = Tested::default();
    for failure in matcher.failed() {
        let path = format!("{}{}", failure.path, failure.place());
        tested.failed.push(Wrong { path, rule: None, example: 0, error: failure.message.clone() });
    }
    for file in &rules.files {
        test_file(file, &matcher, &mut tested);
    }
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &tested).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for Wrong { path, rule, example, error } in &tested.failed {
            let rule = rule.as_ref().map_or_else(String::new, |rule| format!(" {rule}:"));
            let example = if *example > 0 { format!(" example {example}:") } else { String::new() };
            writeln!(out, "{path}:{rule}{example} {error}")?;
        }
        let Tested { rules, without_examples, examples, failed } = &tested;
        writeln!(
            out,
            "{examples} examples of {rules} rules, {} failed, {without_examples} rules without",
            failed.len()
        )?;
    }
    Ok(Answer::from_fine(tested.failed.is_empty()))
}

fn test_file(file: &SourceFile, matcher: &Matcher, tested: &mut Tested) {
    for document in yaml_serde::Deserializer::from_str(&file.text) {
        // What is no YAML has been told as a rule that can't be used. Behind it there is no document, only the same error again.
        let Ok(document) = yaml_serde::Value::deserialize(document) else { return };
        let rule = match WithExamples::deserialize(document) {
            Ok(rule) => rule,
            Err(error) => {
                let error = format!("its examples can't be read: {error}");
                tested.failed.push(Wrong { path: file.path.clone(), rule: None, example: 0, error });
                continue;
            }
        };
        let place = matcher.rules().iter().position(|meta| match &rule.id {
            Some(id) => meta.id == *id,
            None => meta.path == file.path && meta.title == rule.title,
        });
        let Some(place) = place else { continue };
        tested.rules += 1;
        tested.without_examples += usize::from(rule.examples.is_empty());
        tested.examples += rule.examples.len();
        for (at, example) in rule.examples.iter().enumerate() {
            let problem = match is_true_of(matcher, place, &example.event) {
                Err(error) => error,
                Ok(found) if found == example.r#match => continue,
                Ok(true) => "the rule is true of the event, and should not be".to_owned(),
                Ok(false) => "the rule is not true of the event, and should be".to_owned(),
            };
            let path = file.path.clone();
            tested.failed.push(Wrong { path, rule: Some(rule.title.clone()), example: at + 1, error: problem });
        }
    }
}

/// Whether the rule at `place` is true of `event`.
fn is_true_of(matcher: &Matcher, place: usize, event: &Value) -> Result<bool, String> {
    let bytes = event.to_string();
    let mut decoder = Decoder::new(Limits::default());
    let incoming = Incoming { key: Some(b"examples"), value: bytes.as_bytes(), ..Incoming::default() };
    let decoded = decoder.decode(&incoming).map_err(|error| error.to_string())?;
    let mut scratch = matcher.scratch();
    let hits = matcher.matches(&decoded.event(), Routing::Auto, &mut scratch);
    Ok(hits.iter().any(|hit| hit.get() == place))
}
