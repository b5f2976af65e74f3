//! Which rules an event is tried against, by log source.

use std::sync::{Arc, OnceLock};

use cybervault_model::{EventKind, TelemetryEvent, json::Node};

use crate::{
    bits,
    compile::Compiled,
    fields::{Among, FieldTable, Fields, FixedMap, Place},
    fold::fold_into,
    keys::{KeyBits, Naming},
    load::RuleSource,
    mapping::{Mapping, Mappings, Product, Source, ValueAt},
    predicate::append_text,
    routes::{Allowed, Keywords, Route, Routes},
    scalar::Scalar,
    shape::{At, Plan},
    substrings::FEW,
    survey::Survey,
};

/// Whether log sources decide which rules an event is tried against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// An event is tried against the rules for its log sources; against none where these are unknown.
    #[default]
    Auto,
    /// Every event is tried against every rule; its fields are those that it has with [`Self::Auto`].
    Off,
}

/// A log source of an event, or that of a rule, by its names' numbers; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Triple {
    product: u32,
    service: u32,
    category: u32,
}

/// A name that neither rules nor mappings have.
const UNKNOWN: u32 = u32::MAX;

/// What stands for such names where sources are told.
const OTHER: &str = "other";

impl Triple {
    /// Whether a rule for this source is one for events of `event`.
    fn covers(self, event: Self) -> bool {
        let fits = |own: u32, other: u32| own == 0 || own == other;
        fits(self.product, event.product) && fits(self.service, event.service) && fits(self.category, event.category)
    }
}

/// One log source of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventSource<'a> {
    pub(crate) product: Option<&'a str>,
    pub(crate) service: Option<&'a str>,
    pub(crate) category: Option<&'a str>,
    /// The table of fields that only this source has.
    table: Option<usize>,
    /// The names' numbers, as far as the mapping gives them.
    numbers: Triple,
}

/// Log sources, tables of fields, and the rules for each source.
#[derive(Debug)]
pub(crate) struct Router {
    formats: Vec<Format>,
    fields: Arc<Fields>,
    tables: Vec<LateTable>,
    /// The names that rules and mappings have, numbered from 1.
    names: FixedMap<Box<str>, u32>,
    by_number: Vec<Box<str>>,
    /// The distinct sources that rules ask for, each with those rules.
    wanted: Vec<(Triple, Allowed)>,
    /// The rules for events of a source, worked out ahead for the sources that mappings give.
    known: FixedMap<Triple, Allowed>,
    none: Allowed,
    /// Of each table of keywords how many it has, and how many bytes the shortest.
    keywords: Vec<(usize, usize)>,
}

/// A table of fields, made when the first event needs it: there are hundreds, a tenth of a megabyte each with some thousand
/// rules, and a worker sees a few kinds of event.
#[derive(Debug, Default)]
struct LateTable {
    /// The format whose fields it has, and the source for those of its own; without one it is [`PLAIN`].
    of: Option<(usize, Option<usize>)>,
    made: OnceLock<FieldTable>,
}

/// A mapping, made fit for look-ups.
#[derive(Debug)]
struct Format {
    mapping: Mapping,
    /// Where its events have something, at one place of each, …
    has: Vec<Vec<Place>>,
    /// … and the keys by which these begin.
    has_keys: Vec<KeyBits>,
    /// Where the product is named.
    product: Option<Place>,
    /// The product's number, where it is always the same.
    product_number: u32,
    /// Where each field of the mapping's `by` is.
    by: Vec<Vec<(Place, ValueAt)>>,
    table: usize,
    /// By the values of the mapping's `by`, joined: the sources of such events.
    by_values: FixedMap<Box<str>, Vec<usize>>,
    unconditional: Vec<usize>,
    /// The table of each source that has fields of its own.
    tables: Vec<Option<usize>>,
    /// Each source's names by number; the product is the mapping's, where that is always the same.
    numbers: Vec<Triple>,
    /// The keys that sources want to be present, a bit each.
    present: FixedMap<Box<str>, u64>,
    /// Those of them that are deeper inside.
    present_inside: Vec<(Place, u64)>,
    /// These keys as bits.
    present_bits: KeyBits,
    /// Each source's bits of `present`, of which one is enough; 0 where it wants none.
    wants: Vec<u64>,
}

