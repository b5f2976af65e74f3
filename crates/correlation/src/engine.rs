//! Signals in, findings out.

use std::{collections::HashMap, sync::Arc};

use cybervault_sigma::{Correlation, Referred};

use crate::{
    criterion::Criterion,
    feed::{Feed, Pending, Shown, feeds},
    kept::{self, Keep, Kept},
    plan::{Compiled, Feeds, Plan},
    signal::{FieldValues, Signal},
    store::{Dropped, GroupKey, Place, Store, Use},
    tally::Tally,
    window::{Added, Entry, Frame, Outcome},
};

/// How many events a finding shows from the beginning of its time frame, and how many from its end.
const SHOWN_FIRST: usize = 12;
const SHOWN_LAST: usize = 20;
/// The longest value of an event that is shown, in bytes.
const LONGEST_SHOWN: usize = 128;
/// How often at most one event may make one group true for the correlations above it.
const MOST_TRUE: usize = 64;

/// What an engine may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How late an event may come, after others of its group, in milliseconds. Events are kept so much longer than their time frame.
    pub lateness_ms: i64,
    /// Bytes of one tenant's windows.
    pub tenant_bytes: usize,
    /// Bytes of all windows.
    pub total_bytes: usize,
    /// For how long a group is kept of which nothing comes, in milliseconds, beyond the time for which its events are. It is asked of
    /// [`Moment`] only: without a clock, groups go for want of room alone.
    pub idle_ms: i64,
}

impl Default for Limits {
    /// Five minutes, 128 MiB, 512 MiB, an hour.
    fn default() -> Self {
        Self { lateness_ms: 300_000, tenant_bytes: 128 << 20, total_bytes: 512 << 20, idle_ms: 3_600_000 }
    }
}

/// What an engine has done, and has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signals that were taken.
    pub signals: u64,
    /// Findings, those of correlations that are not told by themselves included.
    pub findings: u64,
    /// Groups that had to go while their windows were still of interest, for want of room.
    pub evicted: u64,
    /// Groups that went when their windows were of no more interest.
    pub lapsed: u64,
    /// Events of a group that had to go for want of room.
    pub cut: u64,
    /// Events that came later than windows wait for. They count as far as their time frame is still there.
    pub late: u64,
    /// Events with so many values that they were not put into all their groups.
    pub combinations_cut: u64,
}

/// A correlation has become true.
#[derive(Clone, Debug)]
pub struct Finding<'f> {
    /// Which.
    pub correlation: &'f Correlation,
    /// Its place in the pack.
    pub place: usize,
    /// Whose.
    pub tenant: &'f str,
    /// What the events have in common: fields and values, as the event has them that made it true.
    pub group: Vec<(&'f str, &'f str)>,
    /// The group's key.
    pub key: GroupKey,
    /// The event that made it true.
    pub event_id: &'f str,
    /// The latest time in the time frame, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The events of the time frame, in the order of their time: the first and the last ones, if they are many.
    pub events: Vec<FoundEvent<'f>>,
    /// How many they are.
    pub count: usize,
}

/// An event that had a part in a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEvent<'f> {
    /// Its id; of a correlation, that of the event that made it true.
    pub event_id: String,
    /// When it was, in milliseconds since the Unix epoch.
    pub time: i64,
    /// The titles of the correlation's rules that are true of it, where that is what counts.
    pub rules: Vec<&'f str>,
    /// The value that counts.
    pub value: Option<String>,
}

/// What an event did in one group of a correlation that is watched.
#[derive(Clone, Debug)]
pub struct Step<'s> {
    /// What the group's events have in common.
    pub group: Vec<(&'s str, &'s str)>,
    /// Events and values in the time frame that ends with this event.
    pub count: usize,
    /// The number that the condition compares, if it compares one.
    pub measured: Option<f64>,
    /// The titles of the rules that are true in the time frame, where it is these that count.
    pub rules: Vec<&'s str>,
    /// Whether the condition is true.
    pub is_true: bool,
    /// Whether it has become so.
    pub becomes_true: bool,
}

/// The correlation that is watched, by its place, and who watches.
type Watch<'w> = (usize, &'w mut dyn FnMut(&Step<'_>));

/// Where in its log a signal stands: what an engine knows of order and time beside the events' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its offset.
    pub offset: u64,
    /// When it was written there, in milliseconds since the Unix epoch.
    pub written: i64,
}

