//! Cheap signs of costly tests.
//!
//! Literal comparisons are all made in one go when a value is seen ("eager"). Everything else is tested only when a rule
//! needs it, and such a rule is looked at only once a sign of the test was seen: a text that every match contains, or at
//! least the field itself.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::{
    fold::fold,
    predicate::{NumberOp, Predicate, Scope, Test, TextOp},
};

/// Longer texts are not put into the automata, whose size grows with every byte; their beginning is.
pub(crate) const LONGEST_EAGER: usize = 256;

/// Shorter texts are seen so often that they tell nothing.
const SHORTEST_GUARD: usize = 3;

/// Stands between an event's texts where keywords are looked for, so none of these may have it.
pub(crate) const SEPARATOR: char = '\0';

/// Values of several lines are searched line by line, so no text to be found anywhere may have it.
pub(crate) const LINE_END: char = '\n';

/// How many alternatives of a regular expression are worth looking for.
const MAX_ALTERNATIVES: usize = 64;

/// Whether the test is made for every value of its field.
pub(crate) fn is_eager(predicate: &Predicate) -> bool {
    match &predicate.test {
        Test::Text { cased: true, .. } => false,
        Test::Text { op: TextOp::Contains, text, .. } if text.contains(LINE_END) => false,
        Test::Text { op, text, .. } if predicate.scope == Scope::Anywhere => {
            *op == TextOp::Contains
                && !text.is_empty()
                && text.len() <= LONGEST_EAGER
                && !text.contains(SEPARATOR)
                && !is_in_numbers(text)
        }
        Test::Text { op, text, .. } => text.len() <= LONGEST_EAGER && (!text.is_empty() || *op == TextOp::Exact),
        Test::Number { op: NumberOp::Equal, .. } | Test::Bool(_) | Test::Present | Test::NotNull => {
            predicate.scope != Scope::Anywhere
        }
        _ => false,
    }
}

/// Whether a number or a truth value, written out, may have the text in it. Keywords are looked for at once in texts alone, so these
/// few are looked for when a rule asks.
fn is_in_numbers(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || b".+-e".contains(&byte)) || "true false".contains(text)
}

/// Whether a keyword's test may pass a number or a truth value.
pub(crate) fn may_be_in_number(test: &Test) -> bool {
    match test {
        Test::Text { text, .. } => is_in_numbers(&fold(text)),
        Test::Glob(glob) => glob.longest_text().is_none_or(|text| is_in_numbers(&fold(text))),
        _ => true,
    }
}

/// Eager predicates of which one is true whenever `predicate` is; `None` where there are none.
pub(crate) fn guards(predicate: &Predicate) -> Option<Vec<Predicate>> {
    if is_eager(predicate) {
        return Some(vec![predicate.clone()]);
    }
    let is_hidden = |text: &str| predicate.scope == Scope::Anywhere && is_in_numbers(text);
    let texts = match &predicate.test {
        Test::Null => return None,
        Test::Text { text, .. } if is_hidden(&fold(text)) => return None,
        Test::Text { op, text, cased: true }
            if !text.is_empty() && text.len() <= LONGEST_EAGER / 4 && !text.contains(LINE_END) =>
        {
            let test = Test::Text { op: *op, text: fold(text).into(), cased: false };
            return Some(vec![Predicate { scope: predicate.scope.clone(), test }]);
        }
        Test::Text { text, .. } => Some(vec![fold(text)]),
        Test::Glob(glob) => glob.longest_text().map(|text| vec![fold(text)]),
        Test::Regex(pattern) => regex_syntax::parse(pattern.as_str()).ok().and_then(|hir| required(&hir)),
        _ => None,
    };
    let texts: Option<Vec<_>> = texts.as_ref().map(|texts| texts.iter().map(|text| longest_line(text)).collect());
    match texts {
        Some(texts)
            if texts
                .iter()
                .all(|text| text.len() >= SHORTEST_GUARD && !text.contains(SEPARATOR) && !is_hidden(text)) =>
        {
            let contains = |text: &&str| Predicate {
                scope: predicate.scope.clone(),
                test: Test::Text { op: TextOp::Contains, text: beginning(text).into(), cased: false },
            };
            Some(texts.iter().map(contains).collect())
        }
        _ if predicate.scope == Scope::Anywhere => None,
        _ => Some(vec![Predicate { scope: predicate.scope.clone(), test: Test::Present }]),
    }
}

fn longest_line(text: &str) -> &str {
    text.split(LINE_END).max_by_key(|line| line.len()).unwrap_or_default()
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_EAGER)]
}

/// Folded texts of which every match of the expression contains one.
fn required(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![fold(std::str::from_utf8(&literal.0).ok()?)]),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Class(_) => letter(hir).map(|letter| vec![letter]),
        HirKind::Concat(parts) => required_of_sequence(parts),
        HirKind::Alternation(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                texts.extend(required(part)?);
            }
            (texts.len() <= MAX_ALTERNATIVES).then_some(texts)
        }
        _ => None,
    }
}

/// Joins neighbours that are texts, and takes the part whose shortest text is longest.
fn required_of_sequence(parts: &[Hir]) -> Option<Vec<String>> {
    let mut candidates: Vec<Vec<String>> = Vec::new();
    let mut run = String::new();
    for part in parts {
        let text = match part.kind() {
            HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(fold),
            _ => letter(part),
        };
        if let Some(text) = text {
            run.push_str(&text);
            continue;
        }
        candidates.push(vec![std::mem::take(&mut run)]);
        candidates.extend(required(part));
    }
    candidates.push(vec![run]);
    candidates.into_iter().max_by_key(|texts| texts.iter().map(String::len).min())
}

/// The one letter whose cases the class consists of.
fn letter(hir: &Hir) -> Option<String> {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { return None };
    let mut cases = class.iter().flat_map(|range| range.start()..=range.end()).take(5);
    let first = fold(cases.next()?.encode_utf8(&mut [0; 4]));
    let mut count = 1;
    for case in cases {
        count += 1;
        if fold(case.encode_utf8(&mut [0; 4])) != first {
            return None;
        }
    }
    (count < 5).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_names_texts_that_its_matches_contain() {
        for (pattern, expected) in [
            ("(?i)invoke-[a-z]+", Some(vec!["invoke-"])),
            (r"\\(cmd|powershell)\.exe", Some(vec![".exe"])),
            ("(?:cmdline|other)x?", Some(vec!["cmdline", "other"])),
            ("(?i)mask", Some(vec!["mask"])),
            ("[0-9]{3}|foo", None),
            ("a*", None),
        ] {
            let texts = required(&regex_syntax::parse(pattern).unwrap());
            assert_eq!(texts, expected.map(|texts| texts.into_iter().map(String::from).collect()), "{pattern}");
        }
    }
}
