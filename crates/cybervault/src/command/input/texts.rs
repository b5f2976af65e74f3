//! A file's text, taken apart into what may each be an event or a container of some: JSON on one line or many, one behind the other,
//! XML, and lines.
//!
//! As much is held as one event may have. A container that is larger is gone through element by element, so a list may be of any length.

use std::{
    fmt,
    io::{self, Read},
};

use cybervault_model::container::{Container, End, Scanner, long_list};
use memchr::{memchr, memmem};

/// So much is read at once.
const CHUNK: usize = 256 * 1024;

/// Takes text apart.
pub(super) struct Texts<R> {
    input: R,
    buffer: Vec<u8>,
    /// What was handed out ends here.
    start: usize,
    /// The line that this is on, from 1.
    line: u64,
    is_at_end: bool,
    /// Why no more could be read.
    broken: Option<io::Error>,
    /// Bytes of one event.
    max: usize,
    scanner: Scanner,
    list: Option<List>,
}

/// A list that is too long to be held, while it is gone through.
struct List {
    /// What tells its container from others.
    head: Vec<u8>,
    place: String,
    at: String,
    next: u64,
    /// Brackets around it.
    around: usize,
    /// Whether the file ended before it did.
    is_over: bool,
}

/// What may be an event.
#[derive(Debug)]
pub(super) struct Text<'t> {
    /// Its bytes.
    pub(super) bytes: &'t [u8],
    /// The line that it begins on, from 1.
    pub(super) line: u64,
    /// For an element of a list that is too long to be held: what its container begins with, and its place in it.
    pub(super) inside: Option<(&'t [u8], &'t str)>,
    /// How many bytes it has, where these are more than an event may have: then only the first are at hand.
    pub(super) too_large: Option<u64>,
}

impl<R> fmt::Debug for Texts<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("line", &self.line).finish_non_exhaustive()
    }
}

/// Where a text ends in the buffer, counted from its start.
enum Ends {
    At(usize),
    /// It has more bytes than an event may have.
    TooLarge(u64),
    /// It is a list that is gone through.
    Listed,
}

