//! Regular expressions as rules write them, in the words of the engine that runs them.
//!
//! Rules are written for PCRE and Python (Sigma 2.1, modifiers appendix). Where such an expression means something else to the engine
//! here, or is refused for its spelling alone, it is rewritten; what the engine can't do is refused with its reason.

use std::borrow::Cow;

/// The expression, spelled so that the engine reads it as PCRE and Python do.
///
/// # Errors
/// When it has what can't be run in linear time, or means another thing to each engine.
pub(crate) fn translated(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let mut writer = Writer { text, written: String::with_capacity(text.len() + 8), at: 0 };
    writer.run()?;
    Ok(if writer.written == text { Cow::Borrowed(text) } else { Cow::Owned(writer.written) })
}

struct Writer<'t> {
    text: &'t str,
    written: String,
    at: usize,
}

impl<'t> Writer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn run(&mut self) -> Result<(), &'static str> {
        // Whether a quantifier has just been read: what follows it makes it lazy or possessive.
        let mut is_quantified = false;
        while let Some(letter) = self.next() {
            let was_quantified = std::mem::take(&mut is_quantified);
            match letter {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' if self.rest().starts_with("?>") => {
                    return Err("an atomic group `(?>…)` is not taken; write `(?:…)`");
                }
                '(' if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.rest().starts_with(look)) => {
                    return Err("looking ahead or behind is not taken, since it takes more than linear time; \
                         write a selection of its own and join it in the condition");
                }
                '(' if self.rest().starts_with("?#") => match self.rest().find(')') {
                    Some(end) => self.at += end + 1,
                    None => return Err("the comment `(?#` has no end"),
                },
                '+' if was_quantified => {
                    return Err("a possessive quantifier such as `++` is not taken; write it without the second `+`");
                }
                '?' if was_quantified => self.written.push('?'),
                '*' | '+' | '?' => {
                    self.written.push(letter);
                    is_quantified = true;
                }
                '{' => match quantifier(self.rest()) {
                    Some((least, length)) => {
                        let inner = &self.rest()[..length];
                        self.written.push('{');
                        self.written.push_str(if least { "0" } else { "" });
                        self.written.push_str(inner);
                        self.at += length;
                        is_quantified = true;
                    }
                    // It is a brace like any other letter.
                    None => self.written.push_str("\\{"),
                },
                '}' => self.written.push_str("\\}"),
                letter => self.written.push(letter),
            }
        }
        Ok(())
    }

    /// What stands behind a backslash.
    fn escape(&mut self, in_class: bool) -> Result<(), &'static str> {
        let Some(letter) = self.next() else {
            return Err("there is nothing behind the last `\\`; write `\\\\` for a backslash");
        };
        match letter {
            // To the engine these are the beginning and end of a word.
            '<' | '>' => self.written.push(letter),
            'Z' if !in_class => self.written.push_str("\\n?\\z"),
            'h' => self.written.push_str(if in_class { "\\t " } else { "[\\t ]" }),
            'R' if !in_class => self.written.push_str("(?:\\r\\n|\\n|\\r)"),
            'e' => self.written.push_str("\\x1B"),
            '0' if !self.rest().starts_with(|next: char| next.is_ascii_digit()) => self.written.push_str("\\x00"),
            '1'..='9' if !in_class => {
                return Err("a back reference such as `\\1` is not taken, since it takes more than linear time");
            }
            'x' | 'u' | 'U' | 'p' | 'P' => {
                self.written.push('\\');
                self.written.push(letter);
                if self.rest().starts_with('{')
                    && let Some(end) = self.rest().find('}')
                {
                    self.written.push_str(&self.rest()[..=end]);
                    self.at += end + 1;
                }
            }
            // Letters have meanings, or none; the engine says so. Everything else is itself.
            letter if letter.is_ascii_alphanumeric() => {
                self.written.push('\\');
                self.written.push(letter);
            }
            letter if letter.is_ascii_punctuation() => {
                self.written.push('\\');
                self.written.push(letter);
            }
            letter => self.written.push(letter),
        }
        Ok(())
    }

    /// What stands behind `[`: a set of letters, in which only `]`, `\`, `-`, `^` and `[:name:]` mean anything.
    fn class(&mut self) -> Result<(), &'static str> {
        self.written.push('[');
        if self.rest().starts_with('^') {
            self.at += 1;
            self.written.push('^');
        }
        if self.rest().starts_with(']') {
            self.at += 1;
            self.written.push_str("\\]");
        }
        while let Some(letter) = self.next() {
            match letter {
                ']' => {
                    self.written.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.rest().starts_with(':') && self.rest().contains(":]") => {
                    let end = self.rest().find(":]").unwrap_or_default() + 2;
                    self.written.push('[');
                    self.written.push_str(&self.rest()[..end]);
                    self.at += end;
                }
                // To the engine these would be sets in sets.
                '[' => self.written.push_str("\\["),
                '&' | '~' if self.rest().starts_with(letter) => {
                    self.written.push('\\');
                    self.written.push(letter);
                }
                '-' if self.rest().starts_with('-') => self.written.push_str("\\-"),
                letter => self.written.push(letter),
            }
        }
        Err("the `[` has no `]`; write `\\[` for a bracket")
    }
}

/// Whether what stands behind `{` is a number of times, up to and with the `}`, and how many bytes that are; and whether the least
/// number is left out.
fn quantifier(rest: &str) -> Option<(bool, usize)> {
    let end = rest.find('}')?;
    let inner = &rest[..end];
    let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = is_number(least) && is_number(most) && !(least.is_empty() && most.is_empty());
    is_one.then_some((least.is_empty(), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_means_what_it_means_to_other_engines() {
        for (written, expected) in [
            (r"x.*{", r"x.*\{"),
            (r"a{2,3}b{4}c{5,}", r"a{2,3}b{4}c{5,}"),
            (r"a{,3}", r"a{0,3}"),
            (r"{a}", r"\{a\}"),
            (r"a{b}{2}", r"a\{b\}{2}"),
            (r"\{\}", r"\{\}"),
            (r"\x{41}\p{L}", r"\x{41}\p{L}"),
            (r"[[a]", r"[\[a]"),
            (r"[]a]", r"[\]a]"),
            (r"[^]a]", r"[^\]a]"),
            (r"[[:alpha:]_]", r"[[:alpha:]_]"),
            (r"[a&&b]", r"[a\&&b]"),
            (r"[{}]", r"[{}]"),
            (r"\<b\>", r"<b>"),
            (r"a\/b\ c", r"a\/b c"),
            (r"a+?b*?", r"a+?b*?"),
            (r"a(?#b)c", r"ac"),
            (r"(?i)a(?:b|c)$", r"(?i)a(?:b|c)$"),
        ] {
            assert_eq!(translated(written).as_deref(), Ok(expected), "{written}");
            assert!(regex::Regex::new(expected).is_ok(), "{expected}");
        }
        for written in [r"(?=a)", r"(?<!a)b", r"(?>a)", r"a++", r"a{2}+", r"(a)\1", r"[a", r"a\"] {
            assert!(translated(written).is_err(), "{written}");
        }
        assert!(translated(r"(?P<name>a)(?<other>b)").is_ok());
    }
}
