//! Which fields rules ask about, and where in an event each of them is found.

use std::{borrow::Cow, collections::HashMap, fmt};

use cybervault_model::{
    TelemetryEvent,
    json::{KeyBits, Object, Places, Recurring, Value},
};
use foldhash::fast::FixedState;
use rsigma_parser::fieldpath::unescape_brackets;
use simd_json::prelude::ValueIntoString;

use crate::{
    bits,
    mapping::FieldPaths,
    routes::Route,
    scalar::Scalar,
    scratch::UsualSlots,
    usual::{Item, Items, Known},
};

/// A hash map for keys that rules choose. Its keys don't come from tenants, so its hash may be a fixed one.
pub(crate) type FixedMap<K, V> = HashMap<K, V, FixedState>;

/// How deep lists and objects are followed; the reader's own limit is below.
const MAX_DEPTH: usize = 128;

/// A field that a rule asks about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FieldId(u32);

impl FieldId {
    /// Not a field: every text in the event.
    pub(crate) const ANYWHERE: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for FieldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fields that rules ask about, numbered.
#[derive(Debug)]
pub(crate) struct Fields {
    ids: FixedMap<Box<str>, FieldId>,
}

impl Fields {
    pub(crate) fn new() -> Self {
        Self { ids: FixedMap::default() }
    }

    pub(crate) fn intern(&mut self, name: &str) -> FieldId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        // 0 is `ANYWHERE`. There are not 2³² fields in memory.
        let id = FieldId(u32::try_from(self.ids.len() + 1).unwrap_or(u32::MAX));
        self.ids.insert(name.into(), id);
        id
    }

    pub(crate) fn get(&self, name: &str) -> Option<FieldId> {
        self.ids.get(name).copied()
    }

    /// How many numbers are taken, `ANYWHERE`'s included.
    pub(crate) fn count(&self) -> usize {
        self.ids.len() + 1
    }
}

/// That a value at some place of the event is one of a field.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) field: FieldId,
    /// What belongs in front of the value.
    pub(crate) before: Box<str>,
    /// The place, as the event names it.
    pub(crate) path: Box<str>,
}

/// A key of an event that leads to fields.
#[derive(Debug, Default)]
struct Key {
    targets: Vec<u32>,
    /// The same with a target that counts only for a field not found otherwise, if one does here: such a value waits until the
    /// rest of the event is seen.
    joined: Vec<u32>,
    keys: FixedMap<Box<str>, u32>,
    /// The same as bits.
    bits: KeyBits,
}

/// Where in an event the fields are.
#[derive(Debug)]
pub(crate) struct FieldTable {
    /// `keys[0]` is the event itself.
    keys: Vec<Key>,
    pub(crate) targets: Vec<Target>,
    /// Targets that count only for fields not found otherwise, with the keys that lead to them.
    otherwise: Vec<Otherwise>,
    /// How many fields there are.
    fields: usize,
}

#[derive(Debug)]
struct Otherwise {
    path: Vec<Box<str>>,
    target: u32,
    /// The key at `path`, if its values wait for what becomes of `target`.
    waits: Option<u32>,
}

/// The values at an event's top that wait until the rest of it is seen, with their keys.
struct Waiting<'e> {
    values: [Option<(u32, Scalar<'e>)>; 4],
    /// Whether all of them are in `values`.
    is_complete: bool,
}

impl<'e> Waiting<'e> {
    fn push(&mut self, key: u32, value: Scalar<'e>) {
        match self.values.iter_mut().find(|free| free.is_none()) {
            Some(free) => *free = Some((key, value)),
            None => self.is_complete = false,
        }
    }

    fn of(&self, key: u32) -> impl Iterator<Item = Scalar<'e>> {
        self.values.iter().flatten().filter(move |(of, _)| *of == key).map(|(_, value)| *value)
    }
}

