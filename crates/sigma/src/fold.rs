//! Case folding: what "case-insensitive" means everywhere in this crate.
//!
//! Each character is lower-cased on its own (Unicode's `Lowercase_Mapping`, no context), and two further letters are made
//! equal to their everyday forms: final sigma (`ς` → `σ`) and long s (`ſ` → `s`). Folding character by character means
//! that a substring of a text, folded, is a substring of the folded text, which the automata rely on.

/// Appends `text`, folded, to `out`.
pub(crate) fn fold_into(text: &str, out: &mut String) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    for character in text.chars() {
        match character {
            'ς' => out.push('σ'),
            'ſ' => out.push('s'),
            _ => out.extend(character.to_lowercase()),
        }
    }
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
        assert!(fold("ΟΔΟΣ ΑΒ").contains(&fold("ΟΔΟΣ")));
    }
}
