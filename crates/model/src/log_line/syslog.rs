//! Syslog: RFC 5424, RFC 3164 as it is really written, and the lines that rsyslog and syslog-ng write to files.

use serde_json::{Map, Value};

use super::scalar;

/// A line taken apart.
#[derive(Debug, Default)]
pub(super) struct Syslog<'l> {
    priority: Option<u8>,
    version: Option<&'l str>,
    timestamp: Option<&'l str>,
    pub(super) hostname: Option<&'l str>,
    program: Option<&'l str>,
    pid: Option<&'l str>,
    msgid: Option<&'l str>,
    structured: Map<String, Value>,
    pub(super) message: &'l str,
}

/// RFC 5424, table 1.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// RFC 5424, table 2.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Reads a line that has a priority or begins with a time.
pub(super) fn read(line: &str) -> Option<Syslog<'_>> {
    let (priority, rest) = match priority(line) {
        Some((priority, rest)) => (Some(priority), rest),
        None => (None, line),
    };
    if let Some(rest) = rest.strip_prefix("1 ").filter(|_| priority.is_some())
        && let Some(found) = read_5424(rest)
    {
        return Some(Syslog { priority, version: Some("1"), ..found });
    }
    let found = read_3164(rest);
    // Without either it may be anything.
    (priority.is_some() || found.timestamp.is_some()).then_some(Syslog { priority, ..found })
}

fn priority(line: &str) -> Option<(u8, &str)> {
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let priority = number.parse().ok().filter(|priority| is_number && *priority < 192)?;
    Some((priority, rest))
}

/// What stands behind the version.
fn read_5424(rest: &str) -> Option<Syslog<'_>> {
    let mut parts = rest.splitn(6, ' ');
    let mut next = || parts.next().map(|part| Some(part).filter(|part| *part != "-"));
    let (timestamp, hostname, program, pid, msgid) = (next()?, next()?, next()?, next()?, next()?);
    let (structured, message) = structured(parts.next().unwrap_or("-"))?;
    Some(Syslog { timestamp, hostname, program, pid, msgid, structured, message, ..Syslog::default() })
}

/// Structured data, by its ids, and what stands behind it.
fn structured(text: &str) -> Option<(Map<String, Value>, &str)> {
    let mut all = Map::new();
    if let Some(rest) = text.strip_prefix('-') {
        return Some((all, rest.trim_start()));
    }
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let name_end = element.find([' ', ']'])?;
        let (id, mut params) = element.split_at(name_end);
        let mut values = Map::new();
        loop {
            params = params.trim_start();
            if let Some(behind) = params.strip_prefix(']') {
                rest = behind;
                break;
            }
            let (name, value) = params.split_once("=\"")?;
            let (value, behind) = quoted(value)?;
            values.insert(name.to_owned(), value.into());
            params = behind;
        }
        all.insert(id.to_owned(), Value::Object(values));
    }
    Some((all, rest.trim_start_matches([' ', '\u{feff}'])))
}

/// A value up to its quote, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            char => value.push(char),
        }
    }
    None
}

fn read_3164(text: &str) -> Syslog<'_> {
    let (timestamp, rest) = match time(text) {
        Some(length) => {
            (Some(text[..length].trim_start_matches(['*', '.'])), text[length..].trim_start_matches([':', ' ']))
        }
        None => (None, text),
    };
    let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
    // A tag where a host should be: whoever wrote it left the host out.
    let is_host = timestamp.is_some() && !first.ends_with(':') && !first.contains('[');
    let (hostname, rest) = if is_host { (Some(first), behind.trim_start()) } else { (None, rest) };
    let hostname = hostname.filter(|hostname| !hostname.is_empty());
    let (program, pid, message) = tag(rest).unwrap_or((None, None, rest));
    Syslog { timestamp, hostname, program, pid, message, ..Syslog::default() }
}

/// How many bytes of the text are a time: `Mar  1 10:00:00`, with a year or fractions, or as in RFC 3339.
fn time(text: &str) -> Option<usize> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let begun = text.trim_start_matches(['*', '.']);
    let marks = text.len() - begun.len();
    let is_clock = |word: &str| {
        let clock = word.trim_end_matches(':').as_bytes();
        clock.len() >= 8 && clock[2] == b':' && clock[5] == b':' && clock[0].is_ascii_digit()
    };
    if MONTHS.iter().any(|month| begun.strip_prefix(month).is_some_and(|rest| rest.starts_with(' '))) {
        // Month, day, perhaps a year, and the time of day.
        let mut at = 0;
        for number in 0..4 {
            let rest = &begun[at..];
            let start = at + rest.len() - rest.trim_start_matches(' ').len();
            let word = begun[start..].split(' ').next()?;
            at = start + word.len();
            let is_time = is_clock(word);
            if number >= 2 && is_time {
                return Some(marks + at);
            }
            if number >= 1 && !word.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
        }
        return None;
    }
    let word = text.split(' ').next()?;
    let bytes = word.as_bytes();
    let is_date = bytes.len() >= 19 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b'T';
    (is_date && bytes[..4].iter().all(u8::is_ascii_digit) && is_clock(&word[11..])).then_some(word.len())
}

type Tag<'l> = (Option<&'l str>, Option<&'l str>, &'l str);

/// `program[pid]: ` and what is behind it.
fn tag(text: &str) -> Option<Tag<'_>> {
    const LONGEST: usize = 64;
    let may_be = |char: char| char.is_ascii_alphanumeric() || "._-/@+%()".contains(char);
    // What says all by itself has no tag, only a mark of its own.
    if text.starts_with("CEF:") || text.starts_with("LEEF:") {
        return None;
    }
    let end = text.find(|char| !may_be(char)).filter(|end| (1..=LONGEST).contains(end))?;
    let (program, rest) = text.split_at(end);
    let (pid, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((pid, rest)) if pid.len() <= LONGEST => (Some(pid), rest),
        _ => (None, rest),
    };
    let message = rest.strip_prefix(':')?;
    Some((Some(program), pid, message.trim_start()))
}

impl Syslog<'_> {
    /// The line as an event.
    pub(super) fn event(self) -> Map<String, Value> {
        let mut event = Map::new();
        let texts = [
            ("timestamp", self.timestamp),
            ("hostname", self.hostname),
            ("program", self.program),
            ("msgid", self.msgid),
            ("message", Some(self.message)),
        ];
        for (key, value) in texts {
            event.extend(value.map(|value| (key.to_owned(), value.into())));
        }
        for (key, value) in [("version", self.version), ("pid", self.pid)] {
            event.extend(value.map(|value| (key.to_owned(), scalar(value))));
        }
        if let Some(priority) = self.priority {
            let (facility, severity) = (usize::from(priority >> 3), usize::from(priority & 7));
            event.insert("facility".to_owned(), FACILITIES[facility].into());
            event.insert("severity".to_owned(), SEVERITIES[severity].into());
        }
        if !self.structured.is_empty() {
            event.insert("structured_data".to_owned(), Value::Object(self.structured));
        }
        event
    }
}