impl<R: Read> Texts<R> {
    pub(super) fn new(input: R, max: usize) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            line: 1,
            is_at_end: false,
            broken: None,
            max,
            scanner: Scanner::default(),
            list: None,
        }
    }

    /// Why reading ended before the end.
    pub(super) fn broken(&mut self) -> Option<io::Error> {
        self.broken.take()
    }

    /// The next text; `None` behind the last.
    pub(super) fn next(&mut self) -> Option<Text<'_>> {
        loop {
            if let Some(list) = &self.list {
                if list.is_over {
                    return None;
                }
                if self.is_in_list() {
                    return Some(self.element());
                }
                continue;
            }
            self.skip_blank();
            let line = self.line;
            let ends = match *self.rest().first()? {
                b'{' | b'[' => self.json(),
                b'<' => match self.markup() {
                    Some(ends) => ends,
                    None => continue,
                },
                _ => self.line_end(),
            };
            let (length, too_large) = match ends {
                Ends::At(length) => (length, None),
                Ends::TooLarge(bytes) => (0, Some(bytes)),
                Ends::Listed => continue,
            };
            // What was too large is passed already.
            self.pass(length);
            let bytes = self.buffer[self.start - length..self.start].trim_ascii_end();
            return Some(Text { bytes, line, inside: None, too_large });
        }
    }

    /// The first line that is not blank, without passing it.
    pub(super) fn peek_line(&mut self) -> &[u8] {
        self.skip_blank();
        let mut from = 0;
        loop {
            if let Some(end) = memchr(b'\n', &self.rest()[from..]) {
                return self.rest()[..from + end].trim_ascii_end();
            }
            from = self.rest().len();
            if from > self.max || !self.fill() {
                return self.rest().trim_ascii_end();
            }
        }
    }

    /// The next line that is not blank, whatever is on it; `None` behind the last.
    pub(super) fn next_line(&mut self) -> Option<Text<'_>> {
        self.skip_blank_lines();
        if self.rest().is_empty() {
            return None;
        }
        let line = self.line;
        let (length, too_large) = match self.line_end() {
            Ends::TooLarge(bytes) => (0, Some(bytes)),
            Ends::At(length) => (length, None),
            Ends::Listed => (0, None),
        };
        self.pass(length);
        let bytes = &self.buffer[self.start - length..self.start];
        Some(Text { bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes), line, inside: None, too_large })
    }

    /// As [`Self::skip_blank`], but a line may begin with what is blank.
    fn skip_blank_lines(&mut self) {
        loop {
            let ends = self.rest().iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            self.pass(ends);
            if !self.rest().is_empty() || !self.fill() {
                return;
            }
        }
    }

    /// All that was not handed out, and the line it begins on.
    pub(super) fn into_rest(self) -> (impl Read, u64) {
        let rest = self.buffer[self.start..].to_vec();
        (io::Cursor::new(rest).chain(self.input), self.line)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads more; no at the end.
    fn fill(&mut self) -> bool {
        if self.is_at_end {
            return false;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken = Some(error);
                    break 0;
                }
                Ok(read) => break read,
            }
        };
        self.buffer.truncate(length + read);
        self.is_at_end = read == 0;
        read > 0
    }

    /// Passes so many bytes of the buffer.
    fn pass(&mut self, length: usize) {
        let passed = &self.buffer[self.start..self.start + length];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.start += length;
    }

    fn skip_blank(&mut self) {
        loop {
            let blank = self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.pass(blank);
            if !self.rest().is_empty() || !self.fill() {
                return;
            }
        }
    }

    /// Where the line ends, before its line feed.
    fn line_end(&mut self) -> Ends {
        self.line_end_from(0)
    }

    fn line_end_from(&mut self, mut from: usize) -> Ends {
        loop {
            if let Some(end) = memchr(b'\n', &self.rest()[from..]) {
                return Ends::At(from + end);
            }
            from = self.rest().len();
            if from > self.max + 1 {
                return self.skip(|part| memchr(b'\n', part));
            }
            if !self.fill() {
                return Ends::At(from);
            }
        }
    }

    /// Passes all up to where `end` finds an end.
    fn skip(&mut self, mut end: impl FnMut(&[u8]) -> Option<usize>) -> Ends {
        let mut bytes = 0;
        loop {
            let found = end(self.rest());
            let length = found.unwrap_or(self.rest().len());
            self.pass(length);
            bytes += length as u64;
            if found.is_some() || !self.fill() {
                return Ends::TooLarge(bytes);
            }
        }
    }

    /// Where the object or list ends.
    fn json(&mut self) -> Ends {
        self.scanner.begin();
        let mut from = 0;
        loop {
            let part = &self.buffer[self.start + from..];
            match self.scanner.top(part) {
                End::Behind(end) => return self.behind(from + end),
                End::Cut(end) => return Ends::At(self.broken_off(from + end)),
                End::Open => from += part.len(),
            }
            if from > self.max {
                return self.large();
            }
            if !self.fill() {
                return self.unfinished();
            }
        }
    }

    /// A text ends only where the next may begin: what else stands behind it on its line is a part of it.
    fn behind(&mut self, end: usize) -> Ends {
        let mut at = end;
        loop {
            match self.rest().get(at).copied() {
                Some(b' ' | b'\t' | b'\r') => at += 1,
                Some(b'\n' | b'{' | b'[') => return Ends::At(end),
                // Lists are also written without their brackets.
                Some(b',') => {
                    self.buffer[self.start + at] = b' ';
                    return Ends::At(end);
                }
                Some(_) => return self.line_end_from(at),
                None if self.fill() => {}
                None => return Ends::At(end),
            }
        }
    }

    /// What is longer than an event may be: a list of events, or one broken off, or one too large.
    fn large(&mut self) -> Ends {
        if let Some((at, around, place)) = long_list(self.rest()) {
            let head = self.rest()[..Container::HEAD.min(self.rest().len())].to_vec();
            self.pass(at + 1);
            self.list = Some(List { head, place, at: String::new(), next: 0, around, is_over: false });
            return Ends::Listed;
        }
        if let Some(end) = next_object(self.rest()) {
            return Ends::At(end);
        }
        // All that is in the buffer was gone through.
        let bytes = self.rest().len();
        self.pass(bytes);
        let mut scanner = std::mem::take(&mut self.scanner);
        let skipped = self.skip_by(&mut scanner, Scanner::top);
        self.scanner = scanner;
        Ends::TooLarge(bytes as u64 + skipped)
    }

    /// Passes all up to where the scanner ends: how much.
    fn skip_by(&mut self, scanner: &mut Scanner, scan: fn(&mut Scanner, &[u8]) -> End) -> u64 {
        let mut bytes = 0;
        loop {
            let (length, is_end) = match scan(scanner, self.rest()) {
                End::Behind(end) | End::Cut(end) => (end, true),
                End::Open => (self.rest().len(), false),
            };
            self.pass(length);
            bytes += length as u64;
            if is_end || !self.fill() {
                return bytes;
            }
        }
    }

    /// What does not end before the file does.
    fn unfinished(&mut self) -> Ends {
        Ends::At(self.broken_off(self.rest().len()))
    }

    /// Where a text that can't go on was broken off, at `end` or lines before: what begins a line with an object is likely the next one,
    /// unless this is a list of such.
    fn broken_off(&self, end: usize) -> usize {
        let text = &self.rest()[..end];
        let is_list = long_list(text).is_some();
        next_object(text).filter(|_| !is_list).unwrap_or(end)
    }

    /// Where the event in XML ends; `None` for what is around it, which is passed.
    fn markup(&mut self) -> Option<Ends> {
        const LONGEST_NAME: usize = 9;
        while self.rest().len() < LONGEST_NAME && self.fill() {}
        let rest = self.rest();
        let is_tag = |name: &[u8]| {
            rest.strip_prefix(name).is_some_and(|rest| rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric()))
        };
        if is_tag(b"<Event") {
            return Some(self.up_to(b"</Event>"));
        }
        if [&b"<?xml"[..], b"<Events", b"</Events"].iter().any(|name| is_tag(name)) {
            match self.up_to(b">") {
                Ends::At(length) => self.pass(length),
                other => return Some(other),
            }
            return None;
        }
        Some(self.line_end())
    }

    fn up_to(&mut self, mark: &[u8]) -> Ends {
        let mut from: usize = 0;
        loop {
            if let Some(at) = memmem::find(&self.rest()[from..], mark) {
                return Ends::At(from + at + mark.len());
            }
            // The mark may begin in what is here.
            from = self.rest().len().saturating_sub(mark.len());
            if from > self.max {
                let mark = mark.to_owned();
                return self.skip(move |part| memmem::find(part, &mark).map(|at| at + mark.len()));
            }
            if !self.fill() {
                return Ends::At(self.rest().len());
            }
        }
    }

    /// Whether there is another element in the list; if not, it is left.
    fn is_in_list(&mut self) -> bool {
        loop {
            self.skip_blank();
            match self.rest().first() {
                Some(b',') => self.pass(1),
                Some(b']') => {
                    self.pass(1);
                    self.leave();
                    return false;
                }
                Some(_) | None => return true,
            }
        }
    }

    /// Passes what is behind the list in its container.
    fn leave(&mut self) {
        let Some(List { around, .. }) = self.list.take() else { return };
        let mut scanner = std::mem::take(&mut self.scanner);
        scanner.begin();
        for _ in 0..around {
            scanner.top(b"{\"\":");
        }
        if around > 0 {
            self.skip_by(&mut scanner, Scanner::top);
        }
        self.scanner = scanner;
    }

    /// The next element of the list, empty where the file ends before the list does.
    fn element(&mut self) -> Text<'_> {
        let line = self.line;
        self.scanner.begin();
        let (mut from, mut too_large) = (0, None);
        let length = loop {
            let part = &self.buffer[self.start + from..];
            match self.scanner.inside(part) {
                End::Behind(end) | End::Cut(end) => break from + end,
                End::Open => from += part.len(),
            }
            if from > self.max {
                let mut scanner = std::mem::take(&mut self.scanner);
                self.pass(from);
                too_large = Some(from as u64 + self.skip_by(&mut scanner, Scanner::inside));
                self.scanner = scanner;
                break 0;
            }
            if !self.fill() {
                break from;
            }
        };
        let is_at_end = self.is_at_end && length == self.rest().len();
        // What was cut off says so itself; behind what is whole the list is told to be cut off by an element that is empty.
        let is_over = is_at_end && (!self.scanner.is_whole() || length == 0 && too_large.is_none());
        self.pass(length);
        let end = self.start;
        if self.rest().first() == Some(&b'}') {
            self.pass(1);
        }
        let bytes = self.buffer[end - length..end].trim_ascii_end();
        let bytes = bytes.strip_suffix(b",").unwrap_or(bytes);
        let inside = self.list.as_mut().map(|list| {
            list.is_over = is_over;
            list.at = format!("{}/{}", list.place, list.next);
            list.next += 1;
            (&*list.head, &*list.at)
        });
        Text { bytes, line, inside, too_large }
    }
}

