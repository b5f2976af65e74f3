//! Case folding: what "case-insensitive" means everywhere in this crate.
//!
//! Each character is lower-cased on its own (Unicode's `Lowercase_Mapping`, no context), and two further letters are made
//! equal to their everyday forms: final sigma (`ς` → `σ`) and long s (`ſ` → `s`). Folding character by character means
//! that a substring of a text, folded, is a substring of the folded text, which the automata rely on.

use memchr::memchr3_iter;

/// Appends `text`, folded, to `out`.
pub fn fold_into(text: &str, out: &mut String) {
    let mut rest = text;
    while !rest.is_empty() {
        // Most texts are ASCII from end to end, which is folded many bytes at a time.
        let ascii = if rest.is_ascii() { rest.len() } else { rest.bytes().take_while(u8::is_ascii).count() };
        let start = out.len();
        out.push_str(&rest[..ascii]);
        out[start..].make_ascii_lowercase();
        rest = &rest[ascii..];
        let beyond: usize = rest.chars().take_while(|character| !character.is_ascii()).map(char::len_utf8).sum();
        for character in rest[..beyond].chars() {
            match character {
                'ς' => out.push('σ'),
                'ſ' => out.push('s'),
                _ => out.extend(character.to_lowercase()),
            }
        }
        rest = &rest[beyond..];
    }
}

/// Folds what is ASCII where it stands: whether all is.
pub(crate) fn fold_ascii(text: &mut [u8]) -> bool {
    let mut all = 0;
    for byte in text {
        all |= *byte;
        *byte |= u8::from(byte.is_ascii_uppercase()) << 5;
    }
    all.is_ascii()
}

/// Whether the UTF-8 may have a character beyond ASCII that is folded to one of ASCII.
pub(crate) fn may_become_ascii(text: &[u8]) -> bool {
    const ONES: [&str; 3] = ["\u{130}", "\u{17f}", "\u{212a}"];
    let [a, b, c] = ONES.map(|one| one.as_bytes()[0]);
    memchr3_iter(a, b, c, text).any(|at| ONES.iter().any(|one| text[at..].starts_with(one.as_bytes())))
}

/// `text`, folded.
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_makes_cases_equal_beyond_ascii_and_keeps_substrings() {
        for (a, b) in [("ÄÖÜ", "äöü"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("\u{212a}elvin", "Kelvin"), ("ſecret", "SECRET")]
        {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        assert_eq!(fold("AÄbß Ö\u{130}Z"), "aäbß öi\u{307}z");
        assert!(fold("ΟΔΟΣ ΑΒ").contains(&fold("ΟΔΟΣ")));
    }

    #[test]
    fn ascii_is_folded_where_it_stands_and_what_else_becomes_ascii_is_known() {
        let mut text = "ÄB c".to_owned().into_bytes();
        assert!(!fold_ascii(&mut text) && text == "Äb c".as_bytes());
        let mut text = *b"AZ[@z";
        assert!(fold_ascii(&mut text) && text == *b"az[@z");
        for character in ('\u{80}'..=char::MAX).map(String::from) {
            let becomes = fold(&character).bytes().any(|byte| byte.is_ascii());
            assert_eq!(may_become_ascii(format!("ä{character}").as_bytes()), becomes, "{character}");
        }
    }
}
