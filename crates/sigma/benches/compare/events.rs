//! The lines that both engines are fed.

use cybervault_model::prefetch;

pub(crate) fn of(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

/// Each handed out when the next one is on its way into the caches, as the product takes records.
pub(crate) fn in_turn<'l>(lines: &'l [&'l str]) -> impl Iterator<Item = &'l str> {
    let mut ahead = lines.iter().skip(1);
    lines.iter().copied().inspect(move |_| ahead.next().into_iter().for_each(|next| prefetch(next.as_bytes())))
}

pub(crate) fn bytes(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.len()).sum()
}
