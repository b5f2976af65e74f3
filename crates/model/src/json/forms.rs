//! Documents that are like earlier ones, read by where they differ.
//!
//! Telemetry says most things again: what one sender writes has the same keys in the same order, and most values are as in the
//! document before. What stands between values (brackets, commas, keys) is called a gap here; documents with the same gaps have
//! one form. Gaps are only taken from documents that the parser has read, so one that has them again is JSON if its values are;
//! whatever is not plain about these is left to the parser. Documents whose keys come in another order each time have no gaps in
//! common: see `shuffled`.

mod gaps;
mod recurring;
mod shuffled;

use std::{
    hash::{BuildHasher, Hash},
    mem,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use foldhash::fast::FixedState;
use simd_json::{Node, StaticNode};

pub use self::recurring::Recurring;
use self::{
    gaps::{Gaps, Pieces},
    shuffled::Shuffled,
};
use super::{
    plain,
    text::{Known, Line, Unescape, same},
};
use crate::fault;

/// How many forms are kept, …
const MOST: usize = 256;

/// … and how many bytes of JSON in them. Unescaped it takes as much again, and some for values and lines.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Larger documents are not kept, nor are such of more values.
const LONGEST: usize = 64 * 1024;
const MOST_VALUES: usize = 512;

/// Texts below this are copied where they might be moved.
const SHORT: usize = 256;

/// Of how many documents that came once is known that they did.
const MOST_ONCE: usize = 512;

/// How many guesses are kept of each kind.
const MOST_GUESSES: usize = 1024;

/// Where those bytes are by which forms are guessed: from the beginning, and from the end.
const FURTHER: [usize; 2] = [200, 400];
const BEFORE_END: [usize; 3] = [200, 16, 8];

/// Of right guesses one of so many is learnt from.
const LEARNT_AGAIN: u64 = 8;

/// How often the other kind of guess has to be right where one is wrong.
const SURER: usize = 8;

/// How many forms a document is compared with.
const MOST_TRIES: usize = 8;

/// So many documents in a row that were not like earlier ones, …
const NOVEL: usize = 32;

/// … and only one of so many is still compared.
const TRIED_AGAIN: usize = 16;

/// The forms of documents that came before, with their last values.
#[derive(Debug)]
pub(super) struct Forms {
    is_off: bool,
    list: Vec<Form>,
    gaps: Gaps,
    /// The form of the last document that began so and had the same further on, that began and ended so, and that began so.
    guesses: [Box<[Option<usize>]>; 3],
    /// Which of the first two kinds is used, and how often more the other would have been right.
    kind: usize,
    other: usize,
    /// How many documents came.
    clock: u64,
    /// Bytes of JSON in the list.
    bytes: usize,
    /// Of forms that are not kept: only one that comes again is worth it.
    once: Box<[u64]>,
    /// Of documents that had no form that was known.
    novel: Novel,
    shuffled: Shuffled,
    unescape: Unescape,
}

/// How many documents in a row were not known.
#[derive(Debug, Default)]
struct Novel(usize);

/// Which earlier documents one is like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Like {
    /// Those with the same gaps.
    Ordered(usize),
    /// Those with the same keys in any order.
    Shuffled(u64),
}

/// What documents with the same gaps are like, or such with the same keys.
#[derive(Debug)]
struct Form {
    /// No other has it.
    number: u64,
    /// When it came last.
    came: u64,
    /// How many documents were compared with it.
    clock: u64,
    slots: Vec<Slot>,
    keys: Vec<Box<str>>,
    /// Where in [`Gaps`] the gap before each value is.
    path: Vec<usize>,
    /// The order of the last document's keys, where that is another one each time: the node of the first key by that of its object, and
    /// of each next one by that of the key before.
    order: Vec<u32>,
    /// The last document, …
    raw: Vec<u8>,
    /// … where its values are in it, …
    spans: Vec<Span>,
    /// … what they are, …
    values: Vec<Held>,
    /// … since when, by the clock, …
    since: Vec<u64>,
    /// … which were read since the document before, …
    changed: Vec<u32>,
    /// … and the lines of those that are texts of several.
    lines: Vec<Vec<Line>>,
}

