//! YAML with the place of every value, as rules are written in it.
//!
//! The parser's own events carry the places. Anchors and merge keys (`<<`) are resolved here, within limits: a file of a few lines
//! could otherwise stand for gigabytes. Plain scalars become what YAML 1.2's core schema says.

use std::{collections::HashMap, mem, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::finding::{Issue, Place};

/// How deep lists and maps may lie in each other.
const MAX_DEPTH: usize = 64;

/// How many values a file may stand for, aliases followed.
const MAX_NODES: usize = 1_000_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Place,
    /// Where in the file's characters it is written.
    source: Range<usize>,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file; no two keys are equal.
    Map(Vec<(Node, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// As it is written, without quotes and escapes.
    pub(crate) text: String,
    /// Whether it stands there without quotes, so that its letters decide on its type.
    pub(crate) is_plain: bool,
    pub(crate) value: Typed,
}

/// What a scalar is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Typed {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

impl Node {
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text that this is; numbers and the like are none.
    pub(crate) fn text(&self) -> Option<&str> {
        self.scalar().filter(|scalar| scalar.value == Typed::Text).map(|scalar| &*scalar.text)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.value == Typed::Null)
    }

    pub(crate) fn map(&self) -> Option<&[(Node, Node)]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(list) => Some(list),
            _ => None,
        }
    }

    /// The key and value of this name in a map.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Node, &Node)> {
        let entries = self.map()?.iter();
        entries.map(|(key, value)| (key, value)).find(|(key, _)| key.scalar().is_some_and(|key| key.text == name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, value)| value)
    }

    /// What kind of value it is, to tell people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Scalar(scalar) => match scalar.value {
                Typed::Null => "null",
                Typed::Bool(_) => "a truth value",
                Typed::Int(_) | Typed::Float(_) => "a number",
                Typed::Text => "a text",
            },
        }
    }

    /// The place of the character at this offset of a scalar's text; `file` is the whole file's. What is not blank stands in the file
    /// in the same order as in the text, however lines are folded; only where quotes hold escapes is it the scalar's own place.
    pub(crate) fn place_within(&self, file: &str, offset: usize) -> Place {
        let Some(scalar) = self.scalar() else { return self.at };
        let source = || file.chars().skip(self.source.start).take(self.source.len());
        let mut wanted = scalar.text.chars().filter(|letter| !letter.is_whitespace());
        let before = scalar.text[..offset.min(scalar.text.len())].chars().filter(|c| !c.is_whitespace()).count();
        let Place { mut line, mut column } = self.at;
        let (mut next, mut passed) = (wanted.next(), 0);
        let mut in_header = matches!(source().next(), Some('|' | '>'));
        let is_quoted = matches!(source().next(), Some('\'' | '"'));
        for (at, letter) in source().enumerate() {
            if letter == '\n' {
                (line, column, in_header) = (line + 1, 1, false);
                continue;
            }
            let is_mark = in_header || is_quoted && at == 0 || letter.is_whitespace();
            if !is_mark {
                if next != Some(letter) {
                    return self.at;
                }
                if passed == before {
                    return Place { line, column };
                }
                passed += 1;
                next = wanted.next();
            }
            column += 1;
        }
        self.at
    }

    /// As a value without places.
    pub(crate) fn to_value(&self) -> yaml_serde::Value {
        use yaml_serde::{Number, Value};
        match &self.data {
            Data::List(list) => Value::Sequence(list.iter().map(Self::to_value).collect()),
            Data::Map(entries) => {
                Value::Mapping(entries.iter().map(|(key, value)| (key.to_value(), value.to_value())).collect())
            }
            Data::Scalar(scalar) => match scalar.value {
                Typed::Null => Value::Null,
                Typed::Bool(truth) => Value::Bool(truth),
                Typed::Float(number) => Value::Number(Number::from(number)),
                Typed::Int(number) => match (i64::try_from(number), u64::try_from(number)) {
                    (Ok(number), _) => Value::Number(Number::from(number)),
                    (_, Ok(number)) => Value::Number(Number::from(number)),
                    _ => Value::String(scalar.text.clone()),
                },
                Typed::Text => Value::String(scalar.text.clone()),
            },
        }
    }

    /// This, and of maps what `base` has besides.
    pub(crate) fn over(self, base: Self) -> Self {
        let Self { at, source, data } = self;
        let data = match (base.data, data) {
            (Data::Map(mut base), Data::Map(entries)) => {
                for (key, value) in entries {
                    match base.iter().position(|(known, _)| is_same(known, &key)) {
                        Some(at) => {
                            let (_, old) = base.remove(at);
                            base.insert(at, (key, value.over(old)));
                        }
                        None => base.push((key, value)),
                    }
                }
                Data::Map(base)
            }
            (_, data) => data,
        };
        Self { at, source, data }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::Scalar(_) => 0,
            Data::List(list) => list.iter().map(Self::size).sum(),
            Data::Map(entries) => entries.iter().map(|(key, value)| key.size() + value.size()).sum(),
        }
    }
}

