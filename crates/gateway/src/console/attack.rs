//! ATT&CK's matrix, as warm as it was hit.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};
use maud::html;

use super::{
    page::{PageError, need, page as shell},
    session::Visitor,
};
use crate::{
    app::App,
    key::Scope,
    store::{HeatCell, now},
};

/// The tactics in the order in which an attack goes on.
const ORDER: [&str; 14] = [
    "TA0043", "TA0042", "TA0001", "TA0002", "TA0003", "TA0004", "TA0005", "TA0006", "TA0007", "TA0008", "TA0009",
    "TA0011", "TA0010", "TA0040",
];
const RANGES: [(&str, i64, &str); 3] = [("1", 1, "24 hours"), ("7", 7, "7 days"), ("30", 30, "30 days")];

/// `GET /attack`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "days")
        .map(|(_, value)| value.into_owned());
    let &(range, days, _) = RANGES.iter().find(|(name, ..)| Some(*name) == asked.as_deref()).unwrap_or(&RANGES[0]);
    let (store, tenant_id) = (visitor.caller.store(&app), visitor.caller.tenant_id());
    let cells = store.heat(tenant_id, now().plus_millis(-days * 24 * 60 * 60 * 1000)).await?;
    let most = cells.iter().map(|cell| cell.findings).max().unwrap_or(1);
    let mut tactics: BTreeMap<usize, Vec<&HeatCell>> = BTreeMap::new();
    for cell in &cells {
        let place = ORDER.iter().position(|id| *id == cell.tactic_id).unwrap_or(ORDER.len());
        tactics.entry(place).or_default().push(cell);
    }
    let techniques: std::collections::BTreeSet<&str> = cells.iter().map(|cell| &*cell.technique_id).collect();
    let body = html! {
        header.head {
            div { h1 { "ATT&CK" } p.muted { (techniques.len()) " techniques under " (tactics.len()) " tactics" } }
            span.grow {}
            nav.ranges aria-label="Period" {
                @for (name, _, words) in RANGES {
                    a href={ "/attack?days=" (name) } aria-current=[(name == range).then_some("true")] { (words) }
                }
            }
        }
        div.matrix role="list" {
            @for (place, cells) in &tactics {
                section.tactic role="listitem" {
                    h2 { (cells.first().map_or("", |cell| if cell.tactic.is_empty() { "Other" } else { &cell.tactic }))
                        span.muted.small { (ORDER.get(*place).unwrap_or(&"")) } }
                    ul.plain { @for cell in cells {
                        li { a class={ "cell heat-" (heat(cell.findings, most)) } href={ "/?q=" (cell.technique_id) } {
                            span.technique { (if cell.technique_id.is_empty() { "—" } else { &cell.technique_id }) }
                            span.name { (if cell.technique.is_empty() { "no technique named" } else { &cell.technique }) }
                            span.n { (cell.findings) }
                        } }
                    } }
                }
            }
        }
        @if cells.is_empty() { p.empty { "Nothing with a technique was found in this period." } }
        @else { p.legend.muted.small { "fewer "
            @for n in 1..=5 { span class={ "cell heat-" (n) } {} } " more findings" } }
    };
    Ok(shell(&visitor, "/attack", "ATT&CK", &body))
}

/// 1 to 5, by the logarithm: one finding of a rare technique must not vanish beside a thousand of another.
fn heat(findings: i64, most: i64) -> u32 {
    #[expect(clippy::cast_precision_loss)]
    let share = (findings.max(1) as f64).ln_1p() / (most.max(1) as f64).ln_1p();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 5, rounded up")]
    let step = (share * 5.0).ceil() as u32;
    step.clamp(1, 5)
}
