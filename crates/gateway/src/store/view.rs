//! Records of the result topics become rows, in the transaction that moves the offsets on.
//!
//! The offsets in the database are the only ones there are. A transaction names the offset that each partition has to
//! stand at: where another replica has been faster, nothing of it is written.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use cybervault_model::{
    Assessment, Contribution, Entity, Incident, QuotaRejection, ResponseAction, Score, Severity, SourceReport,
    Timestamp,
};
use metrics::counter;
use serde::{Deserialize, Serialize};
use sqlx::{Any, AssertSqlSafe, any::AnyArguments, query::Query};

use super::{Attempt, Store, StoreError, number, pieces, sources::SourceSums, text, writing::Writing};

/// The lease of whoever writes the view.
const WRITER: &str = "view";
/// How long it holds without being renewed.
const LEASE_MS: i64 = 6_000;

/// A record of a result topic.
#[derive(Debug)]
pub(crate) enum Landed {
    Assessment { assessment: Box<Assessment>, created_at: Timestamp },
    Action(Box<ResponseAction>),
    Incident(Box<Incident>),
    Rejection(Box<QuotaRejection>),
    Sources(Box<SourceReport>),
}

/// The next offset of each partition, by topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), i64>;

/// Records to be landed, and how far they take their partitions.
#[derive(Debug, Default)]
pub(crate) struct ViewBatch {
    pub(crate) landed: Vec<Landed>,
    /// From where to where, each partition.
    pub(crate) moves: BTreeMap<(String, i32), (i64, i64)>,
}

/// An assessment as the API shows it: with the time at which it was found, which its record carries.
#[derive(Debug, Serialize)]
pub(crate) struct Finding<'a> {
    #[serde(flatten)]
    pub(crate) assessment: &'a Assessment,
    pub(crate) created_at: Timestamp,
}

impl Finding<'_> {
    pub(crate) fn json(&self) -> Result<String, StoreError> {
        json(self)
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Unreadable { what: "a document", reason: error.to_string() })
}

impl Store {
    /// Takes the lease to write the view. Whether `holder` has it.
    pub(crate) async fn lease_view(&self, holder: &str, now: Timestamp) -> Result<bool, StoreError> {
        let lease = sqlx::query(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
             SET holder = $2, until = $3 WHERE leases.holder = $2 OR leases.until < $4",
        );
        let lease = lease.bind(WRITER).bind(holder).bind(now.as_millis() + LEASE_MS).bind(now.as_millis());
        Ok(lease.execute(&self.write).await.attempt("taking the lease of the view")?.rows_affected() == 1)
    }

