//! The events of one group that are still of interest, in the order of their time, and which of them made the condition true.

use std::collections::VecDeque;

use crate::{criterion::Criterion, event_name::EventName, tally::Tally};

/// The most values of one group that are kept. The oldest make room.
const MOST_ENTRIES: usize = 100_000;
/// The same where each costs more than to be counted.
const MOST_COSTLY: usize = 10_000;
/// From so many on a window keeps its tally; below, it is made anew, which is as fast and takes no memory.
const KEEPS_TALLY: usize = 32;

/// The condition was true with this event.
const TRUE: u8 = 1;
/// It was true just before this event, too, of what had not left the time frame.
const STAYED: u8 = 2;
/// Another value of the same event follows.
const MORE: u8 = 4;

/// An event of a group; one that counts with several values is several entries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// When it was.
    pub(crate) time: i64,
    /// The rules that are true of it as bits, a value's hash, or a number.
    pub(crate) value: u64,
    pub(crate) name: EventName,
    /// The value, for people.
    pub(crate) shown: Option<Box<str>>,
    flags: u8,
}

impl Entry {
    pub(crate) const fn number(&self) -> f64 {
        f64::from_bits(self.value)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    fn heap(&self) -> usize {
        self.name.heap() + self.shown.as_ref().map_or(0, |text| text.len())
    }
}

/// What a window needs to know of its correlation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'p> {
    pub(crate) criterion: &'p Criterion,
    pub(crate) timespan: i64,
    pub(crate) lateness: i64,
}

/// An event as it is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added<'a> {
    pub(crate) time: i64,
    pub(crate) id: &'a str,
    /// What it counts with, and how that is shown; at least one.
    pub(crate) values: &'a [(u64, Option<&'a str>)],
}

/// What came of an event.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The event's place, and whether the condition is true with it.
    pub(crate) place: usize,
    pub(crate) is_true: bool,
    /// The place of the event with which the condition became true.
    pub(crate) fired: Option<usize>,
    /// When that was.
    pub(crate) fired_time: Option<i64>,
    /// When it was true with this event and would not have been without.
    pub(crate) true_at: Vec<i64>,
    /// Entries that had to make room.
    pub(crate) cut: u64,
    /// Whether the event came later than windows wait for.
    pub(crate) is_late: bool,
    /// The numbers that the entries had before: the first one's, and that behind the last.
    pub(crate) before: (u64, u64),
    /// The number of the first entry that is not as it was.
    pub(crate) changed: u64,
}

/// The events of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// When the event that was added last was. One with a clock that runs ahead must not take the others' place.
    last: i64,
    /// How many entries were there before the first: entries are numbered, so that they can be kept in parts.
    first: u64,
    heap: usize,
    live: Option<Box<Live>>,
}

/// What is true of the time frame that ends with the newest event.
#[derive(Clone, Debug)]
struct Live {
    /// The first entry in it.
    from: usize,
    tally: Tally,
}

impl Window {
    /// Bytes that it takes, about: what its entries say, not how they came there. So a window that was read back counts as much as the one
    /// that was kept, and the same groups have to go.
    pub(crate) fn bytes(&self) -> usize {
        let length = self.entries.len();
        let live = if length >= KEEPS_TALLY { 64 + 16 * length } else { 0 };
        (length + length / 2) * size_of::<Entry>() + self.heap + live
    }

