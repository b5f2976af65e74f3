//! Topics: created as they should be, and compared with how they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use futures_executor::block_on;
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    KafkaSettings, StreamError,
    error::{Needs, is_denied},
};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFinding {
    /// Its name.
    pub name: String,
    /// It is not there.
    pub missing: bool,
    /// It was created just now.
    pub created: bool,
    /// What differs: the setting, how it is and how it should be.
    pub differences: Vec<(String, String, String)>,
    /// What of it could not be looked at, and what to do about it.
    pub unseen: Option<String>,
}

const WAIT: Duration = Duration::from_secs(30);
/// How long brokers that have just started, or topics that were just created, are left to become visible everywhere.
const SETTLING: Duration = Duration::from_secs(10);
/// Between two looks meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a topic that is not in the whole list is asked for by its name. A broker that has just started may not know it yet.
const ATTEMPTS: u32 = 3;

type Admin = AdminClient<DefaultClientContext>;

fn admin(kafka: &KafkaSettings) -> Result<Admin, StreamError> {
    kafka.admin().create().map_err(|error: KafkaError| StreamError::Configuration(error.to_string()))
}

/// Creates the topics that are missing, and tells what differs in the others. Nothing that exists is changed: more
/// partitions would send keys elsewhere, and settings may have been made on purpose.
///
/// # Errors
/// When no broker answers or refuses to create a topic.
pub fn apply_topics(kafka: &KafkaSettings, plans: &[TopicPlan]) -> Result<Vec<TopicFinding>, StreamError> {
    let client = admin(kafka)?;
    let findings = compare(&client, kafka, plans)?;
    let missing: Vec<&TopicPlan> =
        plans.iter().zip(&findings).filter(|(_, found)| found.missing).map(|(plan, _)| plan).collect();
    if missing.is_empty() {
        return Ok(findings);
    }
    let created = create(&client, &missing)?;
    // Looked at again: what another has created meanwhile may be otherwise than planned.
    let until = Instant::now() + SETTLING;
    loop {
        let mut findings = compare(&client, kafka, plans)?;
        let settled = !findings.iter().any(|found| found.missing);
        if settled || Instant::now() > until {
            for found in &mut findings {
                found.created = created.contains(&found.name);
                // The controller has it; a broker that does not know of it yet says nothing against that.
                found.missing &= !found.created;
            }
            return Ok(findings);
        }
        thread::sleep(PAUSE);
    }
}

/// Creates topics; returns the names of those that were not there.
fn create(client: &Admin, missing: &[&TopicPlan]) -> Result<BTreeSet<String>, StreamError> {
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|plan| {
            let replication = TopicReplication::Fixed(plan.replication.unwrap_or(-1));
            let topic = NewTopic::new(&plan.name, plan.partitions, replication);
            plan.config.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let names = missing.iter().map(|plan| &*plan.name).collect::<Vec<_>>().join(", ");
    let results = block_on(client.create_topics(&new, &AdminOptions::new().operation_timeout(Some(WAIT))))
        .map_err(|error| StreamError::from_kafka_needing("creating topics", &error, Needs::create(&names)))?;
    let mut created = BTreeSet::new();
    for (result, plan) in results.into_iter().zip(missing) {
        match result {
            Ok(name) => _ = created.insert(name),
            // Another was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let what = format!("creating topic `{name}` ({} partitions)", plan.partitions);
                return Err(StreamError::from_kafka_needing(what, &KafkaError::AdminOp(code), Needs::create(&name)));
            }
        }
    }
    Ok(created)
}

/// Tells which topics are missing and what differs in the others.
///
/// # Errors
/// When no broker answers.
pub fn check_topics(kafka: &KafkaSettings, plans: &[TopicPlan]) -> Result<Vec<TopicFinding>, StreamError> {
    compare(&admin(kafka)?, kafka, plans)
}

/// Whether a topic is there.
enum Presence {
    /// With so many partitions.
    There(usize),
    Missing,
    /// It may not be seen.
    Hidden(String),
}