    /// Renews the lease. Not where there is none any more: then the view was emptied, and has to be begun anew.
    pub(crate) async fn renew_view(&self, holder: &str, now: Timestamp) -> Result<bool, StoreError> {
        let renew = sqlx::query("UPDATE leases SET until = $3 WHERE name = $1 AND holder = $2");
        let renew = renew.bind(WRITER).bind(holder).bind(now.as_millis() + LEASE_MS);
        Ok(renew.execute(&self.write).await.attempt("renewing the lease of the view")?.rows_affected() == 1)
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub(crate) async fn release_view(&self, holder: &str) -> Result<(), StoreError> {
        let release = sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2").bind(WRITER).bind(holder);
        release.execute(&self.write).await.attempt("giving back the lease of the view")?;
        Ok(())
    }

    /// How far the view has come.
    pub(crate) async fn view_offsets(&self) -> Result<Offsets, StoreError> {
        let what = "reading offsets";
        let sql = "SELECT topic, part, next_offset FROM consumer_offsets";
        let rows = sqlx::query(sql).fetch_all(&self.write).await.attempt(what)?;
        rows.iter()
            .map(|row| {
                let partition = i32::try_from(number(row, 1, what)?).unwrap_or(i32::MAX);
                Ok(((text(row, 0, what)?, partition), number(row, 2, what)?))
            })
            .collect()
    }

    /// Lands a batch whole. `false`, and nothing is written, where `holder` has lost the lease or a partition does not
    /// stand where the batch begins.
    pub(crate) async fn land(&self, holder: &str, batch: &ViewBatch) -> Result<bool, StoreError> {
        let what = "landing records";
        let mut transaction = self.begin(what).await?;
        // Locks the row: those who would write the view at once come one after the other.
        let renew = sqlx::query("UPDATE leases SET until = until WHERE name = $1 AND holder = $2");
        let renewed = renew.bind(WRITER).bind(holder).execute(&mut *transaction).await.attempt(what)?;
        if renewed.rows_affected() != 1 || !move_offsets(&mut transaction, batch).await? {
            transaction.rollback(what).await?;
            return Ok(false);
        }
        let is_fed =
            |landed: &&Landed| matches!(landed, Landed::Assessment { .. } | Landed::Action(_) | Landed::Incident(_));
        let count = batch.landed.iter().filter(is_fed).count();
        let mut seq = reserve(&mut transaction, count).await?;
        let mut next = || {
            seq += 1;
            seq
        };
        let (mut findings, mut actions, mut rejections) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut incidents = Vec::new();
        let mut sources = SourceSums::default();
        let mut repeated = Repeated::default();
        for landed in &batch.landed {
            match landed {
                Landed::Assessment { assessment, created_at } => {
                    let (id, seq) = ((&assessment.tenant_id, &assessment.assessment_id), next());
                    match findings.entry(id) {
                        Entry::Vacant(place) => _ = place.insert((seq, &**assessment, *created_at)),
                        Entry::Occupied(first) => repeated.add(Said::by(first.get().1).as_ref(), assessment),
                    }
                }
                Landed::Action(action) => actions.push((next(), &**action)),
                Landed::Incident(incident) => incidents.push((next(), &**incident)),
                Landed::Rejection(rejection) => add_rejection(&mut rejections, rejection),
                Landed::Sources(report) => sources.add(report),
            }
        }
        let mut findings: Vec<_> = findings.into_values().collect();
        self.leave_known(&mut transaction, &mut findings, &mut repeated).await?;
        for piece in pieces(&findings) {
            self.insert_findings(&mut transaction, piece).await?;
        }
        for (seq, action) in actions {
            insert_action(&mut transaction, seq, action).await?;
        }
        for (seq, incident) in incidents {
            self.insert_incident(&mut transaction, seq, incident).await?;
        }
        sources.insert(&mut transaction).await?;
        for ((tenant_id, minute, reason), sum) in rejections {
            insert_rejections(&mut transaction, (tenant_id, minute, reason), &sum).await?;
        }
        transaction.commit(what).await?;
        repeated.tell();
        Ok(true)
    }

    /// Empties the view, so that it is built anew from the topics' beginning.
    ///
    /// # Errors
    /// When a statement fails; the view is then as it was.
    pub async fn empty_view(&self) -> Result<(), StoreError> {
        let what = "emptying the view";
        let mut transaction = self.begin(what).await?;
        for table in [
            "assessments",
            "assessment_entities",
            "assessment_attack",
            "actions",
            "action_states",
            "incidents",
            "incident_entities",
            "incident_findings",
            "rejections",
            "source_hours",
            "log_sources",
            "unknown_keys",
            "consumer_offsets",
            "leases",
        ] {
            let empty = sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}")));
            empty.execute(&mut *transaction).await.attempt(what)?;
        }
        transaction.commit(what).await
    }
}

async fn move_offsets(transaction: &mut Writing, batch: &ViewBatch) -> Result<bool, StoreError> {
    for ((topic, partition), (from, to)) in &batch.moves {
        let moved = sqlx::query(
            "INSERT INTO consumer_offsets (topic, part, next_offset) VALUES ($1, $2, $4) \
             ON CONFLICT (topic, part) DO UPDATE SET next_offset = $4 WHERE consumer_offsets.next_offset = $3",
        );
        let moved = moved.bind(topic).bind(i64::from(*partition)).bind(*from).bind(*to);
        if moved.execute(&mut **transaction).await.attempt("moving offsets")?.rows_affected() != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes `count` places in the feed, and returns the last one before them.
async fn reserve(transaction: &mut Writing, count: usize) -> Result<i64, StoreError> {
    let what = "taking places in the feed";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let reserve = sqlx::query(
        "INSERT INTO counters (name, value) VALUES ('feed', $1) \
         ON CONFLICT (name) DO UPDATE SET value = counters.value + $1 RETURNING value",
    );
    let row = reserve.bind(count).fetch_one(&mut **transaction).await.attempt(what)?;
    Ok(number(&row, 0, what)? - count)
}

/// By what names an entity is looked up. A host's short and its fully qualified name are those of one host; what an event called it
/// leads to that event alone.
pub(super) fn names(entity: &Entity) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    let own = (entity.kind.as_str(), entity.identity());
    let called = (own.1 != entity.value).then(|| ("host_name", Cow::Borrowed(&*entity.value)));
    std::iter::once(own).chain(called)
}

type Numbered<'a> = (i64, &'a Assessment, Timestamp);