/// A node of a document.
#[derive(Clone, Copy, Debug, Hash)]
enum Slot {
    Object { len: u32, count: u32 },
    Array { len: u32, count: u32 },
    Key(u32),
    Value(u32),
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug)]
enum Held {
    Text(String),
    Plain(StaticNode),
}

/// Where a document differs from a form.
#[derive(Clone, Copy, Debug)]
struct Differs {
    /// Behind so many values, …
    values: usize,
    /// … and so many bytes.
    at: usize,
}

impl Default for Forms {
    fn default() -> Self {
        Self {
            is_off: false,
            list: Vec::new(),
            gaps: Gaps::default(),
            guesses: [const { [None; MOST_GUESSES] }; 3].map(Into::into),
            kind: 0,
            other: 0,
            clock: 0,
            bytes: 0,
            once: [0; MOST_ONCE].into(),
            novel: Novel::default(),
            shuffled: Shuffled::default(),
            unescape: Unescape::default(),
        }
    }
}

impl Forms {
    /// Forms of which none is kept.
    pub(super) fn off() -> Self {
        Self { is_off: true, ..Self::default() }
    }

    /// Whether the document at hand is not compared, nor kept: documents are so new that most are not.
    fn rests(&self) -> bool {
        self.is_off || self.novel.rests()
    }

    /// Takes the document's values into what is known of earlier ones that it is like.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<Like> {
        if self.is_off {
            return None;
        }
        self.clock += 1;
        let rests = self.rests();
        let mut form = if rests { None } else { self.form_of(bytes) };
        if form.is_none() && self.shuffled.look(bytes) && rests {
            form = self.form_of(bytes);
        }
        self.novel.came(form.is_some());
        match form {
            Some(form) => Some(Like::Ordered(form)),
            None => self.shuffled.follow(bytes, self.clock, &mut self.unescape).map(Like::Shuffled),
        }
    }

    fn form_of(&mut self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() > LONGEST {
            return None;
        }
        if self.bytes > MOST_BYTES {
            self.list.clear();
            self.bytes = 0;
        }
        let guessed = [self.kind, 2].into_iter().find_map(|kind| self.guesses[kind][guess(bytes, kind)]);
        // Any will do, since it leads to others.
        let mut at = guessed.unwrap_or_default().min(self.list.len().saturating_sub(1));
        for tries in 0..MOST_TRIES {
            let form = self.list.get_mut(at)?;
            let bytes_before = form.raw.capacity();
            let followed = form.follow(bytes, &mut self.unescape);
            self.bytes = (self.bytes + form.raw.capacity()).saturating_sub(bytes_before);
            match followed {
                Ok(()) => {
                    form.came = self.clock;
                    if tries > 0 {
                        self.gaps.came(&form.path, at);
                    }
                    if tries > 0 || self.clock.is_multiple_of(LEARNT_AGAIN) {
                        self.guessed(bytes, at, tries == 0);
                    }
                    return Some(at);
                }
                Err(Differs { values, at: differs }) => {
                    let (before, rest) = (values.checked_sub(1).map(|last| form.path[last]), &bytes[differs..]);
                    let (gap, other) = self.gaps.behind(before, rest)?;
                    // What had the gap may be another form by now.
                    let has_it = |form: &Form| form.path.get(values).is_none_or(|at| Some(*at) == gap);
                    at = Some(other).filter(|other| *other != at && self.list.get(*other).is_some_and(has_it))?;
                }
            }
        }
        None
    }

    /// Notes the document's form, and whether the guess was right.
    fn guessed(&mut self, bytes: &[u8], form: usize, is_right: bool) {
        let guesses = [0, 1, 2].map(|kind| guess(bytes, kind));
        let other = 1 - self.kind;
        match (is_right, self.guesses[other][guesses[other]] == Some(form)) {
            (false, true) => self.other += 1,
            (true, false) => self.other = self.other.saturating_sub(1),
            _ => {}
        }
        if self.other > SURER {
            (self.kind, self.other) = (other, 0);
        }
        self.guesses.iter_mut().zip(guesses).for_each(|(known, guess)| known[guess] = Some(form));
    }

    /// The document whose values were taken.
    pub(super) fn lend(&self, like: Like) -> Recurring<'_> {
        Recurring::new(match like {
            Like::Ordered(form) => &self.list[form],
            Like::Shuffled(mark) => self.shuffled.form(mark),
        })
    }

    /// Keeps the form of a document that the parser has read, if it is one that came before.
    pub(super) fn learn(&mut self, bytes: &[u8], nodes: &[Node<'_>]) {
        let (is_ordered, is_shuffled) = (self.shuffled.is_ordered(), self.shuffled.came_before());
        if self.is_off || bytes.len() > LONGEST || self.rests() && !is_ordered && !is_shuffled {
            return;
        }
        let (slots, keys, values) = taken_apart(nodes);
        if values > MOST_VALUES {
            return;
        }
        let is_ordered = came_before(&mut self.once, tag(&slots, &keys)) || is_ordered;
        if !is_ordered && !is_shuffled {
            return;
        }
        let form = Form::new(bytes, slots, keys, values, self.clock);
        if !is_ordered {
            return self.shuffled.learn(bytes, form, &mut self.unescape);
        }
        let Some(form) = self.with_gaps(bytes, form) else { return };
        let at = self.place();
        fault::point("json.learn");
        let end = form.spans.last().map_or(0, |span| span.end as usize);
        self.gaps.end(form.path.last().copied(), &bytes[end..], at);
        self.gaps.came(&form.path, at);
        self.guessed(bytes, at, true);
        self.bytes += form.raw.capacity();
        match self.list.get_mut(at) {
            Some(old) => self.bytes = self.bytes.saturating_sub(mem::replace(old, form).raw.capacity()),
            None => self.list.push(form),
        }
    }

    /// The form of a document, with its gaps and values.
    fn with_gaps(&mut self, bytes: &[u8], mut form: Form) -> Option<Form> {
        let count = form.values.len();
        if !self.gaps.have_room(count) {
            self.forget();
        }
        let mut pieces = Pieces::of(bytes);
        for value in 0..count {
            let (gap, place) = pieces.next()?;
            let Some(gap) = self.gaps.add(form.path.last().copied(), &bytes[gap]) else {
                // Gaps are not given up one by one, and these may be of documents that no longer come.
                self.forget();
                return None;
            };
            form.path.push(gap);
            form.spans[value] = Span { start: number(place.start), end: number(place.end) };
            let read = form.read(value, &bytes[place.start..], 0..0, 0, &mut self.unescape)?;
            if read != place.len() {
                return None;
            }
        }
        Some(form)
    }

    fn forget(&mut self) {
        self.gaps = Gaps::default();
        self.list.clear();
        self.bytes = 0;
    }

    /// Where the next form is put.
    fn place(&self) -> usize {
        if self.list.len() < MOST {
            return self.list.len();
        }
        (0..MOST).min_by_key(|at| self.list[*at].came).unwrap_or_default()
    }
}

