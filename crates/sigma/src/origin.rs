//! What an event is, as far as it is known: its log sources, or the keys by which a person may tell.

use std::fmt;

use cybervault_model::{
    TelemetryEvent,
    json::{Element, Node},
};

use crate::{Routing, RuleSource, Scratch, matcher::Matcher};

/// How many keys are told.
const MOST_KEYS: usize = 12;

/// How many bytes of each.
const LONGEST_KEY: usize = 48;

/// With so few keys at the top or fewer, those inside of them are told too: at the top there may be but a wrapper.
const FEW_KEYS: usize = 3;

/// How many keys are looked at: an event made to hurt has a hundred thousand.
const MOST_LOOKED_AT: usize = 256;

/// The keys of an event, by which those of no known log source are told: sorted, the first ones by name, without anything of
/// the values. Events of one form mostly have the same.
///
/// ```
/// # use cybervault_model::{Decoder, Incoming, json::Limits};
/// # use cybervault_sigma::KeySet;
/// let mut decoder = Decoder::new(Limits::default());
/// let value = br#"{"event":{"b":1,"a":"secret"}}"#;
/// let decoded = decoder.decode(&Incoming { key: Some(b"acme"), value, ..Incoming::default() })?;
/// assert_eq!(KeySet::of(&decoded.event()).as_str(), "event.a, event.b");
/// # Ok::<_, cybervault_model::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySet(Box<str>);

impl KeySet {
    /// The longest one in bytes.
    pub const LONGEST: usize = 1024;

    /// That of an event.
    pub fn of(event: &TelemetryEvent<'_>) -> Self {
        let mut keys = Vec::new();
        let top = event.payload.entries().take(FEW_KEYS + 1).count();
        for (key, value) in event.payload.entries().take(MOST_LOOKED_AT) {
            let inside = if top <= FEW_KEYS { keys_inside(key, value) } else { Default::default() };
            if inside.is_empty() {
                keys.push(shown(key));
            }
            keys.extend(inside);
        }
        keys.sort_unstable();
        keys.dedup();
        let left_out = keys.len().saturating_sub(MOST_KEYS);
        keys.truncate(MOST_KEYS);
        let mut text = if keys.is_empty() { "(no keys)".to_owned() } else { keys.join(", ") };
        if left_out > 0 {
            text.push_str(&format!(", … ({left_out} more)"));
        }
        Self(text.into())
    }

    /// The keys, with commas between.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn keys_inside(key: &str, value: Element<'_>) -> Vec<String> {
    if !matches!(value.node(), Node::Object { .. }) {
        return Vec::new();
    }
    value.entries().take(MOST_LOOKED_AT).map(|(inner, _)| shown(&format!("{key}.{inner}"))).collect()
}

/// A key as it may be shown to people: senders choose them.
fn shown(key: &str) -> String {
    let mut text: String =
        key.chars().take(LONGEST_KEY).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if text.len() > LONGEST_KEY {
        text.truncate(text.floor_char_boundary(LONGEST_KEY));
    }
    if text.len() < key.len() {
        text.push('…');
    }
    text
}

/// The way that an event took, from [`Scratch::last_route`].
#[derive(Clone, Copy, Debug)]
pub struct EventRoute<'s> {
    /// Its number. Of one [`Scratch`], no two ways ever have the same.
    pub id: u64,
    /// The log sources that events on it belong to, one or several; none where these are unknown, or with [`Routing::Off`]. A name that neither rules nor
    /// mappings have, which only an envelope can give, is told as `other`.
    pub sources: &'s [RuleSource],
}

impl Scratch {
    /// The way of the event that was matched last.
    pub fn last_route(&self) -> Option<EventRoute<'_>> {
        let route = self.routes.routes.get(self.routes.last?)?;
        Some(EventRoute { id: route.id, sources: &route.sources })
    }
}

impl Matcher {
    /// The keys of an event of no known log source: no rule is tried on it unless [`Routing::Off`] is asked for. `None` for all
    /// others. `scratch` must come from this matcher.
    pub fn unknown_keys(&self, event: &TelemetryEvent<'_>, scratch: &mut Scratch) -> Option<KeySet> {
        self.route(event, Routing::Auto, scratch);
        let is_known = scratch.last_route().is_some_and(|route| !route.sources.is_empty());
        (!is_known).then(|| KeySet::of(event))
    }
}