/// The documents of a file, or what is wrong with each. What is no YAML ends the file.
pub(crate) fn documents(text: &str) -> Vec<Result<Node, Issue>> {
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    // A mark of the encoding is none of the text.
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(Issue::from(&error)),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(document)) => documents.push(document),
            Err(issue) => {
                documents.push(Err(issue));
                break;
            }
        }
    }
    documents
}

impl From<&ScanError> for Issue {
    fn from(error: &ScanError) -> Self {
        let marker = error.marker();
        let at = Place { line: number(marker.line().max(1)), column: number(marker.col() + 1) };
        Self::new(at, "yaml", format!("this is no YAML: {}", error.info()))
    }
}

/// Puts a document together from events.
#[derive(Default)]
struct Builder {
    /// Lists and maps that are not at their end, each with its anchor.
    open: Vec<(Node, usize)>,
    /// The key of each open map whose value is to come.
    keys: Vec<Option<Node>>,
    anchors: HashMap<usize, Node>,
    done: Option<Node>,
    /// What is wrong with the document, of which the rest is passed over.
    failed: Option<Issue>,
    nodes: usize,
}

impl Builder {
    /// Takes an event; a document where it ends one.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<Option<Result<Node, Issue>>, Issue> {
        let at = Place { line: number(span.start.line().max(1)), column: number(span.start.col() + 1) };
        let source = span.start.index()..span.end.index();
        match event {
            Event::DocumentEnd => {
                self.anchors.clear();
                let done = self.done.take();
                return Ok(match self.failed.take() {
                    Some(issue) => Some(Err(issue)),
                    None => done.map(Ok),
                });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(&text, style, tag.as_deref(), at);
                self.add(Node { at, source, data: Data::Scalar(scalar) }, anchor, at)?;
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Issue::new(at, "yaml", "this alias names what it is itself part of"));
                };
                let size = node.size();
                self.count(size, at)?;
                let node = self.anchors[&anchor].clone();
                self.add(node, 0, at)?;
            }
            Event::SequenceStart(anchor, _) => self.begin(Node { at, source, data: Data::List(Vec::new()) }, anchor)?,
            Event::MappingStart(anchor, _) => self.begin(Node { at, source, data: Data::Map(Vec::new()) }, anchor)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((mut node, anchor)) = self.open.pop() {
                    self.keys.pop();
                    if let Data::Map(entries) = &mut node.data {
                        self.merge(entries);
                    }
                    let at = node.at;
                    self.add(node, anchor, at)?;
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
        Ok(None)
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Issue> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Issue::new(at, "yaml", format!("the file stands for more than {MAX_NODES} values")));
        }
        Ok(())
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Issue> {
        if self.open.len() == MAX_DEPTH {
            return Err(Issue::new(
                node.at,
                "yaml",
                format!("lists and maps lie in each other more than {MAX_DEPTH} deep"),
            ));
        }
        self.open.push((node, anchor));
        self.keys.push(None);
        Ok(())
    }

    /// Puts a value, which `at` stands for, where it belongs.
    fn add(&mut self, node: Node, anchor: usize, at: Place) -> Result<(), Issue> {
        self.count(1, at)?;
        if anchor > 0 {
            let size = node.size();
            self.count(size, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some((parent, _)) = self.open.last_mut() else {
            self.done = Some(node);
            return Ok(());
        };
        match (&mut parent.data, self.keys.last_mut()) {
            (Data::List(list), _) => list.push(node),
            (Data::Map(entries), Some(key)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node.scalar() {
                    Some(_) => {
                        if let Some((known, _)) =
                            entries.iter().find(|(known, _)| is_same(known, &node) && !is_merge(known))
                        {
                            let (name, first) = (known.scalar().map_or("", |key| &*key.text), known.at.line);
                            let message = format!(
                                "`{name}` stands there twice, in line {first} too; \
                                 of the two only one would count: join them, or take one away"
                            );
                            self.failed.get_or_insert(Issue::new(node.at, "duplicate-key", message));
                        }
                        *key = Some(node);
                    }
                    None => {
                        let message = format!("{} is no key; a key is a text", node.kind());
                        self.failed.get_or_insert(Issue::new(node.at, "yaml", message));
                        *key = Some(Node { data: Data::Scalar(Scalar::text(String::new())), ..node });
                    }
                },
            },
            (Data::Scalar(_), _) | (Data::Map(_), None) => {}
        }
        Ok(())
    }

    /// Puts what `<<` names in front of a map's own entries, of which those with the same keys count more.
    fn merge(&mut self, entries: &mut Vec<(Node, Node)>) {
        if !entries.iter().any(|(key, _)| is_merge(key)) {
            return;
        }
        let mut merged: Vec<(Node, Node)> = Vec::new();
        let mut own = Vec::with_capacity(entries.len());
        for (key, value) in mem::take(entries) {
            if !is_merge(&key) {
                own.push((key, value));
                continue;
            }
            let at = value.at;
            let maps = match value.data {
                Data::List(list) => list,
                data => vec![Node { data, ..value }],
            };
            for map in maps {
                match map.data {
                    // Of several maps the first counts most.
                    Data::Map(entries) => merged.extend(
                        entries
                            .into_iter()
                            .filter(|(key, _)| !merged.iter().any(|(known, _)| is_same(known, key)))
                            .collect::<Vec<_>>(),
                    ),
                    _ => {
                        let message = "`<<` merges a map, or a list of maps, and this is none; write `<<: *anchor`";
                        self.failed.get_or_insert(Issue::new(at, "merge-key", message));
                    }
                }
            }
        }
        merged.retain(|(key, _)| !own.iter().any(|(known, _)| is_same(known, key)));
        entries.append(&mut merged);
        entries.append(&mut own);
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Place) -> Scalar {
        let mut scalar = Scalar::text(text.to_owned());
        scalar.is_plain = style == ScalarStyle::Plain;
        let resolved = match tag {
            None => scalar.is_plain,
            Some(tag) if tag.is_yaml_core_schema() || tag.handle == "!!" => tag.suffix != "str",
            // `!` alone says that it is a text.
            Some(tag) if tag.suffix.is_empty() => false,
            Some(tag) => {
                let message = format!("the tag `{tag}` means nothing in a rule; leave it out");
                self.failed.get_or_insert(Issue::new(at, "yaml", message));
                false
            }
        };
        if resolved {
            scalar.value = Typed::of(text);
        }
        scalar
    }
}

impl Scalar {
    fn text(text: String) -> Self {
        Self { text, is_plain: false, value: Typed::Text }
    }
}

impl Typed {
    /// What a plain scalar is (YAML 1.2.2 §10.3.2). A number with leading zeros is a text: which base it has, readers disagree on.
    fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            _ => {}
        }
        let (sign, digits) = match text.as_bytes()[0] {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if let Some(digits) = digits.strip_prefix(prefix)
                && !digits.starts_with(['+', '-'])
                && let Ok(number) = i128::from_str_radix(digits, base)
            {
                return Self::Int(sign * number);
            }
        }
        let has_leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') || has_leading_zero {
            return Self::Text;
        }
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return digits.parse::<i128>().map_or(Self::Text, |number| Self::Int(sign * number));
        }
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        match text.parse() {
            Ok(number) if is_number => Self::Float(number),
            _ => Self::Text,
        }
    }
}

fn is_merge(key: &Node) -> bool {
    key.scalar().is_some_and(|key| key.is_plain && key.text == "<<")
}

/// Whether two keys are the same.
fn is_same(one: &Node, other: &Node) -> bool {
    one.scalar().zip(other.scalar()).is_some_and(|(one, other)| one.text == other.text)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
