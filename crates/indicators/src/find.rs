//! What of an event is listed.

use std::{cell::OnceCell, net::IpAddr, sync::LazyLock};

use cybervault_model::{
    Evidence, Level, TelemetryEvent, Timestamp,
    json::{Element, Node},
};
use memchr::{memchr2, memmem::Finder};

use crate::{
    Indicators, Kind,
    about::About,
    table::Table,
    value::{Network, bits, digest, is_domain, mask, top, url},
};

/// How many indicators of one event are told.
const MAX_FOUND: usize = 64;
/// In how many places of the event each is shown.
const MAX_EVIDENCE: usize = 16;
/// URLs that are looked for in one text.
const MAX_URLS: usize = 16;
/// How deep objects and lists may lie in each other.
const MAX_DEPTH: usize = 128;

/// An indicator that an event has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its kind and value: `sha256:275a…`, `ip:198.51.100.0/24`.
    pub id: String,
    /// What it is, in words.
    pub title: String,
    /// How much it weighs.
    pub level: Level,
    /// Where it was found.
    pub evidence: Vec<Evidence>,
}

impl Indicators {
    /// What of the event is listed, in the order of the ids. `record_time` stands in where the event does not say when it
    /// happened.
    pub fn find(&self, event: &TelemetryEvent<'_>, record_time: Option<Timestamp>) -> Vec<Found> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut search =
            Search { set: self, event, record_time, time: OnceCell::new(), path: Vec::new(), found: Vec::new() };
        search.value(event.payload, 0);
        search.found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        search.found
    }
}

/// One event on its way.
struct Search<'s, 'e> {
    set: &'s Indicators,
    event: &'s TelemetryEvent<'e>,
    record_time: Option<Timestamp>,
    time: OnceCell<Option<Timestamp>>,
    path: Vec<&'e str>,
    found: Vec<Found>,
}

/// Hexadecimal digits of an MD5.
const SHORTEST_DIGEST: usize = 32;

static SCHEME_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("://"));

/// Whether a byte can be part of a hash, address or domain. Others divide the words.
const WORD: [bool; 256] = {
    let mut word = [false; 256];
    let mut at = 0;
    while at < word.len() {
        #[expect(clippy::cast_possible_truncation, reason = "there are 256 bytes")]
        let byte = at as u8;
        word[at] = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | 0x80..);
        at += 1;
    }
    word
};

