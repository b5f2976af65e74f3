//! Events by their keys: what depends on these alone is worked out once for all that have the same ones, in the same order.
//!
//! The next event mostly is like one before. Comparing its keys, and the few values that decide its route, with what was seen is
//! cheaper than looking each of them up.

use std::mem;

use cybervault_model::{
    TelemetryEvent,
    json::{Object, Value},
};

use crate::{route::Routing, scalar::Scalar, usual::Item};

/// How many shapes are kept, a power of two, …
const MOST: usize = 128;

/// … this many of which may fall together.
const WAYS: usize = 4;

/// Events of more keys, or with a longer one or a longer type, are not kept.
const MOST_KEYS: usize = 96;
const LONGEST_NAME: usize = 64;

/// Nor is it kept what a longer value decides.
const LONGEST_VALUE: usize = 96;

/// Of how many shapes that came once is known that they did.
const MOST_ONCE: usize = 512;

/// How many routes, and how many combinations of values that lead to them, are kept for one shape.
const MOST_ROUTES: usize = 4;
const MOST_SIGNS: usize = 16;

/// Shapes of the events that came last.
#[derive(Debug)]
pub(crate) struct Shapes {
    list: Box<[Shape]>,
    /// Which of those that fall together makes room next.
    hand: usize,
    /// Of shapes that are not kept: only one that comes again is worth it.
    once: Box<[u64]>,
    /// What decides the route of the event at hand.
    signs: Vec<u8>,
}

/// Events with the same keys in the same order.
#[derive(Debug, Default)]
struct Shape {
    /// Tells most others apart. 0 where there is none.
    tag: u64,
    kind: String,
    /// The keys, one behind the other.
    names: Vec<u8>,
    lengths: Vec<u8>,
    plan: Option<Plan>,
    /// What decided routes, each with the place in `routes`.
    signs: Vec<(Vec<u8>, usize)>,
    routes: Vec<Usual>,
}

/// What events of a shape on one route are like.
#[derive(Debug)]
pub(crate) struct Usual {
    pub(crate) route: usize,
    /// A key each, as the event has them.
    pub(crate) items: Vec<Item>,
}

/// Which of an event's values decide its route, by their places at the top.
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
        Self {
            list: (0..MOST).map(|_| Shape::default()).collect(),
            hand: 0,
            once: [0; MOST_ONCE].into(),
            signs: Vec::new(),
        }
    }
}

