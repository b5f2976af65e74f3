//! Names with `*` and `?` in them.

/// A pattern over a whole text, case-insensitive: `*` is any number of characters, `?` is one. There is no escape: what
/// it names (hosts, accounts, paths, tenants) has neither character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<char>,
    text: String,
}

impl Glob {
    /// Takes `pattern`; every text is one.
    pub fn new(pattern: &str) -> Self {
        Self { pattern: lower(pattern), text: pattern.to_owned() }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all of `text` matches. Takes at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let text = lower(text);
        let (mut p, mut t) = (0, 0);
        // The last `*`, and the place up to which it has swallowed the text. Only the last one needs a second try: an
        // earlier one that swallowed more would leave the later ones less to choose from.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match self.pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(&c) if c == '?' || c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((at, swallowed)) = star else { return false };
                    star = Some((at, swallowed + 1));
                    p = at + 1;
                    t = swallowed + 1;
                }
            }
        }
        self.pattern[p..].iter().all(|&c| c == '*')
    }
}

fn lower(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_case_does_not_matter() {
        for (pattern, text, expected) in [
            ("dc*", "DC01.corp.local", true),
            ("dc??", "dc01", true),
            ("dc?", "dc01", false),
            ("*.corp.*", "ws7.CORP.local", true),
            ("*a*b", "xaxbxab", true),
            ("*a*b", "xaxbxac", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            (r"C:\Users\*\x.exe", r"c:\users\eve\X.EXE", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
