//! Brokers and topics.

use std::collections::BTreeMap;

use cybervault_stream::{
    TopicPlan,
    inspect::{Cluster, TopicState},
};

use super::Finding;
use crate::config::Config;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

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
            None if cluster.hidden.contains(&plan.name) => {
                let is = "may not be seen by this user, so whether it is there is not known";
                findings.push(Finding {
                    change: Some(format!("grant the user the ACL `Describe on topic {}`", plan.name)),
                    ..Finding::unseen(format!("topic {}", plan.name), is)
                });
            }
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
    if let Some(copies) = number("transaction.state.log.min.isr").filter(|copies| *copies < 2 && brokers >= 3) {
        findings.push(Finding::risky(
            "transaction.state.log.min.isr",
            format!("{copies}: what the coordinator has acknowledged can get lost with one broker"),
            "raise it to 2",
        ));
    }
    if let Some(kept) = number("transactional.id.expiration.ms").filter(|kept| *kept < DAY_MS) {
        findings.push(Finding::risky(
            "transactional.id.expiration.ms",
            format!(
                "{} h: a worker that stood still for longer can't end what its predecessor left open",
                kept / HOUR_MS
            ),
            "raise it to 7 days, 604800000",
        ));
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
    // Whoever reads a changelog back for longer sees what was deleted meanwhile as if it were there.
    let kept = setting("delete.retention.ms").and_then(|value| value.parse::<u64>().ok());
    if plan.config.contains_key("cleanup.policy") && kept.is_some_and(|kept| kept < HOUR_MS) {
        risky.push("delete.retention.ms is less than the hour that reading state back may take".to_owned());
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
        (config.topic(|names| &names.incident_candidates), config.topic(|names| &names.state_incidents)),
        (config.topic(|names| &names.telemetry_dlq), config.topic(|names| &names.state_replay)),
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
    let settings = &cluster.topics.get(&*name)?.settings;
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<u64>().ok());
    let (what, bytes) = (format!("topic {name}"), number("retention.bytes"));
    if let Some(kept) = number("retention.ms").filter(|kept| *kept < DAY_MS) {
        return Some(Finding::risky(
            what,
            format!("kept for {} h: so long the fleet may stand still before events are lost", kept / HOUR_MS),
            "raise retention.ms to a day or more",
        ));
    }
    // Without a bound it is -1.
    bytes.map(|bytes| {
        Finding::risky(
            what,
            format!("kept up to {bytes} bytes a partition: when that is full, events are lost however young they are"),
            "set retention.bytes to -1, or see that it is a day's events",
        )
    })
}

#[cfg(test)]
mod tests {
    use cybervault_stream::inspect::TopicState;

    use super::*;
    use crate::command::doctor::Verdict;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Everything as it should be on three brokers.
    fn sound(config: &Config) -> Cluster {
        let topic = |plan: TopicPlan| {
            let mut all = settings(&[("min.insync.replicas", "2"), ("retention.bytes", "-1")]);
            all.insert("delete.retention.ms".to_owned(), DAY_MS.to_string());
            all.extend(plan.config);
            let partitions = usize::try_from(plan.partitions).unwrap();
            (plan.name, TopicState { partitions, replicas: 3, settings: all, ..TopicState::default() })
        };
        Cluster {
            brokers: 3,
            settings: settings(&[("transaction.state.log.min.isr", "2"), ("offsets.retention.minutes", "10080")]),
            topics: config.topic_plans().into_iter().map(topic).collect(),
            hidden: std::collections::BTreeSet::new(),
            unseen: None,
        }
    }

    #[test]
    fn what_would_lose_events_or_state_is_named_with_what_to_change() {
        let config = Config::default();
        let findings = look_at(&config, &sound(&config));
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Fine), "{findings:#?}");

        let (events, state) = ("telemetry.events", "state.assess");
        for (place, name, value, verdict) in [
            ("", "transaction.state.log.min.isr", "1", Verdict::Risky),
            ("", "transactional.id.expiration.ms", "3600000", Verdict::Risky),
            ("", "transaction.max.timeout.ms", "1000", Verdict::Wrong),
            ("", "offsets.retention.minutes", "60", Verdict::Risky),
            (events, "retention.ms", "3600000", Verdict::Risky),
            (events, "retention.bytes", "1073741824", Verdict::Risky),
            (events, "message.timestamp.type", "CreateTime", Verdict::Risky),
            (events, "min.insync.replicas", "1", Verdict::Risky),
            (events, "min.insync.replicas", "4", Verdict::Wrong),
            (state, "cleanup.policy", "compact,delete", Verdict::Wrong),
            (state, "delete.retention.ms", "60000", Verdict::Risky),
        ] {
            let mut cluster = sound(&config);
            let of = if place.is_empty() {
                &mut cluster.settings
            } else {
                &mut cluster.topics.get_mut(place).unwrap().settings
            };
            of.insert(name.to_owned(), value.to_owned());
            let findings = look_at(&config, &cluster);
            let found: Vec<_> = findings.iter().filter(|finding| finding.verdict != Verdict::Fine).collect();
            assert_eq!(
                found.iter().map(|finding| finding.verdict).collect::<Vec<_>>(),
                [verdict],
                "{name}: {found:#?}"
            );
            assert!(
                found[0].change.is_some() && found[0].what.contains(if place.is_empty() { name } else { place }),
                "{found:#?}"
            );
        }
    }
}
