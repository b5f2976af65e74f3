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
    condition: "",
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
        Field::new(
            "incident_id",
            FieldKind::Member(
                "EXISTS (SELECT 1 FROM incident_findings m WHERE m.tenant_id = t.tenant_id \
                 AND m.assessment_id = t.assessment_id AND ",
                "m.incident_id || ''",
            ),
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
        let mut documents = Vec::with_capacity(shown);
        let mut ids = Vec::with_capacity(shown);
        for row in &rows[..shown] {
            documents.push(text(row, 0, what)?);
            ids.push(text(row, 2, what)?);
        }
        if query.is_of(&ASSESSMENTS) {
            let mut incidents = self.incidents_of(tenant_id, &ids).await?;
            for (document, id) in documents.iter_mut().zip(&ids) {
                add_incident(document, incidents.remove(id));
            }
        }
        let documents = documents.into_iter().map(document).collect::<Result<_, _>>()?;
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
        let Some(row) = row else { return Ok(None) };
        let mut found = text(&row, 0, what)?;
        add_incident(&mut found, self.incidents_of(tenant_id, &[id.to_owned()]).await?.remove(id));
        document(found).map(Some)
    }
}

/// Says in a finding's document which incident it is of, where that is known.
fn add_incident(document: &mut String, incident_id: Option<String>) {
    let Some(incident_id) = incident_id.filter(|_| document.ends_with('}')) else { return };
    document.pop();
    // An id is of letters, digits and `_` alone.
    document.push_str(&format!(",\"incident_id\":\"{incident_id}\"}}"));
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