/// What was read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Groups that are there again.
    pub groups: usize,
    /// Groups of correlations that are not in the plan, or mean something else by now.
    pub left: usize,
    /// Groups that can't be read.
    pub broken: usize,
    /// The keys of both, and those that nothing is known of: to be deleted.
    pub keys: Vec<Vec<u8>>,
}

/// How many groups go at once whose time is over.
const MOST_LAPSED: usize = 20_000;

/// Holds the windows of all groups of a plan's correlations.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<Plan>,
    titles: Arc<[Box<str>]>,
    limits: Limits,
    store: Store,
    counts: Counts,
    evicted: HashMap<Box<str>, u64>,
    scratch: Scratch,
    /// The number of the next use, where no log gives one.
    next_use: u64,
    /// The minute in which it was last looked for groups whose time is over.
    minute: Option<u32>,
}

/// What is used again for every signal.
#[derive(Debug, Default)]
struct Scratch {
    tallies: Vec<Tally>,
    pending: Vec<Pending>,
    groups: Vec<u32>,
    feeds: Vec<Feed>,
    outcome: Outcome,
    bytes: Vec<u8>,
}

impl Engine {
    /// An engine without any windows. `titles` are those of the pack's rules, in their order, by which findings name them.
    pub fn new(plan: Arc<Plan>, titles: impl IntoIterator<Item = impl Into<Box<str>>>, limits: Limits) -> Self {
        let correlations = (0..plan.len()).map(|at| plan.correlation(at));
        let tallies = correlations.map(|compiled| Tally::new(&compiled.criterion)).collect();
        let titles = titles.into_iter().map(Into::into).collect();
        let scratch = Scratch { tallies, ..Scratch::default() };
        let (store, counts) = (Store::new(), Counts::default());
        Self { plan, titles, limits, store, counts, evicted: HashMap::new(), scratch, next_use: 0, minute: None }
    }

    /// Groups that are kept.
    pub fn groups(&self) -> usize {
        self.store.len()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.store.bytes()
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a signal, and hands on what it makes true, the correlations that others are over first.
    pub fn take(&mut self, signal: &Signal<'_>, each: &mut dyn FnMut(&Finding<'_>)) {
        let used = Use { number: self.next_use, minute: 0 };
        self.next_use = self.run(signal, used, (None, None), each);
    }

    /// The same of a signal from a log, and has `keep` keep what it changes: an engine that takes this up goes on as this one does. Whether
    /// it was in any group.
    pub fn take_from_log(
        &mut self,
        signal: &Signal<'_>,
        moment: Moment,
        keep: &mut dyn Keep,
        each: &mut dyn FnMut(&Finding<'_>),
    ) -> bool {
        let minute = u32::try_from(moment.written.div_euclid(60_000).max(0)).unwrap_or(u32::MAX);
        self.look_for_lapsed(minute, keep);
        // A signal is in fewer groups than this by far, so that all uses have numbers of their own.
        let used = Use { number: moment.offset << 16, minute: self.minute.unwrap_or(minute) };
        self.run(signal, used, (None, Some(keep)), each) > used.number
    }

    /// Groups that had to go for want of room since this was asked last, by tenant.
    pub fn take_evicted(&mut self) -> HashMap<Box<str>, u64> {
        std::mem::take(&mut self.evicted)
    }

    /// Once a minute, drops the groups of which nothing has come for so long that their events are of no more interest.
    fn look_for_lapsed(&mut self, minute: u32, keep: &mut dyn Keep) {
        if self.minute.is_some_and(|before| minute <= before) {
            return;
        }
        self.minute = Some(minute);
        kept::write_minute(keep, minute);
        let Self { plan, limits, store, .. } = self;
        let is_over = |correlation: usize, seen: u32| {
            let timespan = plan.correlation(correlation).rule.timespan_ms;
            let kept_for = timespan.saturating_add(limits.lateness_ms).saturating_add(limits.idle_ms);
            i64::from(minute.saturating_sub(seen)).saturating_mul(60_000) > kept_for
        };
        for Dropped { key, window, .. } in store.drop_all(is_over, MOST_LAPSED) {
            kept::delete(keep, key, &window);
            self.counts.lapsed += 1;
        }
    }

    /// The same, but hands on what becomes of the correlation at this place of the pack, whether it becomes true or not.
    pub fn watch(&mut self, signal: &Signal<'_>, place: usize, each: &mut dyn FnMut(&Step<'_>)) {
        let used = Use { number: self.next_use, minute: 0 };
        self.next_use = self.run(signal, used, (Some((place, each)), None), &mut |_| ());
    }

