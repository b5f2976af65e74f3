//! The lines that both engines are fed.

pub(crate) fn of(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

pub(crate) fn bytes(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.len()).sum()
}