impl Shapes {
    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.list.iter_mut().for_each(|shape| shape.tag = 0);
    }

    /// What is kept at `at`.
    pub(crate) fn usual(&mut self, at: At) -> &mut Usual {
        &mut self.list[at.shape].routes[at.usual]
    }

    /// The event's shape, and what is known of events on its route, if one came before whose route was decided by the same; if not,
    /// [`Self::keep`] is to be told the route. Where the shape is new, `plan` says which of an event's values decide its route, if this
    /// can be said. `None` for an event that is not kept: its shape came for the first time, or is too large.
    pub(crate) fn of(
        &mut self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        plan: impl FnOnce(&[&str]) -> Option<Plan>,
    ) -> Option<(usize, Option<At>)> {
        let keys = event.payload.as_object()?;
        let kind = event.kind.as_str();
        let tag = tag(kind, &keys);
        let spread = usize::try_from(tag >> 32).unwrap_or_default();
        let set = spread % (MOST / WAYS) * WAYS;
        let Self { list, signs, once, .. } = self;
        let alike = (set..set + WAYS).find(|at| list[*at].tag == tag);
        if let Some(shape) = alike.filter(|at| list[*at].is_of(event, &keys, routing, signs)) {
            let usual = list[shape].signs.iter().find(|(known, _)| !known.is_empty() && known == signs);
            return Some((shape, usual.map(|(_, usual)| At { shape, usual: *usual })));
        }
        if mem::replace(&mut once[spread % MOST_ONCE], tag) != tag {
            return None;
        }
        if keys.len() > MOST_KEYS || keys.keys().chain([kind]).any(|name| name.len() > LONGEST_NAME) {
            return None;
        }
        self.hand = (self.hand + 1) % WAYS;
        let (shape, names) = (alike.unwrap_or(set + self.hand), keys.keys().collect::<Vec<_>>());
        list[shape].become_of(tag, kind, &names, plan(&names));
        list[shape].is_of(event, &keys, routing, signs);
        Some((shape, None))
    }

    /// Keeps the route of the event whose shape was just asked for; `item` makes what is kept of a key.
    pub(crate) fn keep(&mut self, shape: usize, route: usize, item: impl Fn(&[u8]) -> Item) -> At {
        let of = &mut self.list[shape];
        let known = of.routes.iter().position(|usual| usual.route == route);
        let usual = known.unwrap_or_else(|| {
            if of.routes.len() >= MOST_ROUTES {
                of.routes.clear();
                of.signs.clear();
            }
            let items = of.names().map(item).collect();
            of.routes.push(Usual { route, items });
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
    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.names;
        self.lengths.iter().map_while(move |length| {
            let (name, behind) = rest.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some(name)
        })
    }

    /// Whether the event has this shape; `signs` then decides its route, and is empty where that takes more than is looked at here.
    fn is_of(&self, event: &TelemetryEvent<'_>, keys: &Object<'_, '_>, routing: Routing, signs: &mut Vec<u8>) -> bool {
        if self.kind != event.kind.as_str() || self.lengths.len() != keys.len() {
            return false;
        }
        signs.clear();
        signs.push(routing as u8);
        let nothing = Plan::default();
        let (plan, mut decides) = match &self.plan {
            _ if routing == Routing::Off => (&nothing, true),
            Some(plan) => (plan, sign_source(event, signs)),
            None => (&nothing, false),
        };
        // Both are in ascending order.
        let (mut values, mut present) = (plan.values.iter(), plan.present.iter());
        let (mut value_at, mut present_at) = (values.next(), present.next());
        for (at, ((key, value), own)) in keys.iter().zip(self.names()).enumerate() {
            if key.as_bytes() != own {
                return false;
            }
            if value_at == Some(&at) {
                decides &= sign_value(value, signs);
                value_at = values.next();
            }
            if present_at == Some(&at) {
                signs.push(fill(value) as u8);
                present_at = present.next();
            }
        }
        if !decides {
            signs.clear();
        }
        true
    }

    fn become_of(&mut self, tag: u64, kind: &str, names: &[&str], plan: Option<Plan>) {
        kind.clone_into(&mut self.kind);
        self.names.clear();
        self.names.extend(names.iter().flat_map(|name| name.as_bytes()));
        self.lengths.clear();
        self.lengths.extend(names.iter().map(|name| u8::try_from(name.len()).unwrap_or_default()));
        self.signs.clear();
        self.routes.clear();
        (self.tag, self.plan) = (tag, plan);
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
fn sign_value(value: Value<'_, '_>, signs: &mut Vec<u8>) -> bool {
    match Scalar::of(value) {
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

/// Whether there is something in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// It is null, or an empty text.
    Nothing,
    EmptyList,
    Something,
}

pub(crate) fn fill(value: Value<'_, '_>) -> Fill {
    match Scalar::of(value) {
        Scalar::Null | Scalar::Text("") => Fill::Nothing,
        Scalar::Other if value.as_array().is_some_and(|list| list.is_empty()) => Fill::EmptyList,
        _ => Fill::Something,
    }
}

/// Of a kind and the keys' lengths. Not 0.
fn tag(kind: &str, keys: &Object<'_, '_>) -> u64 {
    // The multiplier is the golden ratio's, as in Knuth's multiplicative hash.
    let add = |tag: u64, length: usize| (tag.rotate_left(5) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    keys.keys().fold(add(1, kind.len()), |tag, key| add(tag, key.len())) | 1
}
