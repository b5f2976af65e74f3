//! `cybervault skip`: past a record that a stage can't get past by itself.

use std::io::{self, Write};

use anyhow::{Context, bail};
use cybervault_stream::{Skip, members, offsets, skip};
use serde_json::json;

use super::Answer;
use crate::{
    cli::SkipArgs,
    config::Config,
    pipeline::{self, ASSESS, CORRELATE, GUARD, INCIDENT_GROUP, INCIDENT_SELECT, QUOTA, SELECT},
};

pub(super) fn run(args: &SkipArgs, config: &Config) -> anyhow::Result<Answer> {
    let kafka = config.kafka();
    let (topic, stage) = stage_of(args, config)?;
    let group = pipeline::group(config, stage);
    let at_work = members(&kafka, &group)?;
    if at_work > 0 {
        bail!(
            "the stage {stage} has {at_work} members at work, which would go on from where they stand; stop its workers first \
             (in Kubernetes: scale the deployment to 0), wait for `session.timeout.ms` (6 s), after which they are missed, and start \
             them again afterwards"
        );
    }
    let committed = offsets::committed(&kafka, &group, &topic)?;
    let committed = committed.iter().find(|(partition, _)| *partition == args.partition);
    let (_, stands) = committed.with_context(|| format!("`{topic}` has no partition {}", args.partition))?;
    let ends = offsets::ends(&kafka, &topic)?;
    let ends = ends.iter().find(|(partition, ..)| *partition == args.partition);
    let (_, low, high) = ends.with_context(|| format!("`{topic}` has no partition {}", args.partition))?;
    let stands = (*stands).max(*low);
    if args.offset < stands {
        bail!("offset {} is behind the stage already: it stands at {stands}", args.offset);
    }
    if args.offset >= *high {
        bail!("there is no offset {} yet: partition {} of `{topic}` ends at {high}", args.offset, args.partition);
    }
    if args.offset > stands && args.from != Some(stands) {
        bail!(
            "the stage stands at {stands}: to step over all {} offsets from there up to {}, say `--from {stands}`",
            args.offset - stands + 1,
            args.offset
        );
    }
    let done = Skip {
        stage: stage.to_owned(),
        group,
        topic,
        partition: args.partition,
        first: stands,
        last: args.offset,
        dead_letters: config.topic(|names| &names.telemetry_dlq),
        reason: args.reason.clone().unwrap_or_else(|| "by an operator's word".to_owned()),
    };
    skip(&kafka, &done)?;
    let Skip { stage, topic, partition, first, last, .. } = &done;
    let mut out = io::stdout().lock();
    if args.json {
        let answer = json!({ "stage": stage, "topic": &**topic, "partition": partition, "first": first, "last": last });
        writeln!(out, "{answer}")?;
    } else {
        writeln!(
            out,
            "{stage} goes on at offset {} of partition {partition} of {topic}; the skip is recorded as a dead letter",
            last + 1
        )?;
    }
    Ok(Answer::Yes)
}

/// The full name of the topic, and the stage that reads it.
fn stage_of(args: &SkipArgs, config: &Config) -> anyhow::Result<(std::sync::Arc<str>, &'static str)> {
    let inputs = [
        (config.topic(|names| &names.telemetry_events), ASSESS),
        (config.topic(|names| &names.quota_usage), QUOTA),
        (config.topic(|names| &names.detection_signals), CORRELATE),
        (config.topic(|names| &names.threat_assessments), SELECT),
        (config.topic(|names| &names.response_decisions), SELECT),
        (config.topic(|names| &names.response_candidates), GUARD),
        (config.topic(|names| &names.threat_incidents), SELECT),
        (config.topic(|names| &names.threat_assessments), INCIDENT_SELECT),
        (config.topic(|names| &names.incident_decisions), INCIDENT_SELECT),
        (config.topic(|names| &names.incident_candidates), INCIDENT_GROUP),
    ];
    let is_meant =
        |topic: &str| topic == args.topic || topic.strip_prefix(&*config.kafka.topic_prefix) == Some(&args.topic);
    let mut names: Vec<String> = inputs.iter().map(|(topic, _)| topic.to_string()).collect();
    names.dedup();
    let mut found: Vec<_> = inputs.into_iter().filter(|(topic, _)| is_meant(topic)).collect();
    let stages: Vec<&str> = found.iter().map(|(_, stage)| *stage).collect();
    let stages = stages.join(", ");
    if let Some(name) = &args.stage {
        found.retain(|(_, stage)| stage == name);
        if found.is_empty() && !stages.is_empty() {
            bail!("the stage `{name}` does not read `{}`; these do: {stages}", args.topic);
        }
    }
    match found.pop() {
        None => bail!("no stage reads `{}`; they read {}", args.topic, names.join(", ")),
        Some(_) if !found.is_empty() => {
            bail!("several stages read `{}`: say by --stage which one of {stages}", args.topic)
        }
        Some(one) => Ok(one),
    }
}
