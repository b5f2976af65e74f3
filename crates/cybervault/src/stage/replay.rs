//! Dead letters back to where they came from.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use cybervault_stream::{Failure, Outbox, Record, Stage, State, headers};

use super::TENANT_HEADER;

/// Which dead letters are sent back.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayFilter {
    /// Only those given up for this reason.
    pub(crate) reason: Option<String>,
    /// Only this tenant's, as header or key says.
    pub(crate) tenant: Option<String>,
    /// The topics that may be written to: the stages' own inputs. What a header names is anyone's word.
    pub(crate) inputs: Vec<Arc<str>>,
}

/// What becomes of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReplayTally {
    /// It goes back.
    Sent,
    /// It was not asked for.
    Filtered,
    /// It does not come from one of the stages' inputs.
    Foreign,
}

impl ReplayFilter {
    /// What becomes of a dead letter with this key and these headers, and where it goes.
    pub(crate) fn judge<'h>(
        &self,
        key: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> (ReplayTally, Option<&Arc<str>>) {
        let of_tenant = || header(TENANT_HEADER).or_else(|| key?.split(|&byte| byte == b'|').next());
        let fits = |wanted: &Option<String>, found: Option<&[u8]>| {
            wanted.as_ref().is_none_or(|wanted| found == Some(wanted.as_bytes()))
        };
        if !fits(&self.reason, header(headers::REASON)) || !fits(&self.tenant, of_tenant()) {
            return (ReplayTally::Filtered, None);
        }
        let origin = header(headers::TOPIC);
        match self.inputs.iter().find(|input| Some(input.as_bytes()) == origin) {
            Some(input) => (ReplayTally::Sent, Some(input)),
            None => (ReplayTally::Foreign, None),
        }
    }
}

/// Sends dead letters back, up to those that were there when it began.
///
/// What is not sent back is written to the dead-letter topic again, in the same transaction: the group's position moves
/// past it, and a later replay with another filter must still find it.
#[derive(Debug)]
pub(crate) struct Replay {
    filter: ReplayFilter,
    dead_letters: Arc<str>,
    /// The last dead letter of each partition that there was at the beginning.
    last: BTreeMap<i32, i64>,
    reached: BTreeMap<i32, i64>,
    stop: Arc<AtomicBool>,
}

impl Replay {
    /// A stage that tells `stop` once it has seen the `last` offset of each partition.
    pub(crate) fn new(
        filter: ReplayFilter,
        dead_letters: Arc<str>,
        last: BTreeMap<i32, i64>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { filter, dead_letters, last, reached: BTreeMap::new(), stop }
    }
}

impl Stage for Replay {
    fn process(&mut self, record: &Record<'_>, _: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let is_due = self.last.get(&record.partition).is_some_and(|last| record.offset <= *last);
        let target = if is_due { self.filter.judge(record.key, |name| record.headers.get(name)).1 } else { None };
        let kept: Vec<(&str, &[u8])> =
            record.headers.iter().filter(|(name, _)| target.is_none() || !headers::is_added(name)).collect();
        let topic = target.unwrap_or(&self.dead_letters);
        out.pass_on(topic, record, &kept);
        let reached = self.reached.entry(record.partition).or_insert(record.offset);
        *reached = record.offset.max(*reached);
        Ok(())
    }

    fn end_batch(&mut self, _: &mut Outbox) {
        if self.last.iter().all(|(partition, last)| self.reached.get(partition).is_some_and(|at| at >= last)) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