impl Form {
    /// One of which that many values are still to be read.
    fn new(bytes: &[u8], slots: Vec<Slot>, keys: Vec<Box<str>>, values: usize, came: u64) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: COUNT.fetch_add(1, Ordering::Relaxed),
            came,
            clock: 1,
            slots,
            keys,
            path: Vec::new(),
            order: Vec::new(),
            raw: bytes.into(),
            spans: vec![Span::default(); values],
            values: (0..values).map(|_| Held::Plain(StaticNode::Null)).collect(),
            since: vec![0; values],
            changed: Vec::new(),
            lines: vec![Vec::new(); values],
        }
    }

    /// Becomes `bytes`, which have its keys in this order and its values in these places; what is given for that becomes what was
    /// before. `None`, and no value is known any more, where the parser is to decide.
    fn take(
        &mut self,
        bytes: &[u8],
        spans: &mut Vec<Span>,
        order: &mut Vec<u32>,
        unescape: &mut Unescape,
    ) -> Option<()> {
        self.begin();
        for (value, span) in spans.iter().enumerate() {
            let (before, new) = (self.spans[value].range(), &bytes[span.range()]);
            let alike = same(&self.raw[before.clone()], new);
            if alike == new.len() && alike == before.len() {
                continue;
            }
            // What ends elsewhere is no value.
            if self.read(value, &bytes[span.start as usize..], before, alike, unescape) != Some(new.len()) {
                self.spans.fill(Span::default());
                self.lines.iter_mut().for_each(Vec::clear);
                return None;
            }
        }
        self.raw.clear();
        self.raw.extend_from_slice(bytes);
        mem::swap(&mut self.spans, spans);
        mem::swap(&mut self.order, order);
        Some(())
    }

    /// Another document is compared with it.
    fn begin(&mut self) {
        self.clock += 1;
        self.changed.clear();
    }

    /// Becomes `bytes`, if they have its gaps. If not, it becomes what they have up to where they differ.
    fn follow(&mut self, bytes: &[u8], unescape: &mut Unescape) -> Result<(), Differs> {
        // Up to where both are read.
        let (mut old, mut new) = (0, 0);
        let mut passed = 0;
        // Up to where all is in its place, if a value read had not as many bytes as the one before.
        let mut moves_from = None;
        self.begin();
        loop {
            let alike = same(&self.raw[old..], &bytes[new..]);
            let end = old + alike;
            let moved = number(new).wrapping_sub(number(old));
            while let Some(span) = self.spans.get_mut(passed)
                // A number might go on.
                && span.end as usize + usize::from(matches!(self.values[passed], Held::Plain(_))) <= end
            {
                *span = span.moved(moved);
                passed += 1;
            }
            let read = match self.spans.get(passed) {
                None if end == self.raw.len() && new + alike == bytes.len() => {
                    if let Some(from) = moves_from {
                        self.raw.truncate(from);
                        self.raw.extend_from_slice(&bytes[from..]);
                    }
                    return Ok(());
                }
                Some(span) if span.start as usize <= end => {
                    let (start, raw) = (span.moved(moved).start, span.start as usize..span.end as usize);
                    let alike = end - raw.start;
                    let length = self.read(passed, &bytes[start as usize..], raw, alike, unescape);
                    length.map(|length| Span { start, end: start + number(length) })
                }
                _ => None,
            };
            let Some(read) = read else {
                let at = passed.checked_sub(1).map_or(0, |last| self.spans[last].end as usize);
                self.become_up_to(&bytes[..new], old);
                self.spans[passed..].iter_mut().for_each(|span| *span = span.moved(moved));
                return Err(Differs { values: passed, at });
            };
            (old, new) = (self.spans[passed].end as usize, read.end as usize);
            let start = read.start as usize;
            if moves_from.is_none() && old == new {
                self.raw[start..new].copy_from_slice(&bytes[start..new]);
            } else {
                moves_from.get_or_insert(start);
            }
            self.spans[passed] = read;
            passed += 1;
            fault::point("json.follow");
        }
    }

    /// Has `bytes` where the document had as many as `old`.
    fn become_up_to(&mut self, bytes: &[u8], old: usize) {
        let (before, length) = (self.raw.len(), bytes.len() + self.raw.len() - old);
        self.raw.resize(before.max(length), 0);
        self.raw.copy_within(old..before, bytes.len());
        self.raw.truncate(length);
        self.raw[..bytes.len()].copy_from_slice(bytes);
    }

    /// Reads a value, which `bytes` begin with: how many of them it has; `before` is where it was, and `alike` how many bytes are as
    /// there. `None` where the parser is to decide.
    fn read(
        &mut self,
        value: usize,
        bytes: &[u8],
        before: Range<usize>,
        alike: usize,
        unescape: &mut Unescape,
    ) -> Option<usize> {
        self.since[value] = self.clock;
        self.changed.push(number(value));
        let held = &mut self.values[value];
        if bytes.first() != Some(&b'"') {
            let (plain, length) = plain::read(bytes)?;
            *held = Held::Plain(plain);
            self.lines[value].clear();
            return Some(length);
        }
        let lines = &mut self.lines[value];
        if let Some((text, length)) = unescape.short(bytes) {
            lines.clear();
            match held {
                Held::Text(held) => {
                    held.clear();
                    held.push_str(text);
                }
                Held::Plain(_) => *held = Held::Text(text.into()),
            }
            return Some(length);
        }
        let known = match held {
            Held::Text(text) => Known { raw: &self.raw[before], text, lines, alike },
            Held::Plain(_) => Known::default(),
        };
        let length = unescape.read(bytes, known, self.clock)?;
        // Memory that has grown stays where it is used, or with what reads.
        if unescape.lines.is_empty() {
            lines.clear();
        } else {
            mem::swap(lines, &mut unescape.lines);
        }
        match held {
            Held::Text(text) if unescape.text.len() < SHORT => {
                text.clear();
                text.push_str(&unescape.text);
            }
            Held::Text(text) => mem::swap(text, &mut unescape.text),
            Held::Plain(_) => *held = Held::Text(unescape.text.clone()),
        }
        Some(length)
    }
}

