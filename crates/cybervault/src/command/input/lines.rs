//! Lines of bounded length.

use std::io::{self, BufRead};

use memchr::memchr;

/// Reads line after line into the same buffer.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    max: usize,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `input`. Of one longer than `max` bytes only `max + 1` are kept, so that it is seen to be too long.
    pub(super) fn new(input: R, max: usize) -> Self {
        Self { input, line: Vec::new(), max }
    }

    /// The next line, without its end; `None` after the last.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let mut any = false;
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = (self.max + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let taken = end.map_or(chunk.len(), |end| end + 1);
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        Ok(any.then(|| self.line.strip_suffix(b"\r").unwrap_or(&self.line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_end_or_the_inputs_and_a_long_one_is_cut() {
        // A small buffer, so that lines cross its borders.
        let text = b"a\r\n\nbcdefghijkl\nlast";
        let mut lines = Lines::new(io::BufReader::with_capacity(3, &text[..]), 5);
        for expected in [Some(&b"a"[..]), Some(b""), Some(b"bcdefg"), Some(b"last"), None] {
            assert_eq!(lines.next().unwrap(), expected);
        }
    }
}
