//! Incidents as they were told last, and which findings they have.

use std::collections::HashMap;

use cybervault_model::{Entity, Incident, TenantId};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Row};

use super::{
    Attempt, Store, StoreError,
    assessments::document,
    number, pieces, text,
    view::{clean, json, names},
    writing::Writing,
};
use crate::list::{Field, FieldKind, Resource};

/// What incidents are listed by. Those that have become a part of another are looked up by their ids alone.
pub(crate) static INCIDENTS: Resource = Resource {
    table: "incidents",
    id: "incident_id",
    condition: " AND merged_into = ''",
    fields: &[
        Field::sortable("created_at", FieldKind::Time),
        Field::sortable("updated_at", FieldKind::Time),
        Field::sortable("last_at", FieldKind::Time),
        Field::sortable("risk_score", FieldKind::Number),
        Field::leading("incident_id", FieldKind::Text, "incidents", "incident_id"),
        Field::leading(
            "entity",
            FieldKind::Member(
                "EXISTS (SELECT 1 FROM incident_entities m WHERE m.tenant_id = t.tenant_id \
                 AND m.incident_id = t.incident_id AND ",
                "m.value || ''",
            ),
            "incident_entities",
            "value",
        ),
        Field::leading("severity", FieldKind::Severity, "incidents", "severity"),
        Field::leading("status", FieldKind::Text, "incidents", "status"),
        Field::new("verdict", FieldKind::Text),
        Field::new("assignee", FieldKind::Text),
        Field::new("findings", FieldKind::Number),
        Field::new("tactics", FieldKind::Text),
        Field::new("techniques", FieldKind::Text),
    ],
};

impl Store {
    /// One incident as it was told last. Of one that has become a part of another, `merged_into` is the one that it is a part of now.
    pub(crate) async fn incident(&self, tenant_id: &TenantId, id: &str) -> Result<Option<Box<RawValue>>, StoreError> {
        let what = "looking up an incident";
        let sql = "SELECT document, merged_into FROM incidents WHERE tenant_id = $1 AND incident_id = $2";
        let row = sqlx::query(sql).bind(tenant_id.as_str()).bind(id).fetch_optional(&self.read).await.attempt(what)?;
        let Some(row) = row else { return Ok(None) };
        let (told, merged_into) = (text(&row, 0, what)?, text(&row, 1, what)?);
        if merged_into.is_empty() {
            return document(told).map(Some);
        }
        let mut incident: Incident = serde_json::from_str(&told)
            .map_err(|error| StoreError::Unreadable { what: "an incident", reason: error.to_string() })?;
        incident.merged_into = Some(merged_into);
        document(json(&incident)?).map(Some)
    }

    /// Which incidents findings are of, as far as that is known.
    pub(crate) async fn incidents_of(
        &self,
        tenant_id: &TenantId,
        ids: &[String],
    ) -> Result<HashMap<String, String>, StoreError> {
        let what = "looking up findings' incidents";
        let mut incidents = HashMap::new();
        for piece in pieces(ids) {
            let sql = format!(
                "SELECT assessment_id, incident_id FROM incident_findings WHERE (tenant_id, assessment_id) IN (VALUES {})",
                self.places(piece.len(), 2)
            );
            let bind = sqlx::query(AssertSqlSafe(sql));
            let query = piece.iter().fold(bind, |query, id| query.bind(tenant_id.as_str()).bind(id));
            for row in query.fetch_all(&self.read).await.attempt(what)? {
                incidents.insert(text(&row, 0, what)?, text(&row, 1, what)?);
            }
        }
        Ok(incidents)
    }

    /// The first findings of an incident, as they are stored, the worst first.
    pub(crate) async fn findings_of(
        &self,
        tenant_id: &TenantId,
        id: &str,
        limit: i64,
    ) -> Result<Vec<Box<RawValue>>, StoreError> {
        let what = "looking up an incident's findings";
        let rows = sqlx::query(
            "SELECT a.document FROM incident_findings f JOIN assessments a \
             ON a.tenant_id = f.tenant_id AND a.assessment_id = f.assessment_id \
             WHERE f.tenant_id = $1 AND f.incident_id = $2 ORDER BY a.risk_score DESC, a.created_at, a.assessment_id LIMIT $3",
        );
        let rows = rows.bind(tenant_id.as_str()).bind(id).bind(limit).fetch_all(&self.read).await.attempt(what)?;
        rows.iter().map(|row| document(text(row, 0, what)?)).collect()
    }

    /// What was done about an incident: because of it, or because of one of its findings.
    pub(crate) async fn actions_of_incident(
        &self,
        tenant_id: &TenantId,
        id: &str,
    ) -> Result<Vec<Box<RawValue>>, StoreError> {
        let what = "looking up an incident's actions";
        let rows = sqlx::query(
            "SELECT x.document FROM incident_findings f JOIN actions x \
             ON x.tenant_id = f.tenant_id AND x.assessment_id = f.assessment_id \
             WHERE f.tenant_id = $1 AND f.incident_id = $2 ORDER BY x.created_at, x.action_id LIMIT 100",
        );
        let rows = rows.bind(tenant_id.as_str()).bind(id).fetch_all(&self.read).await.attempt(what)?;
        rows.iter().map(|row| document(text(row, 0, what)?)).collect()
    }