/// Takes the values that a [`FieldTable`] finds.
pub(crate) trait Sink<'e> {
    /// A value at the place of these targets, which `place` numbers; without one it is not to be remembered.
    fn value(&mut self, place: Option<u32>, targets: &[u32], value: Scalar<'e>) -> Known;
    /// Keeps a value for the fields of these targets.
    fn keep(&mut self, targets: &[u32], value: Scalar<'e>);
    /// A value that is kept; `is_plain` if it counts as it is for all of the targets.
    fn look(&mut self, place: Option<u32>, targets: &[u32], is_plain: bool, value: Scalar<'e>) -> Known;
    /// Something of which all that is found in it is known.
    fn know(&mut self, found: &[u32]);
    /// Whether it is told already where single values at the top are.
    fn has_usual_slots(&self) -> bool;
    /// What is found in the last value of which [`Self::value`] or [`Self::text`] said that this is known.
    fn recalled(&self) -> &[u32];
    /// A text that is no field's, and whether it is to be remembered.
    fn text(&mut self, is_remembered: bool, text: &'e str) -> Known;
    /// Whether texts that are no field's are of use.
    fn wants_texts(&self) -> bool;
    /// Whether a value of the field would be of use, and none has come.
    fn misses(&self, field: FieldId) -> bool;
}

impl FieldTable {
    /// A table in which each field is found under its own name, at the top and in the objects at `inside`, and where else
    /// `aliases` say.
    pub(crate) fn new<'m>(
        fields: &Fields,
        inside: &[String],
        aliases: impl IntoIterator<Item = &'m FieldPaths>,
    ) -> Self {
        let keys = vec![Key::default()];
        let mut table = Self { keys, targets: Vec::new(), otherwise: Vec::new(), fields: fields.count() };
        // In the order of their numbers, so that the same rules give the same table.
        let mut own: Vec<_> = fields.ids.iter().collect();
        own.sort_by_key(|(_, id)| **id);
        for (name, id) in own {
            let literal = unescape_brackets(name);
            for path in places(&literal, inside) {
                let target = table.target(*id, "", &path);
                table.reach(&path, target);
            }
        }
        for (name, paths) in aliases.into_iter().flatten() {
            let Some(id) = fields.get(name) else { continue };
            for path in paths.iter().filter(|path| path.path() != name) {
                for place in places(path.path(), inside) {
                    let target = table.target(id, path.before(), &place);
                    if path.is_otherwise() {
                        table.otherwise.push(Otherwise {
                            path: place.split('.').map(Into::into).collect(),
                            target,
                            waits: None,
                        });
                    } else {
                        table.reach(&place, target);
                    }
                }
            }
        }
        table.join();
        table
    }

    /// Has values at the top that may be another field's wait, so that they are looked at once for all their fields.
    fn join(&mut self) {
        let late =
            |field: FieldId| self.otherwise.iter().any(|other| self.targets[other.target as usize].field == field);
        let mut joined = Vec::new();
        for (at, Otherwise { path, target, .. }) in self.otherwise.iter().enumerate() {
            let [name] = &**path else { continue };
            let Some(key) = self.keys[0].keys.get(name).copied() else { continue };
            let targets = &self.keys[key as usize].targets;
            let are_early = targets.iter().all(|target| !late(self.targets[*target as usize].field));
            if are_early && !targets.is_empty() {
                joined.push((at, key, targets.iter().copied().chain([*target]).collect()));
            }
        }
        for (at, key, targets) in joined {
            let of = &mut self.keys[key as usize];
            // Where several count here, only the first is joined.
            if of.joined.is_empty() {
                of.joined = targets;
                self.otherwise[at].waits = Some(key);
            }
        }
    }

    fn target(&mut self, field: FieldId, before: &str, path: &str) -> u32 {
        self.targets.push(Target { field, before: before.into(), path: path.into() });
        index(self.targets.len() - 1)
    }

    /// A key with the dots in it is as good as nested objects.
    fn reach(&mut self, path: &str, target: u32) {
        self.lead(std::iter::once(path), target);
        if path.contains('.') {
            self.lead(path.split('.'), target);
        }
    }

    fn lead<'k>(&mut self, path: impl Iterator<Item = &'k str>, target: u32) {
        let mut at = 0;
        for key in path {
            let next = index(self.keys.len());
            self.keys[at].bits.add(key);
            at = *self.keys[at].keys.entry(key.into()).or_insert(next) as usize;
            if at == self.keys.len() {
                self.keys.push(Key::default());
            }
        }
        self.keys[at].targets.push(target);
    }

    /// Goes over the event once and hands every value of a field to `sink`, and every other text if it wants them. `usual` is what is
    /// kept of events like this one.
    pub(crate) fn walk<'e>(&self, event: &TelemetryEvent<'e>, usual: Option<&mut Items>, sink: &mut impl Sink<'e>) {
        let usual = usual.zip(event.payload.recurring());
        let mut waiting = Waiting { values: [None; 4], is_complete: usual.is_some() };
        match usual {
            Some((usual, recurring)) => self.top(event, recurring, usual, &mut waiting, sink),
            None => event.payload.value().as_object().iter().for_each(|object| self.object(Some(0), object, 0, sink)),
        }
        for Otherwise { path, target, waits } in &self.otherwise {
            let misses = sink.misses(self.targets[*target as usize].field);
            // No key has this number: it is one of a target.
            let place = u32::MAX - 1 - target;
            let (place, targets) = match waits.map(|at| (at, &self.keys[at as usize])) {
                Some((_, key)) if misses => (place, &*key.joined),
                Some((at, key)) => (at, &*key.targets),
                None if misses => (place, &[*target][..]),
                None => continue,
            };
            let mut give = |value| {
                sink.value(Some(place), targets, value);
            };
            match waits {
                Some(at) if waiting.is_complete => waiting.of(*at).for_each(&mut give),
                _ => follow(event.payload.value(), path, 0, &mut give),
            }
        }
    }

    /// What is kept of the keys at the top of events like this one on the route, given where they have their values. Where fields have
    /// theirs is only said if none is further inside.
    pub(crate) fn usual(
        &self,
        event: &TelemetryEvent<'_>,
        places: &[Places],
        route: &Route,
    ) -> (Items, Option<UsualSlots>) {
        let wants_texts = route.allowed.keywords.iter().any(|word| *word != 0);
        let (mut items, mut slots) = (Items::default(), Some(Vec::new()));
        let names = event.payload.value().as_object();
        for ((at, name), places) in names.iter().flat_map(Object::keys).enumerate().zip(places) {
            let key = self.keys[0].next(name);
            let of = key.map(|key| &self.keys[key as usize]);
            let mut item = Item::new(key, at);
            let targets = of.iter().flat_map(|of| &of.targets).map(|id| (*id, &self.targets[*id as usize]));
            let asked = targets.filter(|(_, target)| bits::has(&route.allowed.fields, target.field.index()));
            let asked: Vec<_> = asked.collect();
            item.is_asked = !asked.is_empty();
            item.is_plain = asked.iter().all(|(_, target)| target.before.is_empty());
            let waits = of.is_some_and(|of| !of.joined.is_empty());
            let values = match places {
                Places::Single(place) => *place..place + 1,
                Places::List(values) if !waits => values.clone(),
                _ => {
                    if key.is_some() {
                        slots = None;
                    }
                    if key.is_some() || wants_texts {
                        items.add(item, None);
                    }
                    continue;
                }
            };
            for place in values {
                if let Some(slots) = slots.as_mut().filter(|_| !waits) {
                    slots.extend(asked.iter().map(|(id, target)| (target.field, *id, place)));
                }
                if wants_texts || item.is_asked || waits {
                    items.add(item.clone(), Some(place));
                }
            }
        }
        (items, slots.map(|slots| UsualSlots::new(self.fields, slots)))
    }

    /// The event itself, of which most is as usual.
    fn top<'e>(
        &self,
        event: &TelemetryEvent<'e>,
        recurring: Recurring<'e>,
        usual: &mut Items,
        waiting: &mut Waiting<'e>,
        sink: &mut impl Sink<'e>,
    ) {
        let has_slots = sink.has_usual_slots();
        let wants_texts = sink.wants_texts();
        // Those that are gone over, and behind how many keys.
        let (mut values, mut behind) = (None, 0);
        for (seen, item) in usual.seen.iter_mut().zip(&mut usual.list) {
            if has_slots && seen.is_same(recurring) {
                sink.know(if seen.has_found() { item.learnt.found() } else { &[] });
                continue;
            }
            let next = item.key;
            let key = next.map(|next| &self.keys[next as usize]);
            let waits = next.filter(|_| key.is_some_and(|key| !key.joined.is_empty()));
            let Some(place) = seen.place() else {
                waiting.is_complete &= waits.is_none();
                if values.is_none() {
                    values = event.payload.value().as_object().map(|object| object.values());
                }
                if let Some(value) = values.as_mut().and_then(|values| values.nth(item.name - behind)) {
                    self.entry(Some(0), next, value, 0, sink);
                }
                behind = item.name + 1;
                continue;
            };
            if let Some(next) = waits {
                waiting.push(next, recurring.value(place).into());
                continue;
            }
            let targets = key.map_or(&[][..], |key| &key.targets);
            if !has_slots && item.is_asked {
                sink.keep(targets, recurring.value(place).into());
            }
            if seen.is_same(recurring) {
                sink.know(item.learnt.found());
                continue;
            }
            let key = next.filter(|_| !item.learnt.is_novel());
            let known = match recurring.value(place).into() {
                value if item.is_asked => sink.look(key, targets, item.is_plain, value),
                Scalar::Text(text) if wants_texts => sink.text(!item.learnt.is_novel(), text),
                _ => continue,
            };
            item.learn(seen, recurring.since(place), known, sink.recalled());
        }
    }

    /// `at` is the key that led here, if it is one that leads to fields.
    fn object<'e>(&self, at: Option<u32>, object: &Object<'e, 'e>, depth: usize, sink: &mut impl Sink<'e>) {
        for (name, value) in object {
            let next = at.and_then(|at| self.keys[at as usize].next(name));
            self.entry(at, next, value, depth, sink);
        }
    }

    /// A value in the object at `at`, with the key that it has there, if this leads to fields.
    fn entry<'e>(
        &self,
        at: Option<u32>,
        next: Option<u32>,
        value: Value<'e, 'e>,
        depth: usize,
        sink: &mut impl Sink<'e>,
    ) {
        let key = next.map(|next| &self.keys[next as usize]);
        let is_field = key.is_some_and(|key| !key.targets.is_empty());
        if let (Some(next), Some(key)) = (next, key)
            && is_field
            && (at != Some(0) || key.joined.is_empty())
        {
            each_value(value, depth, &mut |scalar| {
                sink.value(Some(next), &key.targets, scalar);
            });
        }
        let next = next.filter(|next| !self.keys[*next as usize].keys.is_empty());
        if next.is_some() || sink.wants_texts() {
            self.inside(next, is_field, value, depth + 1, sink);
        }
    }

    /// Goes on in an object, or in every object of a list; `is_field` if its texts, or those in the list, are a field's.
    fn inside<'e>(
        &self,
        at: Option<u32>,
        is_field: bool,
        value: Value<'e, 'e>,
        depth: usize,
        sink: &mut impl Sink<'e>,
    ) {
        if let Some(text) = value.into_string() {
            if !is_field {
                sink.text(true, text);
            }
        } else if depth > MAX_DEPTH {
        } else if let Some(object) = value.as_object() {
            self.object(at, &object, depth, sink);
        } else if let Some(list) = value.as_array() {
            for element in &list {
                self.inside(at, is_field, element, depth + 1, sink);
            }
        }
    }
}

