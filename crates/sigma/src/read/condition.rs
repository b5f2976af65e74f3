//! Conditions: how selections are joined, with the place of each name.

use rsigma_parser::{ConditionExpr, Quantifier, SelectorPattern};

/// How deep brackets and `not` may lie in each other.
const MAX_DEPTH: usize = 64;

/// Bytes of the longest condition.
const LONGEST: usize = 64 * 1024;

const OLD_COUNT: &str = "`|` with a count is Sigma's old way, which nothing evaluates; write a correlation rule";

/// A condition that was read.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) expr: ConditionExpr,
    /// What it names, in the order of its text.
    pub(super) names: Vec<Name>,
}

/// A selection that a condition names, or a pattern of such.
#[derive(Debug)]
pub(super) struct Name {
    /// Bytes before it.
    pub(super) offset: usize,
    pub(super) name: String,
    /// Of how many at least that fit the pattern one asks; `None` for a selection's own name.
    pub(super) of: Option<Quantifier>,
}

/// Why a condition can't be read, and how many bytes are before what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) offset: usize,
    pub(super) message: String,
}

/// Whether the pattern means the selection. As in pySigma, names that begin with `_` are meant only by patterns that do so, too.
pub(crate) fn selects(pattern: &SelectorPattern, name: &str) -> bool {
    match pattern {
        SelectorPattern::Them => !name.starts_with('_'),
        SelectorPattern::Pattern(pattern) => {
            (pattern.starts_with('_') || !name.starts_with('_')) && fits(pattern, name)
        }
    }
}

/// Whether a name is as a pattern with `*` for any letters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Reads a condition. `not` binds most, then `and`, then `or` (Sigma 2.1 §Condition).
pub(super) fn read(text: &str) -> Result<Condition, Unread> {
    read_as(text, false)
}

/// Reads a correlation's condition on rules: `and`, `or` and `not` in any case, and names alone.
pub(super) fn read_of_rules(text: &str) -> Result<Condition, Unread> {
    let condition = read_as(text, true)?;
    match condition.names.iter().find(|name| name.of.is_some()) {
        Some(Name { offset, .. }) => {
            let message =
                "a correlation's condition names rules one by one; `of` a pattern is for selections".to_owned();
            Err(Unread { offset: *offset, message })
        }
        None => Ok(condition),
    }
}

fn read_as(text: &str, any_case: bool) -> Result<Condition, Unread> {
    if text.len() > LONGEST {
        return Err(Unread { offset: 0, message: format!("the condition is longer than {LONGEST} bytes") });
    }
    let mut parser = Parser { text, words: words(text), at: 0, names: Vec::new(), any_case };
    if parser.words.is_empty() {
        return Err(parser.unread("the condition is empty; name a selection"));
    }
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(Condition { expr, names: parser.names }),
        Some("|") => Err(parser.unread(OLD_COUNT)),
        Some(")") => Err(parser.unread("there is a `)` without its `(`")),
        Some(word) => Err(parser.unread(match word.to_lowercase().as_str() {
            lower @ ("and" | "or" | "not" | "of") => format!("`{word}` is written in lower case: `{lower}`"),
            _ => format!("`and` or `or` is missing before `{word}`"),
        })),
    }
}

/// The words and brackets of a text, each with the bytes before it.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut start = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, letter) in ends {
        if letter.is_whitespace() || "()|".contains(letter) {
            words.extend(start.take().map(|start| (start, &text[start..at])));
            if !letter.is_whitespace() {
                words.push((at, &text[at..=at]));
            }
        } else {
            start.get_or_insert(at);
        }
    }
    words
}

