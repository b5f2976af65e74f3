//! What of the gateway works, part by part: what `/readyz`, the API's health and the console tell.
//!
//! Everything here is read from memory: whoever asks never waits for a part that does not answer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cybervault_model::Timestamp;
use metrics::gauge;
use serde::Serialize;

use crate::store::now;

/// Without an answer for so long, Kafka counts as away.
const GONE: Duration = Duration::from_secs(4);
/// So far behind, what the console shows is said to be old.
const STALE: Duration = Duration::from_secs(30);

/// A part of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// The database.
    Store,
    /// Kafka, asked for anything at all.
    Kafka,
    /// What writes to Kafka.
    Journal,
    /// What reads the result topics into the database.
    View,
}

impl Part {
    const ALL: [Self; 4] = [Self::Store, Self::Kafka, Self::Journal, Self::View];

    const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Kafka => "kafka",
            Self::Journal => "journal",
            Self::View => "view",
        }
    }
}

/// A part that does not work. Its words name no host and nothing that others have stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) part: Part,
    pub(crate) message: &'static str,
    /// Since when.
    pub(crate) since: Timestamp,
}

impl Problem {
    /// A line for `/readyz`.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}, since {}", self.part.name(), self.message, self.since)
    }
}

/// What of the gateway works.
#[derive(Debug)]
pub(crate) struct Condition(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    store: Option<Problem>,
    view: Option<Problem>,
    journal: Option<Problem>,
    kafka_answered: Option<(Instant, Timestamp)>,
    /// When all that was in the topics was in the store. None as long as another replica reads them.
    current: Option<(Instant, Timestamp)>,
    began: Timestamp,
}

impl Default for Condition {
    fn default() -> Self {
        Self(Mutex::new(Parts {
            store: None,
            view: None,
            journal: None,
            kafka_answered: None,
            current: None,
            began: now(),
        }))
    }
}

impl Condition {
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `part` does not work, for this reason.
    pub(crate) fn fails(&self, part: Part, message: &'static str) {
        let mut parts = self.parts();
        let Some(problem) = parts.of(part) else { return };
        match problem {
            Some(known) => known.message = message,
            None => *problem = Some(Problem { part, message, since: now() }),
        }
    }

    /// `part` works.
    pub(crate) fn works(&self, part: Part) {
        let mut parts = self.parts();
        match part {
            Part::Kafka => parts.kafka_answered = Some((Instant::now(), now())),
            part => {
                if let Some(problem) = parts.of(part) {
                    *problem = None;
                }
            }
        }
    }

    /// What is shown is all that there is.
    pub(crate) fn is_current(&self) {
        self.parts().current = Some((Instant::now(), now()));
    }

    /// Another replica reads the topics, or none: how old what is shown is, is not known here.
    pub(crate) fn is_not_ours(&self) {
        let mut parts = self.parts();
        (parts.current, parts.view) = (None, None);
    }

    /// Whether Kafka has answered within `period`.
    pub(crate) fn kafka_answered_within(&self, period: Duration) -> bool {
        self.parts().kafka_answered.is_some_and(|(at, _)| at.elapsed() <= period)
    }

    /// Whether Kafka counts as there.
    pub(crate) fn kafka_answers(&self) -> bool {
        self.kafka_answered_within(GONE)
    }

    /// What does not work.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let kafka_answers = self.kafka_answers();
        let mut parts = self.parts();
        let kafka = (!kafka_answers).then(|| {
            let since = parts.kafka_answered.map_or(parts.began, |(_, at)| at);
            Problem { part: Part::Kafka, message: "Kafka does not answer", since }
        });
        Part::ALL
            .into_iter()
            .filter_map(|part| match part {
                Part::Kafka => kafka.clone(),
                part => parts.of(part).and_then(|problem| problem.clone()),
            })
            .collect()
    }

    /// Tells metrics what works.
    pub(crate) fn measure(&self) {
        let problems = self.problems();
        for part in Part::ALL {
            let works = !problems.iter().any(|problem| problem.part == part);
            gauge!("cybervault_gateway_part_up", "part" => part.name()).set(f64::from(u8::from(works)));
        }
    }

    /// What people who look at pages should know of them: that they are old, and why.
    pub(crate) fn notice(&self) -> Option<String> {
        let problems = self.problems();
        let parts = self.parts();
        let is_old = parts.current.is_some_and(|(at, _)| at.elapsed() > STALE);
        if problems.is_empty() && !is_old {
            return None;
        }
        let as_of = parts.current.or(parts.kafka_answered).map_or(parts.began, |(_, at)| at);
        let clock = as_of.to_string().get(..19).unwrap_or_default().replace('T', " ");
        let why: Vec<&str> = problems.iter().map(|problem| problem.message).collect();
        let why = if why.is_empty() { "The view is behind".to_owned() } else { why.join("; ") };
        Some(format!("{why}. What is shown here may be old: it is as of {clock} UTC."))
    }
}

impl Parts {
    /// The problem of a part that says itself whether it works.
    fn of(&mut self, part: Part) -> Option<&mut Option<Problem>> {
        match part {
            Part::Store => Some(&mut self.store),
            Part::View => Some(&mut self.view),
            Part::Journal => Some(&mut self.journal),
            Part::Kafka => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_told_with_what_is_wrong_and_since_when() {
        let condition = Condition::default();
        let named = |condition: &Condition| -> Vec<Part> {
            condition.problems().into_iter().map(|problem| problem.part).collect()
        };
        // Nothing has been heard yet.
        assert_eq!(named(&condition), [Part::Kafka]);
        condition.works(Part::Kafka);
        assert_eq!((named(&condition), condition.notice()), (vec![], None));

        condition.fails(Part::Store, "the store takes no writes");
        let since = condition.problems()[0].since;
        condition.fails(Part::Store, "the store does not answer");
        let problem = condition.problems().remove(0);
        assert_eq!((problem.since, problem.message), (since, "the store does not answer"));
        assert_eq!(problem.line(), format!("store: the store does not answer, since {since}"));
        assert!(condition.notice().unwrap().starts_with("the store does not answer. What is shown here may be old"));
        condition.works(Part::Store);

        condition.fails(Part::View, "the view can't be written");
        assert_eq!(named(&condition), [Part::View]);
        // It is another's now.
        condition.is_not_ours();
        assert_eq!(named(&condition), []);
    }
}
