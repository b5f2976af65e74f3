//! Leaves to others what only some processors of another kind can do.

use super::text::Unescaped;

pub(super) fn unescape(_raw: &[u8], _text: &mut String) -> Option<Unescaped> {
    Some(Unescaped::default())
}

pub(super) fn same(_one: &[u8], _other: &[u8]) -> Option<usize> {
    None
}

pub(super) fn end(_bytes: &[u8]) -> Option<Option<usize>> {
    None
}
