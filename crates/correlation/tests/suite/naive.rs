//! Correlations as the documentation says, without any thought of speed: all events of a group, looked at again each time.

/// An event of a group.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) time: i64,
    /// The rules that are true of it, as bits.
    pub(crate) rules: u64,
    pub(crate) value: i64,
}

/// What is asked of the events in the time frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Count,
    Distinct,
    Sum,
    Average,
    Percentile(i64),
    Rules,
    Ordered,
    /// `a and not b`
    NotBoth,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    pub(crate) timespan: i64,
    pub(crate) least: i64,
    /// `lt`, if there is an upper bound.
    pub(crate) below: Option<i64>,
}

impl Asked {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn bounds(&self, number: f64) -> bool {
        number >= self.least as f64 && self.below.is_none_or(|below| number < below as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn holds(&self, frame: &[Event]) -> bool {
        let sum = || frame.iter().map(|event| event.value).sum::<i64>() as f64;
        match self.kind {
            Kind::Count => self.bounds(frame.len() as f64),
            Kind::Distinct => {
                let mut values: Vec<_> = frame.iter().map(|event| event.value).collect();
                values.sort_unstable();
                values.dedup();
                self.bounds(values.len() as f64)
            }
            Kind::Sum => !frame.is_empty() && self.bounds(sum()),
            Kind::Average => !frame.is_empty() && self.bounds(sum() / frame.len() as f64),
            Kind::Percentile(rank) => {
                let mut values: Vec<_> = frame.iter().map(|event| event.value as f64).collect();
                values.sort_by(f64::total_cmp);
                let Some(last) = values.len().checked_sub(1) else { return false };
                let place = rank as f64 / 100.0 * last as f64;
                let below = values.iter().enumerate().rev().find(|(at, _)| *at as f64 <= place).unwrap();
                let above = values.get(below.0 + 1).unwrap_or(below.1);
                self.bounds(below.1 + (above - below.1) * (place - below.0 as f64))
            }
            Kind::Rules => {
                let present = frame.iter().fold(0, |present, event| present | event.rules);
                self.bounds(f64::from((present & 7).count_ones()))
            }
            Kind::NotBoth => {
                let present = frame.iter().fold(0, |present, event| present | event.rules);
                present & 3 == 1
            }
            Kind::Ordered => {
                let chosen = |rules: u64| {
                    let mut from = i64::MIN;
                    (0..3).filter(|rule| rules >> rule & 1 == 1).all(|rule| {
                        let next = frame.iter().filter(|event| event.rules >> rule & 1 == 1 && event.time >= from);
                        let next = next.map(|event| event.time).min();
                        from = next.unwrap_or(from);
                        next.is_some()
                    })
                };
                let longest = (0..8_u64).filter(|rules| chosen(*rules)).map(u64::count_ones).max();
                self.bounds(longest.unwrap_or_default().into())
            }
        }
    }

    fn frame(&self, events: &[Event], end: i64) -> Vec<Event> {
        events.iter().filter(|event| event.time >= end - self.timespan).cloned().collect()
    }
}

/// Evaluates events that come in order: true with an event, after having been false.
pub(crate) fn in_order(asked: &Asked, events: &[Event]) -> Vec<bool> {
    let mut is_true = false;
    (0..events.len())
        .map(|at| {
            let end = events[at].time;
            let before = is_true && asked.holds(&asked.frame(&events[..at], end));
            is_true = asked.holds(&asked.frame(&events[..=at], end));
            is_true && !before
        })
        .collect()
}

/// The bouts of events in the order of their time: each event's number in the order of arrival, and with which bout it is true.
fn bouts(asked: &Asked, events: &[(usize, Event)]) -> Vec<Vec<usize>> {
    let alone: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
    let mut bouts: Vec<Vec<usize>> = Vec::new();
    let mut is_open = false;
    for at in 0..events.len() {
        let end = alone[at].time;
        let stayed = asked.holds(&asked.frame(&alone[..at], end));
        if !asked.holds(&asked.frame(&alone[..=at], end)) {
            is_open = false;
            continue;
        }
        match bouts.last_mut().filter(|_| is_open && stayed) {
            Some(bout) => bout.push(events[at].0),
            None => bouts.push(vec![events[at].0]),
        }
        is_open = true;
    }
    bouts
}

/// Evaluates events as they arrive: one is found where it makes a bout of which no event was one before.
pub(crate) fn as_they_arrive(asked: &Asked, events: &[Event]) -> Vec<bool> {
    let mut known: Vec<(usize, Event)> = Vec::new();
    let mut before: Vec<usize> = Vec::new();
    events
        .iter()
        .enumerate()
        .map(|(number, event)| {
            let at = known.partition_point(|(_, other)| other.time <= event.time);
            known.insert(at, (number, event.clone()));
            let bouts = bouts(asked, &known);
            let is_new = bouts.iter().any(|bout| bout.iter().all(|event| !before.contains(event)));
            before = bouts.concat();
            is_new
        })
        .collect()
}