    /// The numbers of its entries: the first one's, and that behind the last.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.first, self.first + self.entries.len() as u64)
    }

    /// The newest event's time.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.time)
    }

    /// The entries of the time frame that ends with the one at `place`, in their order.
    pub(crate) fn frame(&self, place: usize, timespan: i64) -> impl ExactSizeIterator<Item = &Entry> + Clone {
        let from = self.entries.get(place).map_or(0, |last| last.time.saturating_sub(timespan));
        let first = self.entries.partition_point(|entry| entry.time < from);
        self.entries.range(first..(place + 1).min(self.entries.len()).max(first))
    }

    /// When the entry at `place` was.
    pub(crate) fn time_of(&self, place: usize) -> i64 {
        self.entries.get(place).map_or(0, |entry| entry.time)
    }

    /// Puts an event in its place, and tells what it makes true. `scratch` is a tally of the same criterion.
    pub(crate) fn add(&mut self, added: &Added<'_>, frame: &Frame<'_>, scratch: &mut Tally, outcome: &mut Outcome) {
        (outcome.fired, outcome.fired_time, outcome.cut) = (None, None, 0);
        outcome.before = self.numbers();
        outcome.true_at.clear();
        outcome.is_late = self.newest().is_some_and(|newest| added.time < newest.saturating_sub(frame.lateness));
        self.make_room(added, frame, outcome);
        self.last = added.time;
        if self.newest().is_none_or(|newest| newest <= added.time) {
            self.append(added, frame, scratch, outcome);
        } else {
            self.insert(added, frame, scratch, outcome);
        }
        outcome.fired_time = outcome.fired.map(|fired| self.time_of(fired));
    }

    fn make_room(&mut self, added: &Added<'_>, frame: &Frame<'_>, outcome: &mut Outcome) {
        let horizon = self.last.min(added.time).saturating_sub(frame.lateness).saturating_sub(frame.timespan);
        while self.entries.front().is_some_and(|entry| entry.time < horizon) {
            self.drop_oldest();
        }
        let most = if matches!(frame.criterion, Criterion::Events(_)) { MOST_ENTRIES } else { MOST_COSTLY };
        while self.entries.len() + added.values.len() > most {
            outcome.cut += 1;
            // What is dated later than can be is the first to go.
            if self.newest().is_some_and(|newest| newest > added.time.saturating_add(frame.lateness)) {
                self.live = None;
                self.heap -= self.entries.pop_back().map_or(0, |entry| entry.heap());
            } else {
                self.drop_oldest();
            }
        }
        let (length, more) = (self.entries.len(), added.values.len());
        if length + more > self.entries.capacity() {
            // Most groups have few events, so that room for them is given sparingly.
            self.entries.reserve_exact(more + length / 2);
        } else if self.entries.capacity() > 64 && length * 4 < self.entries.capacity() {
            self.entries.shrink_to(2 * length + more);
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.first += 1;
        self.heap -= entry.heap();
        if let Some(live) = &mut self.live {
            if live.from == 0 {
                live.tally.pop(&entry);
            } else {
                live.from -= 1;
            }
        }
    }

    /// The entries of an event that is added.
    fn entries_of<'a>(added: &'a Added<'_>) -> impl Iterator<Item = Entry> + 'a {
        let last = added.values.len() - 1;
        added.values.iter().enumerate().map(move |(at, (value, shown))| Entry {
            time: added.time,
            value: *value,
            name: EventName::new(added.id),
            shown: shown.map(Into::into),
            flags: if at < last { MORE } else { 0 },
        })
    }

    /// Adds what is no older than all there is.
    fn append(&mut self, added: &Added<'_>, frame: &Frame<'_>, scratch: &mut Tally, outcome: &mut Outcome) {
        let Frame { criterion, timespan, .. } = *frame;
        outcome.changed = self.numbers().1;
        let from = added.time.saturating_sub(timespan);
        if self.live.is_none() && self.entries.len() >= KEEPS_TALLY {
            self.live = Some(Box::new(Live { from: self.entries.len(), tally: Tally::new(criterion) }));
            self.fill_live(from, criterion);
        }
        let mut live = self.live.take();
        let tally = match &mut live {
            Some(live) => {
                while let Some(entry) = self.entries.get(live.from).filter(|entry| entry.time < from) {
                    live.tally.pop(entry);
                    live.from += 1;
                }
                &mut live.tally
            }
            None => {
                scratch.clear();
                let first = self.entries.partition_point(|entry| entry.time < from);
                scratch.fill(self.entries.range(first..), criterion);
                scratch
            }
        };
        let was_true = self.entries.back().is_some_and(|entry| entry.has(TRUE));
        let stayed = tally.holds(criterion, from);
        for entry in Self::entries_of(added) {
            tally.push(&entry, criterion);
            self.heap += entry.heap();
            self.entries.push_back(entry);
        }
        let is_true = tally.holds(criterion, from);
        self.live = live;
        let place = self.entries.len() - 1;
        let entry = &mut self.entries[place];
        entry.set(TRUE, is_true);
        entry.set(STAYED, stayed);
        (outcome.place, outcome.is_true) = (place, is_true);
        if is_true {
            outcome.true_at.push(added.time);
            outcome.fired = (!(was_true && stayed)).then_some(place);
        }
    }

    fn fill_live(&mut self, from: i64, criterion: &Criterion) {
        let first = self.entries.partition_point(|entry| entry.time < from);
        if let Some(live) = &mut self.live {
            live.from = first;
            live.tally.fill(self.entries.range(first..), criterion);
        }
    }

    /// Puts in what is older than the newest, and evaluates anew all time frames that it is in.
    ///
    /// Events with which the condition is true, one after the other and without its having become false between them, are a bout. A
    /// bout is found once: if none of its events was one before, it is found now.
    fn insert(&mut self, added: &Added<'_>, frame: &Frame<'_>, scratch: &mut Tally, outcome: &mut Outcome) {
        let Frame { criterion, timespan, .. } = *frame;
        let first = self.entries.partition_point(|entry| entry.time <= added.time);
        outcome.changed = self.first + first as u64;
        let mut start = self.entries.partition_point(|entry| entry.time < added.time.saturating_sub(timespan));
        let mut rolled = self.rolled_back(start, first, criterion);
        let tally = match &mut rolled {
            Some(tally) => tally,
            None => {
                scratch.clear();
                scratch.fill(self.entries.range(start..first), criterion);
                &mut *scratch
            }
        };
        for (at, entry) in Self::entries_of(added).enumerate() {
            self.heap += entry.heap();
            self.entries.insert(first + at, entry);
        }
        let own = first + added.values.len() - 1;
        let mut bout = Bout { is_open: first > 0 && self.entries[first - 1].has(TRUE), is_known: true, began: 0 };
        let (mut place, mut stayed) = (first, false);
        let mut begins_event = true;
        while let Some(time) = self.entries.get(place).map(|entry| entry.time) {
            if time > added.time.saturating_add(timespan) {
                break;
            }
            let from = time.saturating_sub(timespan);
            if begins_event {
                while self.entries[start].time < from {
                    tally.pop(&self.entries[start]);
                    start += 1;
                }
                stayed = tally.holds(criterion, from);
            }
            let entry = &mut self.entries[place];
            tally.push(entry, criterion);
            begins_event = !entry.has(MORE);
            if begins_event {
                let (was_true, is_true) = (entry.has(TRUE), tally.holds(criterion, from));
                entry.set(TRUE, is_true);
                entry.set(STAYED, stayed);
                bout.next(place, is_true, stayed, was_true, outcome);
                if is_true && (place == own || !was_true) {
                    outcome.true_at.push(time);
                }
            }
            place += 1;
        }
        (outcome.place, outcome.is_true) = (own, self.entries[own].has(TRUE));
        // The event behind may go on with the last bout.
        let goes_on = self.entries.iter().skip(place).find(|entry| !entry.has(MORE));
        bout.is_known |= goes_on.is_some_and(|entry| entry.has(TRUE) && entry.has(STAYED));
        bout.end(outcome);
        // Where it has come to the newest, its frame is that with which the next event begins.
        if place == self.entries.len() && place >= KEEPS_TALLY {
            let tally = rolled.unwrap_or_else(|| std::mem::replace(scratch, Tally::new(criterion)));
            self.live = Some(Box::new(Live { from: start, tally }));
        }
    }

    /// The tally of the entries between these two places, made from that of the newest time frame: an event that is a little late costs no
    /// more than those that overtook it. `None` where there is none to begin with; it is gone then.
    fn rolled_back(&mut self, start: usize, end: usize, criterion: &Criterion) -> Option<Tally> {
        let Live { from, mut tally } = *self.live.take()?;
        // Beyond that, to make it anew is less.
        if !tally.goes_back() || from.saturating_sub(start) + self.entries.len() - end > self.entries.len() / 2 {
            return None;
        }
        self.entries.range(end.max(from)..).for_each(|entry| tally.pop(entry));
        self.entries.range(start..from.min(end).max(start)).for_each(|entry| tally.push(entry, criterion));
        Some(tally)
    }
}

