//! `cybervault topics`.

use std::io::{self, Write};

use cybervault_stream::{TopicFinding, apply_topics, check_topics};
use serde_json::json;

use super::Answer;
use crate::{
    cli::{JsonArgs, TopicsCommand},
    config::Config,
};

pub(super) fn run(command: &TopicsCommand, config: &Config) -> anyhow::Result<Answer> {
    let (kafka, plans) = (config.kafka(), config.topic_plans());
    let (findings, JsonArgs { json }) = match command {
        TopicsCommand::Apply(args) => (apply_topics(&kafka, &plans)?, args),
        TopicsCommand::Check(args) => (check_topics(&kafka, &plans)?, args),
    };
    let fine = findings.iter().all(|found| !found.missing && found.differences.is_empty() && found.unseen.is_none());
    let mut out = io::stdout().lock();
    if *json {
        let topics: Vec<_> = findings.iter().map(as_json).collect();
        writeln!(out, "{}", json!({ "fine": fine, "topics": topics }))?;
    } else {
        for found in &findings {
            writeln!(out, "{}: {}", found.name, in_words(found))?;
        }
    }
    Ok(Answer::from_fine(fine))
}

fn as_json(found: &TopicFinding) -> serde_json::Value {
    let TopicFinding { name, missing, created, differences, unseen } = found;
    let differences: Vec<_> = differences
        .iter()
        .map(|(setting, is, wanted)| json!({ "setting": setting, "is": is, "should_be": wanted }))
        .collect();
    json!({ "name": name, "missing": missing, "created": created, "differences": differences,
        "unseen": unseen })
}

fn in_words(found: &TopicFinding) -> String {
    if found.missing {
        return "missing; create it with `cybervault topics apply`".to_owned();
    }
    let made = found.created.then(|| "created".to_owned());
    let differences =
        found.differences.iter().map(|(setting, is, wanted)| format!("{setting} is {is}, and should be {wanted}"));
    let said: Vec<String> = made.into_iter().chain(differences).chain(found.unseen.clone()).collect();
    if said.is_empty() { "fine".to_owned() } else { said.join("; ") }
}