impl Key {
    fn next(&self, name: &str) -> Option<u32> {
        self.bits.may_have(name).then(|| self.keys.get(name).copied())?
    }
}

/// Where a path may lead from: the top, and the objects at `inside`.
pub(crate) fn places<'p>(path: &'p str, inside: &[String]) -> impl Iterator<Item = Cow<'p, str>> {
    std::iter::once(path.into()).chain(inside.iter().map(move |object| format!("{object}.{path}").into()))
}

/// A place in an event: a key, or keys inside each other that may be one with dots in it as well.
#[derive(Debug)]
pub(crate) struct Place {
    whole: Box<str>,
    keys: Box<[Box<str>]>,
}

impl Place {
    pub(crate) fn new(path: &str) -> Self {
        let keys = if path.contains('.') { path.split('.').map(Into::into).collect() } else { Box::default() };
        Self { whole: path.into(), keys }
    }

    /// Where it is in events with these keys at the top; `bits` are these, too.
    pub(crate) fn among(&self, names: &[&str], bits: KeyBits) -> Among {
        let is_there = |key: &str| bits.may_have(key).then(|| names.iter().position(|name| *name == key))?;
        match is_there(&self.whole) {
            Some(at) => Among::AtTop(at),
            None if self.keys.first().is_some_and(|first| is_there(first).is_some()) => Among::Inside,
            None => Among::Nowhere,
        }
    }

