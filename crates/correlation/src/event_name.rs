//! An event's id in few bytes.

/// An event's id. Most are 128 bits, written in one of two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventName {
    /// `ev_` and 32 hexadecimal digits: an id that was derived from the event.
    Derived([u8; 16]),
    /// 32 hexadecimal digits with hyphens between, as RFC 9562 writes them in lower case.
    Uuid([u8; 16]),
    /// Any other.
    Text(Box<str>),
}

/// The longest id that is kept whole, in bytes.
const LONGEST: usize = 256;
/// Where hyphens stand in the text.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl EventName {
    pub(crate) fn new(id: &str) -> Self {
        if let Some(bytes) = id.strip_prefix("ev_").and_then(|digits| digits_in(digits.bytes())) {
            return Self::Derived(bytes);
        }
        if id.len() == 36 && HYPHENS.iter().all(|at| id.as_bytes()[*at] == b'-') {
            let digits = id.bytes().enumerate().filter(|(at, _)| !HYPHENS.contains(at)).map(|(_, digit)| digit);
            if let Some(bytes) = digits_in(digits) {
                return Self::Uuid(bytes);
            }
        }
        Self::Text(id[..id.floor_char_boundary(LONGEST)].into())
    }

    /// Bytes that it takes beside itself.
    pub(crate) fn heap(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// The id.
    pub(crate) fn text(&self) -> String {
        let hex = |bytes: &[u8; 16]| {
            bytes.iter().fold(String::with_capacity(36), |mut text, byte| {
                let digit = |digit: u8| char::from(b"0123456789abcdef"[usize::from(digit)]);
                text.extend([digit(byte >> 4), digit(byte & 15)]);
                text
            })
        };
        match self {
            Self::Derived(bytes) => format!("ev_{}", hex(bytes)),
            Self::Uuid(bytes) => {
                let mut text = hex(bytes);
                HYPHENS.iter().for_each(|at| text.insert(*at, '-'));
                text
            }
            Self::Text(text) => text.to_string(),
        }
    }
}

/// 32 lower-case hexadecimal digits and no more.
fn digits_in(digits: impl Iterator<Item = u8>) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut count = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        *bytes.get_mut(count / 2)? |= if count % 2 == 0 { value << 4 } else { value };
        count += 1;
    }
    (count == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_as_it_was() {
        let digits = "0123456789abcdef".repeat(2);
        let ids = [
            format!("ev_{digits}"),
            "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
            "01234567-89AB-cdef-0123-456789abcdef".to_owned(),
            "01234567x89ab-cdef-0123-456789abcdef".to_owned(),
            format!("ev_{digits}0"),
            digits,
            "e-1".to_owned(),
            String::new(),
        ];
        for id in &ids {
            assert_eq!(EventName::new(id).text(), *id);
        }
        assert_eq!(ids.iter().filter(|id| EventName::new(id).heap() == 0).count(), 3);
        assert_eq!(EventName::new(&"ä".repeat(200)).text(), "ä".repeat(128));
    }
}
