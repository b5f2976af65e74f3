//! The same of a correlation: what each event did in its groups, and how far its condition is from being true.

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    sync::Arc,
};

use cybervault_correlation::{Plan, Step};
use cybervault_sigma::{Comparison, Correlation, CorrelationCriterion, Mappings, Matcher, RulePack};
use serde_json::{Map, Value, json};

use crate::{
    cli::ScoreArgs,
    command::{Answer, input::each_event},
    config::Config,
    correlating::Correlating,
};

pub(super) fn run(place: usize, pack: RulePack, args: &ScoreArgs, config: &Config) -> anyhow::Result<Answer> {
    let correlation = pack.correlations[place].clone();
    let plan = Arc::new(Plan::compile(&pack));
    let matcher = Matcher::compile_naming(pack, &Mappings::builtin(), plan.fields().iter().map(String::as_str));
    let mut correlating = Correlating::new(plan, &matcher, 0, config.correlation.limits());
    let mut scratch = matcher.scratch();
    let mut out = BufWriter::new(io::stdout().lock());
    let report = each_event(&args.files, &args.tenant, config, &mut |found| {
        let hits = matcher.matches(found.event, args.route.into(), &mut scratch).to_vec();
        let mut told = Told { steps: Vec::new(), lines: Vec::new() };
        let (watched, without_time) = ((&mut scratch, place), correlating.without_time);
        let is_fed =
            correlating.watch(&matcher, found.event, &hits, watched, &mut |step| told.take(&correlation, step));
        let has_time = correlating.without_time == without_time;
        if args.json {
            told.write_json(&correlation, found.number, is_fed, &mut out)?;
        } else {
            told.write(&correlation, found.number, (is_fed, has_time), &mut out)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    out.flush()?;
    Ok(Answer::from_fine(report.bad() == 0))
}

/// What an event did, for programs and for people.
struct Told {
    steps: Vec<Value>,
    lines: Vec<(bool, String)>,
}

impl Told {
    fn take(&mut self, correlation: &Correlation, step: &Step<'_>) {
        let group: Map<_, _> = step.group.iter().map(|(field, value)| ((*field).to_owned(), (*value).into())).collect();
        self.steps.push(json!({
            "group": group,
            "count": step.count,
            "measured": step.measured,
            "rules": step.rules,
            "is_true": step.is_true,
            "becomes_true": step.becomes_true,
        }));
        let group: Vec<_> = step.group.iter().map(|(field, value)| format!("{field} = {value}")).collect();
        let group = if group.is_empty() { "all of the tenant".to_owned() } else { group.join(", ") };
        let state = match (step.becomes_true, step.is_true) {
            (true, _) => "becomes true",
            (false, true) => "stays true",
            (false, false) => "not true",
        };
        let measured =
            step.measured.map_or_else(String::new, |number| format!(", {} {number}", correlation.kind.as_str()));
        let rules = if step.rules.is_empty() { String::new() } else { format!(" ({})", step.rules.join(", ")) };
        let count = step.count;
        self.lines.push((
            step.becomes_true,
            format!(
                "{state:<12}  {group}: {count} in the time frame{rules}{measured}; asked for: {}",
                asked(correlation)
            ),
        ));
    }

    fn write_json(self, correlation: &Correlation, line: u64, is_fed: bool, out: &mut impl Write) -> io::Result<()> {
        let fires = self.lines.iter().any(|(becomes_true, _)| *becomes_true);
        let (rule, title) = (&correlation.meta.id, &correlation.meta.title);
        let told = json!({ "line": line, "rule": rule, "title": title, "fires": fires, "is_fed": is_fed, "groups": self.steps });
        writeln!(out, "{told}")
    }

    fn write(
        self,
        correlation: &Correlation,
        line: u64,
        (is_fed, has_time): (bool, bool),
        out: &mut impl Write,
    ) -> io::Result<()> {
        let verb = if self.lines.iter().any(|(becomes_true, _)| *becomes_true) {
            "becomes true"
        } else {
            "does not become true"
        };
        writeln!(out, "line {line}: {verb}: {} ({})", correlation.meta.title, correlation.meta.id)?;
        let why = match (is_fed, has_time, self.lines.is_empty()) {
            (false, ..) => "  none of the rules that it is over is true of the event",
            (true, false, _) => "  the event has no time, without which it can't be correlated",
            (true, true, true) => {
                "  a rule that it is over is true of the event, but the event is in no group: a field of `group-by`, or the one \
                 that counts, has no value; or a correlation under it is not true"
            }
            (true, true, false) => return self.lines.iter().try_for_each(|(_, line)| writeln!(out, "  {line}")),
        };
        writeln!(out, "{why}")
    }
}

/// What the condition asks for.
fn asked(correlation: &Correlation) -> String {
    match &correlation.condition {
        CorrelationCriterion::Rules(_) => "its condition on rules".to_owned(),
        CorrelationCriterion::Bounds(bounds) => {
            let name = |comparison: Comparison| match comparison {
                Comparison::Less => "lt",
                Comparison::AtMost => "lte",
                Comparison::Greater => "gt",
                Comparison::AtLeast => "gte",
                Comparison::Equal => "eq",
                Comparison::NotEqual => "neq",
            };
            bounds
                .iter()
                .map(|(comparison, bound)| format!("{} {bound}", name(*comparison)))
                .collect::<Vec<_>>()
                .join(", ")
        }
    }
}
