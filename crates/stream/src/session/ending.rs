//! The end of a session: whatever hangs in the client does not keep the stage from going on.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use metrics::gauge;
use rdkafka::consumer::Consumer;
use tracing::{debug, error};

use super::Session;
use crate::{
    Stage,
    rebalance::{GroupEvent, assign, unassign},
};

/// How long the client may take to leave the group and to close. Usually it takes a tenth of a second.
const CLOSING: Duration = Duration::from_secs(3);

impl<S: Stage> Session<'_, S> {
    /// Leaves the group and closes the clients, on a thread of its own. The client waits without bound for a broker, and at times
    /// for itself; past [`CLOSING`] the thread is left to it, and counted.
    pub(super) fn leave(self) {
        let Self { stage: _, settings, intake, consumer, committer, open, spare, .. } = self;
        // What is open was committed by now, or is given up: leaving must not wait for it.
        consumer.context().close();
        let (closed, is_closed) = channel::<()>();
        let stage = settings.stage.clone();
        let close = move || {
            while let Some(event) = consumer.context().next_event() {
                let answered = match event {
                    GroupEvent::Assign(partitions) => assign(&consumer, &partitions),
                    GroupEvent::Revoke(partitions) => unassign(&consumer, &partitions),
                };
                if let Err(error) = answered {
                    debug!(%stage, %error, "leaving the group");
                }
            }
            drop((committer, open, spare, intake, consumer));
            drop(closed);
        };
        let left = gauge!("cybervault_clients_left_behind", "stage" => settings.stage.to_string());
        left.increment(1.0);
        let done = left.clone();
        let watched = move || {
            close();
            done.decrement(1.0);
        };
        if let Err(error) = thread::Builder::new().name("leave".into()).spawn(watched) {
            error!(stage = %settings.stage, %error, "no thread can be started to leave the group");
            return;
        }
        // Nothing is sent: the channel closes with the clients.
        if is_closed.recv_timeout(CLOSING) == Err(RecvTimeoutError::Timeout) {
            error!(stage = %settings.stage, "the Kafka client does not close; going on without it");
        }
    }
}
