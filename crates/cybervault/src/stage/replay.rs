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
    /// It is not whole: it would come back as something else.
    Part,
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
        if header(headers::VALUE_BYTES).or_else(|| header(headers::LAST_OFFSET)).is_some() {
            return (ReplayTally::Part, None);
        }
        let origin = header(headers::TOPIC);
        match self.inputs.iter().find(|input| Some(input.as_bytes()) == origin) {
            Some(input) => (ReplayTally::Sent, Some(input)),
            None => (ReplayTally::Foreign, None),
        }
    }
}

/// Which dead letters of a partition were sent back: a bit for each offset, in blocks, kept in the partition's state under `sent|` and
/// the block's number.
///
/// So a replay that leaves some of them moves nothing: they stay where they are, and a later replay with another filter finds
/// them there.
pub(crate) struct SentBack;

impl SentBack {
    /// Offsets of a block.
    const OFFSETS: i64 = 1024;
    const BYTES: usize = 128;
    /// The first block that may still be kept; those before it were of records that retention has deleted.
    const FIRST: &[u8] = b"first";

    fn key(block: i64) -> Vec<u8> {
        [b"sent|", &block.to_be_bytes()[..]].concat()
    }

    /// Whether the dead letter at this offset was sent back.
    pub(crate) fn has(state: &State, offset: i64) -> bool {
        let (block, byte, bit) = Self::place(offset);
        state.get(&Self::key(block)).and_then(|bits| bits.get(byte)).is_some_and(|bits| bits & bit != 0)
    }

    fn put(state: &mut State, offset: i64) {
        let (block, byte, bit) = Self::place(offset);
        let key = Self::key(block);
        let mut bits: [u8; Self::BYTES] = state.get(&key).and_then(|bits| bits.try_into().ok()).unwrap_or([0; _]);
        bits[byte] |= bit;
        state.put(&key, &bits, None);
    }

    /// Forgets what is before `offset`, the oldest that there is.
    fn forget_before(state: &mut State, offset: i64) {
        let oldest = offset / Self::OFFSETS;
        let known = state.get(Self::FIRST).and_then(|first| first.try_into().ok()).map_or(oldest, i64::from_be_bytes);
        for block in known..oldest {
            state.delete(&Self::key(block));
        }
        if known < oldest || state.get(Self::FIRST).is_none() {
            state.put(Self::FIRST, &oldest.to_be_bytes(), None);
        }
    }

    fn place(offset: i64) -> (i64, usize, u8) {
        let within = usize::try_from(offset.rem_euclid(Self::OFFSETS)).unwrap_or_default();
        (offset.div_euclid(Self::OFFSETS), within / 8, 1 << (within % 8))
    }
}

/// What there is to replay in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The oldest dead letter that there is.
    pub(crate) oldest: i64,
    /// The first that is to go back, …
    pub(crate) first: i64,
    /// … and the last.
    pub(crate) last: i64,
}

/// Sends dead letters back, up to those that were there when it began.
#[derive(Debug)]
pub(crate) struct Replay {
    filter: ReplayFilter,
    stretches: BTreeMap<i32, Stretch>,
    reached: BTreeMap<i32, i64>,
    stop: Arc<AtomicBool>,
}

impl Replay {
    /// A stage that tells `stop` once it has come to the end of each stretch.
    pub(crate) fn new(filter: ReplayFilter, stretches: BTreeMap<i32, Stretch>, stop: Arc<AtomicBool>) -> Self {
        Self { filter, stretches, reached: BTreeMap::new(), stop }
    }
}

impl Stage for Replay {
    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let stretch = self.stretches.get(&record.partition);
        if let Some(stretch) = stretch.filter(|stretch| (stretch.first..=stretch.last).contains(&record.offset))
            && !SentBack::has(state, record.offset)
            && let Some(target) = self.filter.judge(record.key, |name| record.headers.get(name)).1
        {
            let kept: Vec<(&str, &[u8])> = record.headers.iter().filter(|(name, _)| !headers::is_added(name)).collect();
            out.pass_on(target, record, &kept);
            SentBack::forget_before(state, stretch.oldest);
            SentBack::put(state, record.offset);
        }
        let reached = self.reached.entry(record.partition).or_insert(record.offset);
        *reached = record.offset.max(*reached);
        Ok(())
    }

    fn end_batch(&mut self, _: &mut Outbox) {
        let is_done = |(partition, stretch): (&i32, &Stretch)| {
            self.reached.get(partition).is_some_and(|reached| *reached >= stretch.last)
        };
        if self.stretches.iter().all(is_done) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use cybervault_stream::StateLimits;

    use super::*;

    #[test]
    fn what_was_sent_back_is_known_by_its_offset_until_it_is_gone() {
        let mut state = State::new(StateLimits::default());
        let offsets = [0, 7, 8, 1023, 1024, 5_000, 1 << 40];
        offsets.iter().for_each(|offset| SentBack::put(&mut state, *offset));
        assert!(offsets.iter().all(|offset| SentBack::has(&state, *offset)));
        assert!([1, 9, 1022, 1025, 4_999, (1 << 40) - 1].iter().all(|offset| !SentBack::has(&state, *offset)));
        SentBack::forget_before(&mut state, 0);
        let before = state.len();
        SentBack::forget_before(&mut state, 2_048);
        assert_eq!(state.len(), before - 2);
        assert!(!SentBack::has(&state, 7) && SentBack::has(&state, 5_000));
    }
}
