//! Permissions and clocks, tried out.

use cybervault_stream::inspect::{Access, AccessPlan, Clock, Outcome, probe};

use super::Finding;
use crate::{
    config::{Config, Role},
    pipeline::{self, CORRELATE, GUARD, INCIDENT_GROUP, INCIDENT_SELECT, QUOTA, SELECT},
};

/// Beyond this, times in the log and in records can't be put beside each other any more.
const MAX_SKEW_MS: i64 = 1_000;

pub(super) fn look_at(config: &Config) -> Vec<Finding> {
    match probe(&config.kafka(), &plan(config)) {
        Ok((access, clock)) => {
            let mut findings = permissions(access);
            findings.push(of_clock(clock));
            findings
        }
        Err(error) => vec![Finding::wrong("permissions", error.to_string(), "see `kafka.client` in the configuration")],
    }
}

/// What the configured roles need, as the table in docs/operations.md has it.
fn plan(config: &Config) -> AccessPlan {
    let names = &config.topics.names;
    let mut groups = Vec::new();
    let (mut inputs, mut outputs) = (Vec::new(), vec![&names.telemetry_dlq]);
    if config.worker.roles.contains(&Role::Assess) {
        groups.push((pipeline::ASSESS, &names.telemetry_events));
        inputs.extend([&names.telemetry_events, &names.quota_shares, &names.state_assess]);
        outputs.extend([&names.threat_assessments, &names.quota_rejections, &names.telemetry_sources]);
        outputs.extend([&names.quota_usage, &names.detection_signals, &names.state_assess]);
    }
    if config.worker.roles.contains(&Role::Quota) {
        groups.push((QUOTA, &names.quota_usage));
        inputs.extend([&names.quota_usage, &names.state_quota]);
        outputs.extend([&names.quota_shares, &names.state_quota]);
    }
    if config.worker.roles.contains(&Role::Correlate) {
        groups.push((CORRELATE, &names.detection_signals));
        inputs.extend([&names.detection_signals, &names.state_correlate]);
        outputs.extend([&names.threat_assessments, &names.state_correlate]);
    }
    if config.worker.roles.contains(&Role::Respond) {
        groups.extend([(SELECT, &names.threat_assessments), (GUARD, &names.response_candidates)]);
        inputs.extend([&names.threat_assessments, &names.threat_incidents, &names.response_decisions]);
        inputs.extend([&names.response_candidates, &names.state_response]);
        outputs.extend([&names.response_candidates, &names.response_actions, &names.state_response]);
    }
    if config.worker.roles.contains(&Role::Incidents) {
        groups.extend([(INCIDENT_SELECT, &names.threat_assessments), (INCIDENT_GROUP, &names.incident_candidates)]);
        inputs.extend([&names.threat_assessments, &names.incident_decisions]);
        inputs.extend([&names.incident_candidates, &names.state_incidents]);
        outputs.extend([&names.incident_candidates, &names.threat_incidents, &names.state_incidents]);
    }
    let full =
        |names: Vec<&String>| names.into_iter().map(|name| format!("{}{name}", config.kafka.topic_prefix)).collect();
    let group = |stage| pipeline::group(config, stage);
    // Not a worker's own ids: whoever writes as these ends what it has open.
    let transactional_ids = groups.iter().map(|(stage, _)| format!("{}.doctor", group(stage))).collect();
    let prefix = &config.kafka.topic_prefix;
    AccessPlan {
        groups: groups.iter().map(|(stage, topic)| (group(stage), format!("{prefix}{topic}"))).collect(),
        inputs: full(inputs),
        outputs: full(outputs),
        transactional_ids,
        timed: Some(config.topic(|names| &names.telemetry_events).to_string()),
    }
}

fn permissions(access: Vec<Access>) -> Vec<Finding> {
    let count = access.len();
    let refused: Vec<Finding> = access
        .into_iter()
        .filter_map(|Access { permission, outcome }| {
            let what = format!("permission {permission}");
            match outcome {
                Outcome::Allowed => None,
                Outcome::NotTried(why) => Some(Finding::unseen(what, format!("not tried: {why}"))),
                Outcome::Refused(reason) => {
                    let change = format!("grant the user the ACL `{permission}`");
                    Some(Finding::wrong(what, reason, change))
                }
            }
        })
        .collect();
    if refused.is_empty() {
        vec![Finding::fine("permissions", format!("all {count} that are needed"))]
    } else {
        refused
    }
}

fn of_clock(clock: Option<Clock>) -> Finding {
    let what = "clock";
    match clock {
        None => Finding::unseen(what, "can't be read without Write on the events' topic, and LogAppendTime there"),
        Some(Clock { ahead_ms, within_ms }) => {
            let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
            let is =
                format!("the broker's is {} ms {side} this machine's, give or take {within_ms} ms", ahead_ms.abs());
            if ahead_ms.abs() > MAX_SKEW_MS + within_ms {
                Finding::risky(what, is, "have both follow the same time servers")
            } else {
                Finding::fine(what, is)
            }
        }
    }
}
