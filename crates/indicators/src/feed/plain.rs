//! A value a line: blocklists, `sha256sum`'s output, hosts files.

use std::{io::BufRead, net::IpAddr};

use super::{Feed, FeedError, Lines, Listed, Take, unusable};
use crate::value::Value;

pub(super) fn read(feed: &Feed, lines: &mut Lines<'_, impl BufRead>, take: &mut Take<'_>) -> Result<(), FeedError> {
    loop {
        let number = lines.number + 1;
        let Some(line) = lines.next()? else { return Ok(()) };
        let line = line.split([' ', '\t']).take_while(|word| !word.starts_with(['#', ';']));
        let words: Vec<&str> = line.filter(|word| !word.is_empty()).collect();
        let text = match *words {
            [] => continue,
            // Hosts files send what they block nowhere.
            [nowhere, name, ..] if is_nowhere(nowhere) => name,
            [first, ..] => first,
        };
        let value = feed.kind.map_or_else(|| Value::guess(text), |kind| Value::read(kind, text));
        take(value.map(Listed::new).ok_or_else(|| format!("line {number}: {}", unusable(text, feed.kind))))?;
    }
}

fn is_nowhere(text: &str) -> bool {
    text.parse().is_ok_and(|address: IpAddr| address.is_unspecified() || address.is_loopback())
}
