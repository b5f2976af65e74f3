//! Which fields rules ask about, and where in an event each of them is found.

use std::{borrow::Cow, collections::HashMap, fmt};

use cybervault_model::json::Element;
use foldhash::fast::FixedState;
use rsigma_parser::fieldpath::unescape_brackets;

use crate::{
    keys::{KeyBits, Naming},
    mapping::FieldPaths,
    scalar::Scalar,
    walk::follow,
};

/// A hash map for keys that rules choose. Its keys don't come from tenants, so its hash may be a fixed one.
pub(crate) type FixedMap<K, V> = HashMap<K, V, FixedState>;

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
pub(crate) struct Key {
    pub(crate) targets: Vec<u32>,
    /// The same with a target that counts only for a field not found otherwise, if one does here: such a value waits until the
    /// rest of the event is seen.
    pub(crate) joined: Vec<u32>,
    pub(crate) keys: FixedMap<Box<str>, u32>,
    /// The same as bits.
    bits: KeyBits,
}

/// Where in an event the fields are.
#[derive(Debug)]
pub(crate) struct FieldTable {
    /// `keys[0]` is the event itself.
    pub(crate) keys: Vec<Key>,
    pub(crate) targets: Vec<Target>,
    /// Targets that count only for fields not found otherwise, with the keys that lead to them.
    pub(crate) otherwise: Vec<Otherwise>,
    /// How the events' keys are compared with these.
    pub(crate) naming: Naming,
}

#[derive(Debug)]
pub(crate) struct Otherwise {
    pub(crate) path: Vec<Box<str>>,
    pub(crate) target: u32,
    /// The key at `path`, if its values wait for what becomes of `target`.
    pub(crate) waits: Option<u32>,
}

impl FieldTable {
    /// A table in which each field is found under its own name, at the top and in the objects at `inside`, and where else
    /// `aliases` say.
    pub(crate) fn new<'m>(
        fields: &Fields,
        naming: Naming,
        inside: &[String],
        aliases: impl IntoIterator<Item = &'m FieldPaths>,
    ) -> Self {
        let mut table = Self { keys: vec![Key::default()], targets: Vec::new(), otherwise: Vec::new(), naming };
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
            let is_own = |path: &str| naming.path(path).eq(naming.path(name));
            for path in paths.iter().filter(|path| !is_own(path.path())) {
                for place in places(path.path(), inside) {
                    let target = table.target(id, path.before(), &place);
                    if path.is_otherwise() {
                        table.otherwise.push(Otherwise { path: naming.path(&place).collect(), target, waits: None });
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

    fn reach(&mut self, path: &str, target: u32) {
        let mut at = 0;
        for key in self.naming.path(path) {
            let next = index(self.keys.len());
            self.keys[at].bits.add(&key);
            at = *self.keys[at].keys.entry(key).or_insert(next) as usize;
            if at == self.keys.len() {
                self.keys.push(Key::default());
            }
        }
        self.keys[at].targets.push(target);
    }

    /// The key that an event's `name` leads to from the key `at`.
    pub(crate) fn step(&self, at: u32, name: &str) -> Option<u32> {
        if self.naming.is_plain(name) {
            return self.keys[at as usize].next(name);
        }
        let next = |at: u32, part| self.naming.kept(part, |key| self.keys[at as usize].next(key));
        name.split('.').try_fold(at, next)
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

/// The first keys of a path, joined by dots, and those that are left.
type Start = (Box<str>, Box<[Box<str>]>);

/// A place in an event: a key, or keys inside each other of which any may be one with dots in it.
#[derive(Debug)]
pub(crate) struct Place {
    /// The key, or the first ones of the path joined by dots, the longest first, each with those that are left.
    starts: Box<[Start]>,
}

impl Place {
    pub(crate) fn new(path: &str) -> Self {
        let keys: Vec<&str> = path.split('.').collect();
        let start =
            |length: usize| (keys[..length].join(".").into(), keys[length..].iter().map(|key| (*key).into()).collect());
        Self { starts: (1..=keys.len()).rev().map(start).collect() }
    }

    /// The keys by which it begins.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.starts.iter().map(|(start, _)| &**start)
    }

    /// Where it is in events with these keys at the top; `bits` are these, too.
    pub(crate) fn among(&self, names: &[&str], bits: KeyBits) -> Among {
        let is_there = |key: &str| bits.may_have(key).then(|| names.iter().position(|name| *name == key))?;
        let found = self.starts.iter().find_map(|(start, rest)| Some((is_there(start)?, rest.is_empty())));
        match found {
            Some((at, true)) => Among::AtTop(at),
            Some((_, false)) => Among::Inside,
            None => Among::Nowhere,
        }
    }

    /// The first value there in an event with these keys.
    pub(crate) fn first<'e>(&self, event: Element<'e>, keys: KeyBits) -> Option<Scalar<'e>> {
        let mut first = None;
        for (start, rest) in self.starts.iter().filter(|(start, _)| keys.may_have(start)) {
            let mut found = |value: Element<'e>| first = first.or_else(|| Some(value.into()));
            for (_, value) in event.entries().filter(|(key, _)| *key == &**start) {
                follow(value, Naming::default(), rest, 0, &mut found);
            }
            if first.is_some() {
                break;
            }
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

/// Tables are built from rules in memory, of which there are fewer than 2³².
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