impl Store {
    /// Findings that the store has not; each stands in `findings` once.
    async fn insert_findings(&self, transaction: &mut Writing, findings: &[Numbered<'_>]) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO assessments (tenant_id, assessment_id, seq, created_at, occurred_at, event_id, risk_score, severity, \
             verdict, rules, document) VALUES {}",
            self.places(findings.len(), 11)
        );
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for (seq, found, created_at) in findings {
            let rules: Vec<&str> = found.contributions.iter().map(|reason| &*reason.id).collect();
            insert = insert
                .bind(found.tenant_id.as_str())
                .bind(&found.assessment_id)
                .bind(*seq)
                .bind(created_at.as_millis())
                .bind(found.occurred_at.map(Timestamp::as_millis))
                .bind(clean(&found.event_id))
                .bind(i64::from(found.risk_score.get()))
                .bind(found.severity as i64)
                .bind(found.verdict.as_str())
                .bind(clean(&rules.join(" ")))
                .bind(Finding { assessment: found, created_at: *created_at }.json()?);
        }
        insert.execute(&mut **transaction).await.attempt("inserting assessments")?;

        let entities: Vec<_> = findings
            .iter()
            .flat_map(|(_, found, at)| {
                found.entities.iter().flat_map(names).map(move |(kind, value)| (*found, *at, kind, value))
            })
            .collect();
        let columns = "tenant_id, kind, value, created_at, assessment_id";
        self.insert_details(
            transaction,
            "assessment_entities",
            columns,
            &entities,
            |insert, (found, at, kind, value)| {
                insert
                    .bind(found.tenant_id.as_str())
                    .bind(*kind)
                    .bind(clean(value))
                    .bind(at.as_millis())
                    .bind(&found.assessment_id)
            },
        )
        .await?;

        let attack: Vec<_> = findings
            .iter()
            .flat_map(|(_, found, at)| found.mitre_attack.iter().map(move |reference| (*found, *at, reference)))
            .collect();
        let columns = "tenant_id, created_at, assessment_id, tactic_id, tactic, technique_id, technique, risk_score";
        self.insert_details(transaction, "assessment_attack", columns, &attack, |insert, (found, at, reference)| {
            insert
                .bind(found.tenant_id.as_str())
                .bind(at.as_millis())
                .bind(&found.assessment_id)
                .bind(&*reference.tactic_id)
                .bind(&*reference.tactic)
                .bind(&*reference.technique_id)
                .bind(&*reference.technique)
                .bind(i64::from(found.risk_score.get()))
        })
        .await
    }

    /// Inserts rows of which `bind` gives a statement the columns; those that are there already are left.
    pub(super) async fn insert_details<'q, T>(
        &self,
        transaction: &mut Writing,
        table: &'static str,
        columns: &str,
        rows: &'q [T],
        bind: impl Fn(Query<'q, Any, AnyArguments>, &'q T) -> Query<'q, Any, AnyArguments>,
    ) -> Result<(), StoreError> {
        for piece in pieces(rows) {
            let places = self.places(piece.len(), columns.split(", ").count());
            let sql = format!("INSERT INTO {table} ({columns}) VALUES {places} ON CONFLICT DO NOTHING");
            let insert = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), &bind);
            insert.execute(&mut **transaction).await.attempt("inserting what belongs to assessments")?;
        }
        Ok(())
    }

    /// Takes those out of `findings` that the store has: what was found is evidence, and stays as it was first said, whatever
    /// comes later under its id. Most are not there.
    async fn leave_known(
        &self,
        transaction: &mut Writing,
        findings: &mut Vec<Numbered<'_>>,
        repeated: &mut Repeated,
    ) -> Result<(), StoreError> {
        let what = "looking for assessments that come again";
        let mut known = BTreeMap::new();
        for piece in pieces(findings) {
            let sql = format!(
                "SELECT tenant_id, assessment_id, document FROM assessments \
                 WHERE (tenant_id, assessment_id) IN (VALUES {})",
                self.places(piece.len(), 2)
            );
            let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, (_, found, _)| {
                query.bind(found.tenant_id.as_str()).bind(&found.assessment_id)
            });
            for row in query.fetch_all(&mut **transaction).await.attempt(what)? {
                known.insert((text(&row, 0, what)?, text(&row, 1, what)?), text(&row, 2, what)?);
            }
        }
        if !known.is_empty() {
            findings.retain(|(_, found, _)| {
                let id = (found.tenant_id.as_str().to_owned(), found.assessment_id.clone());
                let Some(document) = known.get(&id) else { return true };
                // Even one that can't be read was there first.
                repeated.add(serde_json::from_str(document).ok().as_ref(), found);
                false
            });
        }
        Ok(())
    }
}

/// What an assessment says of its event. Which rules were in force and, where the event does not say, when it happened, may
/// differ from one time to the next that the same event is looked at.
#[derive(Debug, PartialEq, Deserialize)]
struct Said {
    event_id: String,
    risk_score: Score,
    severity: Severity,
    contributions: Vec<Contribution>,
    entities: Vec<Entity>,
}

impl Said {
    /// By way of JSON, as it is stored: a number may be read as its neighbour.
    fn by(assessment: &Assessment) -> Option<Self> {
        serde_json::from_str(&json(assessment).ok()?).ok()
    }
}

