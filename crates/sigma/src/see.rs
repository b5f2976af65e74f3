//! An event's values seen: what is answered at once about each.
//!
//! What was found in a value before is recalled (`memo`). A value of several lines is taken line by line, since of a message most
//! lines are like the last one's even where the message as a whole never is.

use std::mem;

use cybervault_model::{
    fault,
    json::{Element, Recurring},
};
use memchr::{memchr, memmem};

use crate::{
    bits,
    compile::{Compiled, FieldTests, PredicateId},
    fields::FieldId,
    fold::{fold_ascii, fold_into, may_become_ascii},
    fresh::{Fresh, Piece},
    guard::{LINE_END, LONGEST_EAGER, SEPARATOR},
    literals::Literals,
    matcher::Run,
    memo::{As, Place},
    predicate::{Test, append_text, write_text},
    routes::{Keywords, Route},
    scalar::Scalar,
    substrings::Substrings,
    usual::{Items, Known},
    walk::{NO_FIELD, Sink, each_text},
};

/// Values of several lines below this are remembered whole.
const SHORT: usize = 96;

/// Bytes of a text's beginning and of its end that are more than any literal once they are folded: of a letter one is left at least.
const ENDS: usize = (LONGEST_EAGER + 2) * 4;

impl Compiled {
    /// The tables of the keywords that are looked for on a route.
    fn keywords_on<'r>(&'r self, route: &'r Route) -> impl Iterator<Item = &'r Substrings> + Clone {
        let every = if route.is_open { self.every_keyword() } else { None };
        let own = if route.is_open { &[] } else { &*route.allowed.keywords };
        every.into_iter().chain(bits::each(own).map(|at| &self.keywords[at]))
    }
}

impl Run<'_, '_> {
    /// Goes over the event: answers the eager predicates, keeps the values for the others.
    pub(crate) fn see(&mut self) {
        let table = self.table;
        let mut usual = self.usual.take();
        match &mut usual {
            Some((items, recurring)) => self.see_usual(items, *recurring),
            None => table.walk(self.event.payload, self),
        }
        self.see_fresh();
        if matches!(self.route.keywords, Keywords::InAllThatIsNew) {
            self.see_keywords(usual);
        }
        for rule in &self.compiled.always {
            self.marks.consider(*rule, &self.route.allowed);
        }
    }

    /// Looks at the values of an event of which most is as in those before.
    fn see_usual(&mut self, items: &mut Items, recurring: Recurring<'_>) {
        let (mut spared, sinces) = (0, recurring.sinces());
        for (seen, item) in items.seen.iter_mut().zip(&mut items.list) {
            fault::point("matcher.see");
            if seen.is_known(sinces) {
                spared += 1;
                if seen.has_found {
                    self.know(item.learnt.found());
                }
                continue;
            }
            let value = seen.value(recurring);
            if self.shortest_keyword().is_none()
                && let Scalar::Text(text) = value
                && item.is_plain
                && !self.may_find(&item.targets, text)
            {
                let from = self.fresh.found.len();
                self.tests(&item.targets).for_each(|tests| self.test_plainly(tests, value));
                item.learn(seen, recurring, Known::Found, &self.fresh.found[from..]);
                continue;
            }
            let key = Some(item.key).filter(|_| !item.learnt.is_novel());
            let known = if item.targets.is_empty() {
                self.see_other(key.is_some(), value)
            } else {
                self.see_value(key, &item.targets, item.is_plain, value)
            };
            item.learn(seen, recurring, known, &self.fresh.recalled);
        }
        self.memo.spared(spared);
    }

    /// Whether what is found is remembered.
    pub(crate) fn remembers(&self) -> bool {
        !self.memo.rests()
    }

    /// Where what is found is remembered; `None` where it is not.
    pub(crate) fn place(&self, key: u32, way: As) -> Option<Place> {
        self.remembers().then(|| Place::new(self.route.number, key, way))
    }

    /// Notes what was found, if it is remembered: `fresh.recalled` then has it.
    fn recall(&mut self, place: Option<Place>, text: &[u8]) -> Known {
        let Some(found) = place.and_then(|place| self.memo.recall(place, text)) else { return Known::Nothing };
        self.fresh.recalled.clear();
        for predicate in found {
            self.fresh.recalled.push(predicate);
            self.marks.hold(predicate, &self.compiled.triggered, &self.route.allowed);
        }
        Known::Found
    }

