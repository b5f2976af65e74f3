//! The group's assignments, taken down in the client's callback and carried out by the session.
//!
//! librdkafka waits for the application's (un)assign call; it need not come from within the callback. So a revocation is
//! answered after the batch at hand is committed, and an assignment after its state is restored, in plain sequential code.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::KafkaError,
    statistics::Broker,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tracing::{debug, warn};

use crate::health::RunnerHealth;

/// What the group asks for.
#[derive(Debug)]
pub(crate) enum GroupEvent {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

/// A partition's end, as the client last saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The last stable offset.
    pub(crate) stable: i64,
    /// Since when it is known that all up to there was handed out. The last offsets may be a transaction's markers, which nobody is handed.
    reached: Option<Instant>,
}

impl End {
    /// Whether all up to there was handed out, as the client said a moment ago.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached.is_some_and(|at| at.elapsed() < SAID)
    }
}

/// For how long what the client says holds: it says it every second.
const SAID: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct GroupContext {
    stage: Arc<str>,
    health: RunnerHealth,
    events: Mutex<VecDeque<GroupEvent>>,
    ends: Mutex<HashMap<(String, i32), End>>,
    closing: AtomicBool,
}

impl GroupContext {
    pub(crate) fn new(stage: &Arc<str>, health: &RunnerHealth) -> Self {
        Self {
            stage: stage.clone(),
            health: health.clone(),
            events: Mutex::default(),
            ends: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn next_event(&self) -> Option<GroupEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From here on a revocation is answered at once: nothing is at hand any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn ends(&self) -> HashMap<(String, i32), End> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers a revocation.
pub(crate) fn unassign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}

/// Answers an assignment.
pub(crate) fn assign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

/// How long, in microseconds, brokers may owe an answer before they count as out of reach: more than a member's heartbeats are apart.
const SILENT: i64 = 10_000_000;

/// Whether brokers answer. A connection may stay up with nobody behind it.
pub(crate) fn answers(statistics: &Statistics) -> bool {
    let brokers = || statistics.brokers.values().filter(|broker| broker.state == "UP");
    let is_heard = |broker: &Broker| (0..SILENT).contains(&broker.rxidle);
    brokers().next().is_some() && (brokers().any(is_heard) || brokers().all(|broker| broker.waitresp_cnt == 0))
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if matches!(code, Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure)) {
            self.health.broker_was_away();
        }
        warn!(stage = %self.stage, %error, reason, "Kafka");
    }

    fn stats(&self, statistics: Statistics) {
        self.health.broker_answers(answers(&statistics));
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, found) in statistics.topics {
            for (partition, found) in found.partitions {
                if partition >= 0 && found.ls_offset >= 0 {
                    let reached = found.next_offset >= found.ls_offset && found.fetchq_cnt == 0;
                    let reached = reached.then(Instant::now);
                    ends.insert((topic.clone(), partition), End { stable: found.ls_offset, reached });
                }
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        debug!(stage = %self.stage, ?error, ?partitions, "rebalance");
        let assigns = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answer = if assigns { assign(consumer, partitions) } else { unassign(consumer, partitions) };
            if let Err(error) = answer {
                warn!(stage = %self.stage, %error, "leaving the group");
            }
            return;
        }
        let event =
            if assigns { GroupEvent::Assign(partitions.clone()) } else { GroupEvent::Revoke(partitions.clone()) };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_owe_an_answer_for_long_do_not_answer_though_their_connections_are_up() {
        let broker = |state: &str, rxidle, waitresp_cnt| Broker {
            state: state.into(),
            rxidle,
            waitresp_cnt,
            ..Broker::default()
        };
        let bootstrap = broker("UP", -1, 0);
        for (is_fine, brokers) in [
            (false, vec![]),
            (false, vec![broker("CONNECT", 100, 0)]),
            (true, vec![broker("UP", 100, 1), broker("UP", SILENT, 1)]),
            (true, vec![bootstrap.clone(), broker("UP", 100, 1)]),
            (true, vec![bootstrap.clone(), broker("UP", SILENT, 0)]),
            (false, vec![bootstrap, broker("UP", SILENT, 1)]),
        ] {
            let named = brokers.into_iter().enumerate().map(|(at, broker)| (at.to_string(), broker)).collect();
            let statistics = Statistics { brokers: named, ..Statistics::default() };
            assert_eq!(answers(&statistics), is_fine, "{statistics:?}");
        }
    }
}