/// The bout that is being looked at.
struct Bout {
    is_open: bool,
    /// Whether one of its events was one before.
    is_known: bool,
    began: usize,
}

impl Bout {
    fn next(&mut self, place: usize, is_true: bool, stayed: bool, was_true: bool, outcome: &mut Outcome) {
        if !(is_true && stayed && self.is_open) {
            self.end(outcome);
            *self = Self { is_open: is_true, is_known: false, began: place };
        }
        self.is_known |= was_true;
    }

    fn end(&mut self, outcome: &mut Outcome) {
        if self.is_open && !self.is_known && outcome.fired.is_none() {
            outcome.fired = Some(self.began);
        }
    }
}

/// Why bytes are no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// They were written by another version.
    #[error("a window of form {0}, which this version does not know")]
    Form(u8),
    /// They end early, or say what can't be.
    #[error("the bytes are no window")]
    Broken,
}

/// What is kept of a window.
impl Window {
    /// One without entries, of which the first will have this number.
    pub(crate) fn beginning_at(first: u64, last: i64) -> Self {
        Self { first, last, ..Self::default() }
    }

    /// When the event that was added last was.
    pub(crate) const fn last(&self) -> i64 {
        self.last
    }

    /// Appends the entries with these numbers as bytes, as far as they are there.
    pub(crate) fn encode(&self, (from, to): (u64, u64), out: &mut Vec<u8>) {
        let place = |number: u64| usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let end = place(to).min(self.entries.len());
        let start = place(from).min(end);
        put(out, self.first + start as u64);
        put(out, (end - start) as u64);
        let mut before = 0_i64;
        for Entry { time, value, name, shown, flags } in self.entries.range(start..end) {
            let kind = match name {
                EventName::Derived(_) => 0,
                EventName::Uuid(_) => 1,
                EventName::Text(_) => 2,
            };
            out.push(flags | kind << 3 | u8::from(shown.is_some()) << 5);
            put(out, zigzag(time.wrapping_sub(before)));
            before = *time;
            // Bits of rules are small numbers; hashes and the bits of numbers are not.
            put(out, value.swap_bytes().min(*value));
            out.push(u8::from(value.swap_bytes() < *value));
            match name {
                EventName::Derived(bytes) | EventName::Uuid(bytes) => out.extend_from_slice(bytes),
                EventName::Text(text) => put_text(out, text),
            }
            if let Some(shown) = shown {
                put_text(out, shown);
            }
        }
    }

