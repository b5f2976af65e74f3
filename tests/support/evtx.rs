//! Windows event log files, as little of them as a reader needs: one chunk, elements written out, no templates.

/// An element with its attributes, and what is inside.
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    inside: Inside,
}

enum Inside {
    Text(String),
    Elements(Vec<Element>),
}

/// An element with text in it.
pub(crate) fn text(name: &'static str, text: &str) -> Element {
    Element { name, attributes: Vec::new(), inside: Inside::Text(text.to_owned()) }
}

/// An element with others in it.
pub(crate) fn parent(name: &'static str, elements: Vec<Element>) -> Element {
    Element { name, attributes: Vec::new(), inside: Inside::Elements(elements) }
}

impl Element {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.attributes.push((name, value.to_owned()));
        self
    }

    /// As binary XML that begins at `at` in its chunk.
    fn write(&self, at: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let is_at = |out: &Vec<u8>| at + out.len() - start;
        out.push(if self.attributes.is_empty() { 0x01 } else { 0x41 });
        let size_at = out.len();
        out.extend(0_u32.to_le_bytes());
        let here = is_at(out);
        name(self.name, here, out);
        if !self.attributes.is_empty() {
            let list_at = out.len();
            out.extend(0_u32.to_le_bytes());
            for (n, (attribute, value)) in self.attributes.iter().enumerate() {
                out.push(if n + 1 < self.attributes.len() { 0x46 } else { 0x06 });
                let here = is_at(out);
                name(attribute, here, out);
                value_text(value, out);
            }
            patch(out, list_at);
        }
        out.push(0x02);
        match &self.inside {
            Inside::Text(text) => value_text(text, out),
            Inside::Elements(elements) => {
                for element in elements {
                    let here = is_at(out);
                    element.write(here, out);
                }
            }
        }
        out.push(0x04);
        patch(out, size_at);
    }
}

/// Writes at `at` how many bytes come after it.
fn patch(out: &mut [u8], at: usize) {
    let size = u32::try_from(out.len() - at - 4).unwrap();
    out[at..at + 4].copy_from_slice(&size.to_le_bytes());
}

/// A name, which stands right behind the offset that leads to it.
fn name(name: &str, at: usize, out: &mut Vec<u8>) {
    out.extend(u32::try_from(at + 4).unwrap().to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    let hash = name.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(65_599).wrapping_add(unit.into()));
    out.extend(hash.to_le_bytes()[..2].iter());
    utf16(name, out);
    out.extend([0, 0]);
}

fn value_text(text: &str, out: &mut Vec<u8>) {
    out.extend([0x05, 0x01]);
    utf16(text, out);
}

fn utf16(text: &str, out: &mut Vec<u8>) {
    let units: Vec<u16> = text.encode_utf16().collect();
    out.extend(u16::try_from(units.len()).unwrap().to_le_bytes());
    out.extend(units.into_iter().flat_map(u16::to_le_bytes));
}

/// A file with these events.
pub(crate) fn file(events: &[Element]) -> Vec<u8> {
    const CHUNK: usize = 65_536;
    let (mut chunk, mut last) = (vec![0; 512], 0);
    let count = events.len() as u64;
    for (id, event) in (1_u64..).zip(events) {
        last = chunk.len();
        chunk.extend(0x0000_2a2a_u32.to_le_bytes());
        chunk.extend(0_u32.to_le_bytes());
        chunk.extend(id.to_le_bytes());
        // 2026-11-02, in steps of 100 ns since 1601.
        chunk.extend(134_064_000_000_000_000_u64.to_le_bytes());
        chunk.extend([0x0f, 0x01, 0x01, 0x00]);
        let mut xml = Vec::new();
        event.write(chunk.len(), &mut xml);
        chunk.extend(xml);
        chunk.push(0x00);
        let size = u32::try_from(chunk.len() - last + 4).unwrap();
        chunk[last + 4..last + 8].copy_from_slice(&size.to_le_bytes());
        chunk.extend(size.to_le_bytes());
    }
    let (end, records) = (chunk.len(), crc32fast::hash(&chunk[512..]));
    chunk.resize(CHUNK, 0);
    let mut header = b"ElfChnk\0".to_vec();
    header.extend([1, count, 1, count].into_iter().flat_map(u64::to_le_bytes));
    header.extend(
        [128, u32::try_from(last).unwrap(), u32::try_from(end).unwrap(), records]
            .into_iter()
            .flat_map(u32::to_le_bytes),
    );
    chunk[..header.len()].copy_from_slice(&header);
    let checked = [&chunk[..120], &chunk[128..512]].concat();
    chunk[124..128].copy_from_slice(&crc32fast::hash(&checked).to_le_bytes());

    let mut file = b"ElfFile\0".to_vec();
    file.extend([0, 0, count + 1].into_iter().flat_map(u64::to_le_bytes));
    file.extend(128_u32.to_le_bytes());
    file.extend([1, 3, 4096, 1].into_iter().flat_map(u16::to_le_bytes));
    file.resize(120, 0);
    let crc = crc32fast::hash(&file);
    file.extend(0_u32.to_le_bytes());
    file.extend(crc.to_le_bytes());
    file.resize(4096, 0);
    file.extend(chunk);
    file
}
