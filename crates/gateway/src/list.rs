//! Lists: `limit`, `cursor`, `sort` and `filter` become one bounded SQL statement with bound parameters.
//!
//! A page ends where its last row lies in the order, not after a number of rows: rows that arrive meanwhile neither
//! repeat nor hide others.

mod cursor;
mod filter;

use cybervault_model::{Severity, TenantId, Timestamp};

pub(crate) use self::cursor::Position;
use self::filter::Filter;

/// Rows a page without `limit`.
const DEFAULT_LIMIT: u32 = 50;
/// Rows a page at most.
pub(crate) const MAX_LIMIT: u32 = 200;

/// What a list shows.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) table: &'static str,
    pub(crate) id: &'static str,
    pub(crate) fields: &'static [Field],
}

/// What can be filtered by, and perhaps sorted by.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: FieldKind,
    pub(crate) sortable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldKind {
    Text,
    Number,
    Time,
    Severity,
    /// One of several: the SQL up to the value that the row has to have.
    Member(&'static str),
}

impl Field {
    pub(crate) const fn new(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, sortable: false }
    }

    pub(crate) const fn sortable(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, sortable: true }
    }
}

/// A value to be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    Number(i64),
    Text(String),
}

/// SQL with the values that belong to its places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) args: Vec<Arg>,
}

impl Sql {
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds a place, and the value for it.
    pub(crate) fn bind(&mut self, arg: Arg) {
        self.args.push(arg);
        self.text.push_str(&format!("${}", self.args.len()));
    }
}

/// Why a list can't be shown as asked: what to tell the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadQuery(pub(crate) String);

/// One page of a list, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    resource: &'static Resource,
    pub(crate) limit: u32,
    sort: &'static str,
    descending: bool,
    filter: Option<Filter>,
    filter_text: String,
    after: Option<Position>,
}

impl ListQuery {
    /// The first page of `limit` rows.
    pub(crate) fn new(resource: &'static Resource, limit: u32, sort: &str, filter: &str) -> Result<Self, BadQuery> {
        let (sort, descending) = read_sort(resource, sort)?;
        let (filter, filter_text) = (Some(Filter::parse(resource, filter)?), filter.to_owned());
        Ok(Self { limit, sort, descending, filter, filter_text, ..Self::newest(resource) })
    }

    fn newest(resource: &'static Resource) -> Self {
        Self {
            resource,
            limit: DEFAULT_LIMIT,
            sort: "created_at",
            descending: true,
            filter: None,
            filter_text: String::new(),
            after: None,
        }
    }

    /// Reads the query of a URL.
    pub(crate) fn parse(
        resource: &'static Resource,
        query: &str,
        tenant_id: &TenantId,
        key: &[u8; 32],
    ) -> Result<Self, BadQuery> {
        let mut list = Self::newest(resource);
        let mut cursor = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    list.limit = limit.ok_or_else(|| BadQuery(format!("`limit` must be 1 to {MAX_LIMIT}")))?;
                }
                "sort" => (list.sort, list.descending) = read_sort(resource, &value)?,
                "filter" => {
                    list.filter = Some(Filter::parse(resource, &value)?);
                    list.filter_text = value.into_owned();
                }
                "cursor" => cursor = Some(value.into_owned()),
                other => {
                    let other: String = other.chars().take(64).collect();
                    return Err(BadQuery(format!(
                        "there is no parameter `{other}`; there are limit, cursor, sort and filter"
                    )));
                }
            }
        }
        if let Some(cursor) = cursor {
            let position = Position::open(&cursor, &list.context(tenant_id), key);
            list.after = Some(position.ok_or_else(|| {
                BadQuery(
                    "`cursor` is none of this list's: take `next_cursor` as it came, with the same sort and filter"
                        .into(),
                )
            })?);
        }
        Ok(list)
    }

    /// The statement: document, sort value and id of one row more than the page has.
    pub(crate) fn sql(&self, tenant_id: &TenantId) -> Sql {
        let Resource { table, id, .. } = self.resource;
        let (order, beyond) = if self.descending { ("DESC", "<") } else { ("ASC", ">") };
        let mut sql = Sql::default();
        sql.push(&format!("SELECT document, {}, {id} FROM {table} t WHERE tenant_id = ", self.sort));
        sql.bind(Arg::Text(tenant_id.to_string()));
        if let Some(filter) = &self.filter {
            sql.push(" AND ");
            filter.write(&mut sql);
        }
        if let Some(after) = &self.after {
            sql.push(&format!(" AND ({}, {id}) {beyond} (", self.sort));
            sql.bind(Arg::Number(after.value));
            sql.push(", ");
            sql.bind(Arg::Text(after.id.clone()));
            sql.push(")");
        }
        sql.push(&format!(" ORDER BY {} {order}, {id} {order} LIMIT ", self.sort));
        sql.bind(Arg::Number(i64::from(self.limit) + 1));
        sql
    }

    /// The cursor to the page after the one that ends at `last`.
    pub(crate) fn cursor(&self, last: &Position, tenant_id: &TenantId, key: &[u8; 32]) -> String {
        last.seal(&self.context(tenant_id), key)
    }

    /// What a cursor is good for: a cursor of another tenant, list, order or filter is none.
    fn context(&self, tenant_id: &TenantId) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        format!("{tenant_id}\n{}\n{}:{order}\n{}", self.resource.table, self.sort, self.filter_text)
    }
}

fn read_sort(resource: &'static Resource, value: &str) -> Result<(&'static str, bool), BadQuery> {
    let (name, order) = value.split_once(':').unwrap_or((value, "asc"));
    let field = resource.fields.iter().find(|field| field.sortable && field.name == name);
    match (field, order) {
        (Some(field), "asc") => Ok((field.name, false)),
        (Some(field), "desc") => Ok((field.name, true)),
        _ => {
            let names: Vec<&str> =
                resource.fields.iter().filter(|field| field.sortable).map(|field| field.name).collect();
            let value: String = value.chars().take(64).collect();
            Err(BadQuery(format!(
                "`sort` can't be `{value}`; it is one of {}, then `:asc` or `:desc`",
                names.join(", ")
            )))
        }
    }
}

fn severity_rank(name: &str) -> Option<i64> {
    let at = Severity::ALL.iter().position(|severity| severity.as_str() == name)?;
    i64::try_from(at).ok()
}

fn millis(text: &str) -> Option<i64> {
    Timestamp::parse(text).map(Timestamp::as_millis)
}
