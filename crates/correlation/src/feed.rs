//! Which groups of a correlation an event belongs to, and what it counts with.

use sha2::{Digest, Sha256};

use crate::{
    criterion::Criterion,
    plan::{Compiled, FieldRef},
    signal::{FieldValues, Signal},
    store::GroupKey,
};

/// The most groups of one correlation that an event belongs to, and the most combinations of values that it counts with.
const MOST_COMBINED: usize = 64;

/// That an event, or a correlation that it made true, is to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) correlation: usize,
    pub(crate) slot: u8,
    pub(crate) time: i64,
    /// Where among the groups' values those of the correlation's own group begin, if it is one.
    pub(crate) group: usize,
}

/// An event in one group.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) key: GroupKey,
    pub(crate) time: i64,
    /// The rules that it is of, as bits.
    pub(crate) rules: u64,
    /// Where among the groups' values this group's begin.
    pub(crate) group: usize,
    /// What it counts with, and where its text is among the event's values.
    pub(crate) values: Vec<(u64, Shown)>,
    has_numbers: bool,
}

/// How a value is shown.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    Value(u32),
    Tuple(String),
}

/// Adds the groups of `pending` to `feeds`, and their values to `groups`, as places among the event's values. Whether there were more than are
/// taken.
pub(crate) fn feeds(
    compiled: &Compiled,
    signal: &Signal<'_>,
    pending: &Pending,
    groups: &mut Vec<u32>,
    feeds: &mut Vec<Feed>,
) -> bool {
    let slot = &compiled.slots[usize::from(pending.slot)];
    let id = compiled.rule.meta.id.as_bytes();
    let mut begun: Vec<usize> = Vec::new();
    let inner: Vec<u32> = of_groups(&slot.group, pending.group, groups);
    let is_met = |values: &[u32]| {
        let Some(meets) = signal.meets else { return true };
        let value = |place: &usize| values.get(*place).map_or("", |value| signal.fields.folded(*value));
        compiled.meets.len() == meets.len() && compiled.meets.iter().map(value).eq(meets.iter().map(String::as_str))
    };
    let mut cut = combine(&slot.group, signal.fields, &inner, &mut |values| {
        if !is_met(values) {
            return;
        }
        let key = key(signal, id, values);
        let known = feeds.iter().position(|feed| feed.key == key && feed.time == pending.time);
        let at = known.unwrap_or_else(|| {
            let (time, group) = (pending.time, groups.len());
            groups.extend_from_slice(values);
            feeds.push(Feed { key, time, rules: 0, group, values: Vec::new(), has_numbers: false });
            feeds.len() - 1
        });
        feeds[at].rules |= 1 << pending.slot;
        begun.push(at);
    });
    if compiled.criterion.wants_values() {
        let inner: Vec<u32> = of_groups(&slot.counted, pending.group, groups);
        let is_distinct = matches!(compiled.criterion, Criterion::Distinct(_));
        for at in begun {
            let feed = &mut feeds[at];
            if feed.has_numbers {
                continue;
            }
            cut |= combine(&slot.counted, signal.fields, &inner, &mut |values| {
                if is_distinct {
                    let hash = hash(signal.fields, values);
                    if feed.values.len() < MOST_COMBINED && !feed.values.iter().any(|(known, _)| *known == hash) {
                        feed.values.push((hash, shown(signal.fields, values)));
                    }
                } else if let [value] = values
                    && let Some(number) = signal.fields.number(*value)
                {
                    feed.values.push((number.to_bits(), Shown::Value(*value)));
                }
            });
            // Of an event that several rules are true of, the first that has numbers gives them.
            feed.has_numbers = !is_distinct && !feed.values.is_empty();
        }
    }
    cut
}

/// The values of the group that these fields are of, in their order.
fn of_groups(fields: &[FieldRef], group: usize, groups: &[u32]) -> Vec<u32> {
    let of_group = |field: &FieldRef| match field {
        FieldRef::OfGroup(at) => groups.get(group + at).copied(),
        FieldRef::OfEvent(_) => None,
    };
    fields.iter().filter_map(of_group).collect()
}

/// Hands on every combination of the fields' values; none where one of them has no value. Whether there were too many.
fn combine(fields: &[FieldRef], values: &FieldValues, inner: &[u32], each: &mut dyn FnMut(&[u32])) -> bool {
    let mut chosen = [0_u32; 16];
    if let [FieldRef::OfEvent(field)] = fields {
        values.of(*field).for_each(|value| each(&[value]));
        return false;
    }
    let Some(chosen) = chosen.get_mut(..fields.len()) else { return true };
    let mut left = MOST_COMBINED;
    choose(fields, values, inner, (chosen, 0), &mut left, each)
}

fn choose(
    fields: &[FieldRef],
    values: &FieldValues,
    inner: &[u32],
    (chosen, at): (&mut [u32], usize),
    left: &mut usize,
    each: &mut dyn FnMut(&[u32]),
) -> bool {
    let Some((field, rest)) = fields.split_first() else {
        if *left == 0 {
            return true;
        }
        *left -= 1;
        each(chosen);
        return false;
    };
    match field {
        FieldRef::OfGroup(_) => {
            let Some((first, inner)) = inner.split_first() else { return false };
            chosen[at] = *first;
            choose(rest, values, inner, (chosen, at + 1), left, each)
        }
        FieldRef::OfEvent(field) => values.of(*field).any(|value| {
            chosen[at] = value;
            choose(rest, values, inner, (&mut *chosen, at + 1), left, each)
        }),
    }
}

fn key(signal: &Signal<'_>, correlation: &[u8], values: &[u32]) -> GroupKey {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(signal.tenant.as_bytes());
    add(correlation);
    values.iter().for_each(|value| add(signal.fields.folded(*value).as_bytes()));
    let hash = hash.finalize();
    GroupKey(std::array::from_fn(|at| hash[at]))
}

fn hash(fields: &FieldValues, values: &[u32]) -> u64 {
    let mut hash = Sha256::new();
    for value in values {
        let text = fields.folded(*value);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let hash = hash.finalize();
    u64::from_le_bytes(std::array::from_fn(|at| hash[at]))
}

fn shown(fields: &FieldValues, values: &[u32]) -> Shown {
    match values {
        [value] => Shown::Value(*value),
        values => Shown::Tuple(values.iter().map(|value| fields.text(*value)).collect::<Vec<_>>().join(", ")),
    }
}
