//! `cybervault score --explain`: why a rule fires on events or does not.

mod correlation;

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
};

use cybervault_model::TelemetryEvent;
use cybervault_sigma::{ExplainedLine, ExplainedSelection, Explainer, Explanation, Mappings, RuleMeta, Scratch};
use serde_json::json;

use crate::{
    cli::ScoreArgs,
    command::{Answer, input::each_event},
    config::Config,
    content::ContentError,
    detection::RuleFiles,
};

/// How much of a value is shown to people, in characters.
const SHOWN: usize = 160;

pub(super) fn run(rule: &str, args: &ScoreArgs, config: &Config, rules: &RuleFiles) -> anyhow::Result<Answer> {
    let pack = rules.pack();
    if let Some(place) = pack.correlations.iter().position(|correlation| is_named(&correlation.meta, rule)) {
        return correlation::run(place, pack, args, config);
    }
    let explainer = Explainer::new(rules.rule_files(), &rules.pipelines, &Mappings::builtin(), rule)
        .map_err(|error| ContentError::Invalid { what: "rule", place: rule.to_owned(), reason: error.to_string() })?;
    let mut scratch = explainer.scratch();
    let mut out = BufWriter::new(io::stdout().lock());
    let report = each_event(&args.files, &args.tenant, config, &mut |found| {
        explain(&explainer, args, found.event, found.number, &mut scratch, &mut out)?;
        Ok(ControlFlow::Continue(()))
    })?;
    out.flush()?;
    Ok(Answer::from_fine(report.bad() == 0))
}

fn is_named(meta: &RuleMeta, wanted: &str) -> bool {
    meta.id == wanted || meta.title == wanted
}

fn explain(
    explainer: &Explainer,
    args: &ScoreArgs,
    event: &TelemetryEvent<'_>,
    line: u64,
    scratch: &mut Scratch,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let told = explainer.explain(event, args.route.into(), scratch);
    let rule = explainer.rule();
    if args.json {
        let mut object = json!({ "line": line, "rule": rule.id, "title": rule.title });
        if let (Some(object), serde_json::Value::Object(told)) = (object.as_object_mut(), json!(told)) {
            object.extend(told);
        }
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let verb = if told.fires { "fires" } else { "does not fire" };
    writeln!(out, "line {line}: {verb}: {} ({})", rule.title, rule.id)?;
    write_told(&told, out)?;
    Ok(())
}

fn write_told(told: &Explanation, out: &mut impl Write) -> io::Result<()> {
    if !told.tried {
        let sources = if told.log_sources.is_empty() { "unknown".to_owned() } else { told.log_sources.join(", ") };
        writeln!(out, "  not tried: the rule is for {}, the event's log source is {sources}", told.wanted)?;
    }
    for ExplainedSelection { name, holds, lines } in &told.selections {
        writeln!(out, "  {holds:<5}  {name}")?;
        let alternatives = lines.iter().any(|line| line.alternative > 0);
        for line in lines {
            let either = if alternatives { format!("{}. ", line.alternative + 1) } else { String::new() };
            writeln!(out, "    {:<5}  {either}{}", line.holds, asks(line))?;
            match (&line.field, line.found.as_slice()) {
                (None, _) => {}
                (Some(_), []) => writeln!(out, "           the event has no such field")?,
                (Some(_), found) => found.iter().try_for_each(|value| writeln!(out, "           = {}", cut(value)))?,
            }
        }
    }
    told.conditions.iter().try_for_each(|condition| writeln!(out, "  condition: {condition}"))
}

/// What a line of a selection asks for, in words.
fn asks(line: &ExplainedLine) -> String {
    let field = line.field.as_deref().unwrap_or("any text");
    let modifiers = if line.modifiers.is_empty() { "is" } else { &line.modifiers };
    let count = line.met.len() + line.unmet;
    let join = match (count, line.all) {
        (0 | 1, _) => String::new(),
        (count, true) => format!(" all of {count}"),
        (count, false) => format!(" any of {count}"),
    };
    let met: Vec<_> = line.met.iter().map(|value| format!("`{}`", cut(value))).collect();
    let mut text = format!("{field} {modifiers}{join}");
    match (count, &line.first_unmet) {
        (0 | 1, Some(value)) => text += &format!(" `{}`", cut(value)),
        (0 | 1, None) => text += &format!(" {}", met.join(", ")),
        (_, unmet) => {
            let met = if met.is_empty() { "none".to_owned() } else { met.join(", ") };
            text += &format!(": met: {met}");
            if let Some(value) = unmet {
                text += &format!("; not: `{}`", cut(value));
                if line.unmet > 1 {
                    text += &format!(" and {} more", line.unmet - 1);
                }
            }
        }
    }
    text
}

fn cut(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    // A backslash is a backslash here; what a terminal would take for a command is what must not pass.
    shown = shown.replace(r"\\", r"\").replace(r#"\""#, "\"").replace(r"\'", "'");
    if value.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
