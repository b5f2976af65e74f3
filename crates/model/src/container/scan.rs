//! Where values end in JSON, told by brackets and quotes alone: nothing is parsed, so that one value gone wrong does not hide those
//! behind it.

use std::ops::Range;

use memchr::memchr3;

/// Follows JSON from the beginning of a value, part by part.
///
/// What is not closed is taken to end where something stands that can't be inside of it: text ends with its line, an object or a list
/// with the bracket that closes what is around it, or before an object that can't follow.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// The brackets that are open.
    open: Vec<u8>,
    /// How many of them are braces; so a closing bracket without its opening one is known at once.
    braces: usize,
    in_text: bool,
    /// Whether the last byte of the part before was a backslash in a text.
    is_escaped: bool,
    /// The last byte that is neither blank nor in a text; 0 before the first.
    last: u8,
    /// Whether the last byte was a line feed.
    at_line: bool,
}

/// Where a value ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind its last byte: its last bracket was closed.
    Behind(usize),
    /// It goes on behind the part.
    Open,
    /// It is cut off: here something begins that can't be inside of it.
    Cut(usize),
}

/// What a value lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    /// Alone: an object or list at the top.
    AtTop,
    /// Between commas in a list or object, which are where it ends.
    Inside,
}

impl Scanner {
    /// Forgets all that came.
    pub fn begin(&mut self) {
        self.open.clear();
        (self.braces, self.in_text, self.is_escaped, self.last, self.at_line) = (0, false, false, 0, true);
    }

    /// Goes through the next part of an object or a list that is not inside of another one. It is cut off by an object at the
    /// beginning of a line that can't stand there.
    pub fn top(&mut self, part: &[u8]) -> End {
        self.feed(part, Lies::AtTop)
    }

    /// Goes through the next part of a value in a list or an object: up to the comma or the bracket behind it.
    pub fn inside(&mut self, part: &[u8]) -> End {
        self.feed(part, Lies::Inside)
    }

    /// Whether what came so far may be all of a value.
    pub fn is_whole(&self) -> bool {
        self.open.is_empty() && !self.in_text && self.last != 0
    }

    fn feed(&mut self, part: &[u8], lies: Lies) -> End {
        let mut at = 0;
        if self.in_text {
            match self.text_end(part, 0) {
                Some(end) => at = end,
                None => return End::Open,
            }
        }
        while let Some(&byte) = part.get(at) {
            match byte {
                b'"' => {
                    self.last = b'"';
                    self.at_line = false;
                    match self.text_end(part, at + 1) {
                        Some(end) => at = end,
                        None => return End::Open,
                    }
                    continue;
                }
                b'\n' => self.at_line = true,
                b' ' | b'\t' | b'\r' => self.at_line = false,
                b'{' | b'[' => {
                    if byte == b'{' && !self.may_begin() && self.is_next(lies) {
                        return End::Cut(at);
                    }
                    self.open.push(byte);
                    self.braces += usize::from(byte == b'{');
                    (self.last, self.at_line) = (byte, false);
                }
                b'}' | b']' => {
                    if self.open.is_empty() && lies == Lies::Inside {
                        return End::Behind(at);
                    }
                    self.close(byte);
                    (self.last, self.at_line) = (byte, false);
                    if self.open.is_empty() && lies == Lies::AtTop {
                        return End::Behind(at + 1);
                    }
                }
                b',' if self.open.is_empty() && lies == Lies::Inside => return End::Behind(at),
                _ => (self.last, self.at_line) = (byte, false),
            }
            at += 1;
        }
        End::Open
    }

    /// Whether an object may begin here.
    fn may_begin(&self) -> bool {
        match self.open.last() {
            None => self.last == 0,
            Some(b'[') => matches!(self.last, b'[' | b','),
            Some(_) => self.last == b':',
        }
    }

    /// Whether an object that can't be here is likely the next one rather than a part of this one.
    fn is_next(&self, lies: Lies) -> bool {
        match lies {
            Lies::AtTop => self.at_line,
            Lies::Inside => self.open.is_empty() || self.last == b',',
        }
    }

    /// Closes the last bracket of this kind, with all in it that was left open; one that has none is nothing, as is one that stands for a
    /// value.
    fn close(&mut self, bracket: u8) {
        if bracket == b']' && self.last == b':' {
            return;
        }
        let wanted = if bracket == b'}' { b'{' } else { b'[' };
        let there = if wanted == b'{' { self.braces } else { self.open.len() - self.braces };
        while there > 0
            && let Some(open) = self.open.pop()
        {
            self.braces -= usize::from(open == b'{');
            if open == wanted {
                break;
            }
        }
    }

