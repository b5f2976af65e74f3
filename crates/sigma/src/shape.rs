//! Events by their keys: what depends on these alone is worked out once for all that have the same ones.
//!
//! The reader tells which events have. Their route is found by the few values that decide it.

use cybervault_model::{Source, TelemetryEvent, json::Recurring};

use crate::{
    route::Routing,
    scalar::Scalar,
    scratch::UsualSlots,
    usual::{Answers, Items},
};

/// How many shapes are kept, a power of two, …
const MOST: usize = 128;

/// … this many of which may fall together.
const WAYS: usize = 4;

/// What decides a route is not kept if it has a longer value.
const LONGEST_VALUE: usize = 96;

/// How many routes, and how many combinations of values that lead to them, are kept for one shape.
const MOST_ROUTES: usize = 4;
const MOST_SIGNS: usize = 16;

/// Shapes of the events that came last.
#[derive(Debug)]
pub(crate) struct Shapes {
    list: Box<[Shape]>,
    /// Which of those that fall together makes room next.
    hand: usize,
    /// What decides the route of the event at hand.
    signs: Vec<u8>,
}

/// Events with the same keys.
#[derive(Debug, Default)]
struct Shape {
    /// Which object of which form. There is no form 0.
    object: (u64, usize),
    kind: String,
    /// Where each key has its value, if it is a single one.
    places: Vec<Option<usize>>,
    plan: Option<Plan>,
    /// How the last event was routed, since when its values decided that, and the place in `routes`.
    last: Option<(Routing, u64, usize)>,
    /// What decided routes, each with the place in `routes`.
    signs: Vec<(Vec<u8>, usize)>,
    routes: Vec<Usual>,
}

/// What events of a shape on one route are like.
#[derive(Debug)]
pub(crate) struct Usual {
    pub(crate) route: usize,
    pub(crate) items: Items,
    pub(crate) slots: UsualSlots,
    pub(crate) answers: Answers,
}

/// Which of an event's values decide its route, by their keys' places at the top.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Those that count as they are.
    pub(crate) values: Vec<usize>,
    /// Those of which it only counts whether they are empty.
    pub(crate) present: Vec<usize>,
}

/// Where the shape of an event, and what is known of its route, is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    shape: usize,
    usual: usize,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { list: (0..MOST).map(|_| Shape::default()).collect(), hand: 0, signs: Vec::new() }
    }
}

impl Shapes {
    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.list.iter_mut().for_each(|shape| shape.object = Default::default());
    }

    /// What is kept at `at`.
    pub(crate) fn usual(&mut self, at: At) -> &mut Usual {
        &mut self.list[at.shape].routes[at.usual]
    }

    /// The event's shape, and what is known of events on its route, if one came before whose route was decided by the same; if not,
    /// [`Self::keep`] is to be told the route. Where the shape is new, `plan` says which of an event's values decide its route, if this
    /// can be said. `None` for an event that is not like earlier ones.
    pub(crate) fn of(
        &mut self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        plan: impl FnOnce(&[&str]) -> Option<Plan>,
    ) -> Option<(usize, Option<At>)> {
        let recurring = event.payload.recurring()?;
        let object = recurring.object(event.payload);
        let kind = event.kind.as_str();
        let set = usize::try_from(object.0 % (MOST / WAYS) as u64).unwrap_or_default() * WAYS;
        let known = (set..set + WAYS).find(|at| self.list[*at].object == object && self.list[*at].kind == kind);
        let at = match known {
            Some(at) => at,
            None => {
                self.hand = (self.hand + 1) % WAYS;
                let names: Vec<_> = event.payload.entries().map(|(name, _)| name).collect();
                self.list[set + self.hand].become_of(event, recurring, plan(&names));
                set + self.hand
            }
        };
        let shape = &mut self.list[at];
        let since = shape.decided_since(event, recurring);
        if let Some((last_routing, last_since, usual)) = shape.last
            && (last_routing, Some(last_since)) == (routing, since)
        {
            return Some((at, Some(At { shape: at, usual })));
        }
        shape.sign(event, recurring, routing, &mut self.signs);
        let usual = shape.signs.iter().find(|(known, _)| !known.is_empty() && *known == self.signs);
        let usual = usual.map(|(_, usual)| *usual);
        shape.last = since.zip(usual).map(|(since, usual)| (routing, since, usual));
        Some((at, usual.map(|usual| At { shape: at, usual })))
    }

    /// Keeps the route of the event whose shape was just asked for; `survey` makes what is kept of its values.
    pub(crate) fn keep(&mut self, shape: usize, route: usize, survey: impl FnOnce() -> (Items, UsualSlots)) -> At {
        let of = &mut self.list[shape];
        let known = of.routes.iter().position(|usual| usual.route == route);
        let usual = known.unwrap_or_else(|| {
            if of.routes.len() >= MOST_ROUTES {
                of.routes.clear();
                of.signs.clear();
                of.last = None;
            }
            let (items, slots) = survey();
            of.routes.push(Usual { route, items, slots, answers: Answers::default() });
            of.routes.len() - 1
        });
        if !self.signs.is_empty() {
            if of.signs.len() >= MOST_SIGNS {
                of.signs.clear();
            }
            of.signs.push((self.signs.clone(), usual));
        }
        At { shape, usual }
    }
}

