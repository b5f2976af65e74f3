//! How a Kafka cluster is, and what one may do there: for a person who asks what is wrong.

mod access;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_executor::block_on;
use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::Consumer,
    metadata::Metadata,
};

pub use self::access::{Access, AccessPlan, Clock, Outcome, probe};

use crate::{
    KafkaSettings, StreamError, metadata,
    settings::{LoneConsumer, reason},
};

/// How long a broker may take to answer.
const WAIT: Duration = Duration::from_secs(10);

/// A cluster as it is.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its brokers.
    pub brokers: usize,
    /// One broker's settings; empty where they may not be seen, with the reason in `unseen`.
    pub settings: BTreeMap<String, String>,
    /// The topics that were asked for and are there, by name.
    pub topics: BTreeMap<String, TopicState>,
    /// The topics that were asked for and may not be seen: whether they are there is not known.
    pub hidden: BTreeSet<String>,
    /// Why settings could not be read, where they could not.
    pub unseen: Option<String>,
}

/// A topic as it is.
#[derive(Clone, Debug, Default)]
pub struct TopicState {
    /// Its partitions.
    pub partitions: usize,
    /// Copies of the partition that has fewest.
    pub replicas: usize,
    /// Partitions without a leader: nobody reads or writes them.
    pub leaderless: usize,
    /// Partitions with fewer copies in sync than there should be.
    pub under_replicated: usize,
    /// All of its settings, also those that it has from the broker; empty where they may not be seen.
    pub settings: BTreeMap<String, String>,
}

/// Looks at a cluster and at `topics` in it.
///
/// # Errors
/// When no broker answers; with what the client says about it, a refused password for one.
pub fn inspect(kafka: &KafkaSettings, topics: &[&str]) -> Result<Cluster, StreamError> {
    let client = kafka.lone_consumer("read_committed")?;
    let metadata = metadata(kafka, &client)?;
    let mut cluster = Cluster { brokers: metadata.brokers().len(), ..Cluster::default() };
    let asked = metadata.topics().iter().filter(|topic| topics.contains(&topic.name()) && topic.error().is_none());
    for topic in asked {
        let all = topic.partitions();
        let state = TopicState {
            partitions: all.len(),
            replicas: all.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
            leaderless: all.iter().filter(|partition| partition.leader() < 0).count(),
            under_replicated: all.iter().filter(|p| p.isr().len() < p.replicas().len()).count(),
            settings: BTreeMap::new(),
        };
        cluster.topics.insert(topic.name().to_owned(), state);
    }
    for name in topics {
        // The whole list leaves out what this user may not see.
        if !cluster.topics.contains_key(*name) && is_hidden(&client, name) {
            cluster.hidden.insert((*name).to_owned());
        }
    }
    let Some(broker) = metadata.brokers().first() else { return Ok(cluster) };
    let names: Vec<String> = cluster.topics.keys().cloned().collect();
    let resources: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    for resource in describe(kafka, &resources, &mut cluster.unseen)? {
        if let OwnedResourceSpecifier::Topic(name) = &resource.specifier
            && let Some(topic) = cluster.topics.get_mut(name)
        {
            topic.settings = settings(resource);
        }
    }
    // Asked on its own: to see a broker's settings takes a right on the cluster that topics don't need.
    for resource in describe(kafka, &[ResourceSpecifier::Broker(broker.id())], &mut cluster.unseen)? {
        cluster.settings = settings(resource);
    }
    Ok(cluster)
}

fn describe(
    kafka: &KafkaSettings,
    resources: &[ResourceSpecifier<'_>],
    unseen: &mut Option<String>,
) -> Result<Vec<ConfigResource>, StreamError> {
    if resources.is_empty() {
        return Ok(Vec::new());
    }
    let client: AdminClient<DefaultClientContext> =
        kafka.admin().create().map_err(|error| StreamError::Configuration(error.to_string()))?;
    let described = block_on(client.describe_configs(resources, &AdminOptions::new().request_timeout(Some(WAIT))));
    let described = described.map_err(|error| StreamError::from_kafka("describing settings", &error))?;
    let mut found = Vec::new();
    for resource in described {
        match resource {
            Ok(resource) => found.push(resource),
            Err(code) => *unseen = Some(code.to_string()),
        }
    }
    Ok(found)
}

fn settings(resource: ConfigResource) -> BTreeMap<String, String> {
    resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

fn is_hidden(client: &LoneConsumer, topic: &str) -> bool {
    matches!(metadata::partitions(client, topic, WAIT), Err(StreamError::Denied { .. }))
}

fn metadata(kafka: &KafkaSettings, client: &LoneConsumer) -> Result<Metadata, StreamError> {
    client.fetch_metadata(None, WAIT).map_err(|error| {
        let reason = reason(client, &error);
        StreamError::Unreachable { bootstrap: kafka.bootstrap.clone(), reason }
    })
}
