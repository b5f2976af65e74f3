//! The lines that both engines are fed.

/// Of more events so many are taken: the peer takes some ten thousand a second, …
const ENOUGH: usize = 20_000;

/// … in stretches of so many, evenly spread over the file. What comes one after the other is alike, and stays so.
const STRETCH: usize = 1_000;

pub(crate) fn some_of(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    let step = lines.len().div_ceil(ENOUGH).max(1);
    lines.chunks(STRETCH).step_by(step).flatten().copied().collect()
}

pub(crate) fn bytes(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.len()).sum()
}
