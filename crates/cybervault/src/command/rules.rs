//! `cybervault rules`.

mod check;
mod coverage;
mod example;
mod stats;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub(super) use self::check::Told;
use self::example::{Tester, WithExamples};
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
    let tester = Tester::new(rules.pack());
    let mut tested = Tested::default();
    for failure in tester.matcher.failed() {
        let path = format!("{}{}", failure.path, failure.place());
        tested.failed.push(Wrong { path, rule: None, example: 0, error: failure.message.clone() });
    }
    for file in &rules.files {
        test_file(file, &tester, &mut tested);
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

fn test_file(file: &SourceFile, tester: &Tester, tested: &mut Tested) {
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
        let Some(tried) = tester.find(&rule, &file.path) else { continue };
        tested.rules += 1;
        tested.without_examples += usize::from(rule.examples.is_empty());
        tested.examples += rule.examples.len();
        for (at, example) in rule.examples.iter().enumerate() {
            let Some(problem) = tester.problem(tried, example) else { continue };
            let path = file.path.clone();
            tested.failed.push(Wrong { path, rule: Some(rule.title.clone()), example: at + 1, error: problem });
        }
    }
}