    /// How many incidents of each status a tenant has.
    pub(crate) async fn incident_counts(&self, tenant_id: &TenantId) -> Result<HashMap<String, i64>, StoreError> {
        let what = "counting incidents";
        let sql = "SELECT status, COUNT(*) FROM incidents WHERE tenant_id = $1 AND merged_into = '' GROUP BY status";
        let rows = sqlx::query(sql).bind(tenant_id.as_str()).fetch_all(&self.read).await.attempt(what)?;
        rows.iter().map(|row| Ok((text(row, 0, what)?, number(row, 1, what)?))).collect()
    }

    /// Lands an incident as it was told.
    pub(super) async fn insert_incident(
        &self,
        transaction: &mut Writing,
        seq: i64,
        incident: &Incident,
    ) -> Result<(), StoreError> {
        let what = "inserting an incident";
        let tenant_id = incident.tenant_id.as_str();
        let ids = |ids: Vec<&str>| clean(&ids.join(" "));
        let merged_into = incident.merged_into.as_deref().unwrap_or_default();
        let insert = sqlx::query(
            "INSERT INTO incidents (tenant_id, incident_id, seq, created_at, updated_at, last_at, revision, severity, \
             risk_score, findings, status, verdict, assignee, tactics, techniques, merged_into, document) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
             ON CONFLICT (tenant_id, incident_id) DO UPDATE SET seq = $3, updated_at = $5, last_at = $6, revision = $7, \
             severity = $8, risk_score = $9, findings = $10, status = $11, verdict = $12, assignee = $13, tactics = $14, \
             techniques = $15, merged_into = $16, document = $17 WHERE incidents.revision < $7 RETURNING created_at",
        );
        let row = insert
            .bind(tenant_id)
            .bind(&incident.incident_id)
            .bind(seq)
            .bind(incident.opened_at.as_millis())
            .bind(incident.updated_at.as_millis())
            .bind(incident.last_at.as_millis())
            .bind(i64::try_from(incident.revision).unwrap_or(i64::MAX))
            .bind(incident.severity as i64)
            .bind(i64::from(incident.risk_score.get()))
            .bind(i64::try_from(incident.findings).unwrap_or(i64::MAX))
            .bind(incident.status.as_str())
            .bind(incident.verdict.map_or("", |verdict| verdict.as_str()))
            .bind(clean(incident.assignee.as_deref().unwrap_or_default()))
            .bind(ids(incident.tactics.iter().map(|tactic| &*tactic.tactic_id).collect()))
            .bind(ids(incident.mitre_attack.iter().map(|found| &*found.technique_id).collect()))
            .bind(merged_into)
            .bind(clean(&json(incident)?))
            .fetch_optional(&mut **transaction)
            .await
            .attempt(what)?;
        // One that the store has as it was told later.
        let Some(row) = row else { return Ok(()) };
        let created_at: i64 = row.try_get(0).attempt(what)?;

        let named = incident.entities.iter().map(|entity| Entity { kind: entity.kind, value: entity.value.clone() });
        let entities: Vec<(&'static str, String)> = named
            .flat_map(|entity| names(&entity).map(|(kind, name)| (kind, clean(&name))).collect::<Vec<_>>())
            .collect();
        let columns = "tenant_id, kind, value, created_at, incident_id";
        self.insert_details(transaction, "incident_entities", columns, &entities, |insert, (kind, value)| {
            insert.bind(tenant_id).bind(*kind).bind(value).bind(created_at).bind(&incident.incident_id)
        })
        .await?;

        for piece in pieces(&incident.gained) {
            let sql = format!(
                "INSERT INTO incident_findings (tenant_id, assessment_id, incident_id) VALUES {} \
                 ON CONFLICT (tenant_id, assessment_id) DO UPDATE SET incident_id = excluded.incident_id",
                self.places(piece.len(), 3)
            );
            let mut insert = sqlx::query(AssertSqlSafe(sql));
            for id in piece {
                insert = insert.bind(tenant_id).bind(clean(id)).bind(&incident.incident_id);
            }
            insert.execute(&mut **transaction).await.attempt(what)?;
        }
        if !merged_into.is_empty() {
            for sql in [
                "UPDATE incident_findings SET incident_id = $3 WHERE tenant_id = $1 AND incident_id = $2",
                "UPDATE incidents SET merged_into = $3 WHERE tenant_id = $1 AND merged_into = $2",
            ] {
                let moved = sqlx::query(sql).bind(tenant_id).bind(&incident.incident_id).bind(merged_into);
                moved.execute(&mut **transaction).await.attempt(what)?;
            }
        }
        Ok(())
    }
}