    /// Adds the entries that the bytes have, as far as they are of interest: those from the window's first on.
    ///
    /// # Errors
    /// When they are no entries, or not the next ones.
    pub(crate) fn decode(&mut self, read: &mut Read<'_>) -> Result<(), WindowError> {
        let (start, count) = (read.number()?, read.number()?);
        let end = start.checked_add(count).ok_or(WindowError::Broken)?;
        let (first, next) = self.numbers();
        // An entry takes five bytes at least.
        let has_room = count <= read.0.len() as u64 / 5 && end.saturating_sub(first) <= MOST_ENTRIES as u64;
        if !has_room || start > next || (start < next && next > first) {
            return Err(WindowError::Broken);
        }
        let wanted = usize::try_from(end.saturating_sub(next)).map_err(|_| WindowError::Broken)?;
        self.entries.reserve_exact(wanted);
        let mut time = 0_i64;
        for number in start..end {
            let entry = Self::decode_entry(read, &mut time)?;
            let newest = self.newest();
            if newest.is_some_and(|newest| entry.time < newest) {
                return Err(WindowError::Broken);
            }
            if number >= first {
                self.heap += entry.heap();
                self.entries.push_back(entry);
            }
        }
        Ok(())
    }

    fn decode_entry(read: &mut Read<'_>, time: &mut i64) -> Result<Entry, WindowError> {
        let head = read.byte()?;
        *time = time.wrapping_add(unzigzag(read.number()?));
        let value = read.number()?;
        let value = if read.byte()? == 1 { value.swap_bytes() } else { value };
        let name = match head >> 3 & 3 {
            0 => EventName::Derived(read.array()?),
            1 => EventName::Uuid(read.array()?),
            2 => EventName::Text(read.text()?.into()),
            _ => return Err(WindowError::Broken),
        };
        let shown = if head >> 5 & 1 == 1 { Some(read.text()?.into()) } else { None };
        Ok(Entry { time: *time, value, name, shown, flags: head & (TRUE | STAYED | MORE) })
    }
}

pub(crate) const fn zigzag(number: i64) -> u64 {
    (number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Bytes that are read from their beginning on.
pub(crate) struct Read<'b>(pub(crate) &'b [u8]);

impl<'b> Read<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], WindowError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WindowError::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, WindowError> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WindowError> {
        self.take(N)?.try_into().map_err(|_| WindowError::Broken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, WindowError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WindowError::Broken)
    }

    pub(crate) fn text(&mut self) -> Result<&'b str, WindowError> {
        let length = usize::try_from(self.number()?).map_err(|_| WindowError::Broken)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| WindowError::Broken)
    }
}