    /// Behind the quote that ends the text, or at the line feed that no text has.
    fn text_end(&mut self, part: &[u8], from: usize) -> Option<usize> {
        let mut at = from + usize::from(self.is_escaped);
        self.is_escaped = false;
        self.in_text = true;
        loop {
            let Some(stop) = part.get(at..).and_then(|rest| memchr3(b'"', b'\\', b'\n', rest)) else {
                self.is_escaped = at > part.len();
                return None;
            };
            at += stop;
            match part[at] {
                b'\\' => at += 2,
                byte => {
                    self.in_text = false;
                    return Some(at + usize::from(byte == b'"'));
                }
            }
        }
    }
}

/// The first place from `at` on that is not blank.
pub(super) fn skip_blank(bytes: &[u8], at: usize) -> usize {
    let blank = bytes[at.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    at + blank
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(super) struct Member<'d> {
    /// As it stands between its quotes.
    pub(super) key: &'d [u8],
    pub(super) value: Range<usize>,
}

/// Goes through the members of the object that begins at `at`; as many as are whole.
pub(super) struct Members<'d> {
    bytes: &'d [u8],
    at: usize,
    scanner: Scanner,
}

impl<'d> Members<'d> {
    pub(super) fn of(bytes: &'d [u8], at: usize) -> Self {
        Self { bytes, at: at + 1, scanner: Scanner::default() }
    }
}

impl<'d> Iterator for Members<'d> {
    type Item = Member<'d>;

    fn next(&mut self) -> Option<Member<'d>> {
        let bytes = self.bytes;
        let mut at = skip_blank(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = skip_blank(bytes, at + 1);
        }
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        self.scanner.begin();
        let end = self.scanner.text_end(bytes, at + 1)?;
        let key = bytes.get(at + 1..end - 1)?;
        let colon = skip_blank(bytes, end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_blank(bytes, colon + 1);
        self.scanner.begin();
        let end = match self.scanner.inside(&bytes[start.min(bytes.len())..]) {
            End::Behind(end) | End::Cut(end) => start + end,
            End::Open => bytes.len(),
        };
        self.at = end;
        Some(Member { key, value: start..trimmed(bytes, start, end) })
    }
}

/// Calls `found` with each element of the list that begins at `at`, until it says no. The elements of a list that breaks off are those
/// there are; the last is then cut off, or empty where it would have begun.
pub(super) fn each_element(bytes: &[u8], at: usize, mut found: impl FnMut(Range<usize>) -> bool) {
    let mut scanner = Scanner::default();
    let mut next = skip_blank(bytes, at + 1);
    let mut is_told = false;
    while next < bytes.len() && bytes[next] != b']' {
        scanner.begin();
        let (end, cut) = match scanner.inside(&bytes[next..]) {
            End::Behind(end) => (next + end, false),
            End::Cut(end) => (next + end, true),
            End::Open => {
                is_told = !scanner.is_whole();
                (bytes.len(), false)
            }
        };
        let last = trimmed(bytes, next, end);
        let last = if cut { trimmed(bytes, next, strip_comma(bytes, next, last)) } else { last };
        if !found(next..last) {
            return;
        }
        next = match bytes.get(end) {
            Some(b',') => skip_blank(bytes, end + 1),
            // A brace that closes nothing here.
            Some(b'}') => {
                let behind = skip_blank(bytes, end + 1);
                if bytes.get(behind) == Some(&b',') { skip_blank(bytes, behind + 1) } else { behind }
            }
            _ => skip_blank(bytes, end),
        };
    }
    if next >= bytes.len() && !is_told {
        found(bytes.len()..bytes.len());
    }
}

/// Where the bytes from `start` to `end` end without blanks.
fn trimmed(bytes: &[u8], start: usize, end: usize) -> usize {
    start + bytes[start..end.max(start)].trim_ascii_end().len()
}

