//! What the tenant may send, and what was held back.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, extract::State, response::Response};
use maud::html;

use super::{
    page::{PageError, need, page as shell},
    parts,
    session::Visitor,
};
use crate::{app::App, key::Scope, store::now};

const MINUTE: i64 = 60_000;
/// Columns of the chart, a quarter of an hour each.
const COLUMNS: i64 = 96;

/// `GET /quota`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, PageError> {
    need(&visitor, Scope::QuotaRead)?;
    let (caller, now) = (&visitor.caller, now());
    let from = now.plus_millis(-COLUMNS * 15 * MINUTE);
    let minutes = caller.store(&app).rejections(caller.tenant_id(), from).await?;
    let mut by_reason: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for minute in &minutes {
        let sum = by_reason.entry(&minute.reason).or_default();
        *sum = (sum.0 + minute.events, sum.1 + minute.bytes);
    }
    let last_quarter = now.as_millis() / (15 * MINUTE);
    let columns: Vec<(i64, String)> = (last_quarter - COLUMNS + 1..=last_quarter)
        .map(|quarter| {
            let of = minutes.iter().filter(|minute| minute.minute.as_millis() / (15 * MINUTE) == quarter);
            let events: i64 = of.map(|minute| minute.events).sum();
            let ago = (last_quarter - quarter) * 15;
            (events, format!("{events} events rejected {ago} min ago"))
        })
        .collect();
    let (tenant, rates) = (caller.tenant, app.settings.rate_limits.of(caller.tenant.plan));
    let total: i64 = by_reason.values().map(|(events, _)| events).sum();
    let kib = |bytes: u64| parts::count(i64::try_from(bytes / 1024).unwrap_or(i64::MAX));
    let body = html! {
        header.head { div { h1 { "Quota" } p.muted { "Plan " strong { (tenant.plan.as_str()) } } } }
        section.tiles {
            div.tile { span.n { (parts::count(i64::try_from(tenant.events_per_second).unwrap_or(i64::MAX))) } span.l { "events a second" } }
            div.tile { span.n { (kib(tenant.bytes_per_second)) } span.l { "KiB a second" } }
            div.tile { span.n { (tenant.burst_percent) " %" } span.l { "burst" } }
            div.tile { span.n { (parts::count(i64::from(rates.read_per_minute))) } span.l { "API reads a minute" } }
            div.tile { span.n { (parts::count(i64::from(rates.write_per_minute))) } span.l { "API writes a minute" } }
            div class={ "tile" @if total > 0 { " sev-high" } } { span.n { (parts::count(total)) } span.l { "events rejected, 24 h" } }
        }
        section.card {
            h2 { "Rejected events, last 24 hours" }
            (parts::columns(&columns, "Rejected events a quarter of an hour"))
            @if total == 0 { p.muted { "Nothing was held back." } }
        }
        @if total > 0 {
            section.card {
                h2 { "Why" }
                table.list {
                    thead { tr { th scope="col" { "Reason" } th.num scope="col" { "Events" } th.num scope="col" { "KiB" } } }
                    tbody { @for (reason, (events, bytes)) in &by_reason {
                        tr { td { (parts::words(reason)) } td.num { (parts::count(*events)) } td.num { (parts::count(bytes / 1024)) } }
                    } }
                }
            }
            section.card {
                h2 { "The latest minutes" }
                table.list {
                    thead { tr { th scope="col" { "Minute" } th scope="col" { "Reason" } th.num scope="col" { "Events" } th.num scope="col" { "Retry after" } } }
                    tbody { @for minute in minutes.iter().rev().take(12) {
                        tr { td { (parts::moment(minute.minute)) } td { (parts::words(&minute.reason)) } td.num { (parts::count(minute.events)) }
                            td.num { @match minute.retry_after_ms { Some(ms) => { (parts::count(ms)) " ms" }, None => "—" } } }
                    } }
                }
            }
        }
    };
    Ok(shell(&visitor, "/quota", "Quota", &body))
}
