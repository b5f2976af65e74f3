//! Tables: CSV with a header, Zeek's own logs, and those with W3C's names. A row is an event, with the header's names as its keys.

use std::{
    cell::Cell,
    collections::HashSet,
    io::{self, Read},
    ops::ControlFlow,
    path::Path,
    rc::Rc,
};

use csv::{ByteRecord, ReaderBuilder, Terminator};
use cybervault_model::scalar;
use serde_json::{Map, Value};

use super::texts::{Text, Texts};

/// What kind of table a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// CSV, with this between cells.
    Csv(u8),
    /// Lines that begin with `#` say what the others have.
    Described,
}

/// A row as JSON with the number of its line, or why it is none.
pub(super) type Row<'r> = (u64, Result<&'r [u8], RowFault>);

/// Why a row is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowFault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

type Each<'e> = dyn FnMut(Row<'_>) -> anyhow::Result<ControlFlow<()>> + 'e;

/// Names in a header, and the words in one.
const MOST_COLUMNS: usize = 2000;
const LONGEST_NAME: usize = 128;
const MOST_WORDS: usize = 5;

impl Table {
    /// The table that begins with this line, if it is one.
    pub(super) fn of(line: &[u8], path: &Path) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let describes = ["#separator", "#Fields:", "#Software:", "#Version:", "#Date:", "#fields\t"];
        if describes.iter().any(|mark| text.starts_with(mark)) {
            return Some(Self::Described);
        }
        let name = path.to_string_lossy().to_ascii_lowercase();
        let is_named = [".csv", ".tsv"].iter().any(|end| name.contains(end));
        // PowerShell's `Export-Csv` begins with the type.
        if text.starts_with("#TYPE ") {
            return Some(Self::Csv(b','));
        }
        let least = if is_named { 2 } else { 3 };
        let fits = |delimiter: &u8| columns(line, *delimiter).filter(|columns| *columns >= least);
        let delimiter =
            *b",;\t|".iter().filter(|delimiter| fits(delimiter).is_some()).max_by_key(|delimiter| fits(delimiter))?;
        Some(Self::Csv(delimiter))
    }

    /// Hands every row to `each`, until it breaks.
    ///
    /// # Errors
    /// With what `each` returns.
    pub(super) fn each_row<R: Read>(self, mut texts: Texts<R>, max: usize, each: &mut Each<'_>) -> anyhow::Result<()> {
        match self {
            Self::Described => described(&mut texts, each),
            Self::Csv(delimiter) => {
                if texts.peek_line().starts_with(b"#TYPE ") {
                    texts.next_line();
                }
                csv(texts, delimiter, max, each)
            }
        }
    }
}

/// How many names a line has, if it looks like a header of such.
fn columns(line: &[u8], delimiter: u8) -> Option<usize> {
    let mut reader = ReaderBuilder::new().has_headers(false).delimiter(delimiter).from_reader(line);
    let header = reader.byte_records().next()?.ok()?;
    let mut names = HashSet::new();
    let is_name = |name: &[u8]| {
        let text = std::str::from_utf8(name).unwrap_or_default();
        let may_begin = |char: char| char.is_alphabetic() || "_@#$".contains(char);
        (1..=LONGEST_NAME).contains(&text.len())
            && text.starts_with(may_begin)
            && !text.contains(['{', '}', '=', '"', '<', '>'])
            && text.split_whitespace().count() <= MOST_WORDS
    };
    let are_names = header.iter().all(|name| is_name(name.trim_ascii()) && names.insert(name.trim_ascii()));
    (are_names && header.len() <= MOST_COLUMNS).then_some(header.len())
}

/// Reads no more than what is left for a row.
struct Rationed<R> {
    input: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("a row is longer than an event may be: a quote is not closed, perhaps"));
        }
        let length = buffer.len().min(left);
        let read = self.input.read(&mut buffer[..length])?;
        self.left.set(left - read);
        Ok(read)
    }
}

