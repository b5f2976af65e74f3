//! Stretches of time, and whether they lie within a gap of each other.

/// From the first to the last of something, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Span {
    pub(crate) const fn at(time: i64) -> Self {
        Self { first: time, last: time }
    }

    /// Whether no more than `gap` lies between them.
    pub(crate) const fn is_near(self, other: Self, gap: i64) -> bool {
        self.first <= other.last.saturating_add(gap) && other.first <= self.last.saturating_add(gap)
    }
}
