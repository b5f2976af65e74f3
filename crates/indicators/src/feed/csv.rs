//! Comma-separated values, with a header that says which column is what.

use std::io::BufRead;

use csv::{ReaderBuilder, StringRecord};

use super::{Feed, FeedError, Lines, Listed, Take, short, time, unusable};
use crate::{Kind, value::Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// A value of that kind, or of the kind that the row's `type` says.
    Value(Option<Kind>),
    Type,
    Title,
    Confidence,
    ValidUntil,
}

/// The names under which feeds have them, without case, spaces, `_` and `-`.
fn column(name: &str) -> Option<Column> {
    let name: String = name.chars().filter(|char| char.is_alphanumeric()).collect::<String>().to_lowercase();
    Some(match &*name {
        "value" | "indicator" | "ioc" | "iocvalue" | "indicatorvalue" | "observable" | "hash" => Column::Value(None),
        "sha256" | "sha256hash" => Column::Value(Some(Kind::Sha256)),
        "sha1" | "sha1hash" => Column::Value(Some(Kind::Sha1)),
        "md5" | "md5hash" => Column::Value(Some(Kind::Md5)),
        "imphash" => Column::Value(Some(Kind::Imphash)),
        "ip" | "ipaddress" | "dstip" | "srcip" | "cidr" => Column::Value(Some(Kind::Ip)),
        "domain" | "hostname" | "fqdn" => Column::Value(Some(Kind::Domain)),
        "url" => Column::Value(Some(Kind::Url)),
        "type" | "ioctype" | "indicatortype" | "kind" => Column::Type,
        "title" | "description" | "malware" | "malwareprintable" | "signature" | "threat" | "name" => Column::Title,
        "confidence" | "confidencelevel" => Column::Confidence,
        "validuntil" | "expires" | "expiration" | "expirationdate" | "expiresat" => Column::ValidUntil,
        _ => return None,
    })
}

/// The kind that a row's `type` says.
fn kind(name: &str) -> Option<Kind> {
    let name = name.to_lowercase();
    Some(match &*name {
        "sha-256" | "sha256_hash" | "filehash-sha256" => Kind::Sha256,
        "sha-1" | "sha1_hash" | "filehash-sha1" => Kind::Sha1,
        "md5_hash" | "filehash-md5" => Kind::Md5,
        "ipv4" | "ipv6" | "cidr" | "ip_address" => Kind::Ip,
        "fqdn" => Kind::Domain,
        "uri" => Kind::Url,
        name => return super::kind(name),
    })
}

/// A line's fields. Some feeds put a space between a comma and the quote after it.
fn fields(line: &str) -> Option<Result<StringRecord, csv::Error>> {
    let line = line.replace("\", \"", "\",\"");
    ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(line.as_bytes()).into_records().next()
}

/// The header's columns, where it has one with values.
fn columns(header: &str) -> Option<Vec<Option<Column>>> {
    let header = header.trim_start_matches(['#', ' ']);
    let columns: Vec<_> = fields(header)?.ok()?.iter().map(column).collect();
    let has_values = columns.iter().any(|column| matches!(column, Some(Column::Value(_))));
    has_values.then_some(columns)
}

/// Whether the text begins with a header, which some feeds put into a comment.
pub(super) fn has_header(start: &str) -> bool {
    let lines = start.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
    let first = start.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.chain(first).any(|line| line.contains(',') && columns(line).is_some())
}

pub(super) fn read(feed: &Feed, lines: &mut Lines<'_, impl BufRead>, take: &mut Take<'_>) -> Result<(), FeedError> {
    let mut header: Option<Vec<Option<Column>>> = None;
    loop {
        let number = lines.number + 1;
        let Some(line) = lines.next()? else { break };
        if line.is_empty() {
            continue;
        }
        if line.starts_with('#') {
            header = columns(line).or(header);
            continue;
        }
        let Some(columns) = &header else {
            header = columns(line);
            if header.is_none() {
                break;
            }
            continue;
        };
        match fields(line) {
            Some(Ok(fields)) => row(feed, columns, &fields, number, take)?,
            Some(Err(error)) => take(Err(format!("line {number}: {error}")))?,
            None => {}
        }
    }
    if header.is_some() {
        return Ok(());
    }
    Err(FeedError::Form(
        "its first line must name the columns: `value`, or `sha256`, `sha1`, `md5`, `imphash`, `ip`, `domain`, `url`; and \
         `type`, `title`, `confidence`, `valid_until` as far as there are any"
            .to_owned(),
    ))
}

fn row(
    feed: &Feed,
    columns: &[Option<Column>],
    fields: &StringRecord,
    number: u64,
    take: &mut Take<'_>,
) -> Result<(), FeedError> {
    let of = |wanted: Column| {
        let at = columns.iter().position(|column| *column == Some(wanted))?;
        fields.get(at).map(str::trim).filter(|text| !text.is_empty())
    };
    let mut wrong = |problem: String| take(Err(format!("line {number}: {problem}")));
    let said = of(Column::Type);
    let confidence = match of(Column::Confidence).map(|text| (text, text.parse::<u8>())) {
        None => None,
        Some((_, Ok(confidence @ 0..=100))) => Some(confidence),
        Some((text, _)) => return wrong(format!("the confidence `{}` is none of 0 to 100", short(text))),
    };
    let valid_until = match of(Column::ValidUntil).map(|text| (text, time(text))) {
        None => None,
        Some((_, Some(time))) => Some(time),
        Some((text, None)) => return wrong(format!("`{}` is no time such as 2026-11-02T09:00:00Z", short(text))),
    };
    let values = columns.iter().zip(fields).filter_map(|(column, text)| match column {
        Some(Column::Value(kind)) if !matches!(text, "" | "n/a" | "-") => Some((*kind, text)),
        _ => None,
    });
    for (of_column, text) in values {
        let kind = of_column.or_else(|| said.and_then(kind)).or(feed.kind);
        let value = kind.map_or_else(|| Value::guess(text), |kind| Value::read(kind, text));
        let listed = |value| Listed { title: of(Column::Title), confidence, valid_until, ..Listed::new(value) };
        take(value.map(listed).ok_or_else(|| format!("line {number}: {}", unusable(text, kind))))?;
    }
    Ok(())
}
