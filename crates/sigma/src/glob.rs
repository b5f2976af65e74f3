//! Sigma's wildcards: `*` for any text, `?` for one character.

use crate::fold::fold;

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    /// Text as it is; folded unless the pattern is cased.
    Text(Box<str>),
    /// `?`: exactly one character.
    AnyChar,
    /// `*`: any text, over line ends too, none included.
    AnyText,
}

/// A pattern with wildcards for a whole value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Glob {
    pieces: Vec<Piece>,
    cased: bool,
}

impl Glob {
    /// Folds the pieces unless `cased`.
    pub(crate) fn new(pieces: Vec<Piece>, cased: bool) -> Self {
        let pieces = pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) if !cased => Piece::Text(fold(&text).into()),
                other => other,
            })
            .collect();
        Self { pieces, cased }
    }

    /// Whether letters' case counts.
    pub(crate) fn is_cased(&self) -> bool {
        self.cased
    }

    /// The longest text that every match contains.
    pub(crate) fn longest_text(&self) -> Option<&str> {
        let texts = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            _ => None,
        });
        texts.max_by_key(|text| text.len())
    }

    /// Whether `text` (folded already unless the pattern is cased) matches as a whole.
    ///
    /// Time is at most the text's length times that of the longest run of pieces without a `*`.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut runs = self.pieces.split(|piece| *piece == Piece::AnyText);
        // `split` yields at least one run.
        let first = runs.next().unwrap_or_default();
        let Some(mut rest) = strip_front(first, text) else { return false };
        let Some(last) = runs.next_back() else { return rest.is_empty() };
        for run in runs {
            match find(run, rest) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        ends_with(last, rest)
    }
}

/// What follows `run` at the start of `text`.
fn strip_front<'t>(run: &[Piece], text: &'t str) -> Option<&'t str> {
    let mut rest = text;
    for piece in run {
        rest = match piece {
            Piece::Text(expected) => rest.strip_prefix(&**expected)?,
            _ => {
                let mut characters = rest.chars();
                characters.next()?;
                characters.as_str()
            }
        };
    }
    Some(rest)
}

fn ends_with(run: &[Piece], text: &str) -> bool {
    let mut rest = text;
    for piece in run.iter().rev() {
        let before = match piece {
            Piece::Text(expected) => rest.strip_suffix(&**expected),
            _ => {
                let mut characters = rest.chars();
                characters.next_back().map(|_| characters.as_str())
            }
        };
        match before {
            Some(before) => rest = before,
            None => return false,
        }
    }
    true
}

/// What follows the first place in `text` where `run` matches: with `*` on both sides the first is as good as any.
fn find<'t>(run: &[Piece], text: &'t str) -> Option<&'t str> {
    let mut rest = text;
    loop {
        if let Some(Piece::Text(first)) = run.first() {
            rest = &rest[memchr::memmem::find(rest.as_bytes(), first.as_bytes())?..];
        }
        if let Some(after) = strip_front(run, rest) {
            return Some(after);
        }
        let mut characters = rest.chars();
        characters.next()?;
        rest = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str) -> Glob {
        let mut pieces = Vec::new();
        for part in pattern.split_inclusive(['*', '?']) {
            let text = part.trim_end_matches(['*', '?']);
            if !text.is_empty() {
                pieces.push(Piece::Text(text.into()));
            }
            match part.chars().last() {
                Some('*') => pieces.push(Piece::AnyText),
                Some('?') => pieces.push(Piece::AnyChar),
                _ => {}
            }
        }
        Glob::new(pieces, false)
    }

    #[test]
    fn wildcards_match_whole_values() {
        for (pattern, text, expected) in [
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*a?c*", "xxabcyy", true),
            ("*a?c*", "xxacyy", false),
            ("?", "ß", true),
            ("?", "", false),
            ("*", "", true),
            ("**", "a\nb", true),
            ("*ab*ab", "ab", false),
            ("*ab*ab", "abab", true),
            ("ab*ab", "aab", false),
            ("*?ab", "ab", false),
            ("*?ab", "xxab", true),
            ("*aab*", "aaab", true),
        ] {
            assert_eq!(glob(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
