//! The lines that both engines are fed.

/// Of more events so many are taken, evenly spread over the file: the peer takes some ten thousand a second.
const ENOUGH: usize = 20_000;

pub(crate) fn some_of(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    let step = lines.len().div_ceil(ENOUGH).max(1);
    lines.into_iter().step_by(step).collect()
}

pub(crate) fn bytes(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.len()).sum()
}
