//! Counts over a period: what reports and dashboards are made of.

use std::collections::BTreeMap;

use cybervault_model::{Severity, TenantId, Timestamp};

use super::{Attempt, Store, StoreError, number, text};

/// What happened to a tenant in a period.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// By severity, from the lowest.
    pub(crate) findings: [i64; Severity::ALL.len()],
    /// Entities about which something was found.
    pub(crate) entities: i64,
    /// Techniques that were found.
    pub(crate) techniques: i64,
    /// Actions by kind and state.
    pub(crate) actions: BTreeMap<(String, String), i64>,
    /// Actions that a person decided on.
    pub(crate) decided_by_people: i64,
    /// How long these waited, on average.
    pub(crate) mean_decision_ms: Option<i64>,
    /// Events that were not admitted.
    pub(crate) rejected: i64,
}

impl Facts {
    pub(crate) fn all_findings(&self) -> i64 {
        self.findings.iter().sum()
    }

    pub(crate) fn actions_in(&self, state: &str) -> i64 {
        self.actions.iter().filter(|((_, found), _)| found == state).map(|(_, count)| count).sum()
    }
}

impl Store {
    /// Counts what happened from `from` on and before `to`.
    pub(crate) async fn facts(
        &self,
        tenant_id: &TenantId,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Facts, StoreError> {
        let what = "counting for a report";
        let of =
            |sql: &'static str| sqlx::query(sql).bind(tenant_id.as_str()).bind(from.as_millis()).bind(to.as_millis());
        let mut facts = Facts::default();
        let period = "SELECT severity, COUNT(*) FROM assessments \
                      WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 GROUP BY severity";
        for row in of(period).fetch_all(&self.read).await.attempt(what)? {
            let severity = usize::try_from(number(&row, 0, what)?).unwrap_or(usize::MAX);
            if let Some(count) = facts.findings.get_mut(severity) {
                *count = number(&row, 1, what)?;
            }
        }
        let entities = "SELECT COUNT(*) FROM (SELECT DISTINCT kind, value FROM assessment_entities \
                        WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND kind <> 'host_name') e";
        facts.entities = number(&of(entities).fetch_one(&self.read).await.attempt(what)?, 0, what)?;
        let techniques = "SELECT COUNT(DISTINCT technique_id) FROM assessment_attack \
                          WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND technique_id <> ''";
        facts.techniques = number(&of(techniques).fetch_one(&self.read).await.attempt(what)?, 0, what)?;
        let actions = "SELECT kind, state, COUNT(*) FROM actions \
                       WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 GROUP BY kind, state";
        for row in of(actions).fetch_all(&self.read).await.attempt(what)? {
            facts.actions.insert((text(&row, 0, what)?, text(&row, 1, what)?), number(&row, 2, what)?);
        }
        let people = "SELECT COUNT(*), CAST(COALESCE(SUM(updated_at - created_at), 0) AS BIGINT) FROM actions \
                      WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND state IN ('approved', 'denied') \
                      AND decided_by NOT LIKE 'playbook:%' AND decided_by NOT IN ('guardrail', 'clock')";
        let row = of(people).fetch_one(&self.read).await.attempt(what)?;
        facts.decided_by_people = number(&row, 0, what)?;
        facts.mean_decision_ms = number(&row, 1, what)?.checked_div(facts.decided_by_people);
        let rejected = "SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT) FROM rejections \
                        WHERE tenant_id = $1 AND minute >= $2 AND minute < $3";
        facts.rejected = number(&of(rejected).fetch_one(&self.read).await.attempt(what)?, 0, what)?;
        Ok(facts)
    }

    /// Findings a minute since `from`, the oldest first; minutes without any are left out.
    pub(crate) async fn findings_by_minute(
        &self,
        tenant_id: &TenantId,
        from: Timestamp,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let what = "counting findings";
        let rows = sqlx::query(
            "SELECT created_at / 60000, COUNT(*) FROM assessments WHERE tenant_id = $1 AND created_at >= $2 \
             GROUP BY created_at / 60000 ORDER BY 1 LIMIT 1500",
        )
        .bind(tenant_id.as_str())
        .bind(from.as_millis())
        .fetch_all(&self.read)
        .await
        .attempt(what)?;
        rows.iter().map(|row| Ok((number(row, 0, what)? * 60_000, number(row, 1, what)?))).collect()
    }
}
