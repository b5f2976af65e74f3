//! Whether an event's finding is there already, or another event's under the same id.

use std::collections::HashMap;

use cybervault_model::{Assessment, TenantId, assessment_id};
use serde_json::value::RawValue;
use sqlx::AssertSqlSafe;

use super::{Attempt, MOST_ROWS, Store, StoreError, assessments::document, number, pieces, text, view::clean};

// SQLite takes 500 parts of a `UNION`.
const _: () = assert!(2 * MOST_ROWS <= 500);
/// Rows of one event's id that are looked at: its own finding, one that has the id of an earlier version, and any third one
/// is another event's.
const ROWS: usize = 3;

/// The event that is asked for: its id, and that of its finding.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    tenant_id: TenantId,
    event_id: String,
    assessment_id: String,
}

impl From<&Assessment> for Asked {
    fn from(assessment: &Assessment) -> Self {
        let Assessment { tenant_id, event_id, assessment_id, .. } = assessment;
        Self { tenant_id: tenant_id.clone(), event_id: event_id.clone(), assessment_id: assessment_id.clone() }
    }
}

impl Asked {
    /// Whether a finding of that id is another event's. What versions up to 0.1.0 found has ids that don't tell.
    fn is_others(&self, found: &str) -> bool {
        found != self.assessment_id && found != assessment_id(self.tenant_id.as_str(), &self.event_id, None)
    }
}

/// What is known of an event.
#[derive(Clone, Debug)]
pub(crate) enum KnownEvent {
    /// Nothing.
    New,
    /// Its finding is there.
    Same(Box<RawValue>),
    /// There is a finding of another event with the same id.
    Other,
}

impl Store {
    /// What is known of each of them, in their order.
    pub(crate) async fn known_events(&self, asked: &[Asked]) -> Result<Vec<KnownEvent>, StoreError> {
        let what = "looking for an event";
        let mut answers = Vec::with_capacity(asked.len());
        for piece in pieces(asked) {
            let mut query = sqlx::query(AssertSqlSafe(self.sql(piece.len())));
            for Asked { tenant_id, event_id, assessment_id } in piece {
                query = query.bind(tenant_id.as_str()).bind(assessment_id);
                query = query.bind(tenant_id.as_str()).bind(clean(event_id));
            }
            let mut found: HashMap<usize, KnownEvent> = HashMap::new();
            for row in query.fetch_all(&self.read).await.attempt(what)? {
                let at = usize::try_from(number(&row, 0, what)?).unwrap_or(usize::MAX);
                let (id, text) = (text(&row, 1, what)?, text(&row, 2, what)?);
                if !text.is_empty() {
                    found.insert(at, KnownEvent::Same(document(text)?));
                } else if piece.get(at).is_some_and(|asked| asked.is_others(&id)) {
                    // Its own finding tells more.
                    found.entry(at).or_insert(KnownEvent::Other);
                }
            }
            answers.extend((0..piece.len()).map(|at| found.remove(&at).unwrap_or(KnownEvent::New)));
        }
        Ok(answers)
    }

    /// For each of `count` events two parts: its own finding, and some under the event's id.
    fn sql(&self, count: usize) -> String {
        let place = |at: usize| if self.postgres { format!("${}", at + 1) } else { "?".to_owned() };
        let parts = (0..count).map(|n| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| place(4 * n + at));
            format!(
                "SELECT CAST({n} AS BIGINT), assessment_id, document FROM assessments \
                 WHERE tenant_id = {a} AND assessment_id = {b} UNION ALL \
                 SELECT CAST({n} AS BIGINT), assessment_id, '' FROM (SELECT assessment_id FROM assessments \
                 WHERE tenant_id = {c} AND event_id = {d} LIMIT {ROWS}) of_event_{n}"
            )
        });
        parts.collect::<Vec<_>>().join(" UNION ALL ")
    }
}