fn csv<R: Read>(texts: Texts<R>, delimiter: u8, max: usize, each: &mut Each<'_>) -> anyhow::Result<()> {
    let (input, first) = texts.into_rest();
    let left = Rc::new(Cell::new(0));
    // The reader itself reads ahead by some.
    let ration = || left.set(max + 64 * 1024);
    ration();
    let input = Rationed { input, left: left.clone() };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        // Else it is a line behind where lines end in two characters.
        .terminator(Terminator::Any(b'\n'))
        .from_reader(input);
    let mut names: Option<Vec<String>> = None;
    let (mut row, mut json) = (ByteRecord::new(), Vec::new());
    loop {
        let line = first + reader.position().line() - 1;
        match reader.read_byte_record(&mut row) {
            Ok(true) => ration(),
            Ok(false) => return Ok(()),
            Err(error) => {
                let fault = RowFault { reason: "not_csv", message: format!("not CSV: {error}; the rest is not read") };
                return each((line, Err(fault))).map(drop);
            }
        }
        let line = row.position().map_or(line, |position| first + position.line() - 1);
        let last = row.len().saturating_sub(1);
        let cells = row.iter().enumerate().map(|(at, cell)| {
            String::from_utf8_lossy(if at == last { cell.strip_suffix(b"\r").unwrap_or(cell) } else { cell })
        });
        let Some(names) = &names else {
            names = Some(cells.map(|name| name.trim().to_owned()).collect());
            continue;
        };
        if last == 0 && row.get(0).is_none_or(|cell| cell.trim_ascii().is_empty()) {
            continue;
        }
        let event = event(names, cells, |_, cell| (!cell.is_empty()).then(|| scalar(cell)));
        if each((line, written(event, &mut json)))?.is_break() {
            return Ok(());
        }
    }
}

/// An event of these cells, unless there are more or fewer than names.
fn event<C: AsRef<str>>(
    names: &[String],
    cells: impl Iterator<Item = C>,
    value: impl Fn(usize, &str) -> Option<Value>,
) -> Result<Map<String, Value>, RowFault> {
    let (mut event, mut count) = (Map::new(), 0);
    for (at, cell) in cells.enumerate() {
        count = at + 1;
        if let Some((name, value)) = names.get(at).zip(value(at, cell.as_ref())) {
            event.insert(name.clone(), value);
        }
    }
    if count == names.len() {
        return Ok(event);
    }
    let message = format!("{count} cells, where the header has {}", names.len());
    Err(RowFault { reason: "wrong_columns", message })
}

fn written(event: Result<Map<String, Value>, RowFault>, json: &mut Vec<u8>) -> Result<&[u8], RowFault> {
    let event = Value::Object(event?);
    json.clear();
    serde_json::to_writer(&mut *json, &event)
        .map_err(|error| RowFault { reason: "not_json", message: error.to_string() })?;
    Ok(json)
}

/// What lines with `#` said so far.
#[derive(Default)]
struct Description {
    /// Zeek's, between cells; W3C's has blanks.
    separator: Option<char>,
    names: Vec<String>,
    types: Vec<String>,
    path: Option<String>,
    unset: Option<String>,
    empty: Option<String>,
    between: Option<String>,
}