/// Assessments that came under an id that the view had, and were left.
#[derive(Debug, Default)]
struct Repeated {
    same: u64,
    /// Those that said something else, and the first of them.
    other: u64,
    example: Option<String>,
}

impl Repeated {
    fn add(&mut self, first: Option<&Said>, later: &Assessment) {
        if Said::by(later).as_ref() == first {
            self.same += 1;
            return;
        }
        self.other += 1;
        self.example.get_or_insert_with(|| {
            let stays = first.map(|first| first.risk_score).unwrap_or_default();
            let Assessment { assessment_id, tenant_id, risk_score, .. } = later;
            format!("{assessment_id} of tenant {tenant_id}: risk {stays} stays, {risk_score} is left")
        });
    }

    /// Counts and logs them, once the batch is committed.
    fn tell(self) {
        let Self { same, other, example } = self;
        counter!("cybervault_view_repeats_total", "says" => "same").increment(same);
        counter!("cybervault_view_repeats_total", "says" => "other").increment(other);
        if let Some(example) = example {
            tracing::warn!(
                others = other,
                example,
                "assessments came again and say something else: the view keeps what it had"
            );
        }
    }
}

async fn insert_action(transaction: &mut Writing, seq: i64, action: &ResponseAction) -> Result<(), StoreError> {
    let what = "inserting an action";
    let document = json(action)?;
    // Proposed and approved may have the same time: a step forward counts, too.
    sqlx::query(
        "INSERT INTO actions (tenant_id, action_id, created_at, updated_at, expires_at, kind, state, step, mode, \
         target_kind, target, playbook_id, assessment_id, decided_by, document) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (tenant_id, action_id) DO UPDATE SET updated_at = $4, expires_at = $5, state = $7, step = $8, \
         decided_by = $14, document = $15 WHERE actions.step < $8 OR (actions.step = $8 AND actions.updated_at <= $4)",
    )
    .bind(action.tenant_id.as_str())
    .bind(&action.action_id)
    .bind(action.proposed_at.as_millis())
    .bind(action.updated_at.as_millis())
    .bind(action.expires_at.as_millis())
    .bind(action.kind.as_str())
    .bind(action.state.as_str())
    .bind(i64::from(action.state != cybervault_model::ActionState::Proposed))
    .bind(action.mode.as_str())
    .bind(action.target.kind.as_str())
    .bind(clean(&action.target.value))
    .bind(&action.playbook_id)
    .bind(&action.assessment_id)
    .bind(clean(&action.decided_by))
    .bind(&document)
    .execute(&mut **transaction)
    .await
    .attempt(what)?;
    sqlx::query(
        "INSERT INTO action_states (tenant_id, action_id, state, at, seq, document) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT DO NOTHING",
    )
    .bind(action.tenant_id.as_str())
    .bind(&action.action_id)
    .bind(action.state.as_str())
    .bind(action.updated_at.as_millis())
    .bind(seq)
    .bind(&document)
    .execute(&mut **transaction)
    .await
    .attempt(what)?;
    Ok(())
}

#[derive(Debug, Default)]
struct RejectionSum {
    events: i64,
    bytes: i64,
    last_at: i64,
    retry_after_ms: Option<i64>,
}

type RejectionKey<'a> = (&'a str, i64, &'static str);

fn add_rejection<'a>(sums: &mut BTreeMap<RejectionKey<'a>, RejectionSum>, rejection: &'a QuotaRejection) {
    let at = rejection.rejected_at.as_millis();
    let sum = sums.entry((&rejection.tenant_id, at - at.rem_euclid(60_000), rejection.reason.as_str())).or_default();
    sum.events += 1;
    sum.bytes = sum.bytes.saturating_add(i64::try_from(rejection.bytes).unwrap_or(i64::MAX));
    if at >= sum.last_at {
        sum.last_at = at;
        sum.retry_after_ms = rejection.retry_after_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    }
}

async fn insert_rejections(
    transaction: &mut Writing,
    (tenant_id, minute, reason): RejectionKey<'_>,
    sum: &RejectionSum,
) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO rejections (tenant_id, minute, reason, events, bytes, last_at, retry_after_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, minute, reason) DO UPDATE SET \
         events = rejections.events + $4, bytes = rejections.bytes + $5, last_at = $6, retry_after_ms = $7",
    );
    let insert = insert.bind(tenant_id).bind(minute).bind(reason).bind(sum.events).bind(sum.bytes).bind(sum.last_at);
    let insert = insert.bind(sum.retry_after_ms).execute(&mut **transaction).await;
    insert.attempt("inserting rejections")?;
    Ok(())
}

/// PostgreSQL holds no NUL in a text.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
