//! `cybervault bench`: how fast it is, held against something in the same run.

mod correlations;
mod events;
mod matching;
mod pipeline;

use std::{io::Write, time::Duration};

use super::Answer;
use crate::{cli::BenchCommand, config::Config};

pub(super) fn run(command: &BenchCommand, config: Config) -> anyhow::Result<Answer> {
    match command {
        BenchCommand::Match(args) => matching::run(args, &config),
        BenchCommand::Pipeline(args) => pipeline::run(args, config),
        BenchCommand::Correlations(args) => correlations::run(args, config),
    }
}

/// Rounds of a comparison; its sides take turns, so that a slow spell of the machine hits all.
const ROUNDS: usize = 5;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss)]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// Prints an answer: JSON for programs, else its keys and values for people.
fn answer(json: bool, answer: &serde_json::Value) -> anyhow::Result<Answer> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{answer}")?;
    } else if let Some(object) = answer.as_object() {
        for (name, value) in object {
            writeln!(out, "{name:<32} {value}")?;
        }
    }
    Ok(Answer::Yes)
}