fn described<R: Read>(texts: &mut Texts<R>, each: &mut Each<'_>) -> anyhow::Result<()> {
    let mut description = Description::default();
    let mut json = Vec::new();
    while let Some(Text { bytes, line, too_large, .. }) = texts.next_line() {
        let text = String::from_utf8_lossy(bytes);
        if let Some(said) = text.strip_prefix('#') {
            description.hear(said);
            continue;
        }
        let row = match too_large {
            Some(bytes) => {
                let message = format!("{bytes} bytes are more than one event may have");
                Err(RowFault { reason: "too_large", message })
            }
            None => written(description.event(&text), &mut json),
        };
        if each((line, row))?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

impl Description {
    fn hear(&mut self, said: &str) {
        if let Some(names) = said.strip_prefix("Fields:") {
            self.names = names.split_whitespace().map(str::to_owned).collect();
            return;
        }
        if let Some(separator) = said.strip_prefix("separator") {
            let separator = separator.trim_start_matches([' ', '\t']);
            let hex = separator.strip_prefix("\\x").and_then(|hex| u8::from_str_radix(hex, 16).ok());
            self.separator = hex.map(char::from).or_else(|| separator.chars().next()).or(Some('\t'));
            return;
        }
        let mut words = said.split(self.separator.unwrap_or('\t'));
        let (key, mut rest) = (words.next().unwrap_or_default(), words.map(str::to_owned));
        match key {
            "fields" => {
                self.names = rest.collect();
                self.separator.get_or_insert('\t');
            }
            "types" => self.types = rest.collect(),
            "path" => self.path = rest.next(),
            "unset_field" => self.unset = rest.next(),
            "empty_field" => self.empty = rest.next(),
            "set_separator" => self.between = rest.next(),
            _ => {}
        }
    }

    fn event(&self, line: &str) -> Result<Map<String, Value>, RowFault> {
        let Some(separator) = self.separator else {
            let value = |_, cell: &str| (cell != "-").then(|| scalar(cell));
            return event(&self.names, line.split_whitespace(), value);
        };
        let mut event = event(&self.names, line.split(separator), |at, cell| self.value(at, cell))?;
        if let Some(path) = &self.path {
            event.insert("_path".to_owned(), path.as_str().into());
        }
        Ok(event)
    }

    /// A cell of Zeek's, by the type of its column.
    fn value(&self, at: usize, cell: &str) -> Option<Value> {
        let is = |mark: &Option<String>, otherwise: &str| cell == mark.as_deref().unwrap_or(otherwise);
        if is(&self.unset, "-") {
            return None;
        }
        let kind = self.types.get(at).map_or("string", String::as_str);
        if kind.starts_with("set[") || kind.starts_with("vector[") {
            if is(&self.empty, "(empty)") {
                return Some(Value::Array(Vec::new()));
            }
            let between = self.between.as_deref().unwrap_or(",");
            return Some(cell.split(between).map(scalar).collect());
        }
        if is(&self.empty, "(empty)") {
            return Some("".into());
        }
        Some(match kind {
            "bool" => (cell == "T").into(),
            "time" | "interval" | "double" => cell.parse::<f64>().map_or_else(|_| cell.into(), Value::from),
            "count" | "int" | "port" => scalar(cell),
            _ => cell.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(text: &str, name: &str) -> Option<Vec<(u64, Value)>> {
        let mut texts = Texts::new(text.as_bytes(), 200);
        let table = {
            let line = texts.peek_line().to_owned();
            Table::of(&line, Path::new(name))?
        };
        let mut rows = Vec::new();
        table
            .each_row(texts, 200, &mut |(line, row)| {
                rows.push((
                    line,
                    row.map_or_else(|fault| fault.reason.into(), |json| serde_json::from_slice(json).unwrap()),
                ));
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        Some(rows)
    }

    #[test]
    fn a_row_has_the_headers_names() {
        let text = "Image,Command Line,EventID\r\n\"C:\\a,b\",\"say \"\"x\"\"\ntwice\",1\r\nx,,007\r\nonly\r\n";
        let expected = [
            (2, json!({"Image": "C:\\a,b", "Command Line": "say \"x\"\ntwice", "EventID": 1})),
            (4, json!({"Image": "x", "EventID": "007"})),
            (5, json!("wrong_columns")),
        ];
        assert_eq!(rows(text, "-").unwrap(), expected);
        assert_eq!(rows("a;b\n1;2\n", "x.csv").unwrap(), [(2, json!({"a": 1, "b": 2}))]);
        assert_eq!(rows("#TYPE X\n\"a\",\"b\"\n1,2\n", "-").unwrap(), [(3, json!({"a": 1, "b": 2}))]);
        let open = format!("a,b,c\n\"{}", "x".repeat(100_000));
        assert_eq!(rows(&open, "-").unwrap(), [(2, json!("not_csv"))]);
        for other in ["words, more words", "not json", "a=1,b=2,c=3", "1,2,3", "a,a,a", "{\"a\":1,\"b\":2,\"c\":3}"] {
            assert_eq!(rows(other, "-"), None, "{other}");
        }
    }

    #[test]
    fn lines_say_what_others_have() {
        let zeek = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n#fields\tts\tid.orig_h\tproto\tanswers\tAA\trejected\n\
                    #types\ttime\taddr\tenum\tvector[string]\tbool\tcount\n1772359200.5\t192.0.2.5\tudp\ta,b\tT\t-\n#close\tx\n";
        let expected = json!({"ts": 1_772_359_200.5, "id.orig_h": "192.0.2.5", "proto": "udp", "answers": ["a", "b"], "AA": true,
            "_path": "dns"});
        assert_eq!(rows(zeek, "dns.log").unwrap(), [(8, expected)]);
        let w3c = "#Software: IIS\n#Version: 1.0\n#Fields: date cs-method cs-uri-stem cs-uri-query sc-status\n2026-03-01 GET /a - 200\n";
        let expected = json!({"date": "2026-03-01", "cs-method": "GET", "cs-uri-stem": "/a", "sc-status": 200});
        assert_eq!(rows(w3c, "u_ex.log").unwrap(), [(4, expected)]);
    }
}