fn strip_comma(bytes: &[u8], start: usize, end: usize) -> usize {
    end - usize::from(bytes[start..end].ends_with(b","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elements(list: &str) -> Vec<&str> {
        let mut found = Vec::new();
        each_element(list.as_bytes(), 0, |range| {
            found.push(&list[range]);
            true
        });
        found
    }

    #[test]
    fn an_element_gone_wrong_hides_none_behind_it() {
        for (list, expected) in [
            (r#"[{"a":1}, {"b":"]},{"} ,[1,2],null]"#, &[r#"{"a":1}"#, r#"{"b":"]},{"}"#, "[1,2]", "null"][..]),
            ("[]", &[]),
            (" [ ] ", &[]),
            (r#"[{"a":1}"#, &[r#"{"a":1}"#, ""]),
            (r#"[{"a":1},"#, &[r#"{"a":1}"#, ""]),
            ("[", &[""]),
            (r#"[{"a":},{"b":1}]"#, &[r#"{"a":}"#, r#"{"b":1}"#]),
            (r#"[{"a":]},{"b":1}]"#, &[r#"{"a":]}"#, r#"{"b":1}"#]),
            (r#"[{"a":[1},{"b":1}]"#, &[r#"{"a":[1}"#, r#"{"b":1}"#]),
            (r#"[{"a":1,{"b":2},{"c":3}]"#, &[r#"{"a":1"#, r#"{"b":2}"#, r#"{"c":3}"#]),
            (r#"[{"a":1}{"b":2}]"#, &[r#"{"a":1}"#, r#"{"b":2}"#]),
            (r#"[{"a":1} x, {"b":2}]"#, &[r#"{"a":1} x"#, r#"{"b":2}"#]),
            ("[{\"a\":\"x\n},\n{\"b\":2}]", &["{\"a\":\"x\n}", r#"{"b":2}"#]),
            (r#"[{"a":1},{"b":"#, &[r#"{"a":1}"#, r#"{"b":"#]),
            (r#"[{"a":"\\"},"x\",",2]"#, &[r#"{"a":"\\"}"#, r#""x\",""#, "2"]),
            (r#"[1,,2]"#, &["1", "", "2"]),
            (r#"[1}2,3]"#, &["1", "2", "3"]),
            (r#"[{"a" {"b":1}},{"c":1}]"#, &[r#"{"a" {"b":1}}"#, r#"{"c":1}"#]),
            (r#"[{"a":1}},{"c":1}]"#, &[r#"{"a":1}"#, r#"{"c":1}"#]),
        ] {
            let list = list.trim();
            assert_eq!(elements(list), expected, "{list}");
        }
    }

    #[test]
    fn a_text_at_the_top_ends_behind_its_bracket_or_before_a_line_that_can_not_be_in_it() {
        let end = |text: &str| {
            let mut scanner = Scanner::default();
            scanner.begin();
            scanner.top(text.as_bytes())
        };
        assert_eq!(end("{\n \"a\": [{}]\n}\n{}"), End::Behind(14));
        assert_eq!(end("[{},{}]{"), End::Behind(7));
        assert_eq!(end("{\"a\":\"tru\n{\"b\":1}\n"), End::Cut(10));
        assert_eq!(end("{\"a\":1\n{\"b\":1}\n"), End::Cut(7));
        assert_eq!(end("[\n{\"a\":1},\n{\"b\":1}\n]\n"), End::Behind(20));
        assert_eq!(end("{\"a\":\n{\"b\":1}}"), End::Behind(14));
        assert_eq!(end("{\"a\":[{\"b\":]},{}]}"), End::Behind(18));
        assert_eq!(end("{\"a\":1"), End::Open);
        // One line is one text, however it is broken.
        assert_eq!(end("{\"a\":1 {\"b\":2}}"), End::Behind(15));
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            r#"[a-z"\\{}\[\],:\n]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(r#"[a-z"\\]{0,4}"#, inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_json_has_is_found_wherever_parts_end(
            list in proptest::collection::vec(value(), 0..6),
            pretty in any::<bool>(),
            part in 1..9usize,
        ) {
            let all = serde_json::Value::from(list.clone());
            let text = if pretty { serde_json::to_string_pretty(&all) } else { serde_json::to_string(&all) }.unwrap();
            let found: Vec<serde_json::Value> =
                elements(&text).into_iter().map(|element| serde_json::from_str(element).unwrap()).collect();
            prop_assert_eq!(&found, &list);
            let mut scanner = Scanner::default();
            scanner.begin();
            let mut at = 0;
            for part in text.as_bytes().chunks(part) {
                match scanner.top(part) {
                    End::Open => at += part.len(),
                    End::Behind(end) => {
                        prop_assert_eq!(at + end, text.len());
                        at = text.len();
                    }
                    End::Cut(_) => prop_assert!(false, "{}", text),
                }
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