impl<'e> Search<'_, 'e> {
    fn value(&mut self, value: Element<'e>, depth: usize) {
        if let Node::String(text) = value.node() {
            self.text(text);
        } else if depth < MAX_DEPTH {
            for (key, inner) in value.entries() {
                self.path.push(key);
                self.value(inner, depth + 1);
                self.path.pop();
            }
            value.elements().for_each(|element| self.value(element, depth + 1));
        }
    }

    fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        // Most texts of an event are none of it: without a dot or colon it is no address or name, and a digest is long.
        let has_marks = memchr2(b'.', b':', bytes).is_some();
        if !has_marks && bytes.len() < SHORTEST_DIGEST {
            return;
        }
        if has_marks && !self.set.urls.is_empty() {
            self.urls(text);
        }
        let mut start = 0;
        while start < bytes.len() {
            let length =
                bytes[start..].iter().position(|byte| !WORD[usize::from(*byte)]).unwrap_or(bytes.len() - start);
            if length > 2 {
                self.word(text, start, &text[start..start + length]);
            }
            start += length + 1;
        }
    }

    /// Looks for URLs: a command line may have some anywhere.
    fn urls(&mut self, text: &str) {
        let ends = |char: char| char.is_whitespace() || char.is_control() || "\"'<>|`^{}\\".contains(char);
        for at in SCHEME_END.find_iter(text.as_bytes()).take(MAX_URLS) {
            let scheme = text[..at].rfind(|char: char| !char.is_ascii_alphanumeric()).map_or(0, |before| before + 1);
            // What stands before a scheme may be of more bytes than one.
            let Some(rest) = text.get(scheme..) else { continue };
            let sent = rest.find(ends).map_or(rest, |end| &rest[..end]);
            // What a sentence or a call puts behind it is no part of it.
            let sent = sent.trim_end_matches([')', ']', ',', ';', '.']);
            let Some(url) = url(sent) else { continue };
            self.listed(Kind::Url, || url.clone(), self.set.urls.of(&url), text);
        }
    }

    fn word(&mut self, text: &str, start: usize, word: &str) {
        let set = self.set;
        match word.len() {
            64 => self.digest(Kind::Sha256, &set.sha256, word, text),
            40 => self.digest(Kind::Sha1, &set.sha1, word, text),
            32 => {
                let before = &text.as_bytes()[..start];
                let is_tagged = before.len() >= 8 && before[before.len() - 8..].eq_ignore_ascii_case(b"imphash=");
                let is_named = || self.path.last().is_some_and(|key| key.to_ascii_lowercase().contains("imphash"));
                if is_tagged || is_named() {
                    self.digest(Kind::Imphash, &set.imphash, word, text);
                } else {
                    self.digest(Kind::Md5, &set.md5, word, text);
                }
            }
            _ => {}
        }
        if memchr2(b'.', b':', word.as_bytes()).is_none() {
            return;
        }
        let word = word.trim_matches('.').trim_end_matches(':');
        if let Some(address) = address(word) {
            self.address(address, text);
        } else if !set.domains.is_empty() {
            // Perhaps with a port.
            let name = match word.split_once(':') {
                Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
                _ => word,
            };
            self.name(name, text);
        }
    }

    fn digest<const N: usize>(&mut self, kind: Kind, table: &Table<[u8; N]>, word: &str, text: &str) {
        if let Some(digest) = digest(word) {
            self.listed(kind, || word.to_ascii_lowercase(), table.of(&digest), text);
        }
    }

    fn address(&mut self, address: IpAddr, text: &str) {
        let set = self.set;
        let bits = bits(address);
        for (prefix, table) in &set.networks {
            let network = Network { bits: bits & mask(*prefix), prefix: *prefix };
            self.listed(Kind::Ip, || network.to_string(), table.of(&network.bits), text);
        }
    }

    /// A name, if it is a domain, and those above it.
    fn name(&mut self, name: &str, text: &str) {
        let set = self.set;
        let is_top = |top: &str| set.tops.contains(top) || set.tops.contains(&*top.to_lowercase());
        if !is_top(top(name)) || !is_domain(name) {
            return;
        }
        let name = name.to_lowercase();
        let mut name = &*name;
        while name.contains('.') {
            self.listed(Kind::Domain, || name.to_owned(), set.domains.of(name), text);
            name = name.split_once('.').map_or("", |(_, above)| above);
        }
    }

    /// Notes a value, where somebody lists it.
    fn listed(&mut self, kind: Kind, value: impl Fn() -> String, abouts: impl Iterator<Item = u32>, text: &str) {
        let at = || *self.time.get_or_init(|| self.event.occurred_at().or(self.record_time));
        let Some(about) = self.set.heaviest(abouts, at) else { return };
        let evidence = Evidence { field: self.path.join("."), value: text.to_owned() };
        let id = format!("{}:{}", kind.as_str(), value());
        let room = self.found.len() < MAX_FOUND;
        match self.found.iter_mut().find(|found| found.id == id) {
            Some(found) if found.evidence.len() < MAX_EVIDENCE && !found.evidence.contains(&evidence) => {
                found.evidence.push(evidence);
            }
            Some(_) => {}
            None if room => {
                self.found.push(Found {
                    kind,
                    id,
                    title: title(kind, about),
                    level: about.level,
                    evidence: vec![evidence],
                });
            }
            None => {}
        }
    }
}

/// An address, perhaps with a port behind it or a name before it: `192.0.2.7:443`, `dst:192.0.2.7`.
fn address(word: &str) -> Option<IpAddr> {
    let parse = |text: &str| text.parse().ok().filter(|_| text.len() <= 45);
    parse(word).or_else(|| {
        let (before, after) = word.rsplit_once(':').filter(|_| word.contains('.'))?;
        parse(before).or_else(|| parse(after))
    })
}

fn title(kind: Kind, about: &About) -> String {
    let what = match kind {
        Kind::Sha256 => "SHA-256",
        Kind::Sha1 => "SHA-1",
        Kind::Md5 => "MD5",
        Kind::Imphash => "Imphash",
        Kind::Ip => "Address",
        Kind::Domain => "Domain",
        Kind::Url => "URL",
    };
    match &about.title {
        Some(title) => format!("{what} listed by {}: {title}", about.feed),
        None => format!("{what} listed by {}", about.feed),
    }
}
