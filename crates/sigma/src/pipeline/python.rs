//! Regular expressions and replacements as Python's `re` writes them.

use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The memory that one expression may take compiled.
const REGEX_BYTES: usize = 10 << 20;

/// A regular expression. Those that need look-around or back references are refused: they don't run in linear time.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    anywhere: Regex,
    at_start: Regex,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let compile = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
        let pattern = compile(text).and_then(|anywhere| {
            let at_start = compile(&format!(r"\A(?:{text})"))?;
            Ok(Self { anywhere, at_start })
        });
        pattern.map_err(|error| format!("`{text}` is no regular expression that is taken: {error}"))
    }

    /// Whether a text begins with what the expression describes: Python's `re.match`.
    pub(super) fn matches_start(&self, text: &str) -> bool {
        self.at_start.is_match(text)
    }

    /// What the named groups take of a text that begins with what the expression describes; empty groups are left out.
    pub(super) fn named_groups<'t>(&self, text: &'t str) -> Option<Vec<(&str, &'t str)>> {
        let captures = self.at_start.captures(text)?;
        let names = self.anywhere.capture_names().flatten();
        let groups = names.filter_map(|name| Some((name, captures.name(name)?.as_str())));
        Some(groups.filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(super) fn has_named_groups(&self) -> bool {
        self.anywhere.capture_names().flatten().next().is_some()
    }

    /// Python's `re.sub`.
    pub(super) fn replace_all(&self, text: &str, replacement: &Replacement) -> String {
        self.anywhere.replace_all(text, |captures: &Captures<'_>| replacement.expand(captures)).into_owned()
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A replacement: `\1`, `\g<1>` and `\g<name>` stand for groups.
#[derive(Clone, Debug)]
pub(super) struct Replacement(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Group(usize),
    Name(String),
}

impl Replacement {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            plain.push_str(before);
            let next = after.chars().next();
            rest = &after[next.map_or(0, char::len_utf8)..];
            let group = match next {
                Some(digit @ '1'..='9') => {
                    let more = rest.chars().next().filter(char::is_ascii_digit);
                    rest = &rest[usize::from(more.is_some())..];
                    let digits: String = std::iter::once(digit).chain(more).collect();
                    digits.parse().map(Piece::Group).ok()
                }
                Some('g') => {
                    let name = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                    let (name, after) = name.ok_or_else(|| format!("`{text}`: `\\g` wants `<group>` behind it"))?;
                    rest = after;
                    Some(name.parse().map_or_else(|_| Piece::Name(name.to_owned()), Piece::Group))
                }
                Some(letter) if letter.is_ascii_alphanumeric() => {
                    let meant = match letter {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        _ => return Err(format!("`{text}`: `\\{letter}` means nothing in a replacement")),
                    };
                    plain.push(meant);
                    None
                }
                Some('\\') => {
                    plain.push('\\');
                    None
                }
                other => {
                    plain.push('\\');
                    plain.extend(other);
                    None
                }
            };
            if let Some(group) = group {
                pieces.extend([Piece::Text(std::mem::take(&mut plain)), group]);
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    fn expand(&self, captures: &Captures<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Group(number) => captures.get(*number).map_or_else(String::new, |group| group.as_str().to_owned()),
            Piece::Name(name) => captures.name(name).map_or_else(String::new, |group| group.as_str().to_owned()),
        };
        self.0.iter().map(piece).collect()
    }
}

impl<'de> Deserialize<'de> for Replacement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