    /// The first value there in an event with these keys.
    pub(crate) fn first<'e>(&self, payload: Value<'e, 'e>, keys: KeyBits) -> Option<Scalar<'e>> {
        if !keys.may_have(&self.whole) && !self.keys.first().is_some_and(|first| keys.may_have(first)) {
            return None;
        }
        let whole = payload.get(&*self.whole);
        if whole.is_none() && self.keys.is_empty() {
            return None;
        }
        let mut first = None;
        match whole {
            Some(value) => each_value(value, 0, &mut |value| first = first.or(Some(value))),
            None => follow(payload, &self.keys, 0, &mut |value| first = first.or(Some(value))),
        }
        first
    }
}

/// Where a place is in events with certain keys at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    Nowhere,
    /// The number of the key.
    AtTop(usize),
    /// In one of them, if anywhere.
    Inside,
}

/// The values at `path` in `value`, lists gone through.
pub(crate) fn follow<'e, K: AsRef<str>>(
    value: Value<'e, 'e>,
    path: &[K],
    depth: usize,
    found: &mut impl FnMut(Scalar<'e>),
) {
    let Some((first, rest)) = path.split_first() else { return each_value(value, depth, found) };
    if depth > MAX_DEPTH {
        return;
    }
    if let Some(object) = value.as_object() {
        for (name, inner) in &object {
            if name == first.as_ref() {
                follow(inner, rest, depth + 1, found);
            }
        }
    } else if let Some(list) = value.as_array() {
        for element in &list {
            follow(element, path, depth + 1, found);
        }
    }
}