/// The table of fields found under their own names only.
const PLAIN: usize = 0;

impl Router {
    /// For rules of these sources, compiled.
    pub(crate) fn new(mappings: &Mappings, rules: &[RuleSource], compiled: &Compiled) -> Self {
        let Compiled { fields, asked, keywords, .. } = compiled;
        let none = Allowed {
            rules: bits::none(rules.len()),
            fields: bits::none(fields.count()),
            keywords: bits::none(keywords.len()),
        };
        let mut router = Self {
            formats: Vec::new(),
            fields: fields.clone(),
            tables: vec![LateTable::default()],
            names: FixedMap::default(),
            by_number: Vec::new(),
            wanted: Vec::new(),
            known: FixedMap::default(),
            none,
            keywords: keywords.iter().map(|table| (table.count(), table.shortest())).collect(),
        };
        for (rule, (source, asked)) in rules.iter().zip(asked).enumerate() {
            let triple = router.intern(source);
            let at = router.wanted.iter().position(|(wanted, _)| *wanted == triple).unwrap_or_else(|| {
                router.wanted.push((triple, router.none.clone()));
                router.wanted.len() - 1
            });
            let allowed = &mut router.wanted[at].1;
            bits::set(&mut allowed.rules, rule);
            allowed.add_asked(asked);
        }
        for mapping in &mappings.list {
            let format = router.format(mapping);
            router.formats.push(format);
        }
        router.work_out();
        router
    }

    fn intern(&mut self, source: &RuleSource) -> Triple {
        let mut number = |name: &Option<String>| match name {
            None => 0,
            Some(name) => {
                let next = u32::try_from(self.names.len() + 1).unwrap_or(UNKNOWN);
                *self.names.entry(name.as_str().into()).or_insert_with(|| {
                    self.by_number.push(name.as_str().into());
                    next
                })
            }
        };
        Triple {
            product: number(&source.product),
            service: number(&source.service),
            category: number(&source.category),
        }
    }

    fn format(&mut self, mapping: &Mapping) -> Format {
        let format = self.formats.len();
        let mut add = |source: Option<usize>| {
            self.tables.push(LateTable { of: Some((format, source)), made: OnceLock::new() });
            self.tables.len() - 1
        };
        let is_plain = mapping.fields.is_empty() && mapping.inside.is_empty() && !mapping.any_case;
        let table = if is_plain { PLAIN } else { add(None) };
        let own_table = |(index, source): (usize, &Source)| (!source.fields.is_empty()).then(|| add(Some(index)));
        let tables = mapping.sources.iter().enumerate().map(own_table).collect();
        let mut by_values: FixedMap<Box<str>, Vec<usize>> = FixedMap::default();
        let mut unconditional = Vec::new();
        for (index, source) in mapping.sources.iter().enumerate() {
            if source.when.is_empty() {
                unconditional.push(index);
            }
            for values in combinations(mapping, source) {
                by_values.entry(values.into()).or_default().push(index);
            }
        }
        let product = match &mapping.product {
            Product::Named(name) => Some(name.clone()),
            _ => None,
        };
        let numbers = |source: &Source| {
            self.intern(&RuleSource {
                product: source.product.clone().or_else(|| product.clone()),
                service: source.service.clone(),
                category: source.category.clone(),
            })
        };
        let numbers: Vec<_> = mapping.sources.iter().map(numbers).collect();
        let product_number = self.intern(&RuleSource { product, ..RuleSource::default() }).product;
        let mut present: FixedMap<Box<str>, u64> = FixedMap::default();
        let wants = |source: &Source| {
            source.present.iter().fold(0, |wants, key| {
                // Beyond 64 keys some share a bit: these are then present together.
                let bit = 1 << (present.len() % 64);
                wants | *present.entry(key.as_str().into()).or_insert(bit)
            })
        };
        let wants = mapping.sources.iter().map(wants).collect();
        let present_bits = present.keys().map(|key| &**key).collect();
        let inside = present.iter().filter(|(key, _)| key.contains('.'));
        let present_inside = inside.map(|(key, bit)| (Place::new(key), *bit)).collect();
        let has = |paths: &[String]| paths.iter().map(|path| Place::new(path)).collect();
        let has: Vec<Vec<Place>> = mapping.events.has.iter().map(|has_one| has(has_one.paths())).collect();
        let by = |by: &String| mapping.places(by).into_iter().map(|at| (Place::new(at.path()), at)).collect();
        Format {
            has_keys: has.iter().map(|places| places.iter().flat_map(Place::keys).collect()).collect(),
            has,
            product_number,
            product: match &mapping.product {
                Product::In { from, .. } => Some(Place::new(from)),
                _ => None,
            },
            by: mapping.by.iter().map(by).collect(),
            mapping: mapping.clone(),
            table,
            by_values,
            unconditional,
            tables,
            numbers,
            present,
            present_inside,
            present_bits,
            wants,
        }
    }