    /// Notes what was found in the lines, and calls `unknown` for those of which that is not remembered. Lines shorter than half of
    /// `shortest` have nothing.
    fn recall_lines(
        &mut self,
        place: Option<Place>,
        shortest: usize,
        text: &str,
        mut unknown: impl FnMut(&mut Self, Option<Place>, &str),
    ) {
        let kept = place.zip(self.event.payload.recurring());
        let Some((place, (of, known))) = kept.and_then(|(place, recurring)| Some((place, recurring.lines(text)?)))
        else {
            return lines(text).for_each(|line| {
                if place.is_none()
                    || line.len() * 2 >= shortest && self.recall(place, line.as_bytes()) == Known::Nothing
                {
                    unknown(self, place, line);
                }
            });
        };
        let at_base = self.memo.bases.find(place, of);
        let mut base = mem::take(self.memo.bases.at(at_base));
        let (mut end, mut spared) = (0, 0);
        for (at, line) in known.iter().enumerate() {
            end += line.length();
            if let Some(found) = base.found_in(at, *line) {
                spared += 1;
                self.know(found);
                continue;
            }
            let of = &text[end - line.length()..end];
            let of = of.strip_suffix(LINE_END).unwrap_or(of);
            self.fresh.recalled.clear();
            let place = Some(place).filter(|_| !base.is_novel(at));
            let is_known = of.len() * 2 < shortest || self.recall(place, of.as_bytes()) == Known::Found;
            base.learn(at, *line, if is_known { Known::Found } else { Known::Nothing }, &self.fresh.recalled);
            if !is_known {
                unknown(self, place, of);
            }
        }
        *self.memo.bases.at(at_base) = base;
        self.memo.spared(spared);
    }

    /// Notes what was found.
    fn note(&mut self, predicate: PredicateId) {
        self.marks.hold(predicate, &self.compiled.triggered, &self.route.allowed);
        self.fresh.found.push(predicate);
    }

    /// Bytes of the shortest keyword, if they are looked for with each value.
    fn shortest_keyword(&self) -> Option<usize> {
        match self.route.keywords {
            Keywords::ByValue { shortest } => Some(shortest),
            Keywords::InAllThatIsNew => None,
        }
    }

    /// Looks for keywords in all that is new since the last event with these keys in which there was none, or in the whole event.
    fn see_keywords(&mut self, usual: Option<(&mut Items, Recurring<'_>)>) {
        if self.compiled.keywords_on(self.route).next().is_none() {
            return;
        }
        let before = usual.as_ref().and_then(|(items, recurring)| Some((items.without_keywords?, *recurring)));
        let is_as_before = before.is_some_and(|(clock, recurring)| {
            let joined = &mut self.fresh.joined;
            joined.clear();
            recurring.each_new_since(clock, |text| append_apart(text, joined));
            !self.find_keywords()
        });
        // What is new may be the envelope's.
        let has_none = is_as_before || {
            let joined = &mut self.fresh.joined;
            joined.clear();
            each_text(self.event.payload, 0, &mut |text| append_apart(text, joined));
            let has_some = self.find_keywords();
            let found = mem::take(&mut self.fresh.buffer);
            self.know(&found);
            self.fresh.buffer = found;
            !has_some
        };
        if let Some((items, recurring)) = usual {
            items.without_keywords = has_none.then(|| recurring.clock());
        }
    }

    /// Looks for keywords in `fresh.joined`; `fresh.buffer` then has those found. Whether any was.
    fn find_keywords(&mut self) -> bool {
        let Fresh { joined, buffer, .. } = &mut *self.fresh;
        buffer.clear();
        let mut tables = self.compiled.keywords_on(self.route);
        let folded = if fold_ascii(joined) || !tables.any(Substrings::has_beyond) && !may_become_ascii(joined) {
            joined
        } else {
            fold_to(&String::from_utf8_lossy(joined), self.folded);
            self.folded.as_bytes()
        };
        for table in self.compiled.keywords_on(self.route) {
            table.scan(folded, &mut |keyword| buffer.push(keyword));
        }
        !buffer.is_empty()
    }
}

impl Run<'_, '_> {
    /// `is_plain` if nothing belongs in front of the text for any of the targets.
    fn see_text(&mut self, key: Option<u32>, targets: &[u32], is_plain: bool, text: &str) -> Known {
        if let Some(key) = key
            && is_plain
            && self.remembers()
            && has_lines(text)
        {
            self.see_lines(key, targets, text);
            return Known::InLines;
        }
        let place = key.and_then(|key| self.place(key, As::Whole));
        let known = self.recall(place, text.as_bytes());
        if known == Known::Nothing {
            let from = self.fresh.found.len();
            self.test(targets, Scalar::Text(text), false);
            self.fresh.add(place, text, from);
        }
        known
    }