impl Held {
    fn node(&self) -> Node<'_> {
        match self {
            Self::Text(text) => Node::String(text),
            Self::Plain(value) => Node::Static(*value),
        }
    }
}

impl Novel {
    /// Whether so many were new that the next is not looked at.
    fn rests(&self) -> bool {
        self.0 > NOVEL && !self.0.is_multiple_of(TRIED_AGAIN)
    }

    fn came(&mut self, is_known: bool) {
        self.0 = if is_known { 0 } else { self.0.saturating_add(1) };
    }
}

impl Slot {
    /// How many nodes are inside of it.
    fn count(self) -> u32 {
        match self {
            Self::Object { count, .. } | Self::Array { count, .. } => count,
            _ => 0,
        }
    }
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn moved(self, by: u32) -> Self {
        Self { start: self.start.wrapping_add(by), end: self.end.wrapping_add(by) }
    }
}

/// Documents of a form have fewer bytes than [`LONGEST`].
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Where a document's form is guessed, by each kind of guess.
fn guess(bytes: &[u8], kind: usize) -> usize {
    let word = |at: Option<usize>| {
        let word = at.and_then(|at| bytes.get(at..)).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u64::from_le_bytes(*word))
    };
    let add = |all: u64, at: Option<usize>| all.rotate_left(29).wrapping_mul(GOLDEN) ^ word(at);
    let begins = add(word(Some(0)), Some(8));
    let all = match kind {
        0 => FURTHER.into_iter().fold(begins, |all, at| add(all, Some(at))),
        1 => BEFORE_END.into_iter().fold(begins, |all, at| add(all, bytes.len().checked_sub(at))),
        _ => begins,
    };
    (all.wrapping_mul(GOLDEN) >> 40) as usize % MOST_GUESSES
}

