//! Topics: created as they should be, and compared with how they are.

use std::{collections::BTreeMap, time::Duration};

use futures_executor::block_on;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{KafkaSettings, StreamError, error::Needs};

/// How a topic should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Copies of each partition; `None` is the broker's default.
    pub replication: Option<i32>,
    /// Its own settings.
    pub config: BTreeMap<String, String>,
}

/// How a topic is, compared with its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFinding {
    /// Its name.
    pub name: String,
    /// It is not there.
    pub missing: bool,
    /// It was created just now.
    pub created: bool,
    /// What differs: the setting, how it is and how it should be.
    pub differences: Vec<(String, String, String)>,
}

const WAIT: Duration = Duration::from_secs(30);

fn admin(kafka: &KafkaSettings) -> Result<AdminClient<DefaultClientContext>, StreamError> {
    kafka.admin().create().map_err(|error: KafkaError| StreamError::Configuration(error.to_string()))
}

/// Creates the topics that are missing, and tells what differs in the others. Nothing that exists is changed: more
/// partitions would send keys elsewhere, and settings may have been made on purpose.
///
/// # Errors
/// When no broker answers or refuses to create a topic.
pub fn apply_topics(kafka: &KafkaSettings, plans: &[TopicPlan]) -> Result<Vec<TopicFinding>, StreamError> {
    let client = admin(kafka)?;
    let mut findings = compare(&client, kafka, plans)?;
    let missing: Vec<&TopicPlan> =
        plans.iter().zip(&findings).filter(|(_, found)| found.missing).map(|(plan, _)| plan).collect();
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|plan| {
            let replication = TopicReplication::Fixed(plan.replication.unwrap_or(-1));
            let topic = NewTopic::new(&plan.name, plan.partitions, replication);
            plan.config.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    if new.is_empty() {
        return Ok(findings);
    }
    let created = block_on(client.create_topics(&new, &AdminOptions::new().operation_timeout(Some(WAIT))))
        .map_err(|error| StreamError::from_kafka("creating topics", &error))?;
    for (result, plan) in created.into_iter().zip(missing) {
        match result {
            // Another worker was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let what = format!("creating topic `{name}` ({} partitions)", plan.partitions);
                return Err(StreamError::from_kafka_needing(what, &KafkaError::AdminOp(code), Needs::create(&name)));
            }
        }
    }
    for found in &mut findings {
        found.created = std::mem::take(&mut found.missing);
    }
    Ok(findings)
}

/// Tells which topics are missing and what differs in the others.
///
/// # Errors
/// When no broker answers.
pub fn check_topics(kafka: &KafkaSettings, plans: &[TopicPlan]) -> Result<Vec<TopicFinding>, StreamError> {
    compare(&admin(kafka)?, kafka, plans)
}

fn compare(
    client: &AdminClient<DefaultClientContext>,
    kafka: &KafkaSettings,
    plans: &[TopicPlan],
) -> Result<Vec<TopicFinding>, StreamError> {
    let metadata = client
        .inner()
        .fetch_metadata(None, WAIT)
        .map_err(|error| StreamError::Unreachable { bootstrap: kafka.bootstrap.clone(), reason: error.to_string() })?;
    let partitions: BTreeMap<&str, usize> =
        metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
    let there = plans.iter().filter(|plan| partitions.contains_key(&*plan.name));
    let resources: Vec<ResourceSpecifier<'_>> = there.map(|plan| ResourceSpecifier::Topic(&plan.name)).collect();
    let mut settings: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    if !resources.is_empty() {
        let described = block_on(client.describe_configs(&resources, &AdminOptions::new().request_timeout(Some(WAIT))))
            .map_err(|error| StreamError::from_kafka("describing topics", &error))?;
        for resource in described.into_iter().flatten() {
            if let rdkafka::admin::OwnedResourceSpecifier::Topic(name) = resource.specifier {
                let values = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                settings.insert(name, values.collect());
            }
        }
    }
    Ok(plans
        .iter()
        .map(|plan| {
            let mut differences = Vec::new();
            let found = partitions.get(&*plan.name);
            if let Some(found) = found.filter(|found| **found != usize::try_from(plan.partitions).unwrap_or(0)) {
                differences.push(("partitions".to_owned(), found.to_string(), plan.partitions.to_string()));
            }
            if let Some(is) = settings.get(&plan.name) {
                differences.extend(plan.config.iter().filter_map(|(name, wanted)| {
                    let is = is.get(name)?;
                    (is != wanted).then(|| (name.clone(), is.clone(), wanted.clone()))
                }));
            }
            TopicFinding { name: plan.name.clone(), missing: found.is_none(), created: false, differences }
        })
        .collect())
}