struct Parser<'t> {
    text: &'t str,
    words: Vec<(usize, &'t str)>,
    at: usize,
    names: Vec<Name>,
    /// Whether `AND` is `and`.
    any_case: bool,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t str> {
        self.words.get(self.at).map(|(_, word)| *word)
    }

    fn is(&self, found: &str, word: &str) -> bool {
        found == word || self.any_case && found.eq_ignore_ascii_case(word)
    }

    fn takes(&mut self, word: &str) -> bool {
        let takes = self.peek().is_some_and(|found| self.is(found, word));
        self.at += usize::from(takes);
        takes
    }

    fn unread(&self, message: impl Into<String>) -> Unread {
        let offset =
            self.words.get(self.at).map_or(self.text.trim_end().len().saturating_sub(1), |(offset, _)| *offset);
        Unread { offset, message: message.into() }
    }

    fn any(&mut self, depth: usize) -> Result<ConditionExpr, Unread> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { ConditionExpr::Or(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<ConditionExpr, Unread> {
        let mut parts = vec![self.one(depth)?];
        while self.takes("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { ConditionExpr::And(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<ConditionExpr, Unread> {
        if depth > MAX_DEPTH {
            return Err(self.unread(format!("the condition's brackets are more than {MAX_DEPTH} deep")));
        }
        if self.takes("not") {
            return Ok(ConditionExpr::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.any(depth + 1)?;
            return if self.takes(")") { Ok(inner) } else { Err(self.unread("a `)` is missing")) };
        }
        let Some(word) = self.peek() else {
            return Err(self.unread("the condition breaks off; a selection is missing"));
        };
        if word == "|" {
            return Err(self.unread(OLD_COUNT));
        }
        if word == ")" || ["and", "or", "of"].iter().any(|operator| self.is(word, operator)) {
            return Err(self.unread(format!("a selection is missing before `{word}`")));
        }
        if self.words.get(self.at + 1).is_some_and(|(_, next)| *next == "of") {
            return self.selector(word);
        }
        self.name(word.to_owned(), None);
        self.at += 1;
        Ok(ConditionExpr::Identifier(word.to_owned()))
    }

    fn name(&mut self, name: String, of: Option<Quantifier>) {
        self.names.push(Name { offset: self.words[self.at].0, name, of });
    }

    /// `1 of them`, `all of selection_*`.
    fn selector(&mut self, count: &str) -> Result<ConditionExpr, Unread> {
        let quantifier = match (count, count.parse()) {
            ("all", _) => Quantifier::All,
            ("any", _) | (_, Ok(1)) => Quantifier::Any,
            (_, Ok(0)) => return Err(self.unread("`0 of` something is always true; write `not 1 of`")),
            (_, Ok(count)) => Quantifier::Count(count),
            (_, Err(_)) => {
                return Err(self.unread(format!("`{count} of` is not understood; write `1 of`, `all of` or a number")));
            }
        };
        self.at += 2;
        let Some(word) = self.peek().filter(|word| !["(", ")", "|"].contains(word)) else {
            return Err(self.unread("a pattern is missing behind `of`; write `them` or `selection_*`"));
        };
        let pattern = match word {
            "them" => SelectorPattern::Them,
            word => SelectorPattern::Pattern(word.to_owned()),
        };
        self.name(word.to_owned(), Some(quantifier.clone()));
        self.at += 1;
        Ok(ConditionExpr::Selector { quantifier, pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_binds_most_comes_first_and_every_name_has_its_place() {
        let condition = read("a or  not b and (c_1 or 1 of sel_*)").unwrap();
        assert_eq!(condition.expr.to_string(), "(a or (not b and (c_1 or 1 of sel_*)))");
        let names: Vec<_> = condition.names.iter().map(|name| (name.offset, name.name.as_str())).collect();
        assert_eq!(names, [(0, "a"), (10, "b"), (17, "c_1"), (29, "sel_*")]);
    }

    #[test]
    fn what_can_not_be_read_is_told_with_its_place() {
        for (text, offset, part) in [
            ("", 0, "empty"),
            ("a AND b", 2, "lower case"),
            ("a b", 2, "missing before `b`"),
            ("a and", 4, "breaks off"),
            ("(a", 1, "`)` is missing"),
            ("a)", 1, "without its `(`"),
            ("or a", 0, "missing before `or`"),
            ("a | count() > 5", 2, "correlation"),
            ("| count() > 5", 0, "correlation"),
            ("some of sel*", 0, "`some of`"),
            ("0 of sel*", 0, "always true"),
            ("1 of", 3, "behind `of`"),
        ] {
            let unread = read(text).unwrap_err();
            assert!(unread.offset == offset && unread.message.contains(part), "{text}: {unread:?}");
        }
        assert!(read(&"(".repeat(1000)).unwrap_err().message.contains("64 deep"));
    }

    #[test]
    fn a_correlations_operators_are_written_in_any_case() {
        let condition = read_of_rules("a AND (b Or NOT c)").unwrap();
        assert_eq!(condition.expr.to_string(), "(a and (b or not c))");
        assert_eq!(read_of_rules("a AND").unwrap_err().offset, 4);
        assert_eq!(read_of_rules("a and 1 of b*").unwrap_err().offset, 11);
    }

    #[test]
    fn a_pattern_may_have_stars_anywhere() {
        for (pattern, name, expected) in [
            ("sel*", "sel", true),
            ("*", "a", true),
            ("*", "_a", false),
            ("_*", "_a", true),
            ("sel*main", "sel_main", true),
            ("sel*a*b", "sel_xaxb", true),
            ("sel*a*b", "sel_xbxa", false),
            ("a*a", "a", false),
            ("sel", "sel_a", false),
        ] {
            assert_eq!(selects(&SelectorPattern::Pattern(pattern.into()), name), expected, "{pattern} {name}");
        }
    }
}
