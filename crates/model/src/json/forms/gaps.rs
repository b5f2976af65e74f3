//! What stands between the values of documents.

use std::ops::Range;

use crate::json::{plain, text};

/// How many gaps are kept, …
const MOST: usize = 8192;

/// … and how many of them behind the same ones.
const MOST_NEXT: usize = 256;

/// The gaps of forms, each behind those that stand before it.
#[derive(Debug)]
pub(super) struct Gaps {
    /// The first is none: all begin behind it.
    list: Vec<Gap>,
}

#[derive(Debug, Default)]
struct Gap {
    bytes: Box<[u8]>,
    /// The gaps that may follow.
    next: Vec<usize>,
    /// What may be behind the last value, each with the form that has it.
    ends: Vec<(Box<[u8]>, usize)>,
    /// The last form that had it.
    form: usize,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { list: vec![Gap::default()] }
    }
}

impl Gaps {
    /// Whether there is room for so many more.
    pub(super) fn have_room(&self, more: usize) -> bool {
        self.list.len() + more <= MOST
    }

    /// The gap behind `before` that `rest` begins with, and a form that has it; no gap if `rest` is behind the last value.
    pub(super) fn behind(&self, before: Option<usize>, rest: &[u8]) -> Option<(Option<usize>, usize)> {
        let before = self.list.get(before.unwrap_or_default())?;
        let begins = |gap: &Gap| {
            let value = rest.strip_prefix(&*gap.bytes)?;
            // Other gaps may begin with this one.
            value.first().filter(|first| begins_value(**first))
        };
        let next = before.next.iter().find(|next| begins(&self.list[**next]).is_some());
        match next {
            Some(next) => Some((Some(*next), self.list[*next].form)),
            None => before.ends.iter().find(|(end, _)| **end == *rest).map(|(_, form)| (None, *form)),
        }
    }

    /// The gap behind `before` with these bytes; `None` where there are too many.
    pub(super) fn add(&mut self, before: Option<usize>, bytes: &[u8]) -> Option<usize> {
        let before = before.unwrap_or_default();
        let next = &self.list[before].next;
        if let Some(known) = next.iter().find(|next| *self.list[**next].bytes == *bytes) {
            return Some(*known);
        }
        if next.len() >= MOST_NEXT {
            return None;
        }
        let gap = self.list.len();
        self.list.push(Gap { bytes: bytes.into(), ..Gap::default() });
        self.list[before].next.push(gap);
        Some(gap)
    }

    /// Notes what the form has behind its last value.
    pub(super) fn end(&mut self, before: Option<usize>, bytes: &[u8], form: usize) {
        let ends = &mut self.list[before.unwrap_or_default()].ends;
        if let Some((_, known)) = ends.iter_mut().find(|(end, _)| **end == *bytes) {
            *known = form;
        } else if ends.len() < MOST_NEXT {
            ends.push((bytes.into(), form));
        }
    }

    /// Notes that the form with these gaps came.
    pub(super) fn came(&mut self, path: &[usize], form: usize) {
        for at in path {
            self.list[*at].form = form;
        }
    }
}

fn begins_value(byte: u8) -> bool {
    matches!(byte, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

/// Where the value ends that begins at `at`, if one begins there; whether it is any is not looked at.
pub(super) fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at).filter(|first| begins_value(**first))?;
    let rest = &bytes[at + 1..];
    let length = match first {
        b'"' => text::end(rest)?,
        _ => rest.iter().take_while(|byte| plain::may_have(**byte) || byte.is_ascii_lowercase()).count(),
    };
    Some(at + 1 + length)
}

/// Where the values in JSON are, each with the gap before it.
pub(super) struct Pieces<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Pieces<'b> {
    /// Those of one document.
    pub(super) fn of(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Iterator for Pieces<'_> {
    type Item = (Range<usize>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.at;
        let mut at = from;
        loop {
            let first = *self.bytes.get(at)?;
            if !begins_value(first) {
                at += 1;
                continue;
            }
            let end = value_end(self.bytes, at)?;
            let behind = self.bytes[end..].iter().position(|byte| !byte.is_ascii_whitespace())?;
            if self.bytes[end + behind] == b':' {
                // A key.
                at = end + behind;
                continue;
            }
            self.at = end;
            return Some((from..at, at..end));
        }
    }
}
