//! Brokers and topics.

use std::collections::BTreeMap;

use cybervault_stream::{
    TopicPlan,
    inspect::{Cluster, TopicState},
};

use super::Finding;
use crate::config::Config;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) fn look_at(config: &Config, cluster: &Cluster) -> Vec<Finding> {
    let mut findings = vec![match cluster.brokers {
        0..3 => Finding::risky(
            "brokers",
            cluster.brokers.to_string(),
            "three or more keep what is written when one of them is lost",
        ),
        more => Finding::fine("brokers", more.to_string()),
    }];
    if let Some(reason) = &cluster.unseen {
        let is = format!("not to be seen: {reason}; grant DescribeConfigs on the topics and the cluster");
        findings.push(Finding::unseen("settings", is));
    }
    if !cluster.settings.is_empty() {
        findings.push(version(&cluster.settings));
        findings.extend(broker(config, &cluster.settings, cluster.brokers));
    }
    for plan in config.topic_plans() {
        match cluster.topics.get(&plan.name) {
            None => {
                let change = "create it with `cybervault topics apply`";
                findings.push(Finding::wrong(format!("topic {}", plan.name), "missing", change));
            }
            Some(topic) => findings.push(of_topic(&plan, topic, cluster.brokers)),
        }
    }
    findings.extend(state_partitions(config, cluster));
    findings.extend(events_retention(config, cluster));
    findings
}

/// Kafka does not tell its version, but which settings it has: 3.x says the protocol between brokers, 4.0 dropped it.
fn version(settings: &BTreeMap<String, String>) -> Finding {
    let what = "Kafka's version";
    let Some(protocol) = settings.get("inter.broker.protocol.version") else {
        return Finding::fine(what, "4.0 or newer");
    };
    let mut parts = protocol.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(3), Some(9..)) => Finding::fine(what, format!("{protocol} between brokers")),
        _ => Finding::risky(what, format!("{protocol} between brokers"), "3.9 is the oldest that it is tested with"),
    }
}

fn broker(config: &Config, settings: &BTreeMap<String, String>, brokers: usize) -> Vec<Finding> {
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<u64>().ok());
    let mut findings = Vec::new();
    let timeout = config.kafka().transaction_timeout_ms();
    if let Some(most) = number("transaction.max.timeout.ms").filter(|most| *most < timeout) {
        findings.push(Finding::wrong(
            "transaction.max.timeout.ms",
            format!("{most} ms, less than the {timeout} ms that workers ask for"),
            "raise it, or lower `kafka.client.transaction.timeout.ms`",
        ));
    }
    // With these, all committed offsets or open transactions go with one broker.
    for name in ["offsets.topic.replication.factor", "transaction.state.log.replication.factor"] {
        if let Some(copies) = number(name).filter(|copies| *copies < 3) {
            let change = if brokers < 3 { "a matter of the number of brokers" } else { "raise it to 3" };
            findings.push(Finding::risky(name, copies.to_string(), change));
        }
    }
    if let Some(minutes) = number("offsets.retention.minutes").filter(|minutes| minutes * 60_000 < DAY_MS) {
        findings.push(Finding::risky(
            "offsets.retention.minutes",
            format!("{minutes} min: a fleet that stands still for longer begins anew at the oldest record"),
            "raise it to 7 days, 10080",
        ));
    }
    if settings.get("auto.create.topics.enable").is_some_and(|value| value == "true") {
        findings.push(Finding::risky(
            "auto.create.topics.enable",
            "true: a mistyped name becomes a topic with the wrong settings",
            "set it to false",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::fine("brokers' settings", "offsets and transactions are kept safely"));
    }
    findings
}