impl Shape {
    fn become_of(&mut self, event: &TelemetryEvent<'_>, recurring: Recurring<'_>, plan: Option<Plan>) {
        self.object = recurring.object(event.payload);
        event.kind.as_str().clone_into(&mut self.kind);
        self.places = event.payload.entries().map(|(_, value)| recurring.place(value)).collect();
        let is_single = |key: &usize| self.places[*key].is_some();
        // Whether a list or an object is empty is the same for all events of a shape.
        self.plan = plan.filter(|plan| plan.values.iter().all(is_single)).map(|mut plan| {
            plan.present.retain(is_single);
            plan
        });
        self.last = None;
        self.signs.clear();
        self.routes.clear();
    }

    /// Since when the values that decide the route are what they are, if no others do.
    fn decided_since(&self, event: &TelemetryEvent<'_>, recurring: Recurring<'_>) -> Option<u64> {
        let plan = self.plan.as_ref().filter(|_| event.source == Source::default())?;
        let places = plan.values.iter().chain(&plan.present).filter_map(|key| self.places[*key]);
        // A later change would be the latest.
        Some(places.map(|place| recurring.since(place)).max().unwrap_or_default())
    }

    /// What decides the event's route becomes `signs`; nothing where that takes more than is looked at here.
    fn sign(&self, event: &TelemetryEvent<'_>, recurring: Recurring<'_>, routing: Routing, signs: &mut Vec<u8>) {
        signs.clear();
        signs.push(routing as u8);
        let value = |key: &usize| self.places[*key].map_or(Scalar::Other, |at| recurring.value(at).into());
        let decides = self.plan.as_ref().is_some_and(|plan| {
            signs.extend(plan.present.iter().map(|key| u8::from(value(key).is_something())));
            sign_source(event, signs) && plan.values.iter().all(|key| sign_value(value(key), signs))
        });
        if !decides {
            signs.clear();
        }
    }
}

/// Appends the log source that the envelope names; false where its names are too long.
fn sign_source(event: &TelemetryEvent<'_>, signs: &mut Vec<u8>) -> bool {
    let source = event.source;
    [source.product, source.service, source.category].into_iter().all(|name| match name {
        Some(name) => sign(1, name.as_bytes(), signs),
        None => sign(0, &[], signs),
    })
}

/// Appends a value; false where it is one that is seldom told by, or too long.
fn sign_value(value: Scalar<'_>, signs: &mut Vec<u8>) -> bool {
    match value {
        Scalar::Text(text) => sign(1, text.as_bytes(), signs),
        Scalar::Int(number) => sign(2, &number.to_le_bytes(), signs),
        Scalar::Null => sign(0, &[], signs),
        _ => false,
    }
}

/// Appends a value with its kind, so that it can be told where it ends.
fn sign(kind: u8, value: &[u8], signs: &mut Vec<u8>) -> bool {
    let Some(length) = u8::try_from(value.len()).ok().filter(|length| usize::from(*length) <= LONGEST_VALUE) else {
        return false;
    };
    signs.extend_from_slice(&[kind, length]);
    signs.extend_from_slice(value);
    true
}