    fn see_lines(&mut self, key: u32, targets: &[u32], text: &str) {
        self.test(targets, Scalar::Text(text), true);
        let anywhere = self.anywhere_in(targets);
        let shortest = anywhere.clone().map(Substrings::shortest).chain(self.shortest_keyword()).min();
        let Some(shortest) = shortest else { return };
        let (piece, place) = (self.fresh.pieces.len(), self.place(key, As::Line));
        self.recall_lines(place, shortest, text, |run, place, line| run.fresh.add(place, line, run.fresh.found.len()));
        if anywhere.clone().next().is_some() {
            self.search(&anywhere, piece);
        }
    }

    /// Looks for the texts of a field that were left until a rule asks.
    pub(crate) fn see_later(&mut self, field: FieldId, later: &Substrings, value: Scalar<'_>, before: &str) {
        let place = self.place(field.number(), As::Later);
        match value {
            Scalar::Text(text) if before.is_empty() && has_lines(text) => {
                self.recall_lines(place, later.shortest(), text, |run, place, line| {
                    run.see_later_text(place, later, line);
                });
            }
            Scalar::Text(text) if before.is_empty() => {
                if text.len() * 2 >= later.shortest() && self.recall(place, text.as_bytes()) == Known::Nothing {
                    self.see_later_text(place, later, text);
                }
            }
            value => {
                if write_text(value, before, false, self.folded) {
                    let hold = &mut |found| self.marks.hold(found, &self.compiled.triggered, &self.route.allowed);
                    later.scan(self.folded.as_bytes(), hold);
                }
            }
        }
    }

    fn see_later_text(&mut self, place: Option<Place>, later: &Substrings, text: &str) {
        let (mut folded, from) = (mem::take(self.folded), self.fresh.found.len());
        fold_to(text, &mut folded);
        later.scan(folded.as_bytes(), &mut |found| self.note(found));
        *self.folded = folded;
        if let Some(place) = place {
            self.memo.keep(place, text.as_bytes(), &self.fresh.found[from..]);
        }
    }

    /// Looks for the tables' texts in the pieces from `first` on.
    fn search<'t>(&mut self, tables: &(impl Iterator<Item = &'t Substrings> + Clone), first: usize) {
        let Some(from) = self.fresh.pieces.get(first).map(|piece| piece.text.start) else { return };
        let (mut folded, mut found) = (mem::take(self.folded), mem::take(&mut self.fresh.buffer));
        fold_to(&self.fresh.text[from..], &mut folded);
        found.clear();
        tables.clone().for_each(|table| table.scan(folded.as_bytes(), &mut |predicate| found.push(predicate)));
        found.sort_unstable();
        found.dedup();
        for predicate in &found {
            self.marks.hold(*predicate, &self.compiled.triggered, &self.route.allowed);
        }
        if self.remembers() && !found.is_empty() {
            if self.fresh.text[from..].is_ascii() {
                found.iter().for_each(|predicate| self.trace(*predicate, from, &folded));
            } else {
                // What is folded may lie elsewhere.
                for piece in first..self.fresh.pieces.len() {
                    fold_to(&self.fresh.text[self.fresh.pieces[piece].text.clone()], &mut folded);
                    let mut note = |predicate| self.fresh.in_joined.push((piece, predicate));
                    tables.clone().for_each(|table| table.scan(folded.as_bytes(), &mut note));
                }
            }
        }
        (*self.folded, self.fresh.buffer) = (folded, found);
    }

    /// Notes in which pieces a text was found; `folded` are those from `from` on.
    fn trace(&mut self, predicate: PredicateId, from: usize, folded: &str) {
        let Test::Text { text, .. } = &self.compiled.questions[predicate as usize].test else { return };
        for at in memmem::find_iter(folded.as_bytes(), text.as_bytes()) {
            let piece = self.fresh.piece_at(from + at);
            self.fresh.in_joined.push((piece, predicate));
        }
    }

    /// Looks for keywords in what is not remembered, and remembers it.
    fn see_fresh(&mut self) {
        if self.shortest_keyword().is_some() {
            self.search(&self.compiled.keywords_on(self.route), 0);
        }
        if !self.remembers() {
            return;
        }
        self.fresh.in_joined.sort_unstable();
        let Fresh { text, pieces, found, in_joined, buffer, .. } = &mut *self.fresh;
        let mut in_joined = in_joined.iter().peekable();
        for (at, Piece { place, text: range, found: at_once }) in pieces.iter().enumerate() {
            buffer.clear();
            buffer.extend_from_slice(&found[at_once.clone()]);
            while let Some((_, predicate)) = in_joined.next_if(|(piece, _)| *piece == at) {
                buffer.push(*predicate);
            }
            buffer.sort_unstable();
            buffer.dedup();
            if let Some(place) = place {
                self.memo.keep(*place, text[range.clone()].as_bytes(), buffer);
            }
        }
    }
}