    /// A table of fields by its number.
    pub(crate) fn table(&self, at: usize) -> &FieldTable {
        let LateTable { of, made } = &self.tables[at];
        made.get_or_init(|| {
            let Some((format, source)) = *of else { return FieldTable::new(&self.fields, Naming::default(), &[], []) };
            let mapping = &self.formats[format].mapping;
            let own = source.map(|source| &mapping.sources[source].fields);
            let naming = Naming { any_case: mapping.any_case };
            FieldTable::new(&self.fields, naming, &mapping.inside, std::iter::once(&mapping.fields).chain(own))
        })
    }

    /// Works out ahead which rules are for each source that the mappings give.
    fn work_out(&mut self) {
        let in_events: Vec<u32> = self.wanted.iter().map(|(wanted, _)| wanted.product).chain([UNKNOWN]).collect();
        for format in &self.formats {
            for (source, numbers) in format.mapping.sources.iter().zip(&format.numbers) {
                let named = [numbers.product];
                let is_in_events = format.product.is_some() && source.product.is_none();
                for product in if is_in_events { &in_events[..] } else { &named } {
                    let triple = Triple { product: *product, ..*numbers };
                    let mut allowed = self.none.clone();
                    self.add_wanted(triple, &mut allowed);
                    self.known.insert(triple, allowed);
                }
            }
        }
    }

    fn add_wanted(&self, triple: Triple, allowed: &mut Allowed) {
        for (wanted, rules) in &self.wanted {
            if wanted.covers(triple) {
                allowed.add(rules);
            }
        }
    }

