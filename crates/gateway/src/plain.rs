//! Text that is shown as it is: characters that change how others are shown, or that can't be seen, stand there by their numbers.
//!
//! A name with a right-to-left override in it looks like another (CVE-2021-42574): `invoice<U+202E>gnp.exe` as `invoiceexe.png`.

use std::borrow::Cow;

/// Whether a character would be obeyed or overlooked rather than read. Joiners are left: some scripts need them.
const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}'..='\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Bidirectional controls: Unicode's Bidi_Control.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // No width, other ends of a line, annotations, tags.
        | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The same text with these as `‹U+202E›`.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|byte| is_hidden(char::from(byte))) || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            shown.push_str(&format!("‹U+{:04X}›", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_obeyed_or_overlooked_is_shown_by_its_number_and_all_else_as_it_is() {
        assert_eq!(plain("invoice\u{202e}gnp.exe"), "invoice‹U+202E›gnp.exe");
        assert_eq!(plain("a\u{1b}[31m\u{200b}b\u{e0041}"), "a‹U+001B›[31m‹U+200B›b‹U+E0041›");
        for same in ["", "WS-114", "Größe\t1\n", "שלום עולם", "می‌خواهم", "👩‍💻"] {
            assert!(matches!(plain(same), Cow::Borrowed(text) if text == same), "{same}");
        }
    }
}