fn of_topic(plan: &TopicPlan, topic: &TopicState, brokers: usize) -> Finding {
    let what = format!("topic {}", plan.name);
    let setting = |name: &str| topic.settings.get(name).map(String::as_str);
    let min_insync: usize = setting("min.insync.replicas").and_then(|value| value.parse().ok()).unwrap_or(1);
    let mut wrong = Vec::new();
    if topic.leaderless > 0 {
        wrong.push((format!("{} partitions without a leader", topic.leaderless), "see to the brokers that held them"));
    }
    if min_insync > topic.replicas {
        let is = format!("min.insync.replicas is {min_insync} of {} copies: nothing can be written", topic.replicas);
        wrong.push((is, "more copies, or fewer that must be in sync"));
    }
    let differing = |(name, wanted): (&String, &String)| {
        let is = setting(name)?;
        (is != wanted).then(|| format!("{name} is {is}, and should be {wanted}"))
    };
    let compaction = plan.config.get_key_value("cleanup.policy").and_then(differing);
    if let Some(is) = compaction {
        wrong.push((is, "without compaction alone, state gets lost or grows without end: kafka-configs.sh --alter"));
    }
    if !wrong.is_empty() {
        let (is, change): (Vec<String>, Vec<&str>) = wrong.into_iter().unzip();
        return Finding::wrong(what, is.join("; "), change.join("; "));
    }

    let mut risky: Vec<String> = plan.config.iter().filter_map(differing).collect();
    if topic.under_replicated > 0 {
        risky.push(format!("{} partitions lack copies in sync", topic.under_replicated));
    }
    if brokers >= 3 && topic.replicas < 3 {
        risky.push(format!("{} copies", topic.replicas));
    }
    if topic.replicas >= 3 && min_insync < 2 {
        risky.push("min.insync.replicas is 1: what is acknowledged can get lost with one broker".to_owned());
    }
    if topic.replicas >= 2 && min_insync == topic.replicas {
        risky.push(format!("all {min_insync} copies must be in sync: one broker away, and nothing can be written"));
    }
    if setting("unclean.leader.election.enable") == Some("true") {
        risky.push("unclean.leader.election.enable is true: a leader may lack what was acknowledged".to_owned());
    }
    if usize::try_from(plan.partitions).is_ok_and(|wanted| wanted != topic.partitions) {
        risky.push(format!("{} partitions, configured are {}", topic.partitions, plan.partitions));
    }
    if !risky.is_empty() {
        return Finding::risky(
            what,
            risky.join("; "),
            "kafka-configs.sh --alter, or correct `topics` in the configuration",
        );
    }
    let is = format!("{} partitions, {} copies, {min_insync} in sync at least", topic.partitions, topic.replicas);
    Finding::fine(what, is)
}

/// A stage's changelog has its input's partitions, or the stage does not start.
fn state_partitions(config: &Config, cluster: &Cluster) -> Vec<Finding> {
    let pairs = [
        (config.topic(|names| &names.telemetry_events), config.topic(|names| &names.state_assess)),
        (config.topic(|names| &names.response_candidates), config.topic(|names| &names.state_response)),
    ];
    let differing = |(input, state): &(std::sync::Arc<str>, std::sync::Arc<str>)| {
        let (expected, found) = (cluster.topics.get(&**input)?.partitions, cluster.topics.get(&**state)?.partitions);
        (expected != found).then(|| {
            Finding::wrong(
                format!("topic {state}"),
                format!("{found} partitions, but {input} has {expected}"),
                format!("stop the workers, delete {state} and run `cybervault topics apply`"),
            )
        })
    };
    pairs.iter().filter_map(differing).collect()
}

fn events_retention(config: &Config, cluster: &Cluster) -> Option<Finding> {
    let name = config.topic(|names| &names.telemetry_events);
    let kept: u64 = cluster.topics.get(&*name)?.settings.get("retention.ms")?.parse().ok()?;
    (kept < DAY_MS).then(|| {
        Finding::risky(
            format!("topic {name}"),
            format!("kept for {} h: so long the fleet may stand still before events are lost", kept / 3_600_000),
            "raise retention.ms to a day or more",
        )
    })
}
