//! W3C's trace context: of which request a record comes, as its headers say (<https://www.w3.org/TR/trace-context/>).
//!
//! Only what is well-formed is carried on. Whatever else stands in these headers is as good as nothing: a sender's trace
//! must not cost it the record.

/// A place in a trace: what a record's headers name as the step before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext<'a> {
    /// The trace.
    pub trace_id: u128,
    /// The step in it.
    pub span_id: u64,
    flags: u8,
    /// What tracing systems have noted down for themselves: passed on as it came.
    pub state: Option<&'a str>,
}

/// The header `traceparent`, as it is written.
pub type TraceParent = [u8; TraceContext::LENGTH];

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

impl<'a> TraceContext<'a> {
    /// The header that names trace and step.
    pub const PARENT: &'static str = "traceparent";
    /// The header of tracing systems' own notes.
    pub const STATE: &'static str = "tracestate";
    /// Bytes of a `traceparent` of version 00, the only one there is.
    pub const LENGTH: usize = 55;
    /// Bytes that a later version's may have.
    const MAX_LENGTH: usize = 256;
    /// Bytes and entries of a `tracestate` that are passed on: as many as the specification asks for.
    const MAX_STATE: usize = 512;
    const MAX_ENTRIES: usize = 32;

    /// A place in a trace, without notes.
    pub const fn new(trace_id: u128, span_id: u64, is_sampled: bool) -> Self {
        Self { trace_id, span_id, flags: if is_sampled { SAMPLED } else { 0 }, state: None }
    }

    /// From the values of both headers; `None` where `traceparent` is malformed. A malformed `tracestate` is left out.
    pub fn read(parent: &[u8], state: Option<&'a [u8]>) -> Option<Self> {
        let (known, rest) = parent.split_at_checked(Self::LENGTH)?;
        let version = hex(known.get(..2)?)?;
        // Later versions may only add something at the end.
        let is_fine = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => parent.len() <= Self::MAX_LENGTH && rest.first().is_none_or(|&byte| byte == b'-'),
        };
        if !is_fine || [2, 35, 52].iter().any(|&at| known[at] != b'-') {
            return None;
        }
        let trace_id = hex(&known[3..35])?;
        let span_id = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = u8::try_from(hex(&known[53..])?).ok()? & (SAMPLED | RANDOM);
        let state = state.and_then(read_state);
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags, state })
    }

    /// Whether its trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The next step in the same trace.
    #[must_use]
    pub const fn step(self, span_id: u64) -> Self {
        Self { span_id, ..self }
    }

    /// The value of `traceparent`.
    pub fn parent(&self) -> TraceParent {
        let mut text = [b'-'; Self::LENGTH];
        write_hex(0, &mut text[..2]);
        write_hex(self.trace_id, &mut text[3..35]);
        write_hex(self.span_id.into(), &mut text[36..52]);
        write_hex(self.flags.into(), &mut text[53..]);
        text
    }
}

/// The number that lower-case hexadecimal digits are, at most 32 of them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(value))
    })
}

fn write_hex(mut number: u128, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn read_state(state: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(state).ok()?;
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if text.trim().is_empty() || text.len() > TraceContext::MAX_STATE || !is_printable {
        return None;
    }
    let mut entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let is_pair = |entry: &str| entry.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty());
    (text.split(',').count() <= TraceContext::MAX_ENTRIES && entries.all(is_pair)).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parent: &str) -> Option<TraceContext<'static>> {
        TraceContext::read(parent.as_bytes(), None)
    }

    #[test]
    fn what_the_specification_shows_is_read_and_written() {
        let trace = read(PARENT).unwrap();
        assert_eq!(trace.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((trace.span_id, trace.is_sampled()), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(trace.parent(), PARENT.as_bytes());
        assert_eq!(&trace.step(0xab).parent()[36..], b"00000000000000ab-01");
    }

    #[test]
    fn flags_that_nobody_knows_are_cleared_and_the_sampled_one_is_kept() {
        for (flags, expected) in [("00", "00"), ("01", "01"), ("03", "03"), ("fe", "02"), ("ff", "03")] {
            let trace = read(&format!("{}{flags}", &PARENT[..53])).unwrap();
            assert_eq!(&trace.parent()[53..], expected.as_bytes());
            assert_eq!(trace.is_sampled(), matches!(flags, "01" | "03" | "ff"));
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("cc{}", &PARENT[2..]);
        for text in [later.clone(), format!("{later}-what-comes"), format!("{later}-{}", "x".repeat(200))] {
            assert_eq!(read(&text).unwrap().parent(), PARENT.as_bytes(), "{text}");
        }
        for text in [format!("{later}.more"), format!("{later}-{}", "x".repeat(201)), format!("ff{}", &PARENT[2..])] {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        let changed = |at: usize, with: &str| format!("{}{with}{}", &PARENT[..at], &PARENT[at + with.len()..]);
        for text in [
            String::new(),
            "00".to_owned(),
            PARENT[..54].to_owned(),
            format!("{PARENT}-00"),
            format!(" {PARENT}"),
            changed(3, "A"),
            changed(3, "g"),
            changed(2, "_"),
            changed(35, "_"),
            changed(52, "_"),
            changed(3, &"0".repeat(32)),
            changed(36, &"0".repeat(16)),
            changed(4, "ß"),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn notes_are_passed_on_as_they_came_unless_they_are_malformed_or_too_long() {
        let long = format!("a={}", "x".repeat(510));
        let longer = format!("{long}x");
        let many = vec!["a=b"; 32].join(",");
        let more = format!("{many},a=b");
        for (state, expected) in [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true),
            ("a=b,,c=d , e=f", true),
            (&long, true),
            (&many, true),
            ("", false),
            (" ", false),
            ("a", false),
            ("a=", false),
            ("=b", false),
            ("a=b,c", false),
            ("a=\u{e4}", false),
            ("a=b\r\nx: y", false),
            (&longer, false),
            (&more, false),
        ] {
            let trace = TraceContext::read(PARENT.as_bytes(), Some(state.as_bytes())).unwrap();
            assert_eq!(trace.state, expected.then_some(state));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(parent in proptest::collection::vec(any::<u8>(), 0..300), state in proptest::collection::vec(any::<u8>(), 0..600)) {
            TraceContext::read(&parent, Some(&state));
        }

        #[test]
        fn what_is_written_is_read_again(trace_id in 1u128.., span_id in 1u64.., is_sampled: bool) {
            let trace = TraceContext::new(trace_id, span_id, is_sampled);
            prop_assert_eq!(TraceContext::read(&trace.parent(), None), Some(trace));
        }
    }
}