/// As [`follow`], with dots between the keys.
pub(crate) fn follow_path<'e>(value: Value<'e, 'e>, path: &str, found: &mut impl FnMut(Scalar<'e>)) {
    if path.contains('.') {
        follow(value, &path.split('.').collect::<Vec<_>>(), 0, found);
    } else {
        follow(value, &[path], 0, found);
    }
}

/// A value, or every element of a list.
fn each_value<'e>(value: Value<'e, 'e>, depth: usize, found: &mut impl FnMut(Scalar<'e>)) {
    match value.as_array() {
        Some(list) if !list.is_empty() && depth <= MAX_DEPTH => {
            for element in &list {
                each_value(element, depth + 1, found);
            }
        }
        _ => found(Scalar::of(value)),
    }
}

/// Every text in the event.
pub(crate) fn each_text<'e>(value: Value<'e, 'e>, depth: usize, found: &mut impl FnMut(&'e str)) {
    if depth > MAX_DEPTH {
        return;
    }
    if let Scalar::Text(text) = Scalar::of(value) {
        found(text);
    } else if let Some(object) = value.as_object() {
        for (_, inner) in &object {
            each_text(inner, depth + 1, found);
        }
    } else if let Some(list) = value.as_array() {
        for element in &list {
            each_text(element, depth + 1, found);
        }
    }
}

/// The first text that `wanted` takes; `path` becomes the keys that lead to it.
pub(crate) fn find_text<'e>(
    value: Value<'e, 'e>,
    depth: usize,
    path: &mut String,
    wanted: &mut impl FnMut(&'e str) -> bool,
) -> Option<&'e str> {
    if let Scalar::Text(text) = Scalar::of(value) {
        return wanted(text).then_some(text);
    }
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(object) = value.as_object() {
        for (key, inner) in &object {
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            if let Some(text) = find_text(inner, depth + 1, path, wanted) {
                return Some(text);
            }
            path.truncate(length);
        }
    } else if let Some(list) = value.as_array() {
        for element in &list {
            if let Some(text) = find_text(element, depth + 1, path, wanted) {
                return Some(text);
            }
        }
    }
    None
}

/// Tables are built from rules in memory, of which there are fewer than 2³².
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