/// The golden ratio's, as in Knuth's multiplicative hash.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether a mark is among those that came, where it is now.
fn came_before(marks: &mut [u64], mark: u64) -> bool {
    let at = usize::try_from(mark % marks.len() as u64).unwrap_or_default();
    mem::replace(&mut marks[at], mark) == mark
}

fn hash_of(what: impl Hash) -> u64 {
    FixedState::default().hash_one(what)
}

/// Tells most forms apart. Not 0.
fn tag(slots: &[Slot], keys: &[Box<str>]) -> u64 {
    hash_of((slots, keys)) | 1
}

/// What a document's nodes are, its keys, and how many values it has.
fn taken_apart(nodes: &[Node<'_>]) -> (Vec<Slot>, Vec<Box<str>>, usize) {
    let (mut slots, mut keys, mut values) = (Vec::with_capacity(nodes.len()), Vec::new(), 0);
    // Of each object and array around a node: how many keys and values are still to come, and whether every second is a key.
    let mut around: Vec<(usize, bool)> = Vec::new();
    for node in nodes {
        while around.last().is_some_and(|(left, _)| *left == 0) {
            around.pop();
        }
        let is_key = around.last_mut().is_some_and(|(left, has_keys)| {
            *left -= 1;
            *has_keys && *left % 2 == 1
        });
        slots.push(match *node {
            Node::Object { len, count } => {
                around.push((len * 2, true));
                Slot::Object { len: number(len), count: number(count) }
            }
            Node::Array { len, count } => {
                around.push((len, false));
                Slot::Array { len: number(len), count: number(count) }
            }
            Node::String(key) if is_key => {
                keys.push(key.into());
                Slot::Key(number(keys.len() - 1))
            }
            _ => {
                values += 1;
                Slot::Value(number(values - 1))
            }
        });
    }
    (slots, keys, values)
}