fn compare(client: &Admin, kafka: &KafkaSettings, plans: &[TopicPlan]) -> Result<Vec<TopicFinding>, StreamError> {
    let unreachable =
        |error: &KafkaError| StreamError::Unreachable { bootstrap: kafka.bootstrap.clone(), reason: error.to_string() };
    let metadata = client.inner().fetch_metadata(None, WAIT).map_err(|error| unreachable(&error))?;
    let listed: BTreeMap<&str, usize> = metadata
        .topics()
        .iter()
        .filter(|topic| topic.error().is_none() && !topic.partitions().is_empty())
        .map(|topic| (topic.name(), topic.partitions().len()))
        .collect();
    let presences: Vec<Presence> = plans
        .iter()
        .map(|plan| match listed.get(&*plan.name) {
            Some(partitions) => Ok(Presence::There(*partitions)),
            None => look_up(client, &plan.name).map_err(|error| unreachable(&error)),
        })
        .collect::<Result<_, _>>()?;
    let there = plans.iter().zip(&presences).filter(|(_, presence)| matches!(presence, Presence::There(_)));
    let mut settings = describe(client, &there.map(|(plan, _)| &*plan.name).collect::<Vec<_>>())?;
    let findings = plans.iter().zip(presences).map(|(plan, presence)| {
        let mut found = TopicFinding { name: plan.name.clone(), ..TopicFinding::default() };
        match presence {
            Presence::Missing => found.missing = true,
            Presence::Hidden(reason) => found.unseen = Some(reason),
            Presence::There(partitions) => {
                if partitions != usize::try_from(plan.partitions).unwrap_or(0) {
                    let difference = ("partitions".to_owned(), partitions.to_string(), plan.partitions.to_string());
                    found.differences.push(difference);
                }
                match settings.remove(&*plan.name) {
                    Some(Ok(is)) => found.differences.extend(plan.config.iter().filter_map(|(name, wanted)| {
                        let is = is.get(name)?;
                        (is != wanted).then(|| (name.clone(), is.clone(), wanted.clone()))
                    })),
                    Some(Err(reason)) => found.unseen = Some(reason),
                    None => found.unseen = Some("Kafka says nothing of its settings; try again".to_owned()),
                }
            }
        }
        found
    });
    Ok(findings.collect())
}

/// Asks for one topic by its name: the whole list has only those that this user may see, and that have leaders.
fn look_up(client: &Admin, name: &str) -> Result<Presence, KafkaError> {
    let until = Instant::now() + SETTLING;
    let mut attempts = 0;
    loop {
        let metadata = client.inner().fetch_metadata(Some(name), WAIT)?;
        let found = metadata.topics().first();
        let code = found.and_then(rdkafka::metadata::MetadataTopic::error).map(RDKafkaErrorCode::from);
        let partitions = found.map_or(0, |topic| topic.partitions().len());
        attempts += 1;
        match code {
            None if partitions > 0 => return Ok(Presence::There(partitions)),
            Some(code) if is_denied(code) => {
                return Ok(Presence::Hidden(format!("it may not be seen; grant Describe on topic {name}")));
            }
            None | Some(RDKafkaErrorCode::LeaderNotAvailable) if Instant::now() < until => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) if attempts < ATTEMPTS => {
            }
            Some(RDKafkaErrorCode::LeaderNotAvailable) => {
                return Ok(Presence::Hidden("its partitions have no leaders; see to the brokers".to_owned()));
            }
            _ => return Ok(Presence::Missing),
        }
        thread::sleep(PAUSE);
    }
}

type Settings = BTreeMap<String, String>;

/// The settings of topics, or why they can't be seen.
fn describe(client: &Admin, names: &[&str]) -> Result<BTreeMap<String, Result<Settings, String>>, StreamError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let resources: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let described = block_on(client.describe_configs(&resources, &AdminOptions::new().request_timeout(Some(WAIT))))
        .map_err(|error| StreamError::from_kafka("describing topics", &error))?;
    // They come in the order in which they were asked for; an error names none.
    let of = |(resource, name): (Result<ConfigResource, RDKafkaErrorCode>, &&str)| match resource {
        Ok(resource) => {
            let name = match resource.specifier {
                OwnedResourceSpecifier::Topic(name) => name,
                _ => (*name).to_owned(),
            };
            let values = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            (name, Ok(values.collect()))
        }
        Err(code) if is_denied(code) => {
            ((*name).to_owned(), Err(format!("its settings may not be seen; grant DescribeConfigs on topic {name}")))
        }
        Err(code) => ((*name).to_owned(), Err(format!("Kafka does not tell its settings: {code}"))),
    };
    Ok(described.into_iter().zip(names).map(of).collect())
}
