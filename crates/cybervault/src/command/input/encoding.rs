//! From a file's bytes to text in UTF-8: unpacked, and out of UTF-16, whatever its name says.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
};

use indicatif::ProgressBar;

const BUFFER: usize = 256 * 1024;

/// Packed inside each other.
const MOST_PACKED: usize = 2;

/// What a file turned out to be.
pub(super) enum Content {
    /// A Windows event log.
    Evtx(File),
    /// Text, in UTF-8 or near it.
    Text(Box<dyn Read>),
    /// Neither.
    Binary,
}

/// Opens a file, or standard input, by its first bytes.
///
/// # Errors
/// When it can't be read.
pub(super) fn open(path: &Path, progress: &ProgressBar) -> io::Result<Content> {
    if path == Path::new("-") {
        return content(Box::new(BufReader::with_capacity(BUFFER, io::stdin().lock())));
    }
    let mut file = File::open(path)?;
    progress.set_length(file.metadata()?.len());
    let mut magic = [0; EVTX.len()];
    let is_evtx = file.read_exact(&mut magic).is_ok() && magic == *EVTX;
    file.rewind()?;
    if is_evtx {
        return Ok(Content::Evtx(file));
    }
    content(Box::new(BufReader::with_capacity(BUFFER, progress.wrap_read(file))))
}

const EVTX: &[u8; 8] = b"ElfFile\0";

fn content(mut input: Box<dyn BufRead>) -> io::Result<Content> {
    for _ in 0..MOST_PACKED {
        input = match *first(&mut input)? {
            [0x1f, 0x8b, ..] => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(input)?))
            }
            _ => break,
        };
    }
    let begin = first(&mut input)?;
    if begin.starts_with(EVTX) {
        // Its reader goes back and forth.
        let mut file = tempfile::tempfile()?;
        io::copy(&mut input, &mut file)?;
        file.rewind()?;
        return Ok(Content::Evtx(file));
    }
    let (mark, wide) = match *begin {
        [0xef, 0xbb, 0xbf, ..] => (3, None),
        [0xff, 0xfe, ..] => (2, Some(u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, ..] => (2, Some(u16::from_be_bytes as fn([u8; 2]) -> u16)),
        // Without a mark, as some writers leave it out: what logs begin with is ASCII.
        [1..128, 0, 1..128, 0, ..] => (0, Some(u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0, 1..128, 0, 1..128, ..] => (0, Some(u16::from_be_bytes as fn([u8; 2]) -> u16)),
        ref begin if begin.contains(&0) => return Ok(Content::Binary),
        _ => (0, None),
    };
    input.consume(mark);
    Ok(Content::Text(match wide {
        Some(unit) => Box::new(Wide { input, unit, text: Vec::new(), at: 0, high: None }),
        None => input,
    }))
}

/// The first bytes, as many as there are at once: a few even where they come one by one.
fn first(input: &mut Box<dyn BufRead>) -> io::Result<&[u8]> {
    const ENOUGH: usize = 8;
    if input.fill_buf()?.len() < ENOUGH {
        let mut some = Vec::new();
        input.as_mut().take(ENOUGH as u64).read_to_end(&mut some)?;
        let rest = std::mem::replace(input, Box::new(io::empty()));
        *input = Box::new(BufReader::with_capacity(BUFFER, io::Cursor::new(some).chain(rest)));
    }
    input.fill_buf()
}

/// UTF-16 as UTF-8.
struct Wide {
    input: Box<dyn BufRead>,
    unit: fn([u8; 2]) -> u16,
    text: Vec<u8>,
    at: usize,
    /// The first half of a pair.
    high: Option<u16>,
}

impl Wide {
    fn fill(&mut self) -> io::Result<()> {
        self.text.clear();
        self.at = 0;
        let mut bytes = Vec::new();
        self.input.as_mut().take(BUFFER as u64).read_to_end(&mut bytes)?;
        let (units, odd) = bytes.as_chunks();
        let is_last = bytes.len() < BUFFER;
        let mut units: Vec<u16> =
            self.high.take().into_iter().chain(units.iter().map(|unit| (self.unit)(*unit))).collect();
        if !is_last && let Some(high) = units.pop_if(|unit| (0xd800..0xdc00).contains(unit)) {
            self.high = Some(high);
        }
        let text: String = char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        self.text.extend_from_slice(text.as_bytes());
        if !odd.is_empty() {
            self.text.extend_from_slice("\u{fffd}".as_bytes());
        }
        Ok(())
    }
}

impl Read for Wide {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() {
            self.fill()?;
        }
        let length = buffer.len().min(self.text.len() - self.at);
        buffer[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        match content(Box::new(io::Cursor::new(bytes.to_vec()))).unwrap() {
            Content::Text(mut input) => {
                let mut text = String::new();
                input.read_to_string(&mut text).unwrap();
                Some(text)
            }
            _ => None,
        }
    }

    #[test]
    fn text_is_read_in_any_encoding_and_packed() {
        let long = "{\"a\":\"ä😀\"}\n".repeat(30_000);
        for expected in ["{\"a\":\"ä😀\"}", "{}", "", &long] {
            let wide = |unit: fn(u16) -> [u8; 2]| expected.encode_utf16().flat_map(unit).collect::<Vec<_>>();
            let mut forms = vec![
                expected.as_bytes().to_vec(),
                [b"\xef\xbb\xbf", expected.as_bytes()].concat(),
                [b"\xff\xfe".to_vec(), wide(u16::to_le_bytes)].concat(),
                [b"\xfe\xff".to_vec(), wide(u16::to_be_bytes)].concat(),
                zstd::encode_all(expected.as_bytes(), 1).unwrap(),
                zstd::encode_all(&*zstd::encode_all(expected.as_bytes(), 1).unwrap(), 1).unwrap(),
            ];
            if expected.len() > 1 {
                forms.extend([wide(u16::to_le_bytes), wide(u16::to_be_bytes)]);
            }
            for form in forms {
                assert_eq!(text(&form).as_deref(), Some(expected));
            }
        }
        assert_eq!(text(b"\x7fELF\0\0\0\x01\x02"), None);
    }
}
