//! Assessments, as they are listed and looked at.

use cybervault_model::TenantId;
use serde_json::value::RawValue;
use sqlx::{Any, AssertSqlSafe, any::AnyArguments, query::Query};

use super::{Attempt, Store, StoreError, number, text};
use crate::list::{Arg, Field, FieldKind, ListQuery, Position, Resource, Sql};

/// What assessments are listed by. What belongs to a row is looked up by the row: no index finds a text that something was
/// appended to, so SQLite does not go through all rows with the value each time.
pub(crate) static ASSESSMENTS: Resource = Resource {
    table: "assessments",
    id: "assessment_id",
    fields: &[
        Field::sortable("created_at", FieldKind::Time),
        Field::new("occurred_at", FieldKind::Time),
        Field::sortable("risk_score", FieldKind::Number),
        Field::leading("assessment_id", FieldKind::Text, "assessments", "assessment_id"),
        Field::leading("event_id", FieldKind::Text, "assessments", "event_id"),
        Field::leading(
            "entity",
            FieldKind::Member(
                "EXISTS (SELECT 1 FROM assessment_entities m WHERE m.tenant_id = t.tenant_id \
                 AND m.assessment_id = t.assessment_id AND ",
                "m.value || ''",
            ),
            "assessment_entities",
            "value",
        ),
        Field::leading(
            "technique",
            FieldKind::Member(
                "EXISTS (SELECT 1 FROM assessment_attack m WHERE m.tenant_id = t.tenant_id \
                 AND m.assessment_id = t.assessment_id AND ",
                "m.technique_id || ''",
            ),
            "assessment_attack",
            "technique_id",
        ),
        Field::leading("severity", FieldKind::Severity, "assessments", "severity"),
        Field::new("verdict", FieldKind::Text),
        Field::new("rules", FieldKind::Text),
        Field::new(
            "tactic",
            FieldKind::Member(
                "EXISTS (SELECT 1 FROM assessment_attack m WHERE m.tenant_id = t.tenant_id \
                 AND m.assessment_id = t.assessment_id AND ",
                "m.tactic_id || ''",
            ),
        ),
    ],
};

/// A page of documents.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) documents: Vec<Box<RawValue>>,
    pub(crate) next_cursor: Option<String>,
}

impl Store {
    /// A page of what `query` asks for. With a filter there may be fewer on it, even none, though more follow.
    pub(crate) async fn list(&self, query: &ListQuery, tenant_id: &TenantId) -> Result<Page, StoreError> {
        let what = "listing";
        let mut ends = Vec::new();
        for sql in query.ends(tenant_id) {
            if let Some(row) = bound(&sql).fetch_optional(&self.read).await.attempt(what)? {
                ends.push(Position { value: number(&row, 0, what)?, id: text(&row, 1, what)? });
            }
        }
        let end = query.first(ends);
        let sql = query.sql(tenant_id, end.as_ref());
        let rows = bound(&sql).fetch_all(&self.read).await.attempt(what)?;
        let shown = rows.len().min(query.limit as usize);
        let documents = rows[..shown].iter().map(|row| document(text(row, 0, what)?)).collect::<Result<_, _>>()?;
        let last = match rows.get(shown).and(rows[..shown].last()) {
            Some(last) => Some(Position { value: number(last, 1, what)?, id: text(last, 2, what)? }),
            None => end,
        };
        let next_cursor = last.map(|last| query.cursor(&last, tenant_id, &self.cursor_key));
        Ok(Page { documents, next_cursor })
    }

    /// One assessment.
    pub(crate) async fn assessment(&self, tenant_id: &TenantId, id: &str) -> Result<Option<Box<RawValue>>, StoreError> {
        let what = "looking up an assessment";
        let sql = "SELECT document FROM assessments WHERE tenant_id = $1 AND assessment_id = $2";
        let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_optional(&self.read).await.attempt(what)?;
        row.map(|row| document(text(&row, 0, what)?)).transpose()
    }
}

/// The statement with its values.
pub(super) fn bound(sql: &Sql) -> Query<'_, Any, AnyArguments> {
    // The text is put together from our own tables alone; see `list::filter`.
    let query = sqlx::query(AssertSqlSafe(sql.text.clone()));
    sql.args.iter().fold(query, |query, arg| match arg {
        Arg::Number(number) => query.bind(*number),
        Arg::Text(text) => query.bind(text),
    })
}

/// A stored document, as it is.
pub(super) fn document(text: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(text)
        .map_err(|error| StoreError::Unreadable { what: "a document", reason: error.to_string() })
}
