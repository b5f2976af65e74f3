//! Lists: `limit`, `cursor`, `sort` and `filter` become one bounded SQL statement with bound parameters.
//!
//! A page ends where its last row lies in the order, not after a number of rows: rows that arrive meanwhile neither
//! repeat nor hide others.
//!
//! A filter is tried on a bounded number of rows a request, whatever it asks: those up to an end that the index tells, and
//! the page's cursor goes on from there. Where it asks for one value of a field that leads, these are rows that have it.

mod cursor;
mod filter;

use cybervault_model::{Severity, TenantId, Timestamp};

pub(crate) use self::cursor::Position;
use self::filter::Filter;

/// Rows a page without `limit`.
const DEFAULT_LIMIT: u32 = 50;
/// Rows a page at most.
pub(crate) const MAX_LIMIT: u32 = 200;

/// Rows that a filter is tried on in a request.
const TRIED: usize = 10_000;
/// The same where each is looked up by itself.
const LED: usize = 500;
/// Values that a field may lead by: each is looked up by itself, too.
const LEADING_VALUES: usize = 2;

/// What a list shows.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) table: &'static str,
    pub(crate) id: &'static str,
    /// What holds of all that is listed, beginning with ` AND `; nothing where all rows are.
    pub(crate) condition: &'static str,
    pub(crate) fields: &'static [Field],
}

/// What can be filtered by, and perhaps sorted by.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: FieldKind,
    pub(crate) sortable: bool,
    pub(crate) lead: Option<Lead>,
}

/// A table with an index by tenant, this column, `created_at` and the list's id: it leads to the rows with a value, in order.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldKind {
    Text,
    Number,
    Time,
    Severity,
    /// One of several: the SQL up to the condition on one of them, and the column that it is about.
    Member(&'static str, &'static str),
}