impl<'r> Run<'r, '_> {
    /// What is looked for anywhere in the values of these targets.
    fn anywhere_in<'t>(&self, targets: &'t [u32]) -> impl Iterator<Item = &'r Substrings> + Clone + use<'r, 't> {
        self.tests(targets).filter_map(|tests| tests.literals.as_deref()?.substrings())
    }

    /// The tests of the targets' fields.
    fn tests<'t>(&self, targets: &'t [u32]) -> impl Iterator<Item = &'r FieldTests> + Clone + use<'r, 't> {
        let (compiled, table, route) = (self.compiled, self.table, self.route);
        let fields = targets.iter().map(|id| table.targets[*id as usize].field.index());
        let asked = fields.filter(|field| bits::has(&route.allowed.fields, *field));
        asked.map(|field| &compiled.tests[field])
    }

    /// Whether a comparison with a text may be true of the value, which is not folded.
    fn may_find(&self, targets: &[u32], value: &str) -> bool {
        self.tests(targets).any(|tests| tests.literals.as_ref().is_some_and(|literals| literals.may_find(value)))
    }

    /// Makes the tests of the targets' fields; but those of texts anywhere in the value only if it is not taken line by line.
    fn test(&mut self, targets: &[u32], value: Scalar<'_>, by_line: bool) {
        // What of the value is in `folded`: nothing, or the value behind this text.
        let mut written: Option<&str> = None;
        for id in targets {
            let target = &self.table.targets[*id as usize];
            if !bits::has(&self.route.allowed.fields, target.field.index()) {
                continue;
            }
            let tests = &self.compiled.tests[target.field.index()];
            self.test_plainly(tests, value);
            let Some(literals) = &tests.literals else { continue };
            let mut folded = mem::take(self.folded);
            match value {
                Scalar::Text(text) if by_line => {
                    if literals.may_find_at_ends(text) {
                        scan_ends(literals, text, &mut folded, |found| self.note(found));
                    }
                }
                Scalar::Text(text) if target.before.is_empty() && !literals.may_find(text) => {}
                value => {
                    let is_written = written == Some(&*target.before) || {
                        fold_to(&target.before, &mut folded);
                        append_text(value, false, &mut folded)
                    };
                    if is_written {
                        written = Some(&target.before);
                        literals.scan(&folded, |found| self.note(found));
                    }
                }
            }
            *self.folded = folded;
        }
    }

    /// The tests that take no text.
    fn test_plainly(&mut self, tests: &FieldTests, value: Scalar<'_>) {
        let present = tests.present.into_iter();
        let not_null = tests.not_null.filter(|_| value != Scalar::Null);
        present.chain(not_null).for_each(|predicate| self.note(predicate));
        if tests.truths != [None, None]
            && let Some(truth) = value.as_bool()
        {
            tests.truths[usize::from(truth)].into_iter().for_each(|predicate| self.note(predicate));
        }
        if !tests.numbers.is_empty() {
            let predicate = value.as_number().and_then(|number| tests.numbers.get(&number));
            predicate.into_iter().for_each(|predicate| self.note(*predicate));
        }
    }
}

