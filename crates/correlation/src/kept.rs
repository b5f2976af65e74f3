//! Windows beyond the process: each group as a few keys and values, of which one more event changes one or two.
//!
//! Under `g` and the group's key lies its head: whose it is and of which correlation, when it was used, and its last entries, up to 64.
//! Entries are numbered, and each full 64 of them lie under `s`, the group's key and their number, until they are not wanted any more. Under
//! `t` is the minute in which it was last looked for groups whose time is over.

use std::collections::HashMap;

use crate::{
    store::{Group, GroupKey, Use},
    window::{Outcome, Read, Window, WindowError, put, put_text, unzigzag, zigzag},
};

/// Who keeps what an engine holds.
pub trait Keep {
    /// Keeps `value` under `key`.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Forgets `key`.
    fn delete(&mut self, key: &[u8]);
}

/// The form of what is kept.
const FORM: u8 = 1;
/// How many entries lie together.
const PART: u64 = 64;
/// Under which key the minute lies.
const MINUTE: &[u8] = b"t";

/// Which correlation a group is of: its id, and what of it decides what its windows mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity<'p> {
    pub(crate) id: &'p str,
    pub(crate) meaning: [u8; 8],
}

fn head_key(GroupKey(key): GroupKey) -> [u8; 17] {
    std::array::from_fn(|at| if at == 0 { b'g' } else { key[at - 1] })
}

fn part_key(GroupKey(key): GroupKey, part: u64) -> [u8; 25] {
    let part = part.to_be_bytes();
    std::array::from_fn(|at| match at {
        0 => b's',
        1..=16 => key[at - 1],
        _ => part[at - 17],
    })
}

/// Writes what an event has changed in a group.
pub(crate) fn write(keep: &mut dyn Keep, group: &Group<'_>, of: Identity<'_>, outcome: &Outcome, bytes: &mut Vec<u8>) {
    let (first, end) = group.window.numbers();
    let (first_before, end_before) = outcome.before;
    for part in outcome.changed.min(end) / PART..end / PART {
        bytes.clear();
        bytes.push(FORM);
        group.window.encode((part * PART, (part + 1) * PART), bytes);
        keep.put(&part_key(group.key, part), bytes);
    }
    let gone = (first_before / PART..(first / PART).min(end_before / PART)).chain(end / PART..end_before / PART);
    gone.for_each(|part| keep.delete(&part_key(group.key, part)));
    bytes.clear();
    bytes.push(FORM);
    put(bytes, group.used.number);
    put(bytes, group.used.minute.into());
    bytes.extend_from_slice(&of.meaning);
    put_text(bytes, of.id);
    put_text(bytes, group.tenant);
    put(bytes, zigzag(group.window.last()));
    put(bytes, first);
    group.window.encode((end - end % PART, end), bytes);
    keep.put(&head_key(group.key), bytes);
}

/// Forgets a group whose window was this.
pub(crate) fn delete(keep: &mut dyn Keep, key: GroupKey, window: &Window) {
    let (first, end) = window.numbers();
    (first / PART..end / PART).for_each(|part| keep.delete(&part_key(key, part)));
    keep.delete(&head_key(key));
}

/// Writes the minute in which it was looked for groups whose time is over.
pub(crate) fn write_minute(keep: &mut dyn Keep, minute: u32) {
    keep.put(MINUTE, &minute.to_be_bytes());
}

/// A group that was read back.
#[derive(Debug)]
pub(crate) struct Known<'k> {
    pub(crate) key: GroupKey,
    pub(crate) id: &'k str,
    pub(crate) meaning: [u8; 8],
    pub(crate) tenant: &'k str,
    pub(crate) used: Use,
    pub(crate) window: Window,
}

/// Takes a group, or why it can't be read, and its keys.
type EachKnown<'e, 'k> = dyn FnMut(Result<Known<'k>, WindowError>, &mut dyn Iterator<Item = Vec<u8>>) + 'e;

/// All that is kept.
#[derive(Debug, Default)]
pub(crate) struct Kept<'k> {
    heads: Vec<(GroupKey, &'k [u8])>,
    parts: HashMap<GroupKey, Vec<(u64, &'k [u8])>>,
    pub(crate) minute: Option<u32>,
    /// What is nothing that we write.
    pub(crate) strange: Vec<&'k [u8]>,
}

impl<'k> Kept<'k> {
    pub(crate) fn sort(kept: impl IntoIterator<Item = (&'k [u8], &'k [u8])>) -> Self {
        let mut all = Self::default();
        for (key, value) in kept {
            match (key, <[u8; 4]>::try_from(value)) {
                ([b'g', group @ ..], _) if group.len() == 16 => all.heads.push((group_key(group), value)),
                ([b's', rest @ ..], _) if rest.len() == 24 => {
                    let (group, part) = rest.split_at(16);
                    let part = part.iter().fold(0, |part, byte| part << 8 | u64::from(*byte));
                    all.parts.entry(group_key(group)).or_default().push((part, value));
                }
                (MINUTE, Ok(minute)) => all.minute = Some(u32::from_be_bytes(minute)),
                _ => all.strange.push(key),
            }
        }
        all
    }

    /// Takes the groups one after the other, each with its keys.
    pub(crate) fn groups(self, each: &mut EachKnown<'_, 'k>) {
        let Self { heads, mut parts, .. } = self;
        for (key, head) in heads {
            let mut own = parts.remove(&key).unwrap_or_default();
            own.sort_unstable_by_key(|(part, _)| *part);
            let keys = own.iter().map(|(part, _)| part_key(key, *part).to_vec());
            each(known(key, head, &own), &mut keys.chain([head_key(key).to_vec()]));
        }
        for (key, own) in parts {
            each(Err(WindowError::Broken), &mut own.iter().map(|(part, _)| part_key(key, *part).to_vec()));
        }
    }
}

fn group_key(bytes: &[u8]) -> GroupKey {
    GroupKey(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default()))
}

fn known<'k>(key: GroupKey, head: &'k [u8], parts: &[(u64, &'k [u8])]) -> Result<Known<'k>, WindowError> {
    let mut read = begin(head)?;
    let number = read.number()?;
    let minute = u32::try_from(read.number()?).map_err(|_| WindowError::Broken)?;
    let meaning = read.array()?;
    let (id, tenant) = (read.text()?, read.text()?);
    let last = unzigzag(read.number()?);
    let mut window = Window::beginning_at(read.number()?, last);
    for (_, part) in parts {
        let mut read = begin(part)?;
        window.decode(&mut read)?;
    }
    window.decode(&mut read)?;
    if !read.0.is_empty() {
        return Err(WindowError::Broken);
    }
    Ok(Known { key, id, meaning, tenant, used: Use { number, minute }, window })
}

fn begin(bytes: &[u8]) -> Result<Read<'_>, WindowError> {
    match bytes.split_first() {
        Some((&FORM, rest)) => Ok(Read(rest)),
        Some((form, _)) => Err(WindowError::Form(*form)),
        None => Err(WindowError::Broken),
    }
}