impl Field {
    pub(crate) const fn new(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, sortable: false, lead: None }
    }

    pub(crate) const fn leading(
        name: &'static str,
        kind: FieldKind,
        table: &'static str,
        column: &'static str,
    ) -> Self {
        Self { name, kind, sortable: false, lead: Some(Lead { table, column }) }
    }

    pub(crate) const fn sortable(name: &'static str, kind: FieldKind) -> Self {
        Self { name, kind, sortable: true, lead: None }
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

    /// Adds places for all of them, in parentheses.
    pub(crate) fn bind_all(&mut self, args: &[Arg]) {
        self.push("(");
        for (n, arg) in args.iter().enumerate() {
            if n > 0 {
                self.push(", ");
            }
            self.bind(arg.clone());
        }
        self.push(")");
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

    /// Whether it lists these.
    pub(crate) fn is_of(&self, resource: &'static Resource) -> bool {
        std::ptr::eq(self.resource, resource)
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

    /// The statement: document, sort value and id of one row more than the page has, up to `end`.
    pub(crate) fn sql(&self, tenant_id: &TenantId, end: Option<&Position>) -> Sql {
        let Resource { table, id, condition, .. } = self.resource;
        let order = self.order();
        let mut sql = Sql::default();
        sql.push(&format!("SELECT document, {}, {id} FROM ", self.sort));
        let lead = self.lead();
        if let Some((Lead { table, column }, values)) = &lead {
            // A value of two kinds leads to a row twice. By the time, too, since SQLite takes the index that has what is distinct
            // in order, though it be that of all rows.
            sql.push(&format!("(SELECT DISTINCT created_at AS led_at, {id} AS led FROM {table} WHERE tenant_id = "));
            sql.bind(Arg::Text(tenant_id.to_string()));
            sql.push(&format!(" AND {column} IN "));
            sql.bind_all(values);
            self.push_bounds(&mut sql, end);
            // SQLite takes the tables of a cross join as they come; else it might begin with all that the filter lets pass.
            sql.push(") l CROSS JOIN ");
        }
        sql.push(&format!("{table} t WHERE tenant_id = "));
        sql.bind(Arg::Text(tenant_id.to_string()));
        if lead.is_some() {
            sql.push(&format!(" AND {id} = led"));
        } else {
            self.push_bounds(&mut sql, end);
        }
        sql.push(condition);
        if let Some(filter) = &self.filter {
            sql.push(" AND ");
            filter.write(&mut sql);
        }
        sql.push(&format!(" ORDER BY {} {order}, {id} {order} LIMIT ", self.sort));
        sql.bind(Arg::Number(i64::from(self.limit) + 1));
        sql
    }

    /// The statements that tell the last of the rows that the filter is tried on, each by one value that leads. The first
    /// of these in the list's order is the end, and where there is none, there are no more rows.
    pub(crate) fn ends(&self, tenant_id: &TenantId) -> Vec<Sql> {
        if self.filter.is_none() {
            return Vec::new();
        }
        let end = |table: &str, value: Option<(&str, &Arg)>, rows: usize| {
            let (id, order) = (self.resource.id, self.order());
            let mut sql = Sql::default();
            sql.push(&format!("SELECT {}, {id} FROM {table} WHERE tenant_id = ", self.sort));
            sql.bind(Arg::Text(tenant_id.to_string()));
            if let Some((column, value)) = value {
                sql.push(&format!(" AND {column} = "));
                sql.bind(value.clone());
            }
            self.push_bounds(&mut sql, None);
            sql.push(&format!(" ORDER BY {} {order}, {id} {order} LIMIT 1 OFFSET ", self.sort));
            sql.bind(Arg::Number(i64::try_from(rows - 1).unwrap_or(i64::MAX)));
            sql
        };
        match self.lead() {
            Some((lead, values)) => {
                // Where nothing else is asked for, all rows that are led to are the page's.
                let is_all = self.filter.as_ref().is_some_and(Filter::is_single);
                let rows = if is_all { self.limit as usize + 1 } else { LED };
                values.iter().map(|value| end(lead.table, Some((lead.column, value)), rows)).collect()
            }
            None => vec![end(self.resource.table, None, TRIED)],
        }
    }

    /// The end that comes first in the list's order.
    pub(crate) fn first(&self, ends: Vec<Position>) -> Option<Position> {
        if self.descending { ends.into_iter().max() } else { ends.into_iter().min() }
    }

    /// After the page before and not after `end`, within what the filter says of the order's own column.
    fn push_bounds(&self, sql: &mut Sql, end: Option<&Position>) {
        if let Some(filter) = &self.filter {
            filter.write_bounds_of(self.sort, sql);
        }
        let (after, up_to) = if self.descending { ("<", ">=") } else { (">", "<=") };
        for (sign, bound) in [(after, self.after.as_ref()), (up_to, end)] {
            let Some(bound) = bound else { continue };
            sql.push(&format!(" AND ({}, {}) {sign} (", self.sort, self.resource.id));
            sql.bind(Arg::Number(bound.value));
            sql.push(", ");
            sql.bind(Arg::Text(bound.id.clone()));
            sql.push(")");
        }
    }

    const fn order(&self) -> &'static str {
        if self.descending { "DESC" } else { "ASC" }
    }

    /// The first field that leads to what the filter asks for, and the values that it has to have. The tables that lead are
    /// ordered by `created_at` alone.
    fn lead(&self) -> Option<(&'static Lead, Vec<Arg>)> {
        let filter = self.filter.as_ref().filter(|_| self.sort == "created_at")?;
        self.resource.fields.iter().find_map(|field| {
            let values = filter.values_of(field)?;
            (values.len() <= LEADING_VALUES).then_some((field.lead.as_ref()?, values))
        })
    }

    /// The cursor to the page after the one that ends at `last`.
    pub(crate) fn cursor(&self, last: &Position, tenant_id: &TenantId, key: &[u8; 32]) -> String {
        last.seal(&self.context(tenant_id), key)
    }

    /// What a cursor is good for: a cursor of another tenant, list, order or filter is none.
    fn context(&self, tenant_id: &TenantId) -> String {
        format!("{tenant_id}\n{}\n{}:{}\n{}", self.resource.table, self.sort, self.order(), self.filter_text)
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

/// The rank of the highest severity.
const HIGHEST_SEVERITY: i64 = Severity::Critical as i64;

fn severity_rank(name: &str) -> Option<i64> {
    let at = Severity::ALL.iter().position(|severity| severity.as_str() == name)?;
    i64::try_from(at).ok()
}

fn millis(text: &str) -> Option<i64> {
    Timestamp::parse(text).map(Timestamp::as_millis)
}