impl Run<'_, '_> {
    /// Something of which all that is found in it is known.
    fn know(&mut self, found: &[PredicateId]) {
        for predicate in found {
            self.marks.hold(*predicate, &self.compiled.triggered, &self.route.allowed);
        }
    }

    /// A value that is no field's of which something is asked.
    fn see_other(&mut self, is_remembered: bool, value: Scalar<'_>) -> Known {
        match value {
            // A letter may take half as much again once it is folded.
            Scalar::Text(text) if self.shortest_keyword().is_some_and(|shortest| text.len() * 2 >= shortest) => {
                self.see_text(is_remembered.then_some(NO_FIELD), &[], true, text)
            }
            _ => {
                self.fresh.recalled.clear();
                Known::Found
            }
        }
    }

    /// A value of fields of which something is asked; without a `key` it is not to be remembered.
    fn see_value(&mut self, key: Option<u32>, targets: &[u32], is_plain: bool, value: Scalar<'_>) -> Known {
        match value {
            Scalar::Text(text) => self.see_text(key, targets, is_plain, text),
            Scalar::Int(number) => {
                let place = key.and_then(|key| self.place(key, As::Number));
                let known = self.recall(place, &number.to_le_bytes());
                if known == Known::Nothing {
                    let from = self.fresh.found.len();
                    self.test(targets, value, false);
                    if let Some(place) = place {
                        self.memo.keep(place, &number.to_le_bytes(), &self.fresh.found[from..]);
                    }
                }
                known
            }
            value => {
                let from = self.fresh.found.len();
                self.test(targets, value, false);
                let Fresh { found, recalled, .. } = &mut *self.fresh;
                recalled.clear();
                recalled.extend_from_slice(&found[from..]);
                Known::Found
            }
        }
    }
}

impl<'e> Sink<'e> for Run<'_, 'e> {
    fn value(&mut self, place: u32, targets: &[u32], value: Element<'e>) {
        let value = value.into();
        let (mut is_asked, mut is_plain) = (false, true);
        for id in targets {
            let target = &self.table.targets[*id as usize];
            if bits::has(&self.route.allowed.fields, target.field.index()) {
                is_asked = true;
                is_plain &= target.before.is_empty();
                self.slots.push(target.field, *id, value);
            }
        }
        if is_asked {
            self.see_value(Some(place), targets, is_plain, value);
        } else {
            self.see_other(true, value);
        }
    }

    fn wants_others(&self) -> bool {
        self.shortest_keyword().is_some()
    }

    fn misses(&self, field: FieldId) -> bool {
        bits::has(&self.route.allowed.fields, field.index()) && !self.slots.has(field)
    }
}

/// Whether a value is taken line by line.
fn has_lines(text: &str) -> bool {
    text.len() >= SHORT && memchr(LINE_END as u8, text.as_bytes()).is_some()
}

/// The texts between line ends.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (line, next) = (!rest.is_empty()).then(|| split_line(rest))?;
        rest = next;
        Some(line)
    })
}

/// The first line without its end, and what is behind that.
fn split_line(text: &str) -> (&str, &str) {
    match memchr(LINE_END as u8, text.as_bytes()) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, ""),
    }
}

/// Appends a text so that nothing is found across its ends.
fn append_apart(text: &str, to: &mut Vec<u8>) {
    to.extend_from_slice(text.as_bytes());
    to.push(SEPARATOR as u8);
}

fn fold_to(text: &str, folded: &mut String) {
    folded.clear();
    fold_into(text, folded);
}

/// As [`Literals::scan_ends`] of a text that is not folded.
fn scan_ends(literals: &Literals, text: &str, folded: &mut String, mut found: impl FnMut(PredicateId)) {
    if text.len() <= 2 * ENDS {
        fold_to(text, folded);
        return literals.scan_ends(folded, folded, found);
    }
    folded.clear();
    fold_into(&text[..text.floor_char_boundary(ENDS)], folded);
    let beginning = folded.len();
    fold_into(&text[text.ceil_char_boundary(text.len() - ENDS)..], folded);
    let (beginning, end) = folded.split_at(beginning);
    literals.scan_ends(beginning, end, &mut found);
}
