//! What log sources the tenant's events belong to, and which belong to none.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::html;

use super::{
    page::{PageError, need, page as shell},
    parts,
    session::Visitor,
};
use crate::{app::App, http::SOURCES_WINDOW_MS, key::Scope, store::now};

/// `GET /sources`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let caller = &visitor.caller;
    let found = caller.store(&app).source_use(caller.tenant_id(), now().plus_millis(-SOURCES_WINDOW_MS)).await?;
    let percent = |events: i64| {
        let share = (events.saturating_mul(1_000) / found.events.max(1) + 5) / 10;
        if events > 0 && share == 0 { "<1 %".to_owned() } else { format!("{share} %") }
    };
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "—".to_owned());
    let body = html! {
        header.head { div { h1 { "Log sources" } p.muted { "Admitted events of the last 24 hours; new ones appear within a minute" } } }
        @if found.is_mostly_unknown() {
            p.note.problem role="alert" {
                "Most events are of no known log source, so that no rule is tried on them. Name the source in the envelope, or send a form of log that is known: see Log sources in docs/rules.md."
            }
        }
        section.tiles {
            div.tile { span.n { (parts::count(found.events)) } span.l { "events" } }
            div.tile { span.n { (found.sources.len()) } span.l { "log sources" } }
            div class={ "tile" @if found.unknown > 0 { " sev-high" } } { span.n #unknown { (parts::count(found.unknown)) } span.l { "of no known log source" } }
        }
        section.card {
            h2 { "By log source" }
            @if found.events == 0 { p.muted { "No event was counted yet." } }
            @else {
                table.list #sources {
                    thead { tr { th scope="col" { "Product" } th scope="col" { "Service" } th scope="col" { "Category" } th.num scope="col" { "Events" } th.num scope="col" { "Share" } th scope="col" { "Last hour" } } }
                    tbody {
                        @if found.unknown > 0 {
                            tr { td { strong { "none" } } td { "—" } td { "—" } td.num { (parts::count(found.unknown)) } td.num { (percent(found.unknown)) } td { "" } }
                        }
                        @for source in &found.sources {
                            tr { td { (name(&source.product)) } td { (name(&source.service)) } td { (name(&source.category)) }
                                td.num { (parts::count(source.events)) } td.num { (percent(source.events)) } td { (parts::moment(source.last_hour)) } }
                        }
                    }
                }
                p.muted.small { "An event of several log sources is counted under each of them." }
            }
        }
        @if !found.unknown_keys.is_empty() {
            section.card {
                h2 { "Events of no known log source: what keys they have" }
                table.list #keys {
                    thead { tr { th scope="col" { "Keys" } th.num scope="col" { "Seen in the sample" } th scope="col" { "Last" } } }
                    tbody { @for keys in &found.unknown_keys {
                        tr { td.mono { (keys.keys) } td.num { (parts::count(keys.events)) } td { (parts::moment(keys.last_seen)) } }
                    } }
                }
                p.muted.small { "A sample, without anything of the values." }
            }
        }
    };
    Ok(shell(&visitor, "/sources", "Log sources", &body))
}