    fn number(&self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return 0 };
        // Names are lower case in rules and mappings; only an envelope's may not be.
        let number = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.names.get(name.to_lowercase().as_str())
        } else {
            self.names.get(name)
        };
        number.copied().unwrap_or(UNKNOWN)
    }

    /// Which route is the event's, and where is kept what such events are like; true where routes that were known before are forgotten.
    pub(crate) fn route(
        &self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        routes: &mut Routes,
        buffer: &mut String,
    ) -> (usize, Option<At>, bool) {
        let shape = routes.shapes.of(event, routing, |names| self.plan(event, names));
        if let Some((_, Some(known))) = shape {
            let at = routes.shapes.usual(known).route;
            routes.last = Some(at);
            return (at, Some(known), false);
        }
        let (at, is_first) = self.look_up(event, routing, routes, buffer);
        routes.last = Some(at);
        let Routes { routes, shapes, .. } = routes;
        let route = &routes[at];
        let table = self.table(route.table);
        let kept = shape.filter(|_| !is_first);
        let survey = || Survey::of(event.payload, table, Some(route)).end(self.fields.count());
        let kept = kept.map(|(shape, _)| shapes.keep(shape, at, survey));
        (at, kept, is_first)
    }

    /// Which values decide the route of events with these keys; `None` where that depends on what is inside of them.
    fn plan(&self, event: &TelemetryEvent<'_>, names: &[&str]) -> Option<Plan> {
        let bits = names.iter().copied().collect();
        let is_told = is_told(event);
        for format in &self.formats {
            let fits = match &format.mapping.events.kind {
                Some(wanted) => is_of_kind(event, wanted),
                None => is_told && format.fits(names, bits)?,
            };
            if fits {
                return format.plan(names, bits);
            }
        }
        Some(Plan::default())
    }

    /// Which route is the event's; true where routes that were known before are forgotten.
    fn look_up(
        &self,
        event: &TelemetryEvent<'_>,
        routing: Routing,
        routes: &mut Routes,
        buffer: &mut String,
    ) -> (usize, bool) {
        routes.signs.clear();
        let mut table = None;
        let sent = event.source;
        let number = |sent: Option<&str>, mapped: u32| if sent.is_some() { self.number(sent) } else { mapped };
        let is_open = routing == Routing::Off;
        let base = self.each_source(event, buffer, &mut |source| {
            table = table.or(source.table);
            // Without routing they decide the table alone.
            if is_open {
                return;
            }
            routes.signs.extend([
                number(sent.product, source.numbers.product),
                number(sent.service, source.numbers.service),
                number(sent.category, source.numbers.category),
            ]);
        });
        let table = table.unwrap_or(base);
        routes.signs.extend([sign(table), u32::from(is_open)]);
        routes.find(|number, signs| {
            let mut allowed = self.none.clone();
            // What is left over are the two signs behind the sources.
            let sources = signs.as_chunks().0.iter().map(|[product, service, category]| Triple {
                product: *product,
                service: *service,
                category: *category,
            });
            if is_open {
                allowed.fill(u64::MAX);
            } else {
                sources.clone().for_each(|source| self.allow(source, &mut allowed));
            }
            let sources = sources.map(|source| self.named(source)).collect();
            Route { number, id: 0, table, keywords: self.keywords(&allowed), allowed, is_open, sources }
        })
    }

    /// The source with its names, as far as rules or mappings know them: others may be anything that a sender makes up.
    fn named(&self, source: Triple) -> RuleSource {
        let name = |number: u32| match number {
            0 => None,
            number => Some(self.by_number.get(number as usize - 1).map_or(OTHER, |name| name).to_owned()),
        };
        RuleSource { product: name(source.product), service: name(source.service), category: name(source.category) }
    }

    fn keywords(&self, allowed: &Allowed) -> Keywords {
        let tables = self.keywords.iter().enumerate().filter(|(at, _)| bits::has(&allowed.keywords, *at));
        let (counts, lengths): (Vec<_>, Vec<_>) = tables.map(|(_, table)| *table).unzip();
        match lengths.into_iter().min() {
            Some(shortest) if counts.into_iter().sum::<usize>() > FEW => Keywords::ByValue { shortest },
            _ => Keywords::InAllThatIsNew,
        }
    }

    fn allow(&self, triple: Triple, allowed: &mut Allowed) {
        match self.known.get(&triple) {
            Some(rules) => allowed.add(rules),
            None => self.add_wanted(triple, allowed),
        }
    }

    /// Calls `found` for every log source of the event; returns the table of fields that all of them share.
    fn each_source<'e>(
        &'e self,
        event: &TelemetryEvent<'e>,
        buffer: &mut String,
        found: &mut impl FnMut(EventSource<'e>),
    ) -> usize {
        let sent = event.source;
        let mut give = |source: EventSource<'e>| {
            // What the envelope says counts more than what the mapping finds.
            found(EventSource {
                product: sent.product.or(source.product),
                service: sent.service.or(source.service),
                category: sent.category.or(source.category),
                ..source
            });
        };
        let (format, keys) = self.format_of(event);
        let mut any = false;
        if let Some(format) = format {
            let product = self.each_source_of(format, event, keys, buffer, &mut |source| {
                any = true;
                give(source);
            });
            // An event of a known form is its product's, whatever else is unknown of it.
            if !any && let Some((product, number)) = product {
                any = true;
                let numbers = Triple { product: number, ..Triple::default() };
                give(EventSource { product: Some(product), numbers, ..EventSource::default() });
            }
        }
        if !any && (sent.product.is_some() || sent.service.is_some() || sent.category.is_some()) {
            give(EventSource::default());
        }
        format.map_or(PLAIN, |format| format.table)
    }

    /// The mapping that the event fits, and its keys as far as they were looked at.
    fn format_of(&self, event: &TelemetryEvent<'_>) -> (Option<&Format>, KeyBits) {
        let is_told = is_told(event);
        let keys = if is_told { KeyBits::of(event.payload) } else { KeyBits::ANY };
        let format = self.formats.iter().find(|format| match &format.mapping.events.kind {
            Some(wanted) => is_of_kind(event, wanted),
            None => {
                let is_there = |place: &Place| place.first(event.payload, keys).is_some();
                is_told
                    && format.has_keys.iter().all(|begins| keys.may_share(*begins))
                    && format.has.iter().all(|places| places.iter().any(is_there))
            }
        });
        (format, keys)
    }

    /// The event's log sources.
    pub(crate) fn sources(&self, event: &TelemetryEvent<'_>) -> Vec<RuleSource> {
        let mut sources = Vec::new();
        self.each_source(event, &mut String::new(), &mut |source| {
            let owned = |name: Option<&str>| name.map(str::to_lowercase);
            let source = RuleSource {
                product: owned(source.product),
                service: owned(source.service),
                category: owned(source.category),
            };
            if !sources.contains(&source) {
                sources.push(source);
            }
        });
        sources
    }
}

