//! The ways that events take, each with what is looked for on it; kept so that it is worked out once.

use crate::{
    bits::{self, Words},
    compile::Asked,
    fields::FixedMap,
    load::RuleSource,
    shape::Shapes,
};

/// What is looked for in an event.
#[derive(Debug)]
pub(crate) struct Route {
    /// Not 0.
    pub(crate) number: u32,
    /// No other route ever has it, not even once all are forgotten.
    pub(crate) id: u64,
    /// Which table of fields.
    pub(crate) table: usize,
    pub(crate) allowed: Allowed,
    /// Whether all keywords are looked for, whosever they are.
    pub(crate) is_open: bool,
    pub(crate) keywords: Keywords,
    /// The log sources of its events; none where these are unknown, or nothing is routed.
    pub(crate) sources: Vec<RuleSource>,
}

/// How an event is searched for keywords.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keywords {
    /// They are so few that looking into all that is new takes no longer than recalling what was found in each value.
    InAllThatIsNew,
    /// With each value; the shortest has so many bytes.
    ByValue { shortest: usize },
}

/// Rules to try, and what they ask about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) rules: Words,
    pub(crate) fields: Words,
    /// Tables of keywords.
    pub(crate) keywords: Words,
}

impl Allowed {
    /// Allows what a rule asks about.
    pub(crate) fn add_asked(&mut self, asked: &Asked) {
        for field in &asked.fields {
            bits::set(&mut self.fields, field.index());
        }
        if let Some(table) = asked.keywords {
            bits::set(&mut self.keywords, table);
        }
    }

    pub(crate) fn fill(&mut self, word: u64) {
        self.rules.fill(word);
        self.fields.fill(word);
        self.keywords.fill(word);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        bits::add(&mut self.rules, &other.rules);
        bits::add(&mut self.fields, &other.fields);
        bits::add(&mut self.keywords, &other.keywords);
    }
}

/// How many are kept. Mappings know some hundred sources; an event belongs to one to three.
const MOST: usize = 256;

/// Routes by what decides them.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<Route>,
    /// What events are like that came.
    pub(crate) shapes: Shapes,
    /// The route of the event at hand.
    pub(crate) last: Option<usize>,
    /// How many there have been.
    ever: u64,
    numbers: FixedMap<Box<[u32]>, usize>,
    /// What decides the route of the event at hand.
    pub(crate) signs: Vec<u32>,
}

impl Routes {
    /// The route that `signs` decide, made by `make` from its number and them where it is not known. True where all others are forgotten.
    pub(crate) fn find(&mut self, make: impl FnOnce(u32, &[u32]) -> Route) -> (usize, bool) {
        let known = self.numbers.get(&*self.signs).copied();
        let is_full = known.is_none() && self.routes.len() >= MOST;
        if is_full {
            self.routes.clear();
            self.shapes.clear();
            self.numbers.clear();
        }
        let at = known.unwrap_or_else(|| {
            let at = self.routes.len();
            self.ever += 1;
            let route = make(u32::try_from(at + 1).unwrap_or(u32::MAX), &self.signs);
            self.routes.push(Route { id: self.ever, ..route });
            self.numbers.insert(self.signs.as_slice().into(), at);
            at
        });
        (at, is_full)
    }
}