    /// Takes a signal that is used from this number on; the number behind its last use.
    fn run(
        &mut self,
        signal: &Signal<'_>,
        used: Use,
        (mut watch, keep): (Option<Watch<'_>>, Option<&mut dyn Keep>),
        each: &mut dyn FnMut(&Finding<'_>),
    ) -> u64 {
        let Self { plan, titles, limits, store, counts, evicted, scratch, .. } = self;
        let Scratch { tallies, pending, groups, feeds: found, outcome, bytes } = scratch;
        counts.signals += 1;
        pending.clear();
        groups.clear();
        for rule in signal.rules {
            let feed = |feeds: &Feeds| pending_of(feeds, signal.time, 0);
            pending.extend(plan.fed_by(*rule).iter().map(feed));
        }
        let mut taking = Taking { titles, signal, limits, store, counts, evicted, used, keep, bytes };
        // One correlation after the other: those that are over others come behind them.
        while let Some(at) = pending.iter().map(|pending| pending.correlation).min() {
            let compiled = plan.correlation(at);
            found.clear();
            pending.retain(|next| {
                if next.correlation == at {
                    let cut = feeds(compiled, signal, next, groups, found);
                    taking.counts.combinations_cut += u64::from(cut);
                }
                next.correlation != at
            });
            for feed in found.iter() {
                let Some(place) = taking.add(at, compiled, feed, (&mut tallies[at], &mut *outcome)) else { continue };
                taking.keep(compiled, place, outcome);
                if let Some((watched, each)) = &mut watch
                    && *watched == at
                {
                    each(&taking.step(plan, (at, place), feed, groups, (&mut tallies[at], &*outcome)));
                }
                if let Some(finding) = taking.finding(plan, (at, place), feed, groups, outcome) {
                    each(&finding);
                }
                for parent in &compiled.parents {
                    let above = plan.correlation(parent.correlation);
                    if above.criterion.sees_all_that_is_true() {
                        let times = outcome.true_at.iter().rev().take(MOST_TRUE).rev();
                        pending.extend(times.map(|time| pending_of(parent, *time, feed.group)));
                    } else if let Some(fired) = outcome.fired_time {
                        pending.push(pending_of(parent, fired, feed.group));
                    }
                }
                taking.make_room(plan, place);
            }
        }
        taking.used.number
    }

    /// Puts back what [`Keep`] was given, in whatever order it comes, into an engine without windows.
    pub fn restore<'k>(&mut self, kept: impl IntoIterator<Item = (&'k [u8], &'k [u8])>) -> Restored {
        let Self { plan, store, next_use, minute, .. } = self;
        let places: HashMap<_, _> = (0..plan.len()).map(|at| (plan.correlation(at).identity(), at)).collect();
        let kept = Kept::sort(kept);
        *minute = kept.minute;
        let mut restored =
            Restored { keys: kept.strange.iter().map(|key| key.to_vec()).collect(), ..Restored::default() };
        kept.groups(&mut |known, keys| {
            let Ok(known) = known else {
                restored.broken += 1;
                restored.keys.extend(keys);
                return;
            };
            let Some(place) = places.get(&kept::Identity { id: known.id, meaning: known.meaning }) else {
                restored.left += 1;
                restored.keys.extend(keys);
                return;
            };
            let at = store.get_or_add(known.tenant, *place, known.key, known.used);
            let (before, after) = (store.window(at).bytes(), known.window.bytes());
            *store.window(at) = known.window;
            store.resized(at, before, after);
            *next_use = (*next_use).max(known.used.number + 1);
            restored.groups += 1;
        });
        restored
    }

    /// Goes on with another plan: the windows of correlations that mean the same stay, the others are dropped. How many groups these were.
    pub fn change_plan(
        &mut self,
        plan: Arc<Plan>,
        titles: impl IntoIterator<Item = impl Into<Box<str>>>,
        keep: &mut dyn Keep,
    ) -> usize {
        let new = Self::new(plan, titles, self.limits);
        let places: HashMap<_, _> = (0..new.plan.len()).map(|at| (new.plan.correlation(at).identity(), at)).collect();
        let before = self.plan.clone();
        let place = |at: usize| places.get(&before.correlation(at).identity()).copied();
        let dropped = self.store.move_all(place);
        dropped.iter().for_each(|Dropped { key, window, .. }| kept::delete(keep, *key, window));
        (self.plan, self.titles, self.scratch) = (new.plan.clone(), new.titles, new.scratch);
        dropped.len()
    }
}

fn pending_of(feeds: &Feeds, time: i64, group: usize) -> Pending {
    Pending { correlation: feeds.correlation, slot: feeds.slot, time, group }
}

/// A signal on its way.
struct Taking<'e, 's, 'k> {
    titles: &'e [Box<str>],
    signal: &'e Signal<'s>,
    limits: &'e Limits,
    store: &'e mut Store,
    counts: &'e mut Counts,
    evicted: &'e mut HashMap<Box<str>, u64>,
    /// The next use.
    used: Use,
    keep: Option<&'e mut (dyn Keep + 'k)>,
    bytes: &'e mut Vec<u8>,
}