impl Router {
    /// Calls `found` for every log source that the event's mapping gives it. Returns the product that the mapping or the event names,
    /// and its number.
    fn each_source_of<'e>(
        &'e self,
        format: &'e Format,
        event: &TelemetryEvent<'e>,
        keys: KeyBits,
        buffer: &mut String,
        found: &mut impl FnMut(EventSource<'e>),
    ) -> Option<(&'e str, u32)> {
        let (mut product_number, mut named) = (None, None);
        let product = match &format.mapping.product {
            Product::None => None,
            Product::Named(name) => {
                named = Some((name.as_str(), format.product_number));
                Some(name.as_str())
            }
            Product::In { otherwise, .. } => {
                let in_event = match format.product.as_ref().and_then(|place| place.first(event.payload, keys)) {
                    Some(Scalar::Text(name)) if !name.is_empty() => Some(name),
                    _ => None,
                };
                let name = in_event.unwrap_or(otherwise);
                let number = self.number(Some(name));
                (product_number, named) = (Some(number), in_event.map(|name| (name, number)));
                Some(name)
            }
        };
        let present = format.present_in(event);
        let mut give = |index: usize| {
            let source = &format.mapping.sources[index];
            if format.wants[index] == 0 || format.wants[index] & present != 0 {
                let numbers = format.numbers[index];
                let product_number = product_number.filter(|_| source.product.is_none());
                found(EventSource {
                    product: source.product.as_deref().or(product),
                    service: source.service.as_deref(),
                    category: source.category.as_deref(),
                    table: format.tables[index],
                    numbers: Triple { product: product_number.unwrap_or(numbers.product), ..numbers },
                });
            }
        };
        format.unconditional.iter().for_each(|index| give(*index));
        buffer.clear();
        for (position, places) in format.by.iter().enumerate() {
            let value = places.iter().find_map(|(place, at)| match place.first(event.payload, keys)? {
                Scalar::Other => None,
                Scalar::Text(text) => Some(Scalar::Text(at.of(text))),
                value => Some(value),
            });
            let value = value.unwrap_or(Scalar::Null);
            if position > 0 {
                buffer.push('\0');
            }
            if !append_text(value, false, buffer) {
                break;
            }
            for index in format.by_values.get(buffer.as_str()).into_iter().flatten() {
                give(*index);
            }
        }
        named
    }
}