/// Where the next line begins that itself begins with an object.
fn next_object(text: &[u8]) -> Option<usize> {
    memmem::find(text, b"\n{").map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'b>(&'b [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    /// Each text, with the line that it begins on, and its place or size where it has one.
    fn texts(text: &str, max: usize, step: usize) -> Vec<String> {
        let mut texts = Texts::new(Slow(text.as_bytes(), step), max);
        let mut found = Vec::new();
        while let Some(Text { bytes, line, inside, too_large }) = texts.next() {
            let bytes = std::str::from_utf8(bytes).unwrap();
            found.push(match (inside, too_large) {
                (None, None) => format!("{line}: {bytes}"),
                (Some((_, place)), None) => format!("{line}{place}: {bytes}"),
                (None, Some(_)) => format!("{line}: too large"),
                (Some((_, place)), Some(_)) => format!("{line}{place}: too large"),
            });
        }
        found
    }

    #[test]
    fn texts_are_told_apart_however_they_are_written() {
        for (text, expected) in [
            ("{\"a\":1}\r\n\r\n{\"b\":2}", &["1: {\"a\":1}", "3: {\"b\":2}"][..]),
            ("{\n \"a\": 1\n}\n{\n \"b\": 2\n}\n", &["1: {\n \"a\": 1\n}", "4: {\n \"b\": 2\n}"]),
            ("{\"a\":1}{\"b\":2} {\"c\":3}", &["1: {\"a\":1}", "1: {\"b\":2}", "1: {\"c\":3}"]),
            ("{\"a\":1},\n{\"b\":2},\n", &["1: {\"a\":1}", "2: {\"b\":2}"]),
            ("{\"a\":1} x\n{\"b\":2}", &["1: {\"a\":1} x", "2: {\"b\":2}"]),
            ("{\"a\":\"x\n{\"b\":2}\n", &["1: {\"a\":\"x", "2: {\"b\":2}"]),
            ("{\"a\":1,\n{\"b\":2}\n", &["1: {\"a\":1,", "2: {\"b\":2}"]),
            ("{\"a\":[1,\n{\"b\":2}\n{\"c\":3}", &["1: {\"a\":[1,", "2: {\"b\":2}", "3: {\"c\":3}"]),
            ("{\"a\":[1,\n{\"b\":2}", &["1: {\"a\":[1,", "2: {\"b\":2}"]),
            ("[\n{\"a\":1},\n{\"b\":", &["1: [\n{\"a\":1},\n{\"b\":"]),
            ("not json\n{\"b\":2}\nMar 1", &["1: not json", "2: {\"b\":2}", "3: Mar 1"]),
            (
                "<?xml version='1'?>\n<Events>\n<Event>\n<a/></Event><Event/></Event>\n</Events>\nx",
                &["3: <Event>\n<a/></Event>", "4: <Event/></Event>", "6: x"],
            ),
            ("<34>Oct 1 x\n<b>", &["1: <34>Oct 1 x", "2: <b>"]),
            ("  \n ", &[]),
        ] {
            for step in [1, 7, 1000] {
                assert_eq!(texts(text, 1000, step), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_container_that_is_larger_than_an_event_may_be_is_gone_through() {
        let pad = "x".repeat(40);
        let event = |n: u32| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}");
        let (one, two) = (event(1), event(2));
        let large = format!("{{\"n\":\"{}\"}}", pad.repeat(4));
        for (text, expected) in [
            (format!("[{one},\n{two}]\n{{}}"), vec![format!("1/0: {one}"), format!("2/1: {two}"), "3: {}".to_owned()]),
            (
                format!("{{\"took\":1,\"hits\":{{\"total\":1,\"hits\":[{one},{two}],\"x\":{{}}}},\"y\":[1]}}\n{{}}"),
                vec![format!("1/hits/hits/0: {one}"), format!("1/hits/hits/1: {two}"), "2: {}".to_owned()],
            ),
            (
                format!("[{one},{large},{two}]"),
                vec![format!("1/0: {one}"), "1/1: too large".to_owned(), format!("1/2: {two}")],
            ),
            (format!("[{one},{two}"), vec![format!("1/0: {one}"), format!("1/1: {two}"), "1/2: ".to_owned()]),
            (
                format!("[{one},{two},{{\"a\""),
                vec![format!("1/0: {one}"), format!("1/1: {two}"), "1/2: {\"a\"".to_owned()],
            ),
            (format!("{large}\n{{}}"), vec!["1: too large".to_owned(), "2: {}".to_owned()]),
            (format!("{}\n{{}}", pad.repeat(4)), vec!["1: too large".to_owned(), "2: {}".to_owned()]),
            (
                format!("{{\"a\":[\n{one}\n{two}"),
                vec!["1: {\"a\":[".to_owned(), format!("2: {one}"), format!("3: {two}")],
            ),
        ] {
            assert_eq!(texts(&text, 80, 1), expected, "{text}");
        }
    }
}