impl Taking<'_, '_, '_> {
    fn frame<'p>(&self, compiled: &'p Compiled) -> Frame<'p> {
        let (timespan, lateness) = (compiled.rule.timespan_ms, self.limits.lateness_ms);
        Frame { criterion: &compiled.criterion, timespan, lateness }
    }

    /// Adds the event to its group; `None` where it has nothing that counts.
    fn add(
        &mut self,
        at: usize,
        compiled: &Compiled,
        feed: &Feed,
        (tally, outcome): (&mut Tally, &mut Outcome),
    ) -> Option<Place> {
        let fields = self.signal.fields;
        let own = [(feed.rules, None)];
        let shown: Vec<_>;
        let values = if compiled.criterion.wants_values() {
            shown = feed.values.iter().map(|(value, shown)| (*value, Some(text_of(shown, fields)))).collect();
            &shown[..]
        } else {
            &own[..]
        };
        if values.is_empty() {
            return None;
        }
        let added = Added { time: feed.time, id: self.signal.event_id, values };
        let place = self.store.get_or_add(self.signal.tenant, at, feed.key, self.used);
        self.used.number += 1;
        let frame = self.frame(compiled);
        let window = self.store.window(place);
        let before = window.bytes();
        window.add(&added, &frame, tally, outcome);
        let after = window.bytes();
        self.store.resized(place, before, after);
        self.counts.cut += outcome.cut;
        self.counts.late += u64::from(outcome.is_late);
        self.counts.findings += u64::from(outcome.fired.is_some());
        Some(place)
    }

    /// Has what the event changed in its group kept.
    fn keep(&mut self, compiled: &Compiled, place: Place, outcome: &Outcome) {
        if let Some(keep) = &mut self.keep {
            kept::write(&mut **keep, &self.store.group(place), compiled.identity(), outcome, self.bytes);
        }
    }

    fn group<'f>(&self, compiled: &'f Compiled, feed: &Feed, groups: &[u32]) -> Vec<(&'f str, &'f str)>
    where
        Self: 'f,
    {
        let fields = self.signal.fields;
        let names = compiled.rule.group_by.iter();
        names.zip(&groups[feed.group..]).map(|(name, value)| (&**name, fields.text(*value))).collect()
    }

    fn titles_of<'f>(&self, plan: &'f Plan, compiled: &Compiled) -> Vec<&'f str>
    where
        Self: 'f,
    {
        let title = |referred: &Referred| match referred {
            Referred::Rule(at) => self.titles.get(*at).map_or("", |title| title),
            Referred::Correlation(at) => &plan.correlation(*at).rule.meta.title,
        };
        compiled.rule.rules.iter().map(title).collect()
    }

    /// What has become of the group with the event that was added.
    fn step<'f>(
        &'f mut self,
        plan: &'f Plan,
        (at, place): (usize, Place),
        feed: &Feed,
        groups: &[u32],
        (tally, outcome): (&mut Tally, &Outcome),
    ) -> Step<'f> {
        let compiled = plan.correlation(at);
        let (criterion, timespan) = (&compiled.criterion, compiled.rule.timespan_ms);
        let (group, titles) = (self.group(compiled, feed, groups), self.titles_of(plan, compiled));
        let window = self.store.window(place);
        let frame = window.frame(outcome.place, timespan);
        tally.clear();
        let (mut count, mut present) = (0, 0);
        for entry in frame {
            tally.push(entry, criterion);
            count += 1;
            present |= if criterion.wants_values() { 0 } else { entry.value };
        }
        let from = window.time_of(outcome.place).saturating_sub(timespan);
        let rules = titles.into_iter().enumerate().filter(|(slot, _)| present >> slot & 1 == 1);
        Step {
            group,
            count,
            measured: tally.measure(criterion, from),
            rules: rules.map(|(_, title)| title).collect(),
            is_true: outcome.is_true,
            becomes_true: outcome.fired.is_some(),
        }
    }

    fn finding<'f>(
        &'f mut self,
        plan: &'f Plan,
        (at, place): (usize, Place),
        feed: &Feed,
        groups: &[u32],
        outcome: &Outcome,
    ) -> Option<Finding<'f>> {
        let compiled = plan.correlation(at);
        let fired = outcome.fired.filter(|_| compiled.rule.meta.is_told)?;
        let group = self.group(compiled, feed, groups);
        let titles = self.titles_of(plan, compiled);
        let window = self.store.window(place);
        let frame = window.frame(fired, compiled.rule.timespan_ms);
        let count = frame.len();
        let time = window.time_of(fired);
        Some(Finding {
            correlation: &compiled.rule,
            place: at,
            tenant: self.signal.tenant,
            group,
            key: feed.key,
            event_id: self.signal.event_id,
            time,
            events: shown_events(frame, &compiled.criterion, &titles),
            count,
        })
    }

    /// Drops what is beyond the limits, a tenant's own before anybody else's.
    fn make_room(&mut self, plan: &Plan, place: Place) {
        while self.store.bytes_of_tenant(place) > self.limits.tenant_bytes {
            // At the worst the group itself goes, if it is larger than all that its tenant may have.
            match self.store.drop_oldest_beside(place) {
                Some(dropped) => self.count_dropped(plan, &dropped),
                None => return,
            }
        }
        while self.store.bytes() > self.limits.total_bytes {
            let Some(dropped) = self.store.drop_oldest_of_largest() else { return };
            self.count_dropped(plan, &dropped);
        }
    }

    fn count_dropped(&mut self, plan: &Plan, Dropped { tenant, correlation, key, window }: &Dropped) {
        if let Some(keep) = &mut self.keep {
            kept::delete(&mut **keep, *key, window);
        }
        let kept_for = plan.correlation(*correlation).rule.timespan_ms.saturating_add(self.limits.lateness_ms);
        let has_lapsed = window.newest().is_none_or(|newest| newest.saturating_add(kept_for) < self.signal.time);
        self.counts.lapsed += u64::from(has_lapsed);
        self.counts.evicted += u64::from(!has_lapsed);
        if !has_lapsed {
            *self.evicted.entry(tenant.clone()).or_default() += 1;
        }
    }
}