impl Format {
    /// Whether events with these keys are told to fit; `None` where that depends on what is inside of them.
    fn fits(&self, names: &[&str], bits: KeyBits) -> Option<bool> {
        let mut fits = Some(true);
        for places in &self.has {
            let found = || places.iter().map(|place| place.among(names, bits));
            if found().all(|place| place == Among::Nowhere) {
                return Some(false);
            }
            if !found().any(|place| matches!(place, Among::AtTop(_))) {
                fits = None;
            }
        }
        fits
    }

    /// Which values decide the log sources of events with these keys; `None` where that depends on what is inside of them.
    fn plan(&self, names: &[&str], bits: KeyBits) -> Option<Plan> {
        let mut values = Vec::new();
        for place in self.product.iter().chain(self.by.iter().flatten().map(|(place, _)| place)) {
            match place.among(names, bits) {
                Among::Nowhere => {}
                Among::AtTop(at) => values.push(at),
                Among::Inside => return None,
            }
        }
        if self.present_inside.iter().any(|(place, _)| place.among(names, bits) == Among::Inside) {
            return None;
        }
        values.sort_unstable();
        values.dedup();
        let present = names.iter().enumerate().filter(|(_, name)| self.present.contains_key(**name));
        Some(Plan { values, present: present.map(|(at, _)| at).collect() })
    }

    /// Which of the keys that sources want have a value: not null, not empty.
    fn present_in(&self, event: &TelemetryEvent<'_>) -> u64 {
        if self.present.is_empty() {
            return 0;
        }
        let mut present = 0;
        for (key, value) in event.payload.entries() {
            if !self.present_bits.may_have(key) {
                continue;
            }
            let Some(bit) = self.present.get(key) else { continue };
            let node = value.node();
            if !matches!(node, Node::Array { len: 0, .. }) && Scalar::from(node).is_something() {
                present |= bit;
            }
        }
        for (place, bit) in &self.present_inside {
            if place.first(event.payload, KeyBits::ANY).is_some_and(Scalar::is_something) {
                present |= bit;
            }
        }
        present
    }
}

/// Whether what the event has tells which mapping it fits.
fn is_told(event: &TelemetryEvent<'_>) -> bool {
    matches!(event.kind, EventKind::Raw | EventKind::Vendor(_))
}

/// Whether the envelope says that the event is one of this type.
fn is_of_kind(event: &TelemetryEvent<'_>, wanted: &str) -> bool {
    event.kind != EventKind::Raw && event.kind.as_str() == wanted
}

/// A table's number as a sign of a route. There are not 2³² tables in memory.
fn sign(table: usize) -> u32 {
    u32::try_from(table).unwrap_or(u32::MAX)
}

/// The joined values of `by` that a source asks for.
fn combinations(mapping: &Mapping, source: &Source) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for field in &mapping.by {
        let Some(values) = source.when.get(field) else { break };
        let folded = values.texts().into_iter().map(|text| {
            let mut folded = String::new();
            fold_into(&text, &mut folded);
            folded
        });
        keys = if keys.is_empty() {
            folded.collect()
        } else {
            folded.flat_map(|text| keys.iter().map(move |key| format!("{key}\0{text}")).collect::<Vec<_>>()).collect()
        };
    }
    keys
}
