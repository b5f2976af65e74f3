//! Looks up events for the requests that bring them, many at once: one statement for all that wait costs little more
//! than for one.

use tokio::sync::{mpsc, oneshot};

use crate::store::{Asked, KnownEvent, Store};

/// Requests that may wait to be taken along; more wait for a place.
const WAITING: usize = 1_024;
/// Events looked up at once.
const AT_ONCE: usize = 128;

type Question = (Asked, oneshot::Sender<KnownEvent>);

/// The way to the task that looks up.
#[derive(Debug)]
pub(crate) struct Lookups(mpsc::Sender<Question>);

impl Lookups {
    /// Starts the task; it ends with the last way to it.
    pub(crate) fn start(store: Store) -> Self {
        let (questions, asked) = mpsc::channel(WAITING);
        tokio::spawn(answer(store, asked));
        Self(questions)
    }

    /// What is known of an event. None where the store does not answer.
    pub(crate) async fn event(&self, asked: Asked) -> Option<KnownEvent> {
        let (answer, answered) = oneshot::channel();
        self.0.send((asked, answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn answer(store: Store, mut asked: mpsc::Receiver<Question>) {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    while asked.recv_many(&mut waiting, AT_ONCE).await > 0 {
        let (questions, answers): (Vec<Asked>, Vec<_>) = waiting.drain(..).unzip();
        match store.known_events(&questions).await {
            Ok(known) => {
                for (answer, known) in answers.into_iter().zip(known) {
                    // Whoever asked may have gone.
                    let _ = answer.send(known);
                }
            }
            // Those who wait are told by that there is no answer.
            Err(error) => tracing::error!(%error, "events can't be looked up"),
        }
    }
}