fn text_of<'a>(shown: &'a Shown, fields: &'a FieldValues) -> &'a str {
    let text = match shown {
        Shown::Value(at) => fields.text(*at),
        Shown::Tuple(text) => text,
    };
    &text[..text.floor_char_boundary(LONGEST_SHOWN)]
}

/// The first and the last events, and of each rule that none of them is of, the last one that is.
fn shown_events<'f, 'w>(
    frame: impl ExactSizeIterator<Item = &'w Entry> + Clone,
    criterion: &Criterion,
    titles: &[&'f str],
) -> Vec<FoundEvent<'f>> {
    let (count, are_rules) = (frame.len(), !criterion.wants_values());
    let is_shown = |at: usize| at < SHOWN_FIRST || at + SHOWN_LAST >= count;
    let mut left: HashMap<usize, usize> = HashMap::new();
    if are_rules && count > SHOWN_FIRST + SHOWN_LAST {
        let mut seen = 0;
        for (at, entry) in frame.clone().enumerate() {
            if is_shown(at) {
                seen |= entry.value;
            } else {
                left.extend((0..titles.len()).filter(|slot| entry.value >> slot & 1 == 1).map(|slot| (slot, at)));
            }
        }
        left.retain(|slot, _| seen >> slot & 1 == 0);
    }
    let found = |entry: &Entry| FoundEvent {
        event_id: entry.name.text(),
        time: entry.time,
        rules: titles
            .iter()
            .enumerate()
            .filter(|(slot, _)| are_rules && entry.value >> slot & 1 == 1)
            .map(|(_, title)| *title)
            .collect(),
        value: entry.shown.as_ref().map(ToString::to_string),
    };
    let shown = frame.enumerate().filter(|(at, _)| is_shown(*at) || left.values().any(|known| known == at));
    shown.map(|(_, entry)| found(entry)).collect()
}
